//! The counters of every event as last committed, with the positions that are handed out from memory.
//!
//! Owns the map from event to [`CounterCache`], which requests read and the writer updates after each commit. It must not
//! know what a commit contains.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::broadcast;

use super::writer::closed;
use crate::room::{Counters, EventId};
use crate::store::counter_cache::{CounterCache, Leasing};
use crate::store::{Change, StoreError};

/// See the module's documentation.
pub(super) struct CommittedCounters {
    /// `None` once the store is closed. The lock guards the map alone, for the time of a look-up.
    caches: RwLock<Option<HashMap<EventId, Arc<CounterCache>>>>,
    feed: broadcast::Sender<Change>,
}

impl CommittedCounters {
    pub(super) fn new(events: HashMap<EventId, Counters>, feed: broadcast::Sender<Change>) -> Self {
        let cache = |(event, counters): (EventId, Counters)| {
            (event.clone(), Arc::new(CounterCache::new(event, counters, feed.clone())))
        };
        Self { caches: RwLock::new(Some(events.into_iter().map(cache).collect())), feed }
    }

    /// The event's cache.
    pub(super) fn of(&self, event: &EventId) -> Result<Arc<CounterCache>, StoreError> {
        let caches = self.caches.read().unwrap_or_else(PoisonError::into_inner);
        let caches = caches.as_ref().ok_or_else(closed)?;
        caches.get(event).cloned().ok_or_else(|| StoreError::UnknownEvent(event.clone()))
    }

    /// The event's counters, with every position that was handed out.
    pub(super) fn read(&self, event: &EventId) -> Result<Counters, StoreError> {
        self.of(event).map(|cache| cache.counters())
    }

    /// The names of all events.
    pub(super) fn events(&self) -> Result<Vec<EventId>, StoreError> {
        let caches = self.caches.read().unwrap_or_else(PoisonError::into_inner);
        Ok(caches.as_ref().ok_or_else(closed)?.keys().cloned().collect())
    }

    /// Takes what was committed of an event, and sends it to the subscribers.
    pub(super) fn learn(&self, event: &EventId, counters: Counters) {
        if let Ok(cache) = self.of(event) {
            return cache.learn(counters);
        }
        let mut caches = self.caches.write().unwrap_or_else(PoisonError::into_inner);
        let Some(caches) = caches.as_mut() else { return };
        caches.insert(event.clone(), Arc::new(CounterCache::new(event.clone(), counters, self.feed.clone())));
        // There may be no subscribers.
        drop(self.feed.send(Change::Counters(event.clone(), counters)));
    }

    /// Counts what was handed out of an event's lease, if it is known.
    pub(super) fn settle(&self, event: &EventId, leasing: Leasing) -> Option<Counters> {
        self.of(event).ok().map(|cache| cache.settle(leasing))
    }

    /// Refuses all reads from here on.
    pub(super) fn close(&self) {
        *self.caches.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
