//! Admission: may this visitor enter now?
//!
//! Owns the one answer to that question, for both doors; must not know how the visitor asked, nor what
//! is made of the answer. `Served` can be had here only, and a new session from `Served` only, so nobody is let
//! in by a path that forgot to ask.

use std::time::Duration;

use super::{Counters, EventId, ExpiryRule, RequestId, Session, SessionStatus, Ticket};
use crate::ambient::Timestamp;

/// Where a visitor stands who has no session yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Not yet.
    Waiting {
        /// Positions before this one that are not served yet; 0: next. Some of their holders may have left.
        ahead: u64,
    },
    /// Now.
    Served(Served),
    /// Too late: the position was served, and not used in time.
    Expired,
}

/// Proof that a ticket was served when it was asked about. Made by [`Admission::decide`] alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Served {
    ticket: Ticket,
    at: Timestamp,
}

impl Admission {
    /// Decides for the holder of `ticket`, which was opened against the same `counters`.
    ///
    /// `first_served_at`: issue time of the first serving record that covers the position; it matters only
    /// where the counters serve the position (`None`: not on record, so no time runs yet).
    ///
    /// A position that has a session never expires: it is the caller's affair to look for one first, and to ask
    /// only where there is none.
    pub fn decide(
        ticket: Ticket,
        counters: &Counters,
        expiry: ExpiryRule,
        first_served_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        if !counters.serves(ticket.position) {
            return Self::Waiting { ahead: ticket.position.get() - counters.serving - 1 };
        }
        if expiry.forfeits(&ticket, first_served_at, counters, now) {
            return Self::Expired;
        }
        Self::Served(Served { ticket, at: now })
    }
}

impl Served {
    /// The ticket that is served.
    pub const fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// The session of this visitor, opened at the moment of the decision and good for `validity`.
    /// `request_id` is what the ticket was opened from.
    pub fn session(&self, event: EventId, request_id: RequestId, validity: Duration) -> Session {
        Session {
            event,
            generation: self.ticket.generation,
            request_id,
            position: self.ticket.position,
            opened_at: self.at,
            expires_at: self.at + validity,
            status: SessionStatus::Active,
            issuer: None,
            opener: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::room::{Door, Generation, Position};

    const RULE: ExpiryRule = ExpiryRule::Within(Duration::from_secs(900));

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn ticket(number: u64) -> Ticket {
        Ticket {
            position: Position::new(number).unwrap(),
            entry: at(1_000),
            generation: Generation(2),
            door: Door::Login,
        }
    }

    fn counters(serving: u64) -> Counters {
        Counters { serving, queue: 1_000, generation: Generation(2), ..Counters::default() }
    }

    #[test]
    fn the_next_in_line_has_nobody_ahead() {
        let decide = |number, serving| Admission::decide(ticket(number), &counters(serving), RULE, None, at(1_000));
        assert_eq!(decide(1, 0), Admission::Waiting { ahead: 0 });
        assert_eq!(decide(6, 5), Admission::Waiting { ahead: 0 });
        assert_eq!(decide(100, 5), Admission::Waiting { ahead: 94 });
        assert!(matches!(decide(5, 5), Admission::Served(_)));
    }

    #[test]
    fn a_served_position_must_be_used_in_time() {
        let decide = |now| Admission::decide(ticket(5), &counters(5), RULE, Some(at(2_000)), at(now));
        assert!(matches!(decide(2_899), Admission::Served(_)));
        assert_eq!(decide(2_900), Admission::Expired);
    }

    #[test]
    fn a_position_that_a_pass_gave_up_is_expired() {
        let passed = Counters { max_expired: 5, ..counters(9) };
        let decide = |number| Admission::decide(ticket(number), &passed, RULE, Some(at(2_000)), at(2_001));
        assert_eq!(decide(5), Admission::Expired);
        assert!(matches!(decide(6), Admission::Served(_)));
    }

    #[test]
    fn who_waits_does_not_expire_however_long_it_takes() {
        let decided = Admission::decide(ticket(6), &counters(5), RULE, Some(at(0)), at(u64::MAX));
        assert_eq!(decided, Admission::Waiting { ahead: 0 });
    }

    #[test]
    fn a_session_says_what_the_ticket_said_and_begins_with_the_decision() {
        let id = RequestId::from_bytes([9; 16]);
        let event: EventId = "Sample".parse().unwrap();
        let Admission::Served(served) = Admission::decide(ticket(5), &counters(5), RULE, Some(at(2_000)), at(2_100))
        else {
            panic!("position 5 is served");
        };
        assert_eq!(served.ticket(), &ticket(5));
        let session = served.session(event.clone(), id, Duration::from_secs(3_600));
        let expected = Session {
            event,
            generation: Generation(2),
            request_id: id,
            position: Position::new(5).unwrap(),
            opened_at: at(2_100),
            expires_at: at(5_700),
            status: SessionStatus::Active,
            issuer: None,
            opener: None,
        };
        assert_eq!(session, expected);
    }

    proptest! {
        #[test]
        fn nobody_enters_before_the_serving_counter_reaches_them(
            number in 1..=Position::LAST.get(), serving: u64, served_at in prop::option::of(any::<u64>()), now: u64
        ) {
            let decided =
                Admission::decide(ticket(number), &counters(serving), RULE, served_at.map(at), at(now));
            match decided {
                Admission::Waiting { ahead } => prop_assert_eq!(serving + ahead + 1, number),
                Admission::Served(_) | Admission::Expired => prop_assert!(number <= serving),
            }
        }
    }
}
