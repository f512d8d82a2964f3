//! The connections of all listeners: accepting them, HTTP/1.1 on each of them, how many there may be, and their end.
//!
//! actix-http reads messages and writes them (`h1::Codec`), actix-server accepts and spreads connections over threads,
//! and the application is an actix-web service. What is between is ours, because actix-http's own connections hold
//! more for a client that does not read than the service can spare, and because the last of many connections belong to
//! operators. This module must not know what is asked; whose a path is, it is told.
//!
//! Reading order: `connection` the life of a connection, `wire` its bytes, `head` where a head ends, `transport` what
//! carries them, `taken` how much a client takes, `body` a request's body, `deadline` its timer; `listener` where
//! connections come from; `admission`, `brief` and `limits` how many there may be; `address` what they are counted by;
//! `stop` how they end; `cookies` what browsers send back.

mod address;
mod admission;
mod body;
mod brief;
mod connection;
mod cookies;
mod deadline;
mod head;
mod limits;
mod listener;
mod stop;
mod taken;
#[cfg(test)]
mod tests;
mod transport;
mod wire;

use std::time::Duration;

pub use address::AddressKey;
pub use admission::{Admission, LargeResponses, LastOfConnection, Parts, Refusal, SharedBody, Terms};
pub use cookies::{cookie_values, cookie_values_beginning};
pub use deadline::given_by;
pub use listener::{Listener, serve};
pub use stop::{Shutdown, StopTimes};

use crate::policy;

/// The header by which an answer names its request as the log does.
pub const REQUEST_ID: &str = "x-request-id";

/// The time that clients have.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// To send the head of a request.
    pub head: Duration,
    /// To send the whole request, on a brief connection.
    pub brief: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// To take anything of what is sent.
    pub send: Duration,
    /// To end a request that was answered before it was complete.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: policy::HEAD_TIMEOUT,
            brief: policy::BRIEF_REQUEST_TIMEOUT,
            idle: policy::KEEP_ALIVE,
            send: policy::SEND_TIMEOUT,
            drain: policy::DRAIN_TIMEOUT,
        }
    }
}
