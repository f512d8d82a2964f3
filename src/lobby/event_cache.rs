//! An event's counters, arrivals and serving records in memory, so that waiting visitors are answered without a store
//! read.
//!
//! The store stays the authority. A cache is updated by the results of this node's own calls, and by
//! [`EventCache::refresh`] when the change feed announces a change made by another node.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use crate::ambient::Timestamp;
use crate::policy;
use crate::room::{Anchors, Arrival, Arrivals, Counters, EventId, Moment, Pace, Position, ServingRecord, Ticket};
use crate::store::{Store, StoreError, Taken};

/// The state of an event at one moment.
#[derive(Default)]
pub struct View {
    /// The counters.
    pub counters: Counters,
    /// The arrival time of each position.
    pub arrivals: Arrivals,
    /// The latest moves of the serving counter, oldest first.
    pub records: Vec<ServingRecord>,
    /// The last position up to which the arrivals were read from the store. Positions that this node took itself lie
    /// beyond it; positions that other nodes took may lie between.
    read: Option<Position>,
    /// The latest time among the arrivals merged since the last check for times in the future.
    latest: Timestamp,
    /// Entry times by position, and serving times by serving counter, that were found to lie in the future.
    entries: Anchors,
    moves: Anchors,
    /// The number of the refresh that read the records.
    refreshed: u64,
}

impl View {
    /// How fast the queue moves, estimated from the records.
    pub fn pace(&self, now: Timestamp) -> Option<Pace> {
        Pace::observe(&self.records, now)
    }

    /// The time from which the ticket's position expires, at `now`.
    pub(super) fn entry(&self, ticket: &Ticket, now: Moment) -> Timestamp {
        self.entries.counted(ticket.position.get(), ticket.entry, now)
    }

    /// The same for a position that is known from the arrival log alone.
    pub(super) fn entry_of(&self, position: Position, now: Moment) -> Option<Timestamp> {
        self.arrivals.entry_of(position).map(|entry| self.entries.counted(position.get(), entry, now))
    }

    /// The time from which the positions that a record covers expire, at `now`.
    pub(super) fn served(&self, record: &ServingRecord, now: Moment) -> Timestamp {
        self.moves.counted(record.serving, record.issued_at, now)
    }

    fn merge(&mut self, arrival: Arrival) {
        self.arrivals.merge(arrival);
        if !self.entries.covers(arrival.first.get()) {
            self.latest = self.latest.max(arrival.at);
        }
    }

    /// Replaces times that lie in the future by `now`: those of the arrivals, and those of the latest records and
    /// `record`. Returns whether any were found that were not known before.
    fn anchor(&mut self, record: Option<&ServingRecord>, now: Moment) -> bool {
        let (ahead, done) = (now.wall + policy::CLOCK_AHEAD, self.counters.max_expired);
        let queue = self.counters.queue;
        // The newest row is still growing: it may cover arrivals since the last check.
        let newest = self.arrivals.newest().is_some_and(|newest| newest.at > ahead) && !self.entries.covers(queue);
        let came = newest || self.latest > ahead;
        if came {
            self.entries.note(queue, done, now);
            self.latest = Timestamp::default();
        }
        let news = |record: &ServingRecord| {
            record.issued_at > ahead && record.serving > done && !self.moves.covers(record.serving)
        };
        let moved = self.records.iter().chain(record).any(news);
        if moved {
            self.moves.note(self.counters.serving, done, now);
        }
        came || moved
    }

    /// Applies counters if they are newer; a new generation discards the rows of the old one.
    fn apply(&mut self, news: Counters) {
        let Some(counters) = self.counters.updated(news) else { return };
        if counters.generation != self.counters.generation {
            self.arrivals.clear();
            self.records.clear();
            self.entries.clear();
            self.moves.clear();
            (self.read, self.latest) = (None, Timestamp::default());
        } else if counters.serving < self.counters.serving {
            self.moves.truncate(counters.serving);
        }
        self.counters = counters;
    }
}

/// The cached state of one event.
pub struct EventCache {
    /// Guards the view, so that its parts always belong together; never held across an await.
    view: RwLock<View>,
    /// Signals that something changed; carries no value.
    changed: watch::Sender<()>,
    /// The number of reads of the store's rows that have begun.
    reads: AtomicU64,
}

impl Default for EventCache {
    fn default() -> Self {
        Self { view: RwLock::default(), changed: watch::Sender::new(()), reads: AtomicU64::new(0) }
    }
}

impl EventCache {
    /// The view, for as long as the guard lives.
    pub fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        self.view().counters
    }

    /// A receiver that is notified after each change.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Records positions that this node took, so that their tickets are valid at once.
    pub(super) fn record_join(&self, taken: &Taken) {
        let mut view = self.write();
        view.apply(taken.counters);
        if view.counters.generation == taken.counters.generation {
            view.merge(Arrival { first: taken.first, at: taken.entry });
        }
    }

    /// Replaces times that lie in the future by `now`; `record` is one that may not be among the latest. Returns
    /// whether any were found that were not known before.
    pub(super) fn anchor(&self, record: Option<&ServingRecord>, now: Moment) -> bool {
        self.write().anchor(record, now)
    }

    /// Applies counters that a store call of this node or the change feed returned.
    pub(super) fn update(&self, counters: Counters) {
        self.write().apply(counters);
        self.changed.send_replace(());
    }

    /// Notifies subscribers of a change outside the counters.
    pub(super) fn notify(&self) {
        self.changed.send_replace(());
    }

    /// Drops the arrivals that the store has deleted.
    ///
    /// # Errors
    /// When the store cannot be read; the cache is left unchanged.
    pub(super) async fn prune_arrivals(&self, store: &dyn Store, event: &EventId) -> Result<(), StoreError> {
        let generation = store.counters(event).await?.generation;
        let Some(oldest) = store.oldest_arrival(event).await? else { return Ok(()) };
        // The row may belong to a generation that began since the first read; that generation's first row must stay.
        let mut view = self.write();
        if view.counters.generation == generation {
            view.arrivals.forget_before(oldest.first);
        }
        Ok(())
    }

    /// Reads from the store what changed since the last refresh. If refreshes overlap, the one that began last wins.
    ///
    /// # Errors
    /// When the store cannot be read; the cache is left unchanged.
    pub(super) async fn refresh(&self, store: &dyn Store, event: &EventId) -> Result<(), StoreError> {
        let mut counters = store.counters(event).await?;
        loop {
            let read = {
                let view = self.view();
                view.read.filter(|_| view.counters.generation == counters.generation)
            };
            let number = self.reads.fetch_add(1, Ordering::AcqRel) + 1;
            let arrivals = store.arrivals(event, read);
            let records = store.recent_serving_records(event, policy::PACE_RECORDS);
            let (arrivals, records) = tokio::try_join!(arrivals, records)?;
            let before = std::mem::replace(&mut counters, store.counters(event).await?);
            let mut view = self.write();
            view.apply(counters);
            // If a reset came between these reads, the rows may be of either generation, so they are read again.
            if before.generation == counters.generation {
                if view.counters.generation == counters.generation {
                    if number > view.refreshed {
                        view.read = arrivals.last().map(|arrival| arrival.first).or(view.read);
                        view.records = records;
                        view.refreshed = number;
                    }
                    arrivals.into_iter().for_each(|arrival| view.merge(arrival));
                }
                break;
            }
        }
        self.changed.send_replace(());
        Ok(())
    }

    fn write(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::EmbeddedStore;

    #[tokio::test]
    async fn refresh_reads_positions_that_another_node_took_before_our_own() {
        let home = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(home.path()).unwrap();
        let event: EventId = "Sample".parse().unwrap();
        store.ensure_event(&event).await.unwrap();
        let cache = EventCache::default();
        cache.refresh(&store, &event).await.unwrap();
        let at = |second: u64| Timestamp::from_secs(1_000 + second);
        for round in 0..3 {
            // The other node's position is taken just before this node's own.
            let theirs = store.take_some(&event, 5, at(20 * round)).await.unwrap();
            let ours = store.take_some(&event, 1, at(20 * round + 10)).await.unwrap();
            cache.record_join(&ours);
            cache.refresh(&store, &event).await.unwrap();
            assert_eq!(cache.view().arrivals.entry_of(theirs.first), Some(theirs.entry), "round {round}");
            assert_eq!(cache.view().arrivals.entry_of(ours.first), Some(ours.entry), "round {round}");
        }
    }
}
