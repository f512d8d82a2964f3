//! Decisions about a line: replies, log records, errors.

use super::state::LineState;
use crate::ambient::Timestamp;
use crate::room::{Arrival, Counters, DomainEvent, Position, ServingRecord};

/// What a command does to a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision<Reply> {
    /// The line after it.
    pub state: LineState,
    /// The answer to the caller.
    pub reply: Reply,
    /// What is written to the logs, in this order.
    pub records: Vec<Record>,
    /// What happened, in this order.
    pub events: Vec<DomainEvent>,
}

/// A change of the arrival log or of the serving records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record {
    /// A row of the arrival log.
    Arrival(Arrival),
    /// A serving record. If there is one at its position it stays: the positions it covers were first served then.
    Serving(ServingRecord),
    /// All serving records above this position are removed: the serving counter was moved back to it.
    RemoveServingAbove(u64),
}

/// Why a command is refused. The line does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// No ticket can hold a later position.
    #[error("no position is left")]
    Exhausted,
    /// A join of nobody.
    #[error("no position was asked for")]
    NoPositions,
    /// The line went on since the caller read it: it was reset, or the position is not served, or was given up.
    #[error("the line went on meanwhile")]
    Outdated,
}

/// Positions handed out together: `first ..= last`, all with the same entry time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// The first of them.
    pub first: Position,
    /// The last of them.
    pub last: Position,
    /// When they were handed out; never earlier than an earlier position's.
    pub entry: Timestamp,
    /// The event after it.
    pub counters: Counters,
}

/// Whether the serving counter moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advance {
    /// It moved; the event after it.
    Moved(Counters),
    /// It would have fallen below zero or risen above [`Counters::MAX`]: nothing changed.
    OutOfRange,
}

/// Whether the serving counter moved from where the caller saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdvanceFrom {
    /// It moved; the event after it.
    Moved(Counters),
    /// Somebody else had moved it, or the event was reset: nothing changed.
    Changed,
    /// It would have risen above [`Counters::MAX`]: nothing changed.
    OutOfRange,
}

/// Whether the next in line take the places of served visitors whose positions expired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refill {
    /// They do, at once.
    Next,
    /// They do not, until the inlet moves the serving counter.
    None,
}

/// Positions that are given up: those above `from`, up to `through`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expiry {
    /// The last position that was given up before.
    pub from: u64,
    /// The last of them.
    pub through: u64,
}

/// How many joins were announced, and when that was last done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AnnouncedJoins {
    /// The queue counter then.
    pub queue: u64,
    /// The time.
    pub at: Timestamp,
}
