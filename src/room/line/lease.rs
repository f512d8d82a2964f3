//! Positions that were reserved in a write, and are handed out without another one.

use crate::ambient::Timestamp;
use crate::room::{Arrival, Counters, Generation, Position};

use super::decision::Taken;

/// Positions after the queue counter that can be nobody else's, because the stored state of the line says that they are
/// reserved. Whoever keeps the lease hands them out in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PositionLease {
    /// The generation in which they were reserved.
    pub generation: Generation,
    /// The last that was handed out, or the last before them.
    pub after: u64,
    /// The last of them.
    pub through: u64,
    /// The entry time of whoever gets one: that of the newest row of the arrival log.
    pub entry: Timestamp,
}

impl PositionLease {
    /// Whether any is left for the line that stands as `counters`.
    pub fn is_usable(&self, counters: &Counters) -> bool {
        self.generation == counters.generation && self.after < self.through
    }

    /// Hands out the next `count` to visitors who came at `at`, and counts them in `counters`. `None`: there are not
    /// enough, or the visitors came in a later second, which the arrival log has to say first. Where other positions
    /// beyond the lease were handed out already, no row can be added for these: they keep the lease's entry time.
    pub fn allocate(&mut self, count: u32, at: Timestamp, counters: &mut Counters) -> Option<Taken> {
        let first = Position::new(self.after + 1)?;
        let last = Position::new(self.after + u64::from(count))?;
        let in_time = Arrival { first, at: self.entry }.takes(at) || counters.queue > self.through;
        if !self.is_usable(counters) || last < first || last.get() > self.through || !in_time {
            return None;
        }
        self.after = last.get();
        counters.queue = counters.queue.max(last.get());
        Some(Taken { first, last, entry: self.entry, counters: *counters })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn allocated_positions_are_dense_in_order_and_within_the_lease(
            after in 0_u64..1_000, size in 0_u64..50, calls in prop::collection::vec((0_u32..20, 48_u64..53), 0..30),
        ) {
            let entry = Timestamp::from_secs(50);
            let mut counters = Counters { queue: after, ..Counters::default() };
            let generation = counters.generation;
            let mut lease = PositionLease { generation, after, through: after + size, entry };
            let mut expected = after;
            for (count, at) in calls {
                let at = Timestamp::from_secs(at);
                let enough = count > 0 && expected + u64::from(count) <= after + size;
                let taken = lease.allocate(count, at, &mut counters);
                prop_assert_eq!(taken.is_some(), enough && at <= entry);
                let Some(taken) = taken else { continue };
                prop_assert_eq!((taken.first.get(), taken.entry), (expected + 1, entry));
                expected = taken.last.get();
                prop_assert_eq!((expected, expected), (lease.after, counters.queue));
                prop_assert_eq!(taken.last.get() - taken.first.get() + 1, u64::from(count));
            }
        }
    }

    #[test]
    fn nothing_is_allocated_in_another_generation() {
        let mut counters = Counters { queue: 3, ..Counters::default() };
        let mut lease =
            PositionLease { generation: Generation(1), after: 3, through: 9, entry: Timestamp::from_secs(50) };
        assert_eq!(lease.allocate(1, Timestamp::from_secs(50), &mut counters), None);
        assert_eq!((lease.after, counters.queue), (3, 3));
    }
}
