//! A session: the token record of a visitor who was admitted, and the login that a relying party sees.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{EventId, Generation, Position, RequestId};
use crate::ambient::Timestamp;
use crate::policy;

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

/// What names the login request that opened a session: 128 bits of a digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Opener([u8; 16]);

impl Opener {
    /// The opener of these bits.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The opener that these texts name, in this order. Each counts with its length, so that no two lists name the same.
    pub fn named(texts: &[&str]) -> Self {
        let digest = texts.iter().fold(Sha256::new(), |digest, text| {
            digest.chain_update((text.len() as u64).to_be_bytes()).chain_update(text)
        });
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.finalize()[..16]);
        Self(bytes)
    }

    /// Its 128 bits.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<Opener> for String {
    fn from(opener: Opener) -> Self {
        format!("{:032x}", u128::from_be_bytes(opener.0))
    }
}

impl TryFrom<String> for Opener {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(|bits| Self(bits.to_be_bytes()))
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
    /// The login request that opened it. `None`: it was opened by the REST calls, or by a version of the program that
    /// did not note it.
    pub opener: Option<Opener>,
}

impl Session {
    /// Whether the session is a login at `now`: active and not past its end.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.status == SessionStatus::Active && now < self.expires_at
    }

    /// Whether a browser that holds the place, and not the session, may log in to it with the request `by` at `now`:
    /// only with the request that opened it, and for [`policy::OPENING_REPEAT`], because the answer that replaced the
    /// cookie may have been lost. Where no request opened it, the place is all that its holder was ever given.
    pub fn admits_place(&self, by: Option<&Opener>, now: Timestamp) -> bool {
        let just_opened = now.since(self.opened_at).max(self.opened_at.since(now)) <= policy::OPENING_REPEAT;
        self.opener.as_ref().is_none_or(|opener| just_opened && by == Some(opener))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const OPENED: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn session(opener: Option<Opener>) -> Session {
        Session {
            event: "Sample".parse().unwrap(),
            generation: Generation(0),
            request_id: RequestId::from_bytes([1; 16]),
            position: Position::FIRST,
            opened_at: OPENED,
            expires_at: OPENED + Duration::from_secs(3600),
            status: SessionStatus::Active,
            issuer: None,
            opener,
        }
    }

    #[test]
    fn a_place_logs_in_again_with_the_opening_request_alone_and_for_a_minute_either_way() {
        let (own, other) = (Opener::named(&["own"]), Opener::named(&["other"]));
        let session = session(Some(own));
        for (seconds, good) in [(0, true), (60, true), (61, false), (86_400, false)] {
            let time = Duration::from_secs(seconds);
            for now in [OPENED + time, OPENED - time] {
                assert_eq!(session.admits_place(Some(&own), now), good, "{seconds}");
                assert!(!session.admits_place(Some(&other), now) && !session.admits_place(None, now));
            }
        }
    }

    #[test]
    fn a_session_that_no_request_opened_belongs_to_the_holder_of_its_place() {
        assert!(session(None).admits_place(None, OPENED + Duration::from_secs(3000)));
    }

    #[test]
    fn an_opener_depends_on_every_text_and_its_bounds_and_reads_back() {
        let openers = [&["a", "b"][..], &["ab", ""], &["b", "a"], &["a"], &[]].map(Opener::named);
        for (index, one) in openers.iter().enumerate() {
            assert!(openers[index + 1..].iter().all(|other| other != one));
            assert_eq!(Opener::try_from(String::from(*one)), Ok(*one));
        }
    }
}
