//! The intent log of an event's item: what is decided, and not executed, copied into its table or published yet.
//!
//! Owns its stored form, which nodes of other versions read as well: a new field has a default, and none changes its
//! meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ambient::Timestamp;
use crate::room::{EventId, Generation, Opener, Position, RequestId, Session, SessionStatus};

/// A random name: of a call, an intent or a write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct IdempotencyKey([u8; 16]);

impl IdempotencyKey {
    pub(super) const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl From<IdempotencyKey> for String {
    fn from(idempotency_key: IdempotencyKey) -> Self {
        format!("{:032x}", u128::from_be_bytes(idempotency_key.0))
    }
}

impl TryFrom<String> for IdempotencyKey {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(|number| Self(number.to_be_bytes()))
    }
}

/// Positions that are reserved for a node: those after the queue counter, up to `through`. If the queue counter is beyond
/// that, another node took positions after them, and this node's reservation is not renewed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Reservation {
    pub(super) node: String,
    pub(super) through: u64,
    /// The revision that made or renewed it.
    pub(super) since: u64,
}

/// A row of a log, until it is in its table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(super) enum LogRow {
    #[serde(rename = "a")]
    Arrival { first: Position, at: Timestamp },
    /// The `turn` is of [`IntentLog::turns`].
    #[serde(rename = "r")]
    Serving { turn: u64, serving: u64, at: Timestamp, served: u64 },
}

/// A session in the intent log: event and generation are those of the item.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Entrant {
    #[serde(rename = "r")]
    pub(super) request_id: RequestId,
    #[serde(rename = "p")]
    pub(super) position: Position,
    #[serde(rename = "o")]
    pub(super) opened_at: Timestamp,
    #[serde(rename = "e")]
    pub(super) expires_at: Timestamp,
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub(super) issuer: Option<String>,
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub(super) opener: Option<Opener>,
}

impl Entrant {
    pub(super) fn of(session: &Session) -> Self {
        Self {
            request_id: session.request_id,
            position: session.position,
            opened_at: session.opened_at,
            expires_at: session.expires_at,
            issuer: session.issuer.clone(),
            opener: session.opener,
        }
    }

    pub(super) fn session(&self, event: &EventId, generation: Generation) -> Session {
        Session {
            event: event.clone(),
            generation,
            request_id: self.request_id,
            position: self.position,
            opened_at: self.opened_at,
            expires_at: self.expires_at,
            status: SessionStatus::Active,
            issuer: self.issuer.clone(),
            opener: self.opener,
        }
    }
}

/// What is decided and not executed yet; its result depends on other items.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum IntentKind {
    /// A session is to be opened, unless its ticket has one.
    #[serde(rename = "o")]
    Open(Entrant),
    /// A session is to be closed, unless it was.
    #[serde(rename = "c")]
    Close { request_id: RequestId, code: i8 },
    /// The positions above `from` through `through` are given up, but for those that have a session.
    #[serde(rename = "e")]
    Expire { from: u64, through: u64, refill: bool, at: Timestamp },
}

/// An intent: what is to be done, and the key by which its effects are recognised.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Intent {
    #[serde(rename = "m")]
    pub(super) idempotency_key: IdempotencyKey,
    #[serde(rename = "t")]
    pub(super) kind: IntentKind,
}

impl Intent {
    /// Its bytes in the item, roughly: names, a ticket and two times.
    pub(super) fn weight(&self) -> usize {
        let issuer = match &self.kind {
            IntentKind::Open(entrant) => entrant.issuer.as_ref().map_or(0, String::len),
            IntentKind::Close { .. } | IntentKind::Expire { .. } => 0,
        };
        200 + issuer
    }
}

/// An intent with what its execution needs of the item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Execution {
    pub(super) epoch: u64,
    pub(super) generation: Generation,
    pub(super) intent: Intent,
    /// For an expiry: positions whose sessions are being opened.
    pub(super) entering: Vec<u64>,
}

/// What is known of a ticket that has no session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Past {
    /// It was not checked whether it had one before.
    Unknown,
    /// It had none.
    None,
}

/// An outbox record without its number in the outbox.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// 1 for the event's first, then one more.
    pub(super) number: u64,
    pub(super) at: Timestamp,
    pub(super) kind: String,
    pub(super) body: String,
}

impl Note {
    /// Its bytes in the item, roughly; quotes in it are written as two.
    pub(super) fn weight(&self) -> usize {
        80 + self.kind.len() + self.body.len() * 5 / 4
    }
}

/// The serving counter moved back: of the rows with an earlier turn, those above `serving` are void.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Cut {
    pub(super) turn: u64,
    pub(super) serving: u64,
}

/// The latest commit of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct WriterRecord {
    #[serde(rename = "b")]
    pub(super) commit: u64,
    #[serde(rename = "v")]
    pub(super) revision: u64,
    /// The revision with which it took positions last; 0: never.
    #[serde(rename = "t", default)]
    pub(super) took: u64,
}

/// See the module's documentation. It is JSON in one attribute of the item.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct IntentLog {
    pub(super) rows: Vec<LogRow>,
    #[serde(rename = "pending")]
    pub(super) intents: Vec<Intent>,
    pub(super) notes: Vec<Note>,
    /// How many outbox records the event ever wrote.
    pub(super) noted: u64,
    /// How often the serving counter moved in this epoch.
    pub(super) turns: u64,
    pub(super) cuts: Vec<Cut>,
    /// The last position whose session was deleted before the position was given up: up to here, a place without a
    /// session is that of a deleted session.
    #[serde(skip_serializing_if = "is_none")]
    pub(super) forgotten: u64,
    /// How far positions were given up, and counted, at some moments of the last days.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) passed: Vec<(Timestamp, u64)>,
    /// Past epochs that still have rows.
    pub(super) ended: Vec<u64>,
    /// By kind, the latest tick for which a record was posted.
    pub(super) posted: BTreeMap<String, Timestamp>,
    /// Up to which position joins were announced, and when.
    pub(super) told: (u64, Timestamp),
    /// By node, its latest commit: so a node whose write was not answered learns whether it was done.
    pub(super) nodes: BTreeMap<String, WriterRecord>,
    #[serde(rename = "aside", skip_serializing_if = "Option::is_none")]
    pub(super) reservation: Option<Reservation>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_none(position: &u64) -> bool {
    *position == 0
}
