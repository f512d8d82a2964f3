//! The rules of a line, once for every store: a pure state machine.
//!
//! A command is a method of [`LineState`]. It answers a [`Decision`]: the state after it, what the caller is answered, the
//! records of the logs and the domain events that come with it. An engine makes the decision durable as a whole, or not at
//! all; it decides nothing itself. What depends on sessions, which are not part of the state, is an argument, so a command
//! that needs to count them has two halves (expiry).

mod commands;
mod decision;
mod lease;
mod state;
#[cfg(test)]
mod tests;

pub use commands::binds;
pub use decision::{Advance, AdvanceFrom, AnnouncedJoins, Decision, Expiry, LineError, Record, Refill, Taken};
pub use lease::PositionLease;
pub use state::LineState;
