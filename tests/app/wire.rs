//! Raw bytes on a connection, as no HTTP library sends them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than any answer takes, even on a busy machine: only a hanging server reaches it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A parsed answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Some(Self { status, headers: lines.filter_map(header).collect(), body: body.to_owned() })
    }
}

/// Sends `bytes`, and reads until the other side closes. `None`: it closed without an answer.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> Option<Answer> {
    let talk = async {
        let (mut from, mut to) = TcpStream::connect(address).await.unwrap().into_split();
        // The server may close before it has read everything; that is no error here.
        let sending = async {
            if to.write_all(bytes).await.is_ok() {
                let _closed_already = to.shutdown().await;
            }
        };
        let mut received = Vec::new();
        let reading = async {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut buffer).await {
                received.extend_from_slice(&buffer[..count]);
            }
        };
        tokio::join!(sending, reading);
        received
    };
    let received = tokio::time::timeout(PATIENCE, talk).await.expect("the server hangs");
    Answer::parse(&received)
}

/// Polls `look` until it returns a value.
pub async fn eventually<T>(look: impl AsyncFn() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("it never happens")
}
