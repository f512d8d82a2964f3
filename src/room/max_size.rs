//! The closed loop: at most so many visitors inside, counting those who may still come in.
//!
//! Owns the arithmetic of places; must not know who counts them (`store`) or when (`lobby`). Whoever was served and
//! has not entered holds a place as well, or all of them could enter at once: it is given up by the expiry pass alone, so
//! that nobody who left the line holds it for ever.

use super::Counters;
use crate::ambient::Timestamp;

/// At most so many visitors inside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MaxSize {
    /// Places.
    pub max_size: u64,
    /// It rests up to and including this second.
    pub start: Option<Timestamp>,
    /// It rests from this second on.
    pub end: Option<Timestamp>,
}

/// Who holds a place of an event, all numbers of one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Occupancy {
    /// The event's counters.
    pub counters: Counters,
    /// Sessions that are active and end now or later.
    pub active: u64,
    /// Served positions that have no session and were not given up: their holders may still come, and so may those who
    /// will get a served position on arrival.
    pub expected: u64,
}

impl Occupancy {
    /// Served positions that may still open a session, where `used` of those above `max_expired` opened one. Going by
    /// the positions themselves, not by the totals: after the counter went back, sessions stand above it too.
    #[must_use]
    pub const fn new(counters: Counters, active: u64, used: u64) -> Self {
        let expected = counters.serving.saturating_sub(counters.max_expired).saturating_sub(used);
        Self { counters, active, expected }
    }

    /// Places that are taken or spoken for.
    pub const fn taken(&self) -> u64 {
        self.active.saturating_add(self.expected)
    }
}

impl MaxSize {
    /// By how much the serving counter moves at `now`: as many as there are free places. None while more are inside
    /// than there are places; `serving` plus the answer is always a valid counter.
    pub fn due(&self, now: Timestamp, occupancy: &Occupancy) -> u64 {
        let rests = self.start.is_some_and(|start| now <= start) || self.end.is_some_and(|end| end <= now);
        if rests {
            return 0;
        }
        let most = Counters::MAX.saturating_sub(occupancy.counters.serving);
        self.max_size.saturating_sub(occupancy.taken()).min(most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn room(max_size: u64) -> MaxSize {
        MaxSize { max_size, start: None, end: None }
    }

    fn occupancy(serving: u64, max_expired: u64, used: u64, active: u64) -> Occupancy {
        let counters = Counters { serving, max_expired, queue: serving, ..Counters::default() };
        Occupancy::new(counters, active, used)
    }

    #[test]
    fn an_empty_room_serves_as_many_as_it_holds() {
        assert_eq!(room(10).due(NOW, &Occupancy::default()), 10);
    }

    #[test]
    fn who_was_served_and_may_still_come_holds_a_place() {
        // 20 served, 8 of them dealt with, 5 of the rest have come, 9 are inside: 7 may still come.
        assert_eq!(occupancy(20, 8, 5, 9).taken(), 16);
        assert_eq!(room(20).due(NOW, &occupancy(20, 8, 5, 9)), 4);
        assert_eq!(room(16).due(NOW, &occupancy(20, 8, 5, 9)), 0);
    }

    #[test]
    fn nobody_is_served_while_more_are_inside_than_there_are_places() {
        assert_eq!(room(5).due(NOW, &occupancy(20, 20, 0, 9)), 0);
    }

    #[test]
    fn it_works_between_start_and_end() {
        let between = |start, end| MaxSize { start, end, ..room(3) };
        let at = |seconds| Some(Timestamp::from_secs(seconds));
        assert_eq!(between(at(1_000), None).due(NOW, &Occupancy::default()), 0);
        assert_eq!(between(at(999), at(1_001)).due(NOW, &Occupancy::default()), 3);
        assert_eq!(between(None, at(1_000)).due(NOW, &Occupancy::default()), 0);
    }

    proptest! {
        #[test]
        fn what_is_due_fills_the_room_and_no_more(
            max_size in 1..=u64::MAX, serving: u64, max_expired: u64, used: u64, active: u64
        ) {
            let occupancy = occupancy(serving.min(Counters::MAX), max_expired, used, active);
            let due = room(max_size).due(NOW, &occupancy);
            prop_assert!(due == 0 || occupancy.taken() + due <= max_size);
            prop_assert!(occupancy.counters.serving + due <= Counters::MAX);
        }
    }
}
