//! The inlet: what moves the serving counter by itself, and by how much at this tick.
//!
//! Owns the arithmetic of rates; must not know who ticks, or that a cluster claims each tick once
//! (`store`). It gives what the time since the previous tick is worth, never what was missed for long, and it
//! does not bank: an empty line would otherwise hoard hours of admissions and let a rush through at once.

use std::time::Duration;

use super::{Counters, MaxSize};
use crate::ambient::Timestamp;
use crate::policy::INLET_CATCH_UP;

/// How the serving counter moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inlet {
    /// By an operator's hand or script alone.
    Manual,
    /// By the clock.
    Periodic(Periodic),
    /// As places become free.
    MaxSize(MaxSize),
}

/// A steady rate, between a start and an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Periodic {
    /// Positions served in each `every`.
    pub increment_by: u64,
    /// The period, in whole seconds; below one second it counts as one.
    pub every: Duration,
    /// How the positions of a period lie within it.
    pub rhythm: Rhythm,
    /// It rests up to and including this second.
    pub start: Option<Timestamp>,
    /// It rests from this second on.
    pub end: Option<Timestamp>,
}

/// How the positions of a period lie within it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rhythm {
    /// Spread evenly: a site is spared the surge at each step, a visitor the long look at a number that stands.
    Smooth,
    /// All in one step, as the old system has it: at each multiple of the period since the Unix epoch.
    AtOnce,
}

impl Inlet {
    /// By how much the clock moves the serving counter at `now`, for the time since `previous_tick` (the last one for
    /// which this was asked; `None`: never before, so this second counts alone). Nothing, if the clock went
    /// back. `counters` are the event's at `now`; `serving` plus the answer is always a valid counter.
    pub fn due(&self, previous_tick: Option<Timestamp>, now: Timestamp, counters: &Counters) -> u64 {
        match self {
            // Places are told by who is inside, not by the clock.
            Self::Manual | Self::MaxSize(_) => 0,
            Self::Periodic(periodic) => periodic.due(previous_tick, now, counters),
        }
    }
}

impl Periodic {
    fn due(&self, previous_tick: Option<Timestamp>, now: Timestamp, counters: &Counters) -> u64 {
        if self.end.is_some_and(|end| end <= now) {
            return 0;
        }
        // Time counts from the start on; up to then, the stretch is empty and worth nothing.
        let previous = previous_tick.unwrap_or(now - Duration::from_secs(1)).max(self.start.unwrap_or_default());
        self.worth(previous, now).min(self.headroom(counters))
    }

    /// What the time after `previous` up to `now` is worth.
    fn worth(&self, previous: Timestamp, now: Timestamp) -> u64 {
        match self.rhythm {
            Rhythm::AtOnce if self.periods(previous) < self.periods(now) => self.increment_by,
            Rhythm::AtOnce => 0,
            // Differences of one cumulative sum: whatever the ticks, a whole period is worth its increment exactly.
            Rhythm::Smooth => {
                let worth = self.cumulative(now).saturating_sub(self.cumulative(previous));
                narrow(worth).min(self.at_most_in(INLET_CATCH_UP))
            }
        }
    }

    /// How far the serving counter may still move: to one step beyond the queue counter, no further.
    fn headroom(&self, counters: &Counters) -> u64 {
        let step = match self.rhythm {
            Rhythm::AtOnce => self.increment_by,
            Rhythm::Smooth => self.at_most_in(Duration::from_secs(1)),
        };
        counters.queue.saturating_add(step).min(Counters::MAX).saturating_sub(counters.serving)
    }

    fn period(&self) -> u64 {
        self.every.as_secs().max(1)
    }

    fn periods(&self, until: Timestamp) -> u64 {
        until.as_secs() / self.period()
    }

    /// Positions from the Unix epoch until then, had it always run.
    fn cumulative(&self, until: Timestamp) -> u128 {
        u128::from(self.increment_by) * u128::from(until.as_secs()) / u128::from(self.period())
    }

    /// The most that any stretch of this length can be worth.
    fn at_most_in(&self, stretch: Duration) -> u64 {
        narrow((u128::from(self.increment_by) * u128::from(stretch.as_secs())).div_ceil(u128::from(self.period())))
    }
}

fn narrow(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn periodic(increment_by: u64, every: u64, rhythm: Rhythm) -> Periodic {
        Periodic { increment_by, every: Duration::from_secs(every), rhythm, start: None, end: None }
    }

    fn crowd() -> Counters {
        Counters { queue: 1 << 47, ..Counters::default() }
    }

    /// What is given at each of `ticks`, to a line that is long enough.
    fn given(periodic: Periodic, ticks: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut ticks = ticks.into_iter();
        let mut previous = ticks.next().map(at);
        let mut due = |tick: u64| {
            let due = Inlet::Periodic(periodic).due(previous, at(tick), &crowd());
            previous = Some(at(tick));
            due
        };
        ticks.map(&mut due).collect()
    }

    #[test]
    fn a_manual_inlet_never_moves() {
        assert_eq!(Inlet::Manual.due(None, at(600), &crowd()), 0);
    }

    #[test]
    fn at_once_gives_one_step_at_each_boundary_of_the_period() {
        let steps = given(periodic(100, 60, Rhythm::AtOnce), 119..=241);
        let boundaries: Vec<u64> = (120..).zip(&steps).filter(|(_, due)| **due > 0).map(|(tick, _)| tick).collect();
        assert_eq!(boundaries, [120, 180, 240]);
        assert_eq!(steps.iter().sum::<u64>(), 300);
    }

    #[test]
    fn at_once_gives_one_step_however_long_nobody_ticked() {
        assert_eq!(given(periodic(100, 60, Rhythm::AtOnce), [119, 86_400, 86_401]), [100, 0]);
    }

    #[test]
    fn the_first_tick_ever_counts_its_own_second_alone() {
        let at_once = Inlet::Periodic(periodic(100, 60, Rhythm::AtOnce));
        assert_eq!(at_once.due(None, at(120), &crowd()), 100);
        assert_eq!(at_once.due(None, at(121), &crowd()), 0);
        assert_eq!(Inlet::Periodic(periodic(120, 60, Rhythm::Smooth)).due(None, at(121), &crowd()), 2);
        assert_eq!(at_once.due(None, at(0), &crowd()), 0);
    }

    #[test]
    fn smooth_gives_something_each_second_where_the_rate_allows() {
        let steps = given(periodic(100, 60, Rhythm::Smooth), 1_000..1_601);
        assert!(steps.iter().all(|due| (1..=2).contains(due)), "{steps:?}");
        assert_eq!(steps.iter().sum::<u64>(), 1_000);
    }

    #[test]
    fn a_long_gap_is_worth_a_few_seconds_and_no_slow_rate_loses_its_turn() {
        assert_eq!(given(periodic(600, 60, Rhythm::Smooth), [1_000, 90_000]), [50]);
        assert_eq!(given(periodic(1, 3_600, Rhythm::Smooth), [3_500, 3_650, 3_700]), [1, 0]);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        for rhythm in [Rhythm::Smooth, Rhythm::AtOnce] {
            assert_eq!(given(periodic(100, 60, rhythm), [1_000, 1_000, 500, 0]), [0, 0, 0]);
        }
    }

    #[test]
    fn it_runs_after_its_start_and_before_its_end() {
        for rhythm in [Rhythm::Smooth, Rhythm::AtOnce] {
            let window = Periodic { start: Some(at(120)), end: Some(at(124)), ..periodic(7, 1, rhythm) };
            assert_eq!(given(window, 118..=126), [0, 0, 7, 7, 7, 0, 0, 0]);
        }
    }

    #[test]
    fn what_lies_before_the_start_is_not_made_up_for() {
        let smooth = Periodic { start: Some(at(1_000)), ..periodic(60, 60, Rhythm::Smooth) };
        assert_eq!(given(smooth, [900, 1_002]), [2]);
        let at_once = Periodic { start: Some(at(1_000)), ..periodic(60, 60, Rhythm::AtOnce) };
        assert_eq!(given(at_once, [950, 1_002, 1_020]), [0, 60]);
    }

    #[test]
    fn an_empty_line_banks_one_step_and_no_more() {
        let mut counters = Counters { queue: 10, ..Counters::default() };
        for (rhythm, step) in [(Rhythm::Smooth, 2), (Rhythm::AtOnce, 100)] {
            counters.serving = 0;
            for tick in 1_000..2_000 {
                counters.serving +=
                    Inlet::Periodic(periodic(100, 60, rhythm)).due(Some(at(tick - 1)), at(tick), &counters);
            }
            assert_eq!(counters.serving, 10 + step);
        }
    }

    #[test]
    fn a_counter_that_was_moved_far_ahead_stays_where_it_is() {
        let ahead = Counters { queue: 10, serving: u64::MAX, ..Counters::default() };
        assert_eq!(Inlet::Periodic(periodic(100, 60, Rhythm::AtOnce)).due(None, at(120), &ahead), 0);
    }

    fn rhythms() -> impl Strategy<Value = Rhythm> {
        prop_oneof![Just(Rhythm::Smooth), Just(Rhythm::AtOnce)]
    }

    proptest! {
        #[test]
        fn any_whole_period_gives_its_increment_exactly(
            increment_by in 0_u64..1_000, every in 1_u64..200, from in 0_u64..2_000_000_000, rhythm in rhythms(),
        ) {
            let steps = given(periodic(increment_by, every, rhythm), from..=from + every);
            prop_assert_eq!(steps.iter().sum::<u64>(), increment_by);
        }

        #[test]
        fn smooth_steps_differ_by_one_at_most(
            increment_by in 0_u64..1_000, every in 1_u64..200, from in 0_u64..2_000_000_000,
        ) {
            let steps = given(periodic(increment_by, every, Rhythm::Smooth), from..=from + 300);
            let (least, most) = (steps.iter().min().unwrap(), steps.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{:?}", steps);
        }

        #[test]
        fn irregular_ticks_lose_nothing_within_the_catch_up(
            increment_by in 0_u64..1_000, every in 1_u64..200, gaps in prop::collection::vec(1_u64..=5, 1..100),
        ) {
            let ticks: Vec<u64> = gaps.iter().scan(1_000_000, |tick, gap| { *tick += gap; Some(*tick) }).collect();
            let (first, last) = (ticks[0], ticks[ticks.len() - 1]);
            let steady = given(periodic(increment_by, every, Rhythm::Smooth), first..=last);
            let jerky = given(periodic(increment_by, every, Rhythm::Smooth), ticks);
            prop_assert_eq!(jerky.iter().sum::<u64>(), steady.iter().sum::<u64>());
        }

        #[test]
        fn extremes_overflow_nothing_and_never_leave_the_headroom(
            increment_by: u64, every: u64, rhythm in rhythms(), previous in prop::option::of(any::<u64>()), now: u64,
            queue in 0_u64..1 << 48, serving in 0..=Counters::MAX, bounds: (bool, u64, bool, u64),
        ) {
            let start = bounds.0.then(|| at(bounds.1));
            let end = bounds.2.then(|| at(bounds.3));
            let periodic = Periodic { start, end, ..periodic(increment_by, every, rhythm) };
            let counters = Counters { queue, serving, ..Counters::default() };
            let due = Inlet::Periodic(periodic).due(previous.map(at), at(now), &counters);
            prop_assert!(due <= increment_by.saturating_mul(5).max(1));
            prop_assert!(serving + due <= Counters::MAX);
            prop_assert!(due == 0 || serving + due <= queue.saturating_add(increment_by));
        }
    }
}
