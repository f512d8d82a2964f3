//! A ticket: what a visitor's request ID says to whoever holds the event's key.
//!
//! Owns the bit layout, its sealing and its checking; must not know where counters and arrivals come
//! from, nor what HTTP makes of a refusal. A ticket is its own record, so a visitor who waits costs no
//! row: 122 bits with redundancy under a pseudorandom permutation authenticate themselves (Bellare &
//! Rogaway, *Encode-Then-Encipher Encryption*, ASIACRYPT 2000).

use super::cipher::{EventCipher, UuidCipher};
use super::{Arrivals, Counters, EventId, Generation, Position, RequestId};
use crate::ambient::{Secret, Timestamp};

/// Where the visitor came in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Door {
    /// `POST /assign_queue_num`: the request ID is a bearer secret of its holder.
    Rest,
    /// An OpenID Connect login: the request ID is the `sub` that relying parties see, so it proves nothing;
    /// the browser proves itself with the sealed cookie (`CookieKey`).
    Login,
}

/// A place in line.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket {
    /// The visitor's number.
    pub position: Position,
    /// When they joined. A request ID holds 32 bits of seconds: what is later than 7 February 2106 is
    /// sealed as that day, and then refused.
    pub entry: Timestamp,
    /// The life of the event that they joined.
    pub generation: Generation,
    /// Where they came in.
    pub door: Door,
}

/// Why a request ID (or a cookie) is no ticket of this event. The text is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not sealed with this event's key.
    #[error("not sealed with this event's key")]
    Forged,
    /// From before a reset.
    #[error("of an earlier generation of the event")]
    OldGeneration,
    /// From after a reset that nobody here has heard of.
    #[error("of a generation of the event that has not begun")]
    FutureGeneration,
    /// Its position has not been handed out.
    #[error("its position has not been handed out")]
    BeyondQueue,
    /// Nobody who joined at its entry time got its position.
    #[error("its entry time does not fit the arrival log")]
    ImpossibleEntryTime,
}

impl Refusal {
    /// Whether a good ticket looks like this to a node whose counters or arrival log lag behind: worth one
    /// look at the store. Nobody can force that look without a block that was sealed under the event's key.
    pub const fn may_be_lag(self) -> bool {
        match self {
            // Those who hold a ticket from before a reset may be many, and come again and again.
            Self::Forged | Self::OldGeneration => false,
            Self::FutureGeneration | Self::BeyondQueue | Self::ImpossibleEntryTime => true,
        }
    }
}

const POSITION_SHIFT: u32 = 74;
const ENTRY_SHIFT: u32 = 42;
const GENERATION_SHIFT: u32 = 26;
const DOOR_SHIFT: u32 = 25;
const REDUNDANCY: u128 = (1 << DOOR_SHIFT) - 1;

/// Zeros that a block of the former layout had more: it filled the 128 bits.
const FORMER_PADDING: u32 = 6;

impl Ticket {
    /// From the most significant of 122 bits: position 48, entry time 32, generation 16, door 1, zeros 25.
    fn encode(&self) -> u128 {
        let entry = u32::try_from(self.entry.as_secs()).unwrap_or(u32::MAX);
        let door = match self.door {
            Door::Rest => 0,
            Door::Login => 1 << DOOR_SHIFT,
        };
        u128::from(self.position.get()) << POSITION_SHIFT
            | u128::from(entry) << ENTRY_SHIFT
            | u128::from(self.generation.0) << GENERATION_SHIFT
            | door
    }

    /// The ticket in 122 deciphered bits; `None` unless all its redundancy is there. A position of zero,
    /// which nobody gets, is redundancy too. The casts cut each field to its own width.
    fn decode(bits: u128) -> Option<Self> {
        if bits & REDUNDANCY != 0 {
            return None;
        }
        Some(Self {
            position: Position::new((bits >> POSITION_SHIFT) as u64)?,
            entry: Timestamp::from_secs(u64::from((bits >> ENTRY_SHIFT) as u32)),
            generation: Generation((bits >> GENERATION_SHIFT) as u16),
            door: if bits >> DOOR_SHIFT & 1 == 0 { Door::Rest } else { Door::Login },
        })
    }

    /// The ticket in a deciphered block of the former layout.
    fn decode_former(block: [u8; 16]) -> Option<Self> {
        let bits = u128::from_be_bytes(block);
        if bits.trailing_zeros() < FORMER_PADDING {
            return None;
        }
        Self::decode(bits >> FORMER_PADDING)
    }

    /// Whether an event with these counters and this arrival log has given it.
    fn check(self, counters: &Counters, arrivals: &Arrivals) -> Result<Self, Refusal> {
        if self.generation != counters.generation {
            let later = self.generation.is_after(counters.generation);
            return Err(if later { Refusal::FutureGeneration } else { Refusal::OldGeneration });
        }
        if self.position.get() > counters.handed_out_at_most() {
            return Err(Refusal::BeyondQueue);
        }
        // Of a position that was given up the log may know nothing any more. Whatever its ticket says, it opens nothing.
        let forgotten = self.position.get() <= counters.max_expired && arrivals.entry_of(self.position).is_none();
        if !forgotten && !arrivals.fits(self.position, self.entry) {
            return Err(Refusal::ImpossibleEntryTime);
        }
        Ok(self)
    }
}

/// Seals and opens the tickets of one event. Never shown, wiped when dropped. Opening allocates nothing.
#[derive(Debug)]
pub struct TicketKey {
    cipher: UuidCipher,
    /// Of the request IDs made before they were UUIDs. They open until the event is reset.
    former: EventCipher,
}

impl TicketKey {
    /// The key of `event` under the deployment's master secret.
    pub fn derive(master: &Secret, event: &EventId) -> Self {
        Self {
            cipher: UuidCipher::derive(master, b"anteroom/ticket/2", event),
            former: EventCipher::derive(master, b"anteroom/ticket/1", event),
        }
    }

    /// The request ID that stands for `ticket`.
    pub fn seal(&self, ticket: &Ticket) -> RequestId {
        RequestId::from_uuid_bits(self.cipher.encipher(ticket.encode()))
    }

    /// The tickets that `request_id` can stand for. One former ID in 64 has the form of a UUID by chance, so
    /// both ways of reading are tried.
    fn readings(&self, request_id: &RequestId) -> impl Iterator<Item = Ticket> {
        let uuid = request_id.uuid_bits().and_then(|bits| Ticket::decode(self.cipher.decipher(bits)));
        let former = || Ticket::decode_former(self.former.decipher(*request_id.as_bytes()));
        uuid.into_iter().chain(std::iter::once_with(former).flatten())
    }

    /// The position that `request_id` was sealed with, whatever became of it. It proves nothing: for the log, where a
    /// request ID must not stand. `None`: not sealed with this event's key.
    pub fn position(&self, request_id: &RequestId) -> Option<Position> {
        self.readings(request_id).next().map(|ticket| ticket.position)
    }

    /// The ticket that `request_id` stands for.
    ///
    /// A guess opens with a probability of 2 × queue counter × 11 ÷ 2¹²² (two doors; the seconds within
    /// [`ARRIVAL_TOLERANCE`](crate::policy::ARRIVAL_TOLERANCE)): with ten million in line, less than 2⁻⁹⁴.
    ///
    /// # Errors
    /// [`Refusal`], the first that applies in the order of its variants.
    pub fn open(&self, request_id: &RequestId, counters: &Counters, arrivals: &Arrivals) -> Result<Ticket, Refusal> {
        let mut refusal = Refusal::Forged;
        for ticket in self.readings(request_id) {
            match ticket.check(counters, arrivals) {
                Ok(ticket) => return Ok(ticket),
                Err(reason) => refusal = reason,
            }
        }
        Err(refusal)
    }
}

#[cfg(test)]
mod tests;
