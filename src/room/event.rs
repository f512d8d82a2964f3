//! The nouns of a waiting room: its name, its counters, and the two records that it leaves behind.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ambient::Timestamp;

/// The name of a waiting room: 1 to 64 of `A–Z a–z 0–9 _ -`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventId(Arc<str>);

/// A text that cannot name an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event ID is 1 to 64 characters out of A-Z, a-z, 0-9, '_' and '-'")]
pub struct EventIdError;

impl EventId {
    /// The longest event ID, in characters.
    pub const MAX_LENGTH: usize = 64;

    /// The ID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventId {
    type Err = EventIdError;

    fn from_str(text: &str) -> Result<Self, EventIdError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if text.is_empty() || text.len() > Self::MAX_LENGTH || !text.bytes().all(allowed) {
            return Err(EventIdError);
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for EventId {
    type Error = EventIdError;

    fn try_from(text: String) -> Result<Self, EventIdError> {
        text.parse()
    }
}

impl From<EventId> for String {
    fn from(event: EventId) -> Self {
        event.0.as_ref().into()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for EventId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A visitor's number in line: 1, 2, 3 …
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(u64);

impl Position {
    /// The first in line.
    pub const FIRST: Self = Self(1);
    /// The last position that a ticket can hold (48 bits).
    pub const LAST: Self = Self((1 << 48) - 1);

    /// The position with this number; `None` for 0 and for what a ticket cannot hold.
    pub const fn new(number: u64) -> Option<Self> {
        if number == 0 || number > Self::LAST.0 { None } else { Some(Self(number)) }
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Which life of an event a ticket belongs to: a reset begins the next, and every older ticket dies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u16);

impl Generation {
    /// The generation after a reset.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// Whether it came after the other: they are numbers on a circle, and the shorter way between them counts.
    pub const fn is_after(self, other: Self) -> bool {
        let further = self.0.wrapping_sub(other.0);
        0 < further && further < 1 << 15
    }
}

/// All numbers of an event at one moment: read together, so that they fit together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// Grows with every change of this record, resets included: the newer of two copies is the higher.
    pub version: u64,
    /// The current life of the event.
    pub generation: Generation,
    /// The last position handed out (0: none yet).
    pub queue: u64,
    /// The last position that is reserved: those between the queue counter and here may have been handed out, without the
    /// counter saying so yet. 0: none is.
    #[serde(rename = "set_aside", default, skip_serializing_if = "is_zero")]
    pub reserved: u64,
    /// The last position admitted: whoever stands at or before it is served.
    pub serving: u64,
    /// Sessions ever opened in this generation: one for each visitor who took a token.
    pub sessions_opened: u64,
    /// Sessions that ended with status completed.
    pub completed: u64,
    /// Sessions that ended with status abandoned.
    pub abandoned: u64,
    /// The last position that the expiry pass has dealt with.
    pub max_expired: u64,
    /// Served positions that expired without ever taking a token.
    pub expired_positions: u64,
}

impl Counters {
    /// The largest counter there is (`docs/integrators.md`, *The REST calls*).
    pub const MAX: u64 = i64::MAX as u64;

    /// Whether the holder of `position` may enter.
    pub const fn serves(&self, position: Position) -> bool {
        position.get() <= self.serving
    }

    /// Whether a session may be opened for the holder of `position`, who has none: it is served, and not given up.
    pub const fn admits(&self, position: Position) -> bool {
        self.serves(position) && position.get() > self.max_expired
    }

    /// The last position that somebody may hold.
    pub const fn handed_out_at_most(&self) -> u64 {
        if self.reserved > self.queue { self.reserved } else { self.queue }
    }

    /// These once every reserved position counts as handed out.
    #[must_use]
    pub const fn settled(self) -> Self {
        Self { queue: self.handed_out_at_most(), reserved: 0, ..self }
    }

    /// Has the positions after the queue counter, through this one, reserved.
    pub const fn reserve(&mut self, through: u64) {
        self.reserved = if through > self.queue { through } else { 0 };
    }

    /// These after `news`, in whatever order news comes: the later version counts, but no line gets shorter within a
    /// generation. `None`: nothing is new.
    #[must_use]
    pub fn updated(self, news: Self) -> Option<Self> {
        let (older, newer) = if news.version > self.version { (self, news) } else { (news, self) };
        let same_line = older.generation == newer.generation;
        let queue = if same_line { newer.queue.max(older.queue) } else { newer.queue };
        let known = Self { queue, ..newer };
        (known != self).then_some(known)
    }

    /// Visitors still in line: positions handed out − tokens issued − positions expired, never below 0.
    pub const fn waiting(&self) -> u64 {
        self.queue.saturating_sub(self.sessions_opened).saturating_sub(self.expired_positions)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A row of the arrival log: from position `first` on, visitors arrived at `at` or later.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Arrival {
    /// The first position handed out in that second.
    pub first: Position,
    /// The second.
    pub at: Timestamp,
}

/// A move of the serving counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServingRecord {
    /// The serving counter after the move.
    pub serving: u64,
    /// When it moved.
    pub issued_at: Timestamp,
    /// How many positions the move admitted (0 when the counter went back).
    pub served: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_is_short_plain_text() {
        for good in ["Sample", "a", "spring-sale_2026", &"x".repeat(64)] {
            assert!(good.parse::<EventId>().is_ok(), "{good}");
        }
        for bad in ["", "two words", "ümlaut", "a/b", "a\0b", "a.b", &"x".repeat(65)] {
            assert_eq!(bad.parse::<EventId>(), Err(EventIdError), "{bad}");
        }
    }

    #[test]
    fn nobody_waits_at_a_negative_number() {
        let counters = Counters { queue: 3, sessions_opened: 2, expired_positions: 2, ..Counters::default() };
        assert_eq!(counters.waiting(), 0);
        assert_eq!(Counters { queue: 9, ..counters }.waiting(), 5);
    }

    #[test]
    fn news_may_come_in_any_order() {
        let known = Counters { version: 5, queue: 30, serving: 10, ..Counters::default() };
        assert_eq!(known.updated(known), None);
        let moved = Counters { version: 6, queue: 20, serving: 15, ..Counters::default() };
        let both = Counters { queue: 30, ..moved };
        assert_eq!((known.updated(moved), moved.updated(known)), (Some(both), Some(both)));
        assert_eq!(both.updated(moved), None, "the line does not get shorter");
        assert_eq!(known.updated(Counters { version: 4, serving: 9, ..Counters::default() }), None);
        let reset = Counters { version: 7, generation: Generation(1), ..Counters::default() };
        assert_eq!((both.updated(reset), reset.updated(both)), (Some(reset), None));
    }

    #[test]
    fn the_holder_of_a_reserved_position_is_known() {
        let counters = Counters { queue: 7, reserved: 9, ..Counters::default() };
        assert_eq!(counters.handed_out_at_most(), 9);
        assert_eq!(Counters { queue: 12, ..counters }.handed_out_at_most(), 12);
    }

    #[test]
    fn a_position_fits_into_a_ticket() {
        assert_eq!(Position::new(0), None);
        assert_eq!(Position::new(1), Some(Position::FIRST));
        assert_eq!(Position::new(1 << 48), None);
    }
}
