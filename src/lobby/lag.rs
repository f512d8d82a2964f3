//! Looking at the store for those whom this node does not know yet: another node gave them their tickets a moment ago.
//!
//! Owns who looks: all who come while one looks share the next look. It must not know why somebody is not known.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use super::Board;
use crate::room::EventId;
use crate::store::{Store, StoreError};

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Lag {
    /// How many looks began.
    begun: AtomicU64,
    /// Held by who looks: the number of the latest look, and what came of it.
    latest: Mutex<(u64, Option<StoreError>)>,
}

impl Lag {
    /// Brings the board up to date by a look at the store that begins after this was called.
    ///
    /// # Errors
    /// When the store is away.
    pub(super) async fn catch_up(&self, board: &Board, store: &dyn Store, event: &EventId) -> Result<(), StoreError> {
        let before = self.begun.load(Ordering::Acquire);
        let mut latest = self.latest.lock().await;
        if latest.0 <= before {
            let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
            *latest = (number, board.refresh(store, event).await.err());
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
    async fn those_who_come_together_share_a_look_that_began_after_they_came() {
        let home = tempfile::tempdir().unwrap();
        let (store, event) = (EmbeddedStore::open(home.path()).unwrap(), "Sample".parse().unwrap());
        store.ensure_event(&event).await.unwrap();
        let (lag, board) = (Lag::default(), Board::default());
        store.take_some(&event, 3, Timestamp::from_secs(1_800_000_000)).await.unwrap();
        let looks = join_all((0..20).map(|_| lag.catch_up(&board, &store, &event))).await;
        assert!(looks.iter().all(Result::is_ok));
        assert_eq!(board.counters().queue, 3);
        assert_eq!(lag.begun.load(Ordering::Acquire), 2, "one for the first, one for all who came meanwhile");
        store.close().await;
        let looks = join_all((0..2).map(|_| lag.catch_up(&board, &store, &event))).await;
        assert!(looks.iter().all(Result::is_err));
    }
}
