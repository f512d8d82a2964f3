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
    use std::collections::BTreeSet;

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

    /// What can happen between two steps of the inlet.
    #[derive(Clone, Debug)]
    enum Happening {
        Join(u64),
        /// One of those who may come in does.
        Enter(prop::sample::Index),
        Leave(prop::sample::Index),
        /// The expiry pass; whether it admits as many more.
        Expire(bool),
        /// An operator moves the counter.
        Hand(i64),
    }

    fn happenings() -> impl Strategy<Value = Vec<Happening>> {
        let happening = prop_oneof![
            (1_u64..20).prop_map(Happening::Join),
            any::<prop::sample::Index>().prop_map(Happening::Enter),
            any::<prop::sample::Index>().prop_map(Happening::Leave),
            any::<bool>().prop_map(Happening::Expire),
            (-15_i64..15).prop_map(Happening::Hand),
        ];
        prop::collection::vec(happening, 1..150)
    }

    /// A room that keeps its books the long way: every position by itself.
    #[derive(Default)]
    struct Book {
        counters: Counters,
        entered: BTreeSet<u64>,
        inside: Vec<u64>,
    }

    impl Book {
        fn may_come(&self) -> Vec<u64> {
            let open = self.counters.max_expired + 1..=self.counters.serving;
            open.filter(|position| !self.entered.contains(position)).collect()
        }

        fn occupancy(&self) -> Occupancy {
            let open = self.counters.max_expired + 1..=self.counters.serving;
            let used = self.entered.iter().filter(|position| open.contains(position)).count() as u64;
            Occupancy::new(self.counters, self.inside.len() as u64, used)
        }

        fn taken(&self) -> u64 {
            (self.inside.len() + self.may_come().len()) as u64
        }

        fn expire(&mut self, refills: bool) {
            let through = self.counters.serving.min(self.counters.queue).max(self.counters.max_expired);
            let given_up = self.may_come().into_iter().filter(|position| *position <= through).count() as u64;
            self.counters.max_expired = through;
            self.counters.serving += if refills { given_up } else { 0 };
        }

        fn enter(&mut self, who: prop::sample::Index) {
            let here: Vec<u64> = self.may_come().into_iter().filter(|place| *place <= self.counters.queue).collect();
            if !here.is_empty() {
                self.entered.insert(*who.get(&here));
                self.inside.push(*who.get(&here));
            }
        }

        fn happen(&mut self, happening: &Happening) {
            match *happening {
                Happening::Join(count) => self.counters.queue += count,
                Happening::Enter(who) => self.enter(who),
                Happening::Leave(who) if !self.inside.is_empty() => {
                    self.inside.remove(who.index(self.inside.len()));
                }
                Happening::Leave(_) => {}
                Happening::Expire(refills) => self.expire(refills),
                Happening::Hand(by) => self.counters.serving = self.counters.serving.saturating_add_signed(by),
            }
        }

        fn step(&mut self, places: MaxSize) -> u64 {
            let due = places.due(NOW, &self.occupancy());
            self.counters.serving += due;
            due
        }
    }

    proptest! {
        #[test]
        fn places_taken_never_exceed_the_limit_whatever_visitors_do(max_size in 1_u64..30, story in happenings()) {
            let mut book = Book::default();
            for happening in story.iter().filter(|happening| !matches!(happening, Happening::Hand(_))) {
                book.happen(happening);
                prop_assert_eq!(book.occupancy().taken(), book.taken());
                book.step(room(max_size));
                prop_assert!(book.taken() <= max_size, "{:?}", book.occupancy());
            }
        }

        #[test]
        fn the_inlet_never_adds_to_what_an_operator_overdid(max_size in 1_u64..30, story in happenings()) {
            let mut book = Book::default();
            for happening in &story {
                book.happen(happening);
                let before = book.taken();
                let due = book.step(room(max_size));
                prop_assert!(due == 0 || before < max_size);
                prop_assert!(book.taken() <= before.max(max_size));
            }
        }

        #[test]
        fn an_expiry_that_refills_leaves_nothing_to_fill_twice(max_size in 1_u64..30, story in happenings()) {
            let mut book = Book::default();
            for happening in &story {
                book.happen(happening);
                book.step(room(max_size));
                let before = book.taken();
                book.expire(true);
                prop_assert_eq!(book.taken(), before);
                prop_assert!(before < max_size || book.step(room(max_size)) == 0);
            }
        }

        #[test]
        fn the_line_never_gets_stuck(max_size in 1_u64..10, story in happenings()) {
            let mut book = Book::default();
            for happening in &story {
                book.happen(happening);
                book.step(room(max_size));
            }
            // From here on nobody who was served comes, and who is inside leaves: the last in line is served all the same.
            for _ in 0..=book.counters.queue {
                book.inside.clear();
                book.expire(false);
                book.step(room(max_size));
            }
            prop_assert!(book.counters.serving >= book.counters.queue, "{:?}", book.counters);
        }
    }
}
