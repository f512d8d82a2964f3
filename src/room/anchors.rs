//! Times that lie in the future: they count as the moment at which they were first seen so.
//!
//! A clock that was a day ahead and was put right leaves entry and serving times of tomorrow behind. Were they taken as they
//! are, places would expire a day late; were they taken as *now*, each time anew, never. Owns that anchor; must not know
//! what is numbered (positions, serving counters), nor when somebody looks. It is kept in memory alone: another node, or the
//! next start, sees the same times and anchors them itself.

use std::time::Duration;

use crate::ambient::Timestamp;
use crate::policy::CLOCK_SET_BACK;

/// Now, by the wall and by a clock that nobody sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// The time.
    pub wall: Timestamp,
    /// How long the process has run; it only grows, with the time that passes.
    pub steady: Duration,
}

impl Moment {
    /// How much time passed since, whatever the wall says.
    pub const fn passed_since(&self, earlier: Self) -> Duration {
        self.steady.saturating_sub(earlier.steady)
    }

    /// Whether the clock was set on since: then it was the earlier, lower time that was wrong.
    pub fn set_on_since(&self, earlier: Self) -> bool {
        self.wall.since(earlier.wall) > self.passed_since(earlier) + CLOCK_SET_BACK
    }
}

/// The time by which things are forgotten: it goes back with the clock at once, and on only as time passes. So while a clock
/// is days ahead, nothing is forgotten that is still of use when it was put right.
#[derive(Clone, Copy, Default, Debug)]
pub struct PassingTime(Option<Moment>);

impl PassingTime {
    /// The time that has been reached `now`.
    pub fn reached(&mut self, now: Moment) -> Timestamp {
        let from = *self.0.get_or_insert(now);
        let reached = from.wall + now.passed_since(from);
        if now.wall < reached {
            self.0 = Some(now);
        }
        reached.min(now.wall)
    }
}

/// What is numbered up to `through` was there at that moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Anchor {
    through: u64,
    seen: Moment,
}

/// See the module's documentation. In the order of their numbers, which is that of being seen.
#[derive(Clone, Default, Debug)]
pub struct Anchors(Vec<Anchor>);

impl Anchors {
    /// Notes that times in the future were seen among what is numbered up to `through`. What is numbered up to `done` is
    /// of no interest any more.
    pub fn note(&mut self, through: u64, done: u64, seen: Moment) {
        self.0.retain(|anchor| anchor.through > done);
        if !self.covers(through) {
            self.0.push(Anchor { through, seen });
        }
    }

    /// Whether that number was seen before.
    pub fn covers(&self, number: u64) -> bool {
        self.0.last().is_some_and(|last| number <= last.through)
    }

    /// The time that counts at `now` for what bears this number and the time `recorded`: never one in the future.
    pub fn counted(&self, number: u64, recorded: Timestamp, now: Moment) -> Timestamp {
        let holds =
            |anchor: &&Anchor| number <= anchor.through && (recorded > now.wall || !now.set_on_since(anchor.seen));
        // By the time that passed: the clock may have been put right in several steps.
        let seen = |anchor: &Anchor| now.wall - now.passed_since(anchor.seen);
        self.0.iter().find(holds).map_or(recorded, |anchor| recorded.min(seen(anchor))).min(now.wall)
    }

    /// Numbers above `through` will be given anew.
    pub fn truncate(&mut self, through: u64) {
        self.0.iter_mut().for_each(|anchor| anchor.through = anchor.through.min(through));
        self.0.dedup_by_key(|anchor| anchor.through);
    }

    /// Forgets everything, for the next generation.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(wall: u64, steady: u64) -> Moment {
        Moment { wall: Timestamp::from_secs(wall), steady: Duration::from_secs(steady) }
    }

    fn time(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    #[test]
    fn a_time_in_the_future_counts_as_the_moment_at_which_it_was_first_seen() {
        let mut anchors = Anchors::default();
        anchors.note(9, 0, at(1_000, 50));
        for later in [0, 100, 900, 100_000] {
            assert_eq!(anchors.counted(9, time(87_400), at(1_000 + later, 50 + later)), time(1_000), "{later}");
        }
        assert_eq!(anchors.counted(9, time(990), at(1_010, 60)), time(990), "one that was right stays as it is");
        assert_eq!(anchors.counted(10, time(1_005), at(1_010, 60)), time(1_005), "and what came later");
    }

    #[test]
    fn the_time_by_which_things_are_forgotten_is_never_ahead() {
        let mut time_passes = PassingTime::default();
        let day = 86_400;
        for (wall, steady, reached) in [
            (1_000, 50, 1_000),
            (1_060, 110, 1_060),
            (1_120 + 2 * day, 170, 1_120),
            (1_180 + 2 * day, 230, 1_180),
            (1_240, 290, 1_240),
            (400, 350, 400),
            (1_000, 410, 460),
        ] {
            assert_eq!(time_passes.reached(at(wall, steady)), time(reached), "{wall}");
        }
    }

    #[test]
    fn where_the_lower_time_was_wrong_the_recorded_one_counts_again_when_it_is_past() {
        let mut anchors = Anchors::default();
        anchors.note(9, 0, at(1_000, 50));
        let hour = 3_600;
        assert_eq!(anchors.counted(9, time(1_000 + hour), at(1_300, 350)), time(1_000));
        assert_eq!(anchors.counted(9, time(1_000 + hour), at(1_300 + hour, 350)), time(1_000 + hour));
    }

    #[test]
    fn numbers_that_are_given_anew_are_seen_anew() {
        let mut anchors = Anchors::default();
        anchors.note(9, 0, at(1_000, 50));
        anchors.truncate(4);
        assert!(anchors.covers(4) && !anchors.covers(5));
        assert_eq!(anchors.counted(9, time(1_005), at(1_010, 60)), time(1_005));
    }

    #[test]
    fn what_is_done_with_is_forgotten() {
        let mut anchors = Anchors::default();
        for number in 1..1_000 {
            anchors.note(number, number.saturating_sub(3), at(1_000 + number, number));
        }
        assert_eq!(anchors.0.len(), 3);
    }

    proptest! {
        #[test]
        fn a_step_on_and_back_delays_no_deadline_by_more_than_a_minute(
            step in 1_u64..1_000_000, half in any::<bool>(), period in 1_u64..1_000_000, seen in 0_u64..60,
            looks in prop::collection::vec(0_u64..100_000, 1..20),
        ) {
            // Recorded by a clock that was ahead; put right, perhaps by half and then wholly, and seen so a little
            // later; looked at as time passes.
            let truth = 5_000_000;
            let recorded = time(truth + step);
            let mut anchors = Anchors::default();
            for wall in [half.then_some(truth + seen + step / 2), Some(truth + seen)].into_iter().flatten() {
                if recorded > time(wall) {
                    anchors.note(1, 0, at(wall, seen));
                }
            }
            let mut passed = seen;
            for look in looks {
                passed += look;
                let deadline = anchors.counted(1, recorded, at(truth + passed, passed)) + Duration::from_secs(period);
                prop_assert!(deadline <= time(truth + period + 60));
                prop_assert!(deadline >= time(truth + period));
            }
        }
    }
}
