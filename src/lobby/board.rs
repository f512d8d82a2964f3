//! An event's numbers in memory: what waiting visitors are answered from without touching the store.
//!
//! The store stays the authority. A board is brought up to date by what this node's own calls return, and by
//! [`Board::refresh`] when the feed says that something changed elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use crate::ambient::Timestamp;
use crate::policy;
use crate::room::{Anchors, Arrival, Arrivals, Counters, EventId, Moment, Pace, Position, ServingRecord, Ticket};
use crate::store::{Store, StoreError, Taken};

/// Everything known of an event at one moment.
#[derive(Default)]
pub struct View {
    /// The counters.
    pub counters: Counters,
    /// When which position arrived.
    pub arrivals: Arrivals,
    /// The latest moves of the serving counter, oldest first.
    pub records: Vec<ServingRecord>,
    /// Up to where the arrivals were read from the store. What this node handed out itself lies beyond, and what others
    /// did may lie between.
    read: Option<Position>,
    /// The latest time among the arrivals that were merged since the last look for times in the future.
    latest: Timestamp,
    /// Entry times, by position, and serving times, by serving counter, that were seen to lie in the future.
    entries: Anchors,
    moves: Anchors,
    /// The refresh by which the records were read, by its number.
    refreshed: u64,
}

impl View {
    /// How fast the line moves, as far as the records tell.
    pub fn pace(&self, now: Timestamp) -> Option<Pace> {
        Pace::observe(&self.records, now)
    }

    /// When the position of a ticket was taken, for its expiry at `now`.
    pub(super) fn entry(&self, ticket: &Ticket, now: Moment) -> Timestamp {
        self.entries.counted(ticket.position.get(), ticket.entry, now)
    }

    /// The same of a position of which the arrival log alone tells.
    pub(super) fn entry_of(&self, position: Position, now: Moment) -> Option<Timestamp> {
        self.arrivals.entry_of(position).map(|entry| self.entries.counted(position.get(), entry, now))
    }

    /// When what a record covers was first served, for its expiry at `now`.
    pub(super) fn served(&self, record: &ServingRecord, now: Moment) -> Timestamp {
        self.moves.counted(record.serving, record.issued_at, now)
    }

    fn merge(&mut self, arrival: Arrival) {
        self.arrivals.merge(arrival);
        if !self.entries.covers(arrival.first.get()) {
            self.latest = self.latest.max(arrival.at);
        }
    }

    /// Has times that lie in the future count as `now`, from now on: those of the arrivals and of what the latest records,
    /// or `record` besides, cover. Answers whether there were any that were not seen before.
    fn anchor(&mut self, record: Option<&ServingRecord>, now: Moment) -> bool {
        let (ahead, done) = (now.wall + policy::CLOCK_AHEAD, self.counters.max_expired);
        let queue = self.counters.queue;
        // The newest row goes on: whoever came since the last look may be of it.
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

    /// Takes newer counters; a new generation forgets what belonged to the old one.
    fn take(&mut self, news: Counters) {
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

/// The board of one event.
pub struct Board {
    /// Guards the view so that its parts always belong together; never held across an await.
    view: RwLock<View>,
    /// Rings when something changed; carries nothing.
    bell: watch::Sender<()>,
    /// How many times the store's rows began to be read.
    reads: AtomicU64,
}

impl Default for Board {
    fn default() -> Self {
        Self { view: RwLock::default(), bell: watch::Sender::new(()), reads: AtomicU64::new(0) }
    }
}

impl Board {
    /// The view, for as long as the guard lives.
    pub fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        self.view().counters
    }

    /// Rings after each change.
    pub fn bell(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    /// Notes positions that this node handed out, so that their tickets open at once.
    pub(super) fn joined(&self, taken: &Taken) {
        let mut view = self.write();
        view.take(taken.counters);
        if view.counters.generation == taken.counters.generation {
            view.merge(Arrival { first: taken.first, at: taken.entry });
        }
    }

    /// Has times that lie in the future count as `now`, from now on; `record` is one that may not be among the latest.
    /// Answers whether there were any that were not seen before.
    pub(super) fn anchor(&self, record: Option<&ServingRecord>, now: Moment) -> bool {
        self.write().anchor(record, now)
    }

    /// Notes counters that a call of this node, or the feed, brought.
    pub(super) fn update(&self, counters: Counters) {
        self.write().take(counters);
        self.bell.send_replace(());
    }

    /// Tells who listens that something besides the numbers changed.
    pub(super) fn ring(&self) {
        self.bell.send_replace(());
    }

    /// Forgets the arrivals that the store has forgotten.
    ///
    /// # Errors
    /// When the store cannot be read; the board stays as it was.
    pub(super) async fn forget(&self, store: &dyn Store, event: &EventId) -> Result<(), StoreError> {
        let generation = store.counters(event).await?.generation;
        let Some(oldest) = store.oldest_arrival(event).await? else { return Ok(()) };
        // The row may be of a line that began since: that one has its first.
        let mut view = self.write();
        if view.counters.generation == generation {
            view.arrivals.forget_before(oldest.first);
        }
        Ok(())
    }

    /// Reads from the store what changed since the last time. Of refreshes that overlap, the one that began last counts.
    ///
    /// # Errors
    /// When the store cannot be read; the board stays as it was.
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
            view.take(counters);
            // A reset may have come between these reads. Then the rows may be of either generation: they are read anew.
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
        self.bell.send_replace(());
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
    async fn what_others_handed_out_before_ones_own_is_read_all_the_same() {
        let home = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(home.path()).unwrap();
        let event: EventId = "Sample".parse().unwrap();
        store.ensure_event(&event).await.unwrap();
        let board = Board::default();
        board.refresh(&store, &event).await.unwrap();
        let at = |second: u64| Timestamp::from_secs(1_000 + second);
        for round in 0..3 {
            // Another node's, a moment before this node's own.
            let theirs = store.take_some(&event, 5, at(20 * round)).await.unwrap();
            let ours = store.take_some(&event, 1, at(20 * round + 10)).await.unwrap();
            board.joined(&ours);
            board.refresh(&store, &event).await.unwrap();
            assert_eq!(board.view().arrivals.entry_of(theirs.first), Some(theirs.entry), "round {round}");
            assert_eq!(board.view().arrivals.entry_of(ours.first), Some(ours.entry), "round {round}");
        }
    }
}
