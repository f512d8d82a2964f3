//! How long a served position may be used, and which positions the expiry pass gives up.
//!
//! Owns the rule of `docs/concepts.md`, *Time*, by which places expire; must not know sessions: a position that has one never
//! expires this way, and it is the caller's affair to ask only about those without.

use std::time::Duration;

use super::{Counters, Position, ServingRecord, Ticket};
use crate::ambient::Timestamp;

/// Whether served positions expire (`queue_position_expiry`, `queue_position_expiry_period`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExpiryRule {
    /// A served position may be used for ever.
    Never,
    /// It must be used within this time of being served, or of joining, if its holder came after that.
    Within(Duration),
}

/// Positions that the expiry pass gives up: `after + 1 ..= through`, served by one serving record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lapsed {
    /// The last position dealt with before these.
    pub after: u64,
    /// The last of these: the new *max expired position*.
    pub through: u64,
}

impl ExpiryRule {
    /// When the position of a visitor who joined at `entry` expires: from this second on it cannot be turned
    /// into a session. `first_served_at` is the issue time of the first serving record that covers it; while
    /// there is none (`None`), no time runs. `None`: never.
    pub fn deadline(self, entry: Timestamp, first_served_at: Option<Timestamp>) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::Within(period) => Some(entry.max(first_served_at?) + period),
        }
    }

    /// Whether that time has come. At the deadline itself it is over, as the old expiry pass has it: a
    /// place that may have been given away in this second is not used in it as well.
    pub fn is_over(self, entry: Timestamp, first_served_at: Option<Timestamp>, now: Timestamp) -> bool {
        self.deadline(entry, first_served_at).is_some_and(|deadline| deadline <= now)
    }

    /// Whether the holder of `ticket`, who has no session, came too late: its time is over, or an expiry
    /// pass gave the position up already (by the clock of another node perhaps; given up is given up, or the
    /// place would be counted twice).
    pub fn forfeits(
        self,
        ticket: &Ticket,
        first_served_at: Option<Timestamp>,
        counters: &Counters,
        now: Timestamp,
    ) -> bool {
        ticket.position.get() <= counters.max_expired || self.is_over(ticket.entry, first_served_at, now)
    }

    /// The expiry pass: what it gives up at `now`, a range for each serving record, in order. `records` are
    /// the event's serving records from `max_expired` on, in order of the serving counter; `entry_of` says when a position
    /// was taken.
    ///
    /// A record is passed as a whole, when the time of its last position is over. Of one that reaches beyond the line,
    /// whoever came so far is passed when their own time is over. The first record that is not passed whole ends the pass. Whoever holds a session in a range is
    /// not expired: the caller subtracts these before it counts or refills.
    pub fn pass(
        self,
        records: &[ServingRecord],
        entry_of: impl Fn(Position) -> Option<Timestamp>,
        counters: &Counters,
        now: Timestamp,
    ) -> Vec<Lapsed> {
        let mut lapsed = Vec::new();
        let mut after = counters.max_expired;
        for record in records.iter().filter(|record| record.serving > counters.max_expired) {
            let over = |number: u64| {
                let entry = Position::new(number).and_then(&entry_of);
                entry.is_some_and(|entry| self.is_over(entry, Some(record.issued_at), now))
            };
            let through = match record.serving <= counters.queue {
                true if over(record.serving) => record.serving,
                true => after,
                false => last_over(after, counters.queue, over),
            };
            if through > after {
                lapsed.push(Lapsed { after, through });
            }
            if through < record.serving {
                break;
            }
            after = through;
        }
        lapsed
    }
}

/// The last position above `after`, through `queue`, whose time is over (`after`: none). Times grow with the positions.
fn last_over(after: u64, queue: u64, over: impl Fn(u64) -> bool) -> u64 {
    let (mut last, mut end) = (after, queue);
    while last < end {
        let middle = last + (end - last).div_ceil(2);
        if over(middle) {
            last = middle;
        } else {
            end = middle - 1;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::room::{Arrival, Arrivals, Door};

    const RULE: ExpiryRule = ExpiryRule::Within(Duration::from_secs(900));

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn position(number: u64) -> Position {
        Position::new(number).unwrap()
    }

    fn record(serving: u64, issued_at: u64) -> ServingRecord {
        ServingRecord { serving, issued_at: at(issued_at), served: 1 }
    }

    fn came(rows: &[(u64, u64)]) -> Arrivals {
        let mut log = Arrivals::new();
        rows.iter().for_each(|&(first, second)| log.merge(Arrival { first: position(first), at: at(second) }));
        log
    }

    #[test]
    fn the_period_runs_from_being_served_or_from_joining_whichever_is_later() {
        assert_eq!(RULE.deadline(at(100), Some(at(5_000))), Some(at(5_900)));
        assert_eq!(RULE.deadline(at(7_000), Some(at(5_000))), Some(at(7_900)));
    }

    #[test]
    fn a_position_is_over_at_its_deadline_and_not_a_second_before() {
        assert!(!RULE.is_over(at(0), Some(at(100)), at(999)));
        assert!(RULE.is_over(at(0), Some(at(100)), at(1_000)));
    }

    #[test]
    fn no_time_runs_without_a_rule_or_before_being_served() {
        assert_eq!(ExpiryRule::Never.deadline(at(0), Some(at(0))), None);
        assert_eq!(RULE.deadline(at(0), None), None);
        assert!(!RULE.is_over(at(0), None, at(u64::MAX)));
    }

    #[test]
    fn what_a_pass_gave_up_is_over_for_every_node() {
        let counters = Counters { queue: 10, serving: 10, max_expired: 5, ..Counters::default() };
        let late = |number, rule: ExpiryRule| {
            let generation = counters.generation;
            let ticket = Ticket { position: position(number), entry: at(0), generation, door: Door::Rest };
            rule.forfeits(&ticket, Some(at(100)), &counters, at(101))
        };
        assert!(late(5, RULE));
        assert!(!late(6, RULE));
        assert!(late(5, ExpiryRule::Never));
        assert!(!late(6, ExpiryRule::Never));
    }

    #[test]
    fn the_pass_gives_up_whole_records_until_one_that_is_not_over() {
        let counters = Counters { queue: 300, serving: 300, ..Counters::default() };
        let records = [record(100, 1_000), record(200, 1_060), record(300, 1_120)];
        let arrivals = came(&[(1, 10)]);
        let pass = |now| RULE.pass(&records, |place| arrivals.entry_of(place), &counters, at(now));
        assert_eq!(pass(1_899), []);
        assert_eq!(pass(1_900), [Lapsed { after: 0, through: 100 }]);
        assert_eq!(pass(1_960), [Lapsed { after: 0, through: 100 }, Lapsed { after: 100, through: 200 }]);
    }

    #[test]
    fn the_pass_goes_on_where_the_last_one_stopped_even_within_a_record() {
        let counters = Counters { queue: 300, serving: 200, max_expired: 150, ..Counters::default() };
        let records = [record(100, 1_000), record(200, 1_060)];
        let lapsed = RULE.pass(&records, |_| Some(at(10)), &counters, at(9_999));
        assert_eq!(lapsed, [Lapsed { after: 150, through: 200 }]);
    }

    #[test]
    fn of_a_record_that_reaches_beyond_the_line_those_are_given_up_who_came() {
        let mut counters = Counters { queue: 99, serving: 100, ..Counters::default() };
        let arrivals = came(&[(1, 10), (60, 2_000), (100, 5_000)]);
        let pass = |counters: &Counters, now| {
            RULE.pass(&[record(100, 1_000)], |place| arrivals.entry_of(place), counters, at(now))
        };
        assert_eq!(pass(&counters, 1_899), []);
        assert_eq!(pass(&counters, 1_900), [Lapsed { after: 0, through: 59 }]);
        assert_eq!(pass(&counters, 2_900), [Lapsed { after: 0, through: 99 }]);
        counters.max_expired = 99;
        assert_eq!(pass(&counters, 9_999), [], "nobody is there any more");
        counters.queue = 100;
        assert_eq!(pass(&counters, 5_899), []);
        assert_eq!(pass(&counters, 5_900), [Lapsed { after: 99, through: 100 }]);
    }

    #[test]
    fn without_a_rule_the_pass_gives_up_nothing() {
        let counters = Counters { queue: 100, serving: 100, ..Counters::default() };
        assert_eq!(ExpiryRule::Never.pass(&[record(100, 0)], |_| Some(at(0)), &counters, at(u64::MAX)), []);
    }

    proptest! {
        #[test]
        fn the_pass_gives_up_nobody_before_their_own_deadline_and_leaves_no_gap(
            steps in prop::collection::vec((1_u64..20, 0_u64..700), 1..12),
            rows in prop::collection::vec((1_u64..20, 1_u64..700), 1..12),
            queue in 1_u64..150, max_expired in 0_u64..40, now in 0_u64..9_000,
        ) {
            let growing = |start: (u64, u64), steps: &[(u64, u64)]| -> Vec<(u64, u64)> {
                steps.iter().scan(start, |sum, step| { *sum = (sum.0 + step.0, sum.1 + step.1); Some(*sum) }).collect()
            };
            let records: Vec<_> =
                growing((0, 0), &steps).into_iter().map(|(serving, time)| record(serving, time)).collect();
            let mut arrivals = came(&growing((1, 0), &rows));
            arrivals.merge(Arrival { first: Position::FIRST, at: at(0) });
            let serving = records.last().unwrap().serving;
            let counters = Counters { queue, serving, max_expired, ..Counters::default() };
            let mut reached = max_expired;
            for Lapsed { after, through } in RULE.pass(&records, |place| arrivals.entry_of(place), &counters, at(now)) {
                prop_assert_eq!(after, reached);
                prop_assert!(through > after && through <= queue.min(serving));
                reached = through;
                for number in after + 1..=through {
                    let served = records.iter().find(|record| record.serving >= number).map(|record| record.issued_at);
                    let entry = arrivals.entry_of(position(number)).unwrap();
                    prop_assert!(RULE.is_over(entry, served, at(now)), "{}", number);
                }
            }
        }
    }
}
