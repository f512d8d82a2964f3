//! A session: the token record of a visitor who was admitted, and the login that a relying party sees.

use serde::{Deserialize, Serialize};

use super::{EventId, Generation, Position, RequestId};
use crate::ambient::Timestamp;

/// How a session stands (as numbers in the REST calls: `0`, `1`, `-1`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SessionStatus {
    /// The visitor is on the site.
    Active,
    /// The visitor did what they came for.
    Completed,
    /// The visitor left without.
    Abandoned,
}

impl SessionStatus {
    /// The number that the REST contract and the store use.
    pub const fn code(self) -> i8 {
        match self {
            Self::Active => 0,
            Self::Completed => 1,
            Self::Abandoned => -1,
        }
    }

    /// The status with this number.
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Active),
            1 => Some(Self::Completed),
            -1 => Some(Self::Abandoned),
            _ => None,
        }
    }
}

/// An admitted visitor. Written once when the first token is issued; only the status changes later.
///
/// The fields are open because the store reads sessions back. A *new* session is made by
/// [`Served::session`](super::Served::session) alone, which nobody has who was not admitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// The event that admitted the visitor.
    pub event: EventId,
    /// The life of the event that the session belongs to.
    pub generation: Generation,
    /// The visitor's ticket: `sub` of every token.
    pub request_id: RequestId,
    /// The visitor's number in line.
    pub position: Position,
    /// When the session was opened: `auth_time`, and `iat` of the REST tokens.
    pub opened_at: Timestamp,
    /// When it ends: `exp` of every token.
    pub expires_at: Timestamp,
    /// Whether it still counts.
    pub status: SessionStatus,
    /// `iss` of the REST tokens, where the private `generate_token` overrode it for this session.
    pub issuer: Option<String>,
}

impl Session {
    /// Whether the session is a login at `now`: active and not past its end.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.status == SessionStatus::Active && now < self.expires_at
    }
}
