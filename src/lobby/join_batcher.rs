//! Batches joins: one store call for joins that arrive together.
//!
//! A join that arrives while a store call is queued is added to that call's batch; the next join begins a new batch.
//! There is no timer, so a join that arrives alone is not delayed. Each worker thread has a batcher of its own, because
//! a task is woken without a system call only on its own thread. Must not know the content of a ticket, nor who joins.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::EventCache;
use crate::ambient::Timestamp;
use crate::policy;
use crate::room::{EventId, Generation, Position};
use crate::store::{JoinBatch, Store, StoreError, Taken};

/// A position with the other values of its ticket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TakenPosition {
    pub(super) position: Position,
    pub(super) entry: Timestamp,
    pub(super) generation: Generation,
}

/// The batchers of one room.
pub(super) struct JoinBatchers(Vec<Arc<JoinBatcher>>);

struct JoinBatcher {
    event: EventId,
    cache: Arc<EventCache>,
    /// The batch that still accepts joins; never held across an await.
    newest: Mutex<Option<Arc<Batch>>>,
}

/// The joins that share a store call.
struct Batch(Mutex<BatchState>);

struct BatchState {
    waiting: Vec<oneshot::Sender<Result<TakenPosition, StoreError>>>,
    /// When the latest of them arrived.
    at: Timestamp,
    /// The number of joins when the batch closed.
    closed: Option<u32>,
}

impl JoinBatchers {
    /// The batchers of `event`, whose `cache` has the positions before a join is answered.
    pub(super) fn new(event: &EventId, cache: &Arc<EventCache>) -> Self {
        let batcher = |_| JoinBatcher { event: event.clone(), cache: Arc::clone(cache), newest: Mutex::default() };
        Self((0..policy::JOIN_BATCHERS).map(batcher).map(Arc::new).collect())
    }

    /// Takes the next position, durably.
    ///
    /// # Errors
    /// When the store is away: no position was taken. A caller that stops waiting may have taken one.
    pub(super) async fn take_position(
        &self,
        store: &Arc<dyn Store>,
        now: Timestamp,
    ) -> Result<TakenPosition, StoreError> {
        let (sender, place) = oneshot::channel();
        let batcher = &self.0[thread_number() % self.0.len()];
        if let Some(batch) = batcher.add(sender, now) {
            // The call has a task of its own, because the caller's task is dropped when its client disconnects.
            let call = StoreCall { batcher: Arc::clone(batcher), batch };
            tokio::spawn(call.run(Arc::clone(store)));
        }
        place.await.map_err(|_| StoreError::Unavailable("the service is stopping".to_owned()))?
    }
}

/// A small number that is unique to the current thread.
fn thread_number() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! { static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed); }
    NUMBER.with(|number| *number)
}

impl JoinBatcher {
    /// Adds a join to the current batch. Returns a new batch if this is its first join.
    fn add(&self, visitor: oneshot::Sender<Result<TakenPosition, StoreError>>, now: Timestamp) -> Option<Arc<Batch>> {
        let mut newest = lock(&self.newest);
        if let Some(batch) = &*newest {
            let mut state = lock(&batch.0);
            if state.closed.is_none() {
                state.waiting.push(visitor);
                state.at = now.max(state.at);
                return None;
            }
        }
        let batch = Arc::new(Batch(Mutex::new(BatchState { waiting: vec![visitor], at: now, closed: None })));
        *newest = Some(Arc::clone(&batch));
        Some(batch)
    }
}

impl JoinBatch for Batch {
    fn close(&self) -> (u32, Timestamp) {
        let mut state = lock(&self.0);
        let count = u32::try_from(state.waiting.len()).unwrap_or(u32::MAX);
        (*state.closed.get_or_insert(count), state.at)
    }
}

/// A store call. If it ends early because its runtime stops, the waiting joins get an error.
struct StoreCall {
    batcher: Arc<JoinBatcher>,
    batch: Arc<Batch>,
}

impl StoreCall {
    async fn run(self, store: Arc<dyn Store>) {
        let batch = Arc::clone(&self.batch) as Arc<dyn JoinBatch>;
        let taken = store.take_positions(&self.batcher.event, batch).await;
        if let Ok(taken) = &taken {
            self.batcher.cache.record_join(taken);
        }
        for (index, visitor) in (0..).zip(self.end()) {
            // The receiver may be gone.
            drop(visitor.send(taken.clone().and_then(|taken| place(&taken, index))));
        }
    }

    /// Closes the batch and returns the waiting joins.
    fn end(&self) -> Vec<oneshot::Sender<Result<TakenPosition, StoreError>>> {
        self.batch.close();
        std::mem::take(&mut lock(&self.batch.0).waiting)
    }
}

impl Drop for StoreCall {
    fn drop(&mut self) {
        drop(self.end());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn place(taken: &Taken, index: u64) -> Result<TakenPosition, StoreError> {
    let position = Position::new(taken.first.get() + index).filter(|position| *position <= taken.last);
    let position = position.ok_or_else(|| StoreError::Corrupt("fewer positions than were asked for".to_owned()))?;
    Ok(TakenPosition { position, entry: taken.entry, generation: taken.counters.generation })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::{join_all, poll_immediate};

    use super::*;
    use crate::store::embedded::EmbeddedStore;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    struct Line {
        join_batchers: JoinBatchers,
        store: Arc<dyn Store>,
        cache: Arc<EventCache>,
        _home: tempfile::TempDir,
    }

    impl Line {
        async fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(home.path()).unwrap());
            let (event, cache) = ("Sample".parse().unwrap(), Arc::default());
            store.ensure_event(&event).await.unwrap();
            Self { join_batchers: JoinBatchers::new(&event, &cache), store, cache, _home: home }
        }

        async fn take_position(&self) -> Result<TakenPosition, StoreError> {
            self.join_batchers.take_position(&self.store, NOW).await
        }
    }

    #[tokio::test]
    async fn concurrent_joins_share_a_store_call_and_get_consecutive_positions() {
        let line = Line::new().await;
        let before = line.store.counters(&"Sample".parse().unwrap()).await.unwrap().version;
        let places = join_all((0..100).map(|_| line.take_position())).await;
        let positions: Vec<u64> = places.into_iter().map(|place| place.unwrap().position.get()).collect();
        assert_eq!(positions, (1..=100).collect::<Vec<_>>());
        assert_eq!(line.cache.counters().version, before + 1);
    }

    #[tokio::test]
    async fn a_join_that_arrives_before_the_positions_are_taken_is_added_to_the_batch() {
        let line = Line::new().await;
        let batcher = &line.join_batchers.0[0];
        let come = |seconds| {
            let (visitor, _) = oneshot::channel();
            batcher.add(visitor, NOW + Duration::from_secs(seconds))
        };
        let batch = come(0).unwrap();
        assert!(come(2).is_none() && come(1).is_none(), "they are in the same batch");
        assert_eq!([batch.close(), batch.close()], [(3, NOW + Duration::from_secs(2)); 2]);
        assert_eq!(come(3).unwrap().close().0, 1, "the next join begins another batch");
        assert_eq!(batch.close().0, 3);
    }

    #[tokio::test]
    async fn a_position_is_in_the_cache_before_its_join_is_answered() {
        let line = Line::new().await;
        for number in 1..=3 {
            let place = line.take_position().await.unwrap();
            let view = line.cache.view();
            assert_eq!((place.position.get(), view.counters.queue), (number, number));
            assert!(view.arrivals.fits(place.position, place.entry));
        }
    }

    #[tokio::test]
    async fn a_dropped_join_does_not_delay_others() {
        let line = Line::new().await;
        assert!(poll_immediate(line.take_position()).await.is_none());
        let places = join_all((0..3).map(|_| line.take_position())).await;
        assert!(places.iter().all(Result::is_ok), "{places:?}");
        assert_eq!(line.cache.counters().queue, 4);
    }

    #[tokio::test]
    async fn every_join_fails_when_the_store_is_away() {
        let line = Line::new().await;
        line.store.close().await;
        for _ in 0..2 {
            let places = join_all((0..3).map(|_| line.take_position())).await;
            assert!(places.iter().all(|place| matches!(place, Err(StoreError::Unavailable(_)))), "{places:?}");
        }
        assert_eq!(line.cache.counters().queue, 0);
    }
}
