//! Setting positions aside: what the item of an event says of it, and how many a node wants.
//!
//! A node that is alone at a line, and at which many join, has the item say that some positions are its own. It hands
//! them out without another write (`slate.rs`), for [`ASIDE_LIFE`](crate::policy::ASIDE_LIFE) from when it began to write that; so positions are
//! unique whatever its clock does. Whoever takes positions besides begins after them, and waits for as long before it
//! says so: who joins after others were answered stands behind them, at whichever node. What a node that dies had not
//! handed out is nobody's.

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::policy::{ASIDE_LEAST, ASIDE_MOST, ASIDE_PERIOD};

/// Positions that are a node's to hand out: those after the queue counter through `through`. If the queue counter is
/// beyond, somebody else took positions after them, and the node gets no more of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Aside {
    pub(super) node: String,
    pub(super) through: u64,
    /// The revision that gave or renewed them.
    pub(super) since: u64,
}

/// How many will join next, as far as the last ones tell.
pub(super) struct Foresight {
    /// The queue counter when the present period began, and when that was.
    from: u64,
    since: Instant,
    /// How many join in a period.
    pace: u64,
}

impl Foresight {
    pub(super) fn new(queue: u64, now: Instant) -> Self {
        Self { from: queue, since: now, pace: 0 }
    }

    /// How many positions to set aside once `queue` are handed out; 0: not worth it.
    pub(super) fn wanted(&mut self, queue: u64, now: Instant) -> u64 {
        let joined = queue.saturating_sub(self.from);
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < ASIDE_PERIOD {
            self.pace = self.pace.max(joined);
        } else {
            let periods = elapsed.as_nanos() / ASIDE_PERIOD.as_nanos();
            self.pace = joined / u64::try_from(periods).unwrap_or(u64::MAX);
            (self.from, self.since) = (queue, now);
        }
        if self.pace < ASIDE_LEAST { 0 } else { self.pace.saturating_mul(2).min(ASIDE_MOST) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_follows_those_who_come() {
        let start = Instant::now();
        let mut foresight = Foresight::new(100, start);
        assert_eq!(foresight.wanted(100 + ASIDE_LEAST - 1, start), 0, "too few");
        assert_eq!(foresight.wanted(200, start), 200, "a rush begins at once");
        assert_eq!(foresight.wanted(300, start + ASIDE_PERIOD * 4), 100, "fifty a period");
        assert_eq!(foresight.wanted(320, start + ASIDE_PERIOD * 4), 100, "as before, for the period is young");
        assert_eq!(foresight.wanted(300_000, start + ASIDE_PERIOD * 5), ASIDE_MOST);
        assert_eq!(foresight.wanted(300_000, start + ASIDE_PERIOD * 6), 0, "nobody comes any more");
        assert_eq!(foresight.wanted(5, start + ASIDE_PERIOD * 7), 0, "a reset");
        assert_eq!(foresight.wanted(55, start + ASIDE_PERIOD * 8), 100);
    }
}
