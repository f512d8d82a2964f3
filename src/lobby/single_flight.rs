//! Single-flight refresh: reads the store for a ticket that this node does not know yet because another node just
//! issued it.
//!
//! Owns who reads: calls that arrive during a read share the next one. Must not know why a ticket is unknown.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use super::EventCache;
use crate::room::EventId;
use crate::store::{Store, StoreError};

/// See the module's documentation.
#[derive(Default)]
pub(super) struct SingleFlight {
    /// The number of reads that have begun.
    begun: AtomicU64,
    /// Held during a read: the number of the latest read, and its outcome.
    latest: Mutex<(u64, Option<StoreError>)>,
}

impl SingleFlight {
    /// Refreshes the cache by a read that begins after this call.
    ///
    /// # Errors
    /// When the store is away.
    pub(super) async fn run(&self, cache: &EventCache, store: &dyn Store, event: &EventId) -> Result<(), StoreError> {
        let before = self.begun.load(Ordering::Acquire);
        let mut latest = self.latest.lock().await;
        if latest.0 <= before {
            let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
            *latest = (number, cache.refresh(store, event).await.err());
        }
        latest.1.clone().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::ambient::Timestamp;
    use crate::store::embedded::EmbeddedStore;

    #[tokio::test]
    async fn concurrent_calls_share_a_read_that_began_after_they_arrived() {
        let home = tempfile::tempdir().unwrap();
        let (store, event) = (EmbeddedStore::open(home.path()).unwrap(), "Sample".parse().unwrap());
        store.ensure_event(&event).await.unwrap();
        let (single_flight, cache) = (SingleFlight::default(), EventCache::default());
        store.take_some(&event, 3, Timestamp::from_secs(1_800_000_000)).await.unwrap();
        let looks = join_all((0..20).map(|_| single_flight.run(&cache, &store, &event))).await;
        assert!(looks.iter().all(Result::is_ok));
        assert_eq!(cache.counters().queue, 3);
        assert_eq!(single_flight.begun.load(Ordering::Acquire), 2, "one read for the first call, one for all others");
        store.close().await;
        let looks = join_all((0..2).map(|_| single_flight.run(&cache, &store, &event))).await;
        assert!(looks.iter().all(Result::is_err));
    }
}
