//! The outbox: what happened, written down in the same transaction as the change itself, until it has been told.
//!
//! Owns the nouns (a [`Letter`] says that something [happened](Happening)) and the verbs of whoever tells. It must not
//! know who is told, nor how. Letters of an event are in the order of its changes. A store that was opened without an
//! outbox writes none, so that nobody pays for what nobody hears.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;

use super::StoreError;
use crate::ambient::{Clock, Timestamp};
use crate::room::{EventId, Generation, RequestId, SessionStatus};

/// What can be told, by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// A session was opened.
    TokenGenerated,
    /// A session was closed.
    SessionUpdated,
    /// Forfeited places were given to the next in line.
    AutomaticServingCounterIncr,
    /// How the event stands, each minute.
    WaitingRoomMetrics,
    /// The serving counter moved, whatever moved it.
    ServingCounterChanged,
    /// The line began anew.
    RoomReset,
    /// Visitors joined.
    VisitorJoined,
    /// The inlet stands still for a reason.
    InletPaused,
    /// The inlet moves again.
    InletResumed,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::TokenGenerated,
        Self::SessionUpdated,
        Self::AutomaticServingCounterIncr,
        Self::WaitingRoomMetrics,
        Self::ServingCounterChanged,
        Self::RoomReset,
        Self::VisitorJoined,
        Self::InletPaused,
        Self::InletResumed,
    ];

    /// Its name on the wire (`docs/operators.md`, *Events out*); the last five are ours, the others the retired
    /// system's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TokenGenerated => "token_generated",
            Self::SessionUpdated => "session_updated",
            Self::AutomaticServingCounterIncr => "automatic_serving_counter_incr",
            Self::WaitingRoomMetrics => "waiting_room_metrics",
            Self::ServingCounterChanged => "serving_counter_changed",
            Self::RoomReset => "room_reset",
            Self::VisitorJoined => "visitor_joined",
            Self::InletPaused => "inlet_paused",
            Self::InletResumed => "inlet_resumed",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Something that happened in an event, with the details that are told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(untagged)]
pub enum Happening {
    /// See [`Kind::TokenGenerated`].
    TokenGenerated {
        /// Whose session it is.
        request_id: RequestId,
    },
    /// See [`Kind::SessionUpdated`].
    SessionUpdated {
        /// Whose session it was.
        request_id: RequestId,
        /// How it ended.
        #[serde(serialize_with = "status_word")]
        status: SessionStatus,
    },
    /// See [`Kind::AutomaticServingCounterIncr`].
    AutomaticServingCounterIncr {
        /// The serving counter before.
        previous_serving_counter_position: u64,
        /// By how much it grew.
        increment_by: u64,
        /// The serving counter after.
        current_serving_counter_position: u64,
    },
    /// See [`Kind::WaitingRoomMetrics`].
    WaitingRoomMetrics {
        /// Sessions that are open.
        num_active_tokens: u64,
        /// Sessions ever opened since the last reset.
        total_num_tokens: u64,
        /// Last position handed out.
        queue_counter: u64,
        /// Last position admitted.
        serving_number: u64,
        /// Sessions that were completed.
        completed_sessions: u64,
        /// Sessions that were abandoned.
        abandoned_sessions: u64,
    },
    /// See [`Kind::ServingCounterChanged`].
    ServingCounterChanged {
        /// Before.
        previous: u64,
        /// After.
        current: u64,
    },
    /// See [`Kind::RoomReset`].
    RoomReset {
        /// The generation that began.
        generation: Generation,
    },
    /// See [`Kind::VisitorJoined`].
    VisitorJoined {
        /// How many, since this was told last.
        count: u64,
        /// Last position handed out.
        queue_counter: u64,
    },
    /// See [`Kind::InletPaused`].
    InletPaused {
        /// Why.
        reason: String,
    },
    /// See [`Kind::InletResumed`].
    InletResumed {},
}

fn status_word<S: serde::Serializer>(status: &SessionStatus, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match status {
        SessionStatus::Active => "active",
        SessionStatus::Completed => "completed",
        SessionStatus::Abandoned => "abandoned",
    })
}

impl Happening {
    /// What kind of thing it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::TokenGenerated { .. } => Kind::TokenGenerated,
            Self::SessionUpdated { .. } => Kind::SessionUpdated,
            Self::AutomaticServingCounterIncr { .. } => Kind::AutomaticServingCounterIncr,
            Self::WaitingRoomMetrics { .. } => Kind::WaitingRoomMetrics,
            Self::ServingCounterChanged { .. } => Kind::ServingCounterChanged,
            Self::RoomReset { .. } => Kind::RoomReset,
            Self::VisitorJoined { .. } => Kind::VisitorJoined,
            Self::InletPaused { .. } => Kind::InletPaused,
            Self::InletResumed {} => Kind::InletResumed,
        }
    }

    /// The details as JSON, with the event that they are of.
    ///
    /// # Errors
    /// Never in practice: all of it is text and numbers.
    pub fn body(&self, event: &EventId) -> Result<String, serde_json::Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            event_id: &'a EventId,
            #[serde(flatten)]
            details: &'a Happening,
        }
        serde_json::to_string(&Body { event_id: event, details: self })
    }
}

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
    pub kind: Kind,
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
    async fn post_letter(&self, event: &EventId, tick: Timestamp, happening: &Happening) -> Result<bool, StoreError>;

    /// Writes down how many positions were handed out since this was last done ([`Kind::VisitorJoined`]): at most once
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_name() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Kind::from_name("token_Generated"), None);
    }

    #[test]
    fn the_details_are_those_of_the_contract() {
        let event: EventId = "Sample".parse().unwrap();
        let request_id = RequestId::from_bytes([7; 16]);
        let ended = Happening::SessionUpdated { request_id, status: SessionStatus::Abandoned };
        let shown = "07070707-0707-0707-0707-070707070707";
        let expected = format!(r#"{{"event_id":"Sample","request_id":"{shown}","status":"abandoned"}}"#);
        assert_eq!(ended.body(&event).unwrap(), expected);
        let refilled = Happening::AutomaticServingCounterIncr {
            previous_serving_counter_position: 10,
            increment_by: 3,
            current_serving_counter_position: 13,
        };
        assert_eq!(
            refilled.body(&event).unwrap(),
            r#"{"event_id":"Sample","previous_serving_counter_position":10,"increment_by":3,"current_serving_counter_position":13}"#
        );
        let reset = Happening::RoomReset { generation: Generation(4) };
        assert_eq!(reset.body(&event).unwrap(), r#"{"event_id":"Sample","generation":4}"#);
    }
}
