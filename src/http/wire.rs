//! One connection's bytes: what was received and not yet read as a message, what is to be sent, and the time that the
//! other side has for either. It bounds both buffers; it does not know what is asked or answered.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use actix_http::body::BodySize;
use actix_http::error::ParseError;
use actix_http::h1::{Codec, Message, MessageType};
use actix_http::{Request, Response, ServiceConfig, StatusCode};
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{Bytes, BytesMut};
use bytes::Buf;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use tokio_util::codec::{Decoder, Encoder};

use super::Timeouts;
use super::deadline::Deadline;
use super::head::{HeadScan, Look, has_fragment};
use super::taken::Taken;
use super::transport::Transport;
use crate::policy;

/// How much is read at once: the head of most requests.
const READ_SIZE: usize = 4 * 1024;

/// How much room a read needs at least.
const READ_ROOM: usize = 1024;

/// Larger buffers are given back once they are empty.
const KEPT_CAPACITY: usize = 8 * 1024;

/// How much of a body is put into the buffer at once.
pub(super) const PIECE: usize = 4 * 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What comes instead of a further request.
pub(super) enum Next {
    /// A request.
    Request(Request),
    /// Something that is refused before any handler sees it.
    Refused(StatusCode),
    /// Nothing: the client has closed, or was silent for too long.
    Closed,
}

/// How long the next request may take.
pub(super) struct Wait {
    until: Instant,
    /// Whether a part of it has come already.
    begun: bool,
    /// Whether it is over but for [`policy::DEADLINE_GRACE`].
    late: bool,
}

impl Wait {
    /// For a request of which all must be there by then.
    pub(super) const fn until(until: Instant) -> Self {
        Self { until, begun: true, late: false }
    }

    /// For a further one.
    pub(super) fn further(now: Instant, timeouts: &Timeouts) -> Self {
        Self { until: now + timeouts.idle, begun: false, late: false }
    }
}

/// How it ended that what still came was passed over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Drained {
    /// By the client.
    Ended,
    /// It went on for too long.
    Cut,
}

/// How far the body of the last request was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BodyState {
    Complete,
    /// `expected`: the client waits to be told to send it (RFC 9110 §10.1.1).
    Unread {
        expected: bool,
    },
    Broken,
}

/// A connection.
pub(super) struct Wire<IO> {
    io: IO,
    codec: Codec,
    head: HeadScan,
    received: BytesMut,
    unsent: BytesMut,
    /// Whether bytes may wait inside of `io`.
    unflushed: bool,
    taken: Taken,
    /// When the other side has failed to take anything for too long, if it takes nothing now; and how much it had
    /// taken when that began.
    stalled: Option<(Instant, u64)>,
    deadline: Deadline,
    body: BodyState,
    /// Whether the last request asked for another protocol: nothing that follows it is read.
    ends: bool,
    timeouts: Timeouts,
}

impl<IO: Transport> Wire<IO> {
    pub(super) fn new(io: IO, taken: Taken, config: ServiceConfig, timeouts: Timeouts) -> Self {
        Self {
            io,
            codec: Codec::new(config),
            head: HeadScan::default(),
            received: BytesMut::new(),
            unsent: BytesMut::new(),
            unflushed: false,
            taken,
            stalled: None,
            deadline: Deadline::default(),
            body: BodyState::Complete,
            ends: false,
            timeouts,
        }
    }

    /// The next request. Nothing is read while anything is unsent.
    pub(super) fn poll_next(&mut self, wait: &mut Wait, context: &mut Context<'_>) -> Poll<io::Result<Next>> {
        loop {
            if let Some(next) = self.decode_head() {
                return Poll::Ready(Ok(next));
            }
            ready!(self.poll_send(context))?;
            self.shrink();
            if !self.received.is_empty() && !wait.begun {
                *wait = Wait::until(Instant::now() + self.timeouts.head);
            }
            match self.poll_receive(context)? {
                Poll::Ready(0) => return Poll::Ready(Ok(Next::Closed)),
                Poll::Ready(_) => {}
                Poll::Pending => {
                    ready!(self.deadline.poll_until(wait.until, context));
                    if !wait.late {
                        (wait.late, wait.until) = (true, Instant::now() + policy::DEADLINE_GRACE);
                        continue;
                    }
                    let silent = self.received.is_empty();
                    return Poll::Ready(Ok(if silent {
                        Next::Closed
                    } else {
                        self.refuse(StatusCode::REQUEST_TIMEOUT)
                    }));
                }
            }
        }
    }

    fn decode_head(&mut self) -> Option<Next> {
        let received = self.received.len();
        let decoded = match self.head.look(&self.received) {
            Look::Readable if has_fragment(&self.received) => Err(ParseError::Header),
            Look::Readable => self.codec.decode(&mut self.received),
            Look::Incomplete => Ok(None),
            Look::BareLineFeed => Err(ParseError::Header),
        };
        match decoded {
            Ok(Some(Message::Item(_))) if received - self.received.len() > policy::MAX_HEAD => {
                Some(self.refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE))
            }
            Ok(Some(Message::Item(request))) => {
                self.head = HeadScan::default();
                let expected = request.head().expect();
                let body = self.codec.message_type();
                // The codec reads everything that follows as the new protocol's, to which we never change.
                if body == MessageType::Stream && request.head().headers().contains_key(CONTENT_LENGTH) {
                    return Some(self.refuse(StatusCode::BAD_REQUEST));
                }
                self.ends = body == MessageType::Stream;
                let has_body = body == MessageType::Payload;
                self.body = if has_body { BodyState::Unread { expected } } else { BodyState::Complete };
                Some(Next::Request(request))
            }
            Ok(None) if self.received.len() < policy::MAX_HEAD => None,
            Ok(None) | Err(ParseError::TooLarge) => Some(self.refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)),
            Ok(Some(Message::Chunk(_))) | Err(_) => Some(self.refuse(StatusCode::BAD_REQUEST)),
        }
    }

    /// Refuses what is no request. Nothing of the request before it says how the answer is written.
    fn refuse(&mut self, status: StatusCode) -> Next {
        self.codec = Codec::new(self.codec.config().clone());
        Next::Refused(status)
    }

    /// The next piece of the request's body; `None`: it is complete.
    pub(super) fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            let BodyState::Unread { expected } = self.body else { return Poll::Ready(Ok(None)) };
            if let Some(piece) = self.decode_body()? {
                return Poll::Ready(Ok(piece));
            }
            if expected && self.received.is_empty() {
                self.unsent.extend_from_slice(CONTINUE);
            }
            self.body = BodyState::Unread { expected: false };
            ready!(self.poll_send(context))?;
            if ready!(self.poll_receive(context))? == 0 {
                self.body = BodyState::Broken;
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// What of the body has been received. `None`: more must come first.
    fn decode_body(&mut self) -> io::Result<Option<Option<Bytes>>> {
        match self.codec.decode(&mut self.received) {
            Ok(Some(Message::Chunk(Some(piece)))) => Ok(Some(Some(piece))),
            Ok(Some(Message::Chunk(None))) => {
                self.body = BodyState::Complete;
                Ok(Some(None))
            }
            Ok(None) => Ok(None),
            Ok(Some(Message::Item(_))) | Err(_) => {
                self.body = BodyState::Broken;
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }

    /// Whether the last request has a body that nobody has read to its end.
    pub(super) fn has_body(&self) -> bool {
        self.body != BodyState::Complete
    }

    /// Whether the request's body has come whole, so that what follows is the next request. What of it is here already
    /// and nobody wanted is passed over.
    pub(super) fn skip_body(&mut self) -> bool {
        while matches!(self.body, BodyState::Unread { .. }) {
            if !matches!(self.decode_body(), Ok(Some(_))) {
                break;
            }
        }
        self.body == BodyState::Complete && !self.ends
    }

    /// Adds the head of a response to what is to be sent.
    pub(super) fn push_head(&mut self, head: Response<()>, size: BodySize) -> io::Result<()> {
        self.codec.encode(Message::Item((head, size)), &mut self.unsent)
    }

    /// Adds a piece of its body, or its end.
    pub(super) fn push_body(&mut self, piece: Option<Bytes>) -> io::Result<()> {
        self.codec.encode(Message::Chunk(piece), &mut self.unsent)
    }

    /// Whether as much is unsent as may be.
    pub(super) fn is_full(&self) -> bool {
        self.unsent.len() + PIECE >= policy::MAX_UNSENT / 4
    }

    /// Whether the connection may be used again, as both sides said.
    pub(super) fn keeps_alive(&self) -> bool {
        self.codec.keep_alive()
    }

    /// Whether more was sent than has been read as messages.
    pub(super) fn has_received(&self) -> bool {
        !self.received.is_empty()
    }

    /// Ready once everything is sent. An error of the kind `TimedOut`: nothing of it was taken for too long.
    pub(super) fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match Pin::new(&mut self.io).poll_write(context, &self.unsent)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(taken) if taken == self.unsent.len() => self.unsent.clear(),
                Poll::Ready(taken) => self.unsent.advance(taken),
                Poll::Pending => return self.poll_stalled(context),
            }
            self.unflushed = true;
        }
        if self.unflushed {
            if Pin::new(&mut self.io).poll_flush(context)?.is_pending() {
                return self.poll_stalled(context);
            }
            self.unflushed = false;
        }
        self.stalled = None;
        Poll::Ready(Ok(()))
    }

    fn poll_stalled<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let taken = self.taken.count();
        let until = match self.stalled {
            Some((until, before)) if before == taken => until,
            Some(_) => Instant::now() + self.timeouts.send,
            None => {
                self.compact();
                Instant::now() + self.timeouts.send
            }
        };
        self.stalled = Some((until, taken));
        self.deadline.poll_until(until, context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Tells the other side that nothing more will be sent.
    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.io).poll_shutdown(context) {
            Poll::Pending => self.poll_stalled(context),
            ready => ready,
        }
    }

    /// Passes over what still comes; ready once that ends, or at `until`.
    pub(super) fn poll_drain(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<Drained> {
        loop {
            self.received.clear();
            // Checked first: somebody who never stops sending must not keep the connection either.
            if self.deadline.poll_until(until, context).is_ready() {
                return Poll::Ready(Drained::Cut);
            }
            if !matches!(ready!(self.poll_receive(context)), Ok(1..)) {
                return Poll::Ready(Drained::Ended);
            }
        }
    }

    /// Ready when the client has gone, as far as that shows: it may send a further request before it looks. What it still
    /// sends of its last request is passed over until `until`.
    pub(super) fn poll_gone(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<Drained> {
        loop {
            if self.skip_body() || self.ends {
                if self.received.len() >= READ_SIZE {
                    return Poll::Pending;
                }
            } else if self.body == BodyState::Broken {
                return Poll::Ready(Drained::Ended);
            } else if self.deadline.poll_until(until, context).is_ready() {
                return Poll::Ready(Drained::Cut);
            }
            if !matches!(ready!(self.poll_receive(context)), Ok(1..)) {
                return Poll::Ready(Drained::Ended);
            }
        }
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.received.capacity() - self.received.len() < READ_ROOM {
            self.make_room_to_read();
        }
        pin!(self.io.read_buf(&mut self.received)).poll(context)
    }

    /// Makes room for one read and no more: a buffer that doubles as it grows holds twice what a head needs.
    fn make_room_to_read(&mut self) {
        if self.received.is_empty() {
            return self.received.reserve(READ_SIZE);
        }
        let mut larger = BytesMut::with_capacity(self.received.len() + READ_SIZE);
        larger.extend_from_slice(&self.received);
        self.received = larger;
    }

    /// Gives back what a large message needed.
    fn shrink(&mut self) {
        if self.unsent.capacity() > KEPT_CAPACITY {
            self.unsent = BytesMut::new();
        }
        if self.received.is_empty() && self.received.capacity() > KEPT_CAPACITY {
            self.received = BytesMut::new();
        }
    }

    /// Gives back the room that nothing is in: for a client that does not read, and may not for long.
    fn compact(&mut self) {
        self.io.compact();
        for buffer in [&mut self.received, &mut self.unsent] {
            *buffer = BytesMut::from(&**buffer);
        }
    }

    /// Gives back all room: for a connection on which little happens for long.
    pub(super) fn rest(&mut self) {
        if self.unsent.is_empty() {
            self.unsent = BytesMut::new();
        }
        if self.received.is_empty() {
            self.received = BytesMut::new();
        }
    }
}
