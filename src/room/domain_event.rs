//! Domain events: what happened in an event, with the names and details that are told to others.
//!
//! Owns their form on the wire (`docs/operators.md`, *Events out*). It must not know who is told, nor how.

use serde::Serialize;

use super::{EventId, Generation, RequestId, SessionStatus};

/// What can be told, by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EventKind {
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

impl EventKind {
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
pub enum DomainEvent {
    /// See [`EventKind::TokenGenerated`].
    TokenGenerated {
        /// Whose session it is.
        request_id: RequestId,
    },
    /// See [`EventKind::SessionUpdated`].
    SessionUpdated {
        /// Whose session it was.
        request_id: RequestId,
        /// How it ended.
        #[serde(serialize_with = "status_word")]
        status: SessionStatus,
    },
    /// See [`EventKind::AutomaticServingCounterIncr`].
    AutomaticServingCounterIncr {
        /// The serving counter before.
        previous_serving_counter_position: u64,
        /// By how much it grew.
        increment_by: u64,
        /// The serving counter after.
        current_serving_counter_position: u64,
    },
    /// See [`EventKind::WaitingRoomMetrics`].
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
    /// See [`EventKind::ServingCounterChanged`].
    ServingCounterChanged {
        /// Before.
        previous: u64,
        /// After.
        current: u64,
    },
    /// See [`EventKind::RoomReset`].
    RoomReset {
        /// The generation that began.
        generation: Generation,
    },
    /// See [`EventKind::VisitorJoined`].
    VisitorJoined {
        /// How many, since this was told last.
        count: u64,
        /// Last position handed out.
        queue_counter: u64,
    },
    /// See [`EventKind::InletPaused`].
    InletPaused {
        /// Why.
        reason: String,
    },
    /// See [`EventKind::InletResumed`].
    InletResumed {},
}

fn status_word<S: serde::Serializer>(status: &SessionStatus, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match status {
        SessionStatus::Active => "active",
        SessionStatus::Completed => "completed",
        SessionStatus::Abandoned => "abandoned",
    })
}

impl DomainEvent {
    /// What kind of thing it is.
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::TokenGenerated { .. } => EventKind::TokenGenerated,
            Self::SessionUpdated { .. } => EventKind::SessionUpdated,
            Self::AutomaticServingCounterIncr { .. } => EventKind::AutomaticServingCounterIncr,
            Self::WaitingRoomMetrics { .. } => EventKind::WaitingRoomMetrics,
            Self::ServingCounterChanged { .. } => EventKind::ServingCounterChanged,
            Self::RoomReset { .. } => EventKind::RoomReset,
            Self::VisitorJoined { .. } => EventKind::VisitorJoined,
            Self::InletPaused { .. } => EventKind::InletPaused,
            Self::InletResumed {} => EventKind::InletResumed,
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
            details: &'a DomainEvent,
        }
        serde_json::to_string(&Body { event_id: event, details: self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_name() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(EventKind::from_name("token_Generated"), None);
    }

    #[test]
    fn the_details_are_those_of_the_contract() {
        let event: EventId = "Sample".parse().unwrap();
        let request_id = RequestId::from_bytes([7; 16]);
        let ended = DomainEvent::SessionUpdated { request_id, status: SessionStatus::Abandoned };
        let shown = "07070707-0707-0707-0707-070707070707";
        let expected = format!(r#"{{"event_id":"Sample","request_id":"{shown}","status":"abandoned"}}"#);
        assert_eq!(ended.body(&event).unwrap(), expected);
        let refilled = DomainEvent::AutomaticServingCounterIncr {
            previous_serving_counter_position: 10,
            increment_by: 3,
            current_serving_counter_position: 13,
        };
        assert_eq!(
            refilled.body(&event).unwrap(),
            r#"{"event_id":"Sample","previous_serving_counter_position":10,"increment_by":3,"current_serving_counter_position":13}"#
        );
        let reset = DomainEvent::RoomReset { generation: Generation(4) };
        assert_eq!(reset.body(&event).unwrap(), r#"{"event_id":"Sample","generation":4}"#);
    }
}
