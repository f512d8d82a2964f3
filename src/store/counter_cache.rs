//! The counters of an event as this process knows them, and the positions that it hands out from memory.
//!
//! Both engines reserve positions ahead: a write says that those up to some number are this process's, and joins then take
//! them from the [`PositionLease`] without waiting for a write of their own. Owns the lease and the newest counters, under
//! one lock; it must not know how positions come to be reserved (the committers do).

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;
use tokio::time::Instant;

use super::{Change, JoinBatch, Taken};
use crate::room::line::PositionLease;
use crate::room::{Counters, EventId};

/// How long a lease may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LeaseEnd {
    /// Until it is closed: no other process writes the store.
    Never,
    /// Until then: afterwards another process may have answered somebody who stands behind its positions.
    At(Instant),
}

impl LeaseEnd {
    fn has_come(self) -> bool {
        matches!(self, Self::At(end) if Instant::now() >= end)
    }
}

/// Whether a lease goes on while a write is prepared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leasing {
    /// Positions are still handed out.
    GoesOn,
    /// None is handed out any more.
    Ends,
}

#[derive(Clone, Copy)]
struct Known {
    counters: Counters,
    lease: Option<(PositionLease, LeaseEnd)>,
}

impl Known {
    fn usable_lease(&mut self) -> Option<&mut PositionLease> {
        let (lease, end) = self.lease.as_mut()?;
        (lease.is_usable(&self.counters) && !end.has_come()).then_some(lease)
    }
}

/// See the module's documentation.
pub(super) struct CounterCache {
    event: EventId,
    known: Mutex<Known>,
    feed: broadcast::Sender<Change>,
}

impl CounterCache {
    pub(super) fn new(event: EventId, counters: Counters, feed: broadcast::Sender<Change>) -> Self {
        Self { event, known: Mutex::new(Known { counters, lease: None }), feed }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counters(&self) -> Counters {
        self.known().counters
    }

    /// Takes newer counters, wherever they come from, and sends them to the subscribers of this process.
    pub(super) fn learn(&self, news: Counters) {
        let mut known = self.known();
        let Some(counters) = known.counters.updated(news) else { return };
        known.counters = counters;
        // Sent under the lock, so that subscribers see versions in their order. There may be none.
        drop(self.feed.send(Change::Counters(self.event.clone(), counters)));
    }

    /// Takes the next positions for the batch from the lease. `None`: a write has to take them; the batch stays open if
    /// there is no usable lease.
    pub(super) fn allocate(&self, batch: &dyn JoinBatch) -> Option<Taken> {
        let mut known = self.known();
        let mut counters = known.counters;
        let lease = known.usable_lease()?;
        let (count, at) = batch.close();
        let taken = lease.allocate(count, at, &mut counters)?;
        known.counters = counters;
        Some(taken)
    }

    /// Uses this lease from here on. Where one of the same generation was in use, it goes on after its last position.
    pub(super) fn open(&self, lease: PositionLease, end: LeaseEnd) {
        let mut known = self.known();
        let before = known.lease.filter(|(before, _)| before.generation == lease.generation);
        let after = before.map_or(lease.after, |(before, _)| before.after.max(lease.after));
        known.lease = Some((PositionLease { after, ..lease }, end));
    }

    /// Whether there is a lease, even one whose end has come.
    pub(super) fn is_open(&self) -> bool {
        self.known().lease.is_some()
    }

    /// Whether positions can be taken from the lease now.
    pub(super) fn is_usable(&self) -> bool {
        self.known().usable_lease().is_some()
    }

    /// The counters with every position that was handed out. If the lease ends, none is afterwards.
    pub(super) fn settle(&self, leasing: Leasing) -> Counters {
        let mut known = self.known();
        if leasing == Leasing::Ends {
            known.lease = None;
        }
        known.counters
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ambient::Timestamp;
    use crate::room::Generation;

    const SECOND: Timestamp = Timestamp::from_secs(50);

    fn lease(after: u64, through: u64) -> PositionLease {
        PositionLease { generation: Generation(0), after, through, entry: SECOND }
    }

    /// A cache with 10 handed out and those through 20 reserved.
    fn cache(end: LeaseEnd) -> CounterCache {
        let counters = Counters { version: 1, queue: 10, ..Counters::default() };
        let cache = CounterCache::new("Sample".parse().unwrap(), counters, broadcast::channel(1).0);
        cache.open(lease(10, 20), end);
        cache
    }

    fn allocated(cache: &CounterCache, count: u32, at: Timestamp) -> Option<(u64, u64)> {
        cache.allocate(&(count, at)).map(|taken| (taken.first.get(), taken.last.get()))
    }

    #[test]
    fn reserved_positions_are_allocated_once_and_in_order_also_while_the_lease_is_renewed() {
        for end in [LeaseEnd::Never, LeaseEnd::At(Instant::now() + Duration::from_secs(1_000))] {
            let cache = cache(end);
            assert_eq!((allocated(&cache, 3, SECOND), allocated(&cache, 1, SECOND)), (Some((11, 13)), Some((14, 14))));
            // The write that renews it began when 12 had been handed out.
            cache.open(lease(12, 22), end);
            assert_eq!((allocated(&cache, 8, SECOND), allocated(&cache, 1, SECOND)), (Some((15, 22)), None));
            assert_eq!(cache.counters().queue, 22);
        }
    }

    #[test]
    fn nothing_is_allocated_late_nor_for_the_next_second_nor_in_the_old_generation() {
        assert_eq!(allocated(&cache(LeaseEnd::At(Instant::now())), 1, SECOND), None);
        let cache = cache(LeaseEnd::Never);
        assert_eq!((allocated(&cache, 1, Timestamp::from_secs(51)), allocated(&cache, 11, SECOND)), (None, None));
        cache.learn(Counters { version: 2, generation: Generation(1), ..Counters::default() });
        assert_eq!(allocated(&cache, 1, SECOND), None);
    }

    #[test]
    fn a_lease_with_positions_behind_it_is_used_to_its_end() {
        let cache = cache(LeaseEnd::Never);
        cache.learn(Counters { version: 2, queue: 25, ..Counters::default() });
        assert_eq!(allocated(&cache, 10, Timestamp::from_secs(51)), Some((11, 20)));
        assert_eq!((allocated(&cache, 1, SECOND), cache.counters().queue), (None, 25));
        cache.settle(Leasing::Ends);
        assert!(!cache.is_open() && !cache.is_usable());
    }
}
