//! The connection from one node to DynamoDB Local, request by request: injects DynamoDB's failures.
//!
//! A node's connection stays open over many requests, as to AWS. Must not know the content of a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::link::Forwarder;
use crate::servers::Server;

/// The DynamoDB Local of this test process, or `None`: the tests are skipped.
pub fn dynamodb() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(Server::dynamodb).as_ref()
}

/// The behaviour of DynamoDB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    Well,
    /// One of this many requests gets a throttling error, and is not applied.
    Throttles(u64),
    /// One of this many requests gets an internal error, and is not applied.
    Errs(u64),
    /// One of this many requests is applied and not answered: the connection breaks.
    BreaksOff(u64),
    /// It cannot be reached.
    Away,
    /// It accepts connections and never answers.
    Mute,
}

/// See the module's documentation.
pub struct Door {
    /// The address of DynamoDB for the node.
    pub address: SocketAddr,
    mood: watch::Sender<Mood>,
    /// The number of injected failures.
    failed: Arc<AtomicU64>,
}

impl Door {
    pub fn before(server: SocketAddr, forwarder: &Forwarder) -> Self {
        let (listener, address) = forwarder.listen();
        let (mood, failed) = (watch::Sender::new(Mood::Well), Arc::default());
        let guest = Guest { server, mood: mood.subscribe(), asked: Arc::default(), failed: Arc::clone(&failed) };
        forwarder.runtime.spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(guest.clone().serve(connection));
            }
        });
        Self { address, mood, failed }
    }

    pub fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// The fate of one request.
enum Outcome {
    Done,
    /// It gets this error.
    Refused(&'static str, &'static str),
    /// It is applied, and the connection ends.
    Unanswered,
    /// The connection ends.
    Cut,
    /// It is never answered.
    Ignored,
}

#[derive(Clone)]
struct Guest {
    server: SocketAddr,
    mood: watch::Receiver<Mood>,
    /// The number of requests on all connections.
    asked: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl Guest {
    async fn serve(mut self, mut connection: TcpStream) {
        let mut server = None;
        loop {
            let away = async |mood: &mut watch::Receiver<Mood>| drop(mood.wait_for(|mood| *mood == Mood::Away).await);
            let request = tokio::select! {
                request = message(&mut connection) => request,
                () = away(&mut self.mood) => None,
            };
            let Some(request) = request else { return };
            let fate = self.outcome();
            if !matches!(fate, Outcome::Done) {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
            let answer = match fate {
                Outcome::Refused(status, error) => Some(refusal(status, error)),
                Outcome::Done => self.forward(&mut server, &request).await,
                Outcome::Unanswered => {
                    self.forward(&mut server, &request).await;
                    None
                }
                Outcome::Cut => None,
                Outcome::Ignored => std::future::pending().await,
            };
            let Some(answer) = answer else { return };
            if connection.write_all(&answer).await.is_err() {
                return;
            }
        }
    }

    fn outcome(&self) -> Outcome {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let hits = |every: u64| number.is_multiple_of(every);
        match *self.mood.borrow() {
            Mood::Throttles(every) if hits(every) => match number / every % 2 {
                0 => Outcome::Refused("400 Bad Request", "ProvisionedThroughputExceededException"),
                _ => Outcome::Refused("400 Bad Request", "ThrottlingException"),
            },
            Mood::Errs(every) if hits(every) => Outcome::Refused("500 Internal Server Error", "InternalServerError"),
            Mood::BreaksOff(every) if hits(every) => Outcome::Unanswered,
            Mood::Away => Outcome::Cut,
            Mood::Mute => Outcome::Ignored,
            _ => Outcome::Done,
        }
    }

    async fn forward(&self, server: &mut Option<TcpStream>, request: &[u8]) -> Option<Vec<u8>> {
        if server.is_none() {
            *server = TcpStream::connect(self.server).await.ok();
        }
        let server = server.as_mut()?;
        server.write_all(request).await.ok()?;
        message(server).await
    }
}

fn refusal(status: &str, error: &str) -> Vec<u8> {
    let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{error}","message":"made to fail"}}"#);
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {length}");
    format!("{head}\r\n\r\n{body}").into_bytes()
}

/// A complete HTTP/1.1 message with its head; `None`: the connection ended.
async fn message(connection: &mut TcpStream) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    let head = loop {
        if connection.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let length = {
        let lines = std::str::from_utf8(&read[..head]).unwrap().lines();
        let mut fields = lines.filter_map(|line| line.split_once(':'));
        let field = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        field.map_or(0, |(_, value)| value.trim().parse::<usize>().unwrap())
    };
    while read.len() < head + length {
        if connection.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
    Some(read)
}
