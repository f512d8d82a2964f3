//! Moving rooms between engines: everything that a store keeps, line by line.
//!
//! Owns the lines of the file and their order: documents, redemptions and revocations; then, event by event, the rows of its present
//! generation and last of all the event itself, so that an import that was broken off has begun no line. Letters of the
//! outbox are not moved. It must not know where the lines go.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{GrantId, Store, StoreError};
use crate::ambient::Timestamp;
use crate::room::{
    Arrival, Counters, EventId, Generation, Opener, Position, RequestId, ServingRecord, Session, SessionStatus,
};

/// The version of the lines that this program writes and reads.
pub const FORMAT: u32 = 1;

/// The document that says how far an import into a store is; no line of an export.
pub const IMPORT: &str = "import";

/// It has begun and not ended: nobody may serve from it.
pub const IMPORTING: &[u8] = b"begun";

/// It was taken whole.
pub const IMPORTED: &[u8] = b"done";

/// A line of the file, a JSON object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// The first.
    Export {
        /// See [`FORMAT`].
        format: u32,
    },
    /// The master secret, where it was asked for; no store says or takes it.
    MasterSecret {
        /// Its text.
        text: String,
    },
    /// A document.
    Document {
        /// Its name.
        name: String,
        /// Its version.
        version: u64,
        /// Its content in base64.
        body: String,
    },
    /// The redemption of an authorization code.
    Redemption {
        /// When the code was issued.
        issued_at: Timestamp,
        /// Its grant, in hexadecimal digits.
        id: String,
    },
    /// A grant whose tokens are revoked.
    Revocation {
        /// The grant, in hexadecimal digits.
        id: String,
        /// When its session ends.
        keep_until: Timestamp,
    },
    /// A grant, as programs wrote it that kept them all; no line of an export any more.
    Grant {
        /// In hexadecimal digits.
        id: String,
        /// Its session's event.
        event: EventId,
        /// Its session's ticket.
        request_id: RequestId,
        /// Until when its code could be redeemed.
        redeem_before: Timestamp,
        /// When its session ends.
        keep_until: Timestamp,
        /// 0: given, 1: redeemed, 2: revoked.
        state: u8,
        /// What it said.
        body: String,
    },
    /// A row of an event's arrival log.
    Arrival {
        /// The event.
        event: EventId,
        /// Its first position.
        first: Position,
        /// When it arrived.
        at: Timestamp,
    },
    /// A serving record of an event.
    ServingRecord {
        /// The event.
        event: EventId,
        /// The serving counter.
        serving: u64,
        /// When it came there.
        issued_at: Timestamp,
        /// By how much.
        served: u64,
    },
    /// Positions of an event that had sessions which are forgotten.
    Used {
        /// The event.
        event: EventId,
        /// The first of them.
        first: Position,
        /// The last of them: those between had some as well.
        last: Position,
    },
    /// A session of an event.
    Session {
        /// The event.
        event: EventId,
        /// The generation that it is of.
        generation: Generation,
        /// Its ticket.
        request_id: RequestId,
        /// Its position.
        position: Position,
        /// When it was opened.
        opened_at: Timestamp,
        /// When it ends.
        expires_at: Timestamp,
        /// As on the wire: 0 active, 1 completed, -1 abandoned.
        status: i8,
        /// Another issuer than the deployment's.
        issuer: Option<String>,
        /// The login request that opened it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opener: Option<Opener>,
    },
    /// An event, after all that belongs to it.
    Event {
        /// The event.
        event: EventId,
        /// How it stands.
        counters: Counters,
        /// The tick of its inlet that was claimed last.
        tick: Option<Timestamp>,
    },
    /// The last: what stands before it is whole.
    End {
        /// How many lines stand before this one.
        lines: u64,
    },
}

impl Line {
    /// The line of an arrival.
    pub fn arrival(event: &EventId, Arrival { first, at }: Arrival) -> Self {
        Self::Arrival { event: event.clone(), first, at }
    }

    /// The line of a serving record.
    pub fn serving_record(event: &EventId, ServingRecord { serving, issued_at, served }: ServingRecord) -> Self {
        Self::ServingRecord { event: event.clone(), serving, issued_at, served }
    }

    /// The lines of used positions, which are in order: one for each run of them.
    pub fn used(event: &EventId, positions: &[Position]) -> Vec<Self> {
        let runs = positions.chunk_by(|one, next| one.get() + 1 == next.get());
        let ends = runs.filter_map(|run| Some((*run.first()?, *run.last()?)));
        ends.map(|(first, last)| Self::Used { event: event.clone(), first, last }).collect()
    }

    /// The line of a session.
    pub fn session(session: Session) -> Self {
        Self::Session {
            event: session.event,
            generation: session.generation,
            request_id: session.request_id,
            position: session.position,
            opened_at: session.opened_at,
            expires_at: session.expires_at,
            status: session.status.code(),
            issuer: session.issuer,
            opener: session.opener,
        }
    }

    /// The event that the line is of, and that it must not find begun.
    pub const fn event(&self) -> Option<&EventId> {
        match self {
            Self::Arrival { event, .. }
            | Self::ServingRecord { event, .. }
            | Self::Used { event, .. }
            | Self::Session { event, .. }
            | Self::Event { event, .. } => Some(event),
            Self::Export { .. }
            | Self::MasterSecret { .. }
            | Self::Document { .. }
            | Self::Redemption { .. }
            | Self::Revocation { .. }
            | Self::Grant { .. }
            | Self::End { .. } => None,
        }
    }
}

/// The line's digits of a grant.
pub(super) fn digits(GrantId(id): GrantId) -> String {
    format!("{:032x}", u128::from_be_bytes(id))
}

/// The grant that these digits of a line name.
pub(super) fn grant_id(digits: &str) -> Result<GrantId, TransferError> {
    let id = u128::from_str_radix(digits, 16).map_err(|_| TransferError::Nonsense("a grant's name"))?;
    Ok(GrantId(id.to_be_bytes()))
}

/// The status that a line says.
pub(super) fn status(code: i8) -> Result<SessionStatus, TransferError> {
    SessionStatus::from_code(code.into()).ok_or(TransferError::Nonsense("a session's status"))
}

/// Why a room was not moved.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is a line of this name here already.
    #[error("event {0} has begun here already: import into an empty store")]
    Begun(EventId),
    /// There is another document of this name here already.
    #[error("there is another document \"{0}\" here already: import into an empty store")]
    OtherDocument(String),
    /// A line says what cannot be.
    #[error("{0} in the file cannot be")]
    Nonsense(&'static str),
}

/// The verbs of moving: for a store that nobody serves from meanwhile.
#[async_trait]
pub trait Transfer: Store {
    /// Says all that the store holds, without first and last line, in the order that the module describes.
    async fn export(&self, lines: mpsc::Sender<Line>) -> Result<(), TransferError>;

    /// What stands in the way of an import: an event that has begun here, or a document. `None`: nothing.
    async fn occupied(&self) -> Result<Option<TransferError>, StoreError>;

    /// Takes some of these lines, in their order. Taking a line again that was taken before changes nothing.
    async fn import(&self, lines: Vec<Line>) -> Result<(), TransferError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_and_says_nothing_else() {
        let event: EventId = "Sample".parse().unwrap();
        let counters = Counters { queue: 5, generation: Generation(2), ..Counters::default() };
        let line = Line::Event { event: event.clone(), counters, tick: Some(Timestamp::from_secs(60)) };
        let text = serde_json::to_string(&line).unwrap();
        assert!(
            text.starts_with(r#"{"is":"event","event":"Sample","counters":{"version":0,"generation":2,"queue":5"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
        assert!(serde_json::from_str::<Line>(&text.replace("tick", "tack")).is_err());
        assert!(serde_json::from_str::<Line>(&text.replace("\"queue\"", "\"line\"")).is_err());
        assert_eq!(line.event(), Some(&event));
    }
}
