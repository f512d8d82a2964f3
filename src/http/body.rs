//! The body of a request, read from the connection when and as far as the handler asks for it. Nothing of it is held
//! between, so a handler that does not read makes the client wait.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_http::error::PayloadError;
use actix_web::web::Bytes;
use futures_util::Stream;

use super::transport::Transport;
use super::wire::Wire;

/// A body, as a stream of its pieces.
pub(super) struct RequestBody<IO>(Rc<RefCell<Wire<IO>>>);

impl<IO> RequestBody<IO> {
    /// The body of the request that was read last.
    pub(super) const fn of(wire: Rc<RefCell<Wire<IO>>>) -> Self {
        Self(wire)
    }
}

impl<IO: Transport> Stream for RequestBody<IO> {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.borrow_mut().poll_body(context).map(|piece| piece.map_err(PayloadError::Io).transpose())
    }
}
