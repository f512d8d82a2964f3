//! The life of a connection: one request after the other is read, handled and answered. The next is read only when the
//! answers before it are sent, but for the few kilobytes that go out together.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_http::error::PayloadError;
use actix_http::{ConnectionType, Payload, Request, Response, ServiceConfig, StatusCode};
use actix_web::Error;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::{Method, Version};
use actix_web::web::Bytes;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::admission::{Refusal, Slot, Verdict};
use super::body::RequestBody;
use super::brief::Stage;
use super::deadline::given_by;
use super::stop::Worker;
use super::taken::Taken;
use super::transport::Transport;
use super::wire::{Drained, Next, PIECE, Wait, Wire};
use super::{REQUEST_ID, Timeouts};
use crate::policy;
use crate::telemetry::ConnectionEnd;

/// How many requests of one connection are handled before others have their turn, and for how long at most.
const TURN: (u32, Duration) = (32, Duration::from_millis(1));

/// What a connection has to know of its surroundings.
pub(super) struct Setting {
    pub config: ServiceConfig,
    pub timeouts: Timeouts,
    pub worker: Arc<Worker>,
}

/// Whether a connection goes on after a response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Next,
    Close,
}

/// What of a request says how its response is written.
struct Asked {
    method: Method,
    version: Version,
}

impl Asked {
    /// For what is no request.
    const NOTHING: Self = Self { method: Method::GET, version: Version::HTTP_11 };
}

/// Who is at the other side.
pub(super) struct Client {
    pub peer: Option<SocketAddr>,
    pub slot: Slot,
    /// By when the first request must have come.
    pub until: Instant,
}

/// A connection that is being served.
struct Connection<'a, IO, S> {
    wire: Rc<RefCell<Wire<IO>>>,
    service: &'a S,
    setting: &'a Setting,
    client: &'a Client,
}

/// Serves a connection to its end; `io` with what its transport takes.
///
/// # Errors
/// When the other side is gone, or takes nothing for too long.
pub(super) async fn serve<IO, S, B>(
    (io, taken): (IO, Taken),
    client: &Client,
    service: &S,
    setting: &Setting,
) -> io::Result<()>
where
    IO: Transport + 'static,
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    let wire = Rc::new(RefCell::new(Wire::new(io, taken, setting.config.clone(), setting.timeouts)));
    let connection = Connection { wire, service, setting, client };
    let mut wait = Wait::until(client.until);
    let (mut handled, mut turn) = (0, Instant::now());
    loop {
        let then = match connection.next(&mut wait).await? {
            Next::Request(request) => connection.answer(request).await?,
            Next::Refused(status) => {
                let refusal = client.slot.refuse(Refusal::Unreadable(status));
                let slow = status == StatusCode::REQUEST_TIMEOUT;
                client.slot.metrics().ended(if slow { ConnectionEnd::Slow } else { ConnectionEnd::Unreadable });
                let client = client.peer.map(|peer| tracing::field::display(peer.ip()));
                let request_id = refusal.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
                tracing::debug!(
                    request_id,
                    status = status.as_u16(),
                    client,
                    "a request that cannot be read was refused"
                );
                connection.respond(refusal, &Asked::NOTHING, Then::Close).await?
            }
            Next::Closed => return Ok(()),
        };
        if then == Then::Close {
            return connection.close().await;
        }
        let now = Instant::now();
        wait = Wait::further(now, &setting.timeouts);
        handled += 1;
        // Where nothing more was sent yet, others have their turn anyway.
        let waits = !connection.wire.borrow().has_received();
        if waits || handled == TURN.0 || now - turn >= TURN.1 {
            (handled, turn) = (0, now);
            if !waits {
                tokio::task::yield_now().await;
            }
        }
    }
}

impl<IO, S, B> Connection<'_, IO, S>
where
    IO: Transport + 'static,
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    /// Waits for a request, as long as the service is there.
    async fn next(&self, wait: &mut Wait) -> io::Result<Next> {
        let mut closing = pin!(self.setting.worker.closing());
        poll_fn(|context| {
            let mut wire = self.wire.borrow_mut();
            if let Poll::Ready(next) = wire.poll_next(wait, context) {
                return Poll::Ready(next);
            }
            // Of what was begun, the rest may still come.
            if !wire.has_received() && closing.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(Next::Closed));
            }
            Poll::Pending
        })
        .await
    }

    async fn answer(&self, request: Request) -> io::Result<Then> {
        let _busy = self.setting.worker.begin();
        let asked = Asked { method: request.method().clone(), version: request.version() };
        let (response, then) = match self.client.slot.judge(&request) {
            Verdict::Handle => (self.handle(request).await, Then::Next),
            Verdict::HandleLast => (self.handle_last(request).await?, Then::Close),
            Verdict::Refuse => (self.client.slot.refuse(Refusal::Taken(&request)), Then::Close),
        };
        self.client.slot.set_stage(Stage::Writing);
        self.respond(response, &asked, then).await
    }

    /// Handles the request of a brief connection, which must come whole before another connection needs the room.
    async fn handle_last(&self, mut request: Request) -> io::Result<Response<BoxBody>> {
        if self.wire.borrow().has_body() {
            match given_by(self.client.until, self.read_body()).await {
                Some(Some(pieces)) => *request.payload() = Payload::Stream { payload: Box::pin(stream::iter(pieces)) },
                Some(None) => return Ok(self.client.slot.refuse(Refusal::Unreadable(StatusCode::PAYLOAD_TOO_LARGE))),
                None => {
                    self.client.slot.metrics().ended(ConnectionEnd::Slow);
                    return Ok(self.client.slot.refuse(Refusal::Unreadable(StatusCode::REQUEST_TIMEOUT)));
                }
            }
        }
        if self.client.slot.set_stage(Stage::Handling) {
            Ok(self.handle(request).await)
        } else {
            Err(io::ErrorKind::ConnectionAborted.into())
        }
    }

    /// The body of a request in the pieces in which it came; an error as its last piece where it is broken. `None`: it
    /// is too long.
    async fn read_body(&self) -> Option<Vec<Result<Bytes, PayloadError>>> {
        let (mut pieces, mut length) = (Vec::new(), 0);
        let mut body = RequestBody::of(Rc::clone(&self.wire));
        while let Some(piece) = body.next().await {
            length += piece.as_ref().map_or(0, Bytes::len);
            if length > policy::MAX_BODY {
                return None;
            }
            pieces.push(piece);
        }
        Some(pieces)
    }

    async fn handle(&self, mut request: Request) -> Response<BoxBody> {
        request.head_mut().peer_addr = self.client.peer;
        if self.wire.borrow().has_body() {
            *request.payload() = Payload::Stream { payload: Box::pin(RequestBody::of(Rc::clone(&self.wire))) };
        }
        match self.service.call(request).await {
            Ok(response) => Response::from(response).map_into_boxed_body(),
            Err(error) => {
                tracing::error!(%error, "the application failed to answer a request");
                self.client.slot.refuse(Refusal::Failed)
            }
        }
    }

    async fn respond(&self, response: Response<BoxBody>, asked: &Asked, then: Then) -> io::Result<Then> {
        // Given back when the response is sent.
        let (response, _held) = match self.client.slot.hold(&response) {
            Ok(held) => (response, held),
            Err(_) => {
                self.client.slot.metrics().long_response_refused();
                (self.client.slot.refuse(Refusal::Busy), None)
            }
        };
        let (mut head, body) = response.into_parts();
        let read = self.wire.borrow_mut().skip_body();
        if !read || then == Then::Close || self.setting.worker.is_stopping() {
            head.head_mut().set_connection_type(ConnectionType::Close);
        }
        let size = body.size();
        if size == BodySize::Stream && asked.version < Version::HTTP_11 {
            // It knows no chunks: the end of the connection is the end of the body (RFC 9112 §6.3).
            head.head_mut().no_chunking(true);
            head.head_mut().set_connection_type(ConnectionType::Close);
        }
        self.wire.borrow_mut().push_head(head, size)?;
        if asked.method != Method::HEAD && !matches!(size, BodySize::None | BodySize::Sized(0)) {
            match body.try_into_bytes() {
                Ok(bytes) => {
                    self.send_piece(bytes).await?;
                    self.wire.borrow_mut().push_body(None)?;
                }
                Err(body) => self.send_stream(body).await?,
            }
        }
        self.make_room().await?;
        let goes_on = read && self.wire.borrow().keeps_alive();
        Ok(if goes_on { then } else { Then::Close })
    }
}

impl<IO: Transport, S> Connection<'_, IO, S> {
    /// Sends a body as it comes. The next piece is asked for when the last is sent: for somebody who reads slowly, a
    /// stream of news leaves out what is overtaken.
    async fn send_stream(&self, body: BoxBody) -> io::Result<()> {
        let mut body = pin!(body);
        let until = Instant::now() + self.setting.timeouts.drain;
        loop {
            let piece = poll_fn(|context| {
                ready!(self.wire.borrow_mut().poll_send(context))?;
                self.wire.borrow_mut().rest();
                if let Poll::Ready(piece) = body.as_mut().poll_next(context) {
                    return Poll::Ready(piece.transpose().map_err(|error| io::Error::other(error.to_string())));
                }
                let gone = ready!(self.wire.borrow_mut().poll_gone(until, context));
                if gone == Drained::Cut {
                    self.client.slot.metrics().ended(ConnectionEnd::Endless);
                }
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            });
            match piece.await? {
                Some(piece) => self.send_piece(piece).await?,
                None => return self.wire.borrow_mut().push_body(None),
            }
        }
    }

    async fn send_piece(&self, mut piece: Bytes) -> io::Result<()> {
        while !piece.is_empty() {
            let part = piece.split_to(PIECE.min(piece.len()));
            self.wire.borrow_mut().push_body(Some(part))?;
            self.make_room().await?;
        }
        Ok(())
    }

    /// Sends everything where as much is unsent as may be.
    async fn make_room(&self) -> io::Result<()> {
        if self.wire.borrow().is_full() { self.flush().await } else { Ok(()) }
    }

    async fn flush(&self) -> io::Result<()> {
        poll_fn(|context| self.wire.borrow_mut().poll_send(context)).await
    }

    /// Ends the connection after what is to be sent. Where the client still sends, it is heard for a while: a connection
    /// that is closed before that is reset, and the answer lost.
    async fn close(&self) -> io::Result<()> {
        self.flush().await?;
        poll_fn(|context| self.wire.borrow_mut().poll_shutdown(context)).await?;
        let (has_body, has_received) = (self.wire.borrow().has_body(), self.wire.borrow().has_received());
        if has_body || has_received {
            let timeouts = &self.setting.timeouts;
            let patience = if self.client.slot.is_brief() { timeouts.brief } else { timeouts.drain };
            let until = Instant::now() + patience;
            if poll_fn(|context| self.wire.borrow_mut().poll_drain(until, context)).await == Drained::Cut {
                self.client.slot.metrics().ended(ConnectionEnd::Endless);
            }
        }
        Ok(())
    }
}
