//! What carries a connection's bytes, and the memory of a TLS session.
//!
//! rustls reads from its transport as much as fits into its buffer, and keeps a buffer for a whole record (18 KiB) as
//! long as a part of the next record is in it. A client that sends and never reads would cost that much more.
//! [`Records`] therefore reads one record at a time, and [`Transport::compact`] has the empty buffer given back.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::taken::Counted;

/// The transport of a connection: plain, or TLS.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// Gives back memory that holds nothing.
    fn compact(&mut self);
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Transport for Counted<IO> {
    fn compact(&mut self) {}
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Transport for TlsStream<IO> {
    fn compact(&mut self) {
        // rustls shrinks an empty buffer when it is about to read into it.
        let _nothing_read = self.get_mut().1.read_tls(&mut NothingYet);
    }
}

/// A source from which nothing has come.
struct NothingYet;

impl Read for NothingYet {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// A TLS record begins with its type, a version, and the length of the rest (RFC 8446 §5.1).
const HEADER: usize = 5;

/// A transport from which no read takes more than the rest of the current TLS record.
pub(super) struct Records<IO> {
    io: IO,
    /// The header of the current record, as far as it has come.
    header: [u8; HEADER],
    received: usize,
    /// How much of the current record's content is still to come.
    rest: usize,
}

impl<IO> Records<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self { io, header: [0; HEADER], received: 0, rest: 0 }
    }

    /// How much may be read without touching the next record.
    fn wanted(&self) -> usize {
        if self.received < HEADER { HEADER - self.received } else { self.rest }
    }

    fn advance(&mut self, bytes: &[u8]) {
        if self.received < HEADER {
            self.header[self.received..][..bytes.len()].copy_from_slice(bytes);
            self.received += bytes.len();
            if self.received == HEADER {
                self.rest = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
            }
        } else {
            self.rest -= bytes.len();
        }
        if self.received == HEADER && self.rest == 0 {
            self.received = 0;
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Records<IO> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wanted = self.wanted().min(into.remaining());
        let mut limited = ReadBuf::new(into.initialize_unfilled_to(wanted));
        ready!(Pin::new(&mut self.io).poll_read(context, &mut limited))?;
        let read = limited.filled().len();
        self.advance(limited.filled());
        into.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Records<IO> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn record(length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        [&[23, 3, 3, high, low][..], &vec![7; usize::from(length)]].concat()
    }

    #[tokio::test]
    async fn no_read_reaches_into_the_next_record() {
        for piece in [1, 3, 5, 6, 1000, 1 << 20] {
            let (mut sender, receiver) = duplex(piece);
            let lengths = [1, 0, 16 * 1024, 300];
            let sent: Vec<_> = lengths.iter().flat_map(|length| record(*length)).collect();
            let ends: Vec<_> = lengths
                .iter()
                .scan(0, |end, length| {
                    *end += HEADER + usize::from(*length);
                    Some(*end)
                })
                .collect();
            let expected = sent.clone();
            let sending = tokio::spawn(async move { sender.write_all(&sent).await.unwrap() });
            let mut reader = Records::new(receiver);
            let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
            loop {
                let count = reader.read(&mut buffer).await.unwrap();
                if count == 0 {
                    break;
                }
                let begins = read.len();
                read.extend_from_slice(&buffer[..count]);
                let within = ends.iter().all(|end| *end <= begins || *end >= read.len());
                assert!(within, "pieces of {piece}: a read from {begins} to {}", read.len());
            }
            sending.await.unwrap();
            assert_eq!(read, expected);
        }
    }
}
