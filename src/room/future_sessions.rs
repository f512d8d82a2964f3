//! Sessions that began in the future: how long each of them holds its place.
//!
//! A node whose clock was ahead gave them an end that lies as far ahead, and a node whose clock is behind sees the sessions
//! of all others so. Which of the two it is cannot be told, so the session stays as it is; its place alone is counted as if
//! the session had been opened when this node first saw it. Owns these moments, in memory, and must not know who counts.

use std::collections::HashMap;

use super::Moment;
use crate::ambient::Timestamp;
use crate::policy::CLOCK_AHEAD;

/// An active session, as far as its place is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stay {
    /// The number of its position, which no other session of the line has.
    pub position: u64,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Stay {
    /// Whether it holds its place at `now`; `seen`: when it was first seen to begin in the future.
    fn holds(&self, seen: Option<Moment>, now: Moment) -> bool {
        let counts = |seen: &Moment| self.opened_at > now.wall || !now.set_on_since(*seen);
        let over = |seen: Moment| now.passed_since(seen) > self.expires_at.since(self.opened_at);
        self.expires_at >= now.wall && !seen.filter(counts).is_some_and(over)
    }
}

/// See the module's documentation. Of one line.
#[derive(Default, Debug)]
pub struct FutureSessions {
    life: u64,
    seen: HashMap<u64, Moment>,
}

impl FutureSessions {
    /// How many of `stays`, which are all that are active, hold their place at `now`. Another `life` is another line.
    pub fn count(&mut self, life: u64, stays: impl IntoIterator<Item = Stay>, now: Moment) -> u64 {
        let mut known = std::mem::take(&mut self.seen);
        if self.life != life {
            known.clear();
            self.life = life;
        }
        let mut holding = 0;
        for stay in stays {
            let ahead = stay.opened_at > now.wall + CLOCK_AHEAD;
            let seen = known.get(&stay.position).copied().or(ahead.then_some(now));
            holding += u64::from(stay.holds(seen, now));
            if let Some(seen) = seen {
                self.seen.insert(stay.position, seen);
            }
        }
        holding
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600;
    const DAY: u64 = 86_400;

    fn time(seconds: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + seconds)
    }

    fn at(wall: u64, steady: u64) -> Moment {
        Moment { wall: time(wall), steady: Duration::from_secs(steady) }
    }

    /// An hour at `position` from `opened` on.
    fn stay(position: u64, opened: u64) -> Stay {
        Stay { position, opened_at: time(opened), expires_at: time(opened + HOUR) }
    }

    #[test]
    fn a_session_of_the_future_holds_its_place_for_as_long_as_it_lasts_from_when_it_was_first_seen() {
        let mut sessions = FutureSessions::default();
        let mut count = |now: u64| sessions.count(1, [stay(1, DAY), stay(2, 0), stay(3, 600)], at(now, now));
        for (now, holding) in [(0, 3), (HOUR, 3), (HOUR + 1, 0), (HOUR + 600, 0), (DAY, 0)] {
            assert_eq!(count(now), holding, "after {now} s");
        }
    }

    #[test]
    fn where_the_clock_that_counts_was_behind_sessions_end_as_they_say() {
        let mut sessions = FutureSessions::default();
        assert_eq!(sessions.count(1, [stay(1, HOUR)], at(0, 0)), 1);
        // Put right a minute later: the session has just begun.
        assert_eq!(sessions.count(1, [stay(1, HOUR)], at(HOUR + 60, 60)), 1);
        assert_eq!(sessions.count(1, [stay(1, HOUR)], at(2 * HOUR, HOUR)), 1);
        assert_eq!(sessions.count(1, [stay(1, HOUR)], at(2 * HOUR + 1, HOUR + 1)), 0);
    }

    #[test]
    fn a_line_that_was_reset_and_sessions_that_are_gone_leave_nothing() {
        let mut sessions = FutureSessions::default();
        assert_eq!(sessions.count(1, [stay(1, DAY), stay(2, DAY)], at(0, 0)), 2);
        assert_eq!(sessions.count(1, [stay(2, DAY)], at(60, 60)), 1);
        assert_eq!(sessions.seen.len(), 1);
        assert_eq!(sessions.count(2, [stay(2, DAY)], at(HOUR, HOUR)), 1);
        assert_eq!(sessions.count(2, [stay(2, DAY)], at(2 * HOUR, 2 * HOUR)), 1, "first seen an hour ago");
        assert_eq!(sessions.count(2, [], at(2 * HOUR, 2 * HOUR)), 0);
        assert_eq!(sessions.seen.len(), 0);
    }

    proptest! {
        #[test]
        fn a_step_on_and_back_keeps_no_place_for_more_than_a_minute(
            step in 1_u64..1_000_000, half in any::<bool>(), length in 1_u64..1_000_000, seen in 0_u64..=55,
            looks in prop::collection::vec(0_u64..100_000, 1..20),
        ) {
            // Opened by a clock that was ahead; put right, perhaps by half and then wholly, and first counted a little later.
            let session = Stay { position: 1, opened_at: time(step), expires_at: time(step + length) };
            let mut sessions = FutureSessions::default();
            for wall in [half.then_some(seen + step / 2), Some(seen)].into_iter().flatten() {
                sessions.count(1, [session], at(wall, seen));
            }
            let mut passed = seen;
            for look in looks {
                passed += look;
                let holding = sessions.count(1, [session], at(passed, passed));
                prop_assert!(holding == 0 || passed <= length + 60, "{} s", passed);
                prop_assert!(holding == 1 || passed > length, "{} s", passed);
            }
        }
    }
}
