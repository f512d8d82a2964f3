//! The outbox: what happened, written down in the same transaction as the change itself, until it has been told.
//!
//! Owns the nouns (a [`Letter`] says that something [happened](DomainEvent)) and the verbs of whoever tells. It must not
//! know who is told, nor how. Letters of an event are in the order of its changes. A store that was opened without an
//! outbox writes none, so that nobody pays for what nobody hears.

use std::sync::Arc;

use async_trait::async_trait;

use super::StoreError;
use crate::ambient::{Clock, Timestamp};
use crate::room::{DomainEvent, EventId, EventKind};

/// A line of the outbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Letter {
    /// Its number: the later of two is the higher.
    pub seq: u64,
    /// Where it happened.
    pub event: EventId,
    /// When it was written down.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// The details, a JSON object.
    pub body: String,
}

/// A letter that a sink did not take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// Who did not take it.
    pub sink: String,
    /// What it said.
    pub letter: Letter,
    /// Why it was given up.
    pub reason: String,
    /// When.
    pub died_at: Timestamp,
    /// Whether it waits to be sent once more.
    pub again: bool,
}

/// What became of a dead letter that was sent once more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resent {
    /// It was taken: forget it.
    Taken,
    /// It was not: keep it, and do not try by yourself.
    Refused,
}

/// What happens to what happens.
#[derive(Clone, Default)]
pub enum OutboxMode {
    /// Nobody hears of it: nothing is written.
    #[default]
    Off,
    /// It is written down with the time of this clock.
    Kept(Arc<dyn Clock>),
}

impl OutboxMode {
    /// What a letter that is written now is dated; `None`: none is.
    pub(super) fn now(&self) -> Option<Timestamp> {
        match self {
            Self::Off => None,
            Self::Kept(clock) => Some(clock.now()),
        }
    }
}

/// The verbs of the outbox. In a store without one, nothing is written and nothing found.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Writes down something that is not the work of another verb: at most once for each kind and `tick`, whoever asks;
    /// whether this call did. *Embedded:* an insert under a unique index.
    async fn post_letter(&self, event: &EventId, tick: Timestamp, happening: &DomainEvent) -> Result<bool, StoreError>;

    /// Writes down how many positions were handed out since this was last done ([`EventKind::VisitorJoined`]): at most once
    /// a second, and not for nobody. Whether it did. *Embedded:* one transaction.
    async fn tell_joins(&self, event: &EventId) -> Result<bool, StoreError>;

    /// The first `limit` letters after `after`, in order. What is committed later has a higher number than all of them.
    async fn letters(&self, after: u64, limit: u32) -> Result<Vec<Letter>, StoreError>;

    /// The number of the newest letter that was ever written.
    async fn newest_letter(&self) -> Result<u64, StoreError>;

    /// Claims the delivery to a sink for this node: through which number it has everything. A sink that was never
    /// heard of begins with what is written from now on. `None`: another node is at it.
    /// *Embedded:* insert-or-get; there is no other node.
    async fn claim_delivery(&self, sink: &str) -> Result<Option<u64>, StoreError>;

    /// Notes that a sink has everything through `seq`. It never goes back. *Embedded:* one conditional update.
    async fn note_delivered(&self, sink: &str, through: u64) -> Result<(), StoreError>;

    /// Gives letters up that a sink does not take, and notes that it is done with everything through `through`.
    /// *Embedded:* one transaction.
    async fn bury_letters(&self, sink: &str, letters: &[Letter], reason: &str, through: u64) -> Result<(), StoreError>;

    /// A page of the dead letters after (sink, number) `after`, in that order.
    async fn dead_letters(&self, after: Option<(String, u64)>, limit: u32) -> Result<Vec<DeadLetter>, StoreError>;

    /// Has the dead letters of `sink` (all: `None`) sent once more. Answers how many.
    async fn revive_dead_letters(&self, sink: Option<&str>) -> Result<u64, StoreError>;

    /// The first `limit` dead letters of a sink that wait to be sent once more, in order.
    async fn revived_letters(&self, sink: &str, limit: u32) -> Result<Vec<Letter>, StoreError>;

    /// Notes what became of one of them.
    async fn settle_dead_letter(&self, sink: &str, seq: u64, outcome: Resent) -> Result<(), StoreError>;

    /// Forgets letters older than `before` that all of `sinks` are done with, in steps between which others are
    /// served. Answers how many.
    async fn forget_letters(&self, sinks: &[String], before: Timestamp) -> Result<u64, StoreError>;
}
