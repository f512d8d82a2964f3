//! A cheap client: one connection, one request at a time, and only the HTTP/1.1 of the server's answers (a status,
//! headers, a body of known length).

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Outcome, ensure};

/// A kept-alive connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, valid until the next request.
#[derive(Debug)]
pub struct Answer<'a> {
    pub status: u16,
    head: &'a str,
    pub body: &'a str,
}

impl Answer<'_> {
    /// The values of a header, in order.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        let fields = self.head.split("\r\n").filter_map(|line| line.split_once(':'));
        fields.filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Bytes of the whole answer.
    pub const fn length(&self) -> usize {
        self.head.len() + END.len() + self.body.len()
    }
}

const END: &str = "\r\n\r\n";

impl Connection {
    /// Connects to `address` (host and port).
    pub async fn open(address: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a whole request and reads its answer.
    pub async fn ask(&mut self, request: &str) -> Outcome<Answer<'_>> {
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        let (head, length) = loop {
            if let Some(whole) = measure(&self.buffer)? {
                break whole;
            }
            let read = self.stream.read_buf(&mut self.buffer).await?;
            ensure(read > 0, || "the connection was closed in the middle of an answer".to_owned())?;
        };
        let (head, body) = std::str::from_utf8(&self.buffer[..length])?.split_at(head);
        let status = head.get(9..12).and_then(|status| status.parse().ok()).ok_or("no status")?;
        Ok(Answer { status, head, body: &body[END.len()..] })
    }
}

/// The end of the head in `buffer`, and the whole length, once the head is complete.
fn measure(buffer: &[u8]) -> Outcome<Option<(usize, usize)>> {
    let Some(head) = buffer.windows(END.len()).position(|window| window == END.as_bytes()) else { return Ok(None) };
    let text = std::str::from_utf8(&buffer[..head])?;
    let answer = Answer { status: 0, head: text, body: "" };
    let body: usize = answer.headers("content-length").next().ok_or("an answer of unknown length")?.parse()?;
    let length = head + END.len() + body;
    Ok((buffer.len() >= length).then_some((head, length)))
}

/// A GET request.
pub fn get(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

/// A POST request with a body.
pub fn post(target: &str, headers: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}
