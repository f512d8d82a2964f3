//! Batches joins: one call of the store for joins that arrive together.
//!
//! A join that arrives while a store call is queued is added to that call's batch; the next one begins a new batch. There is
//! no timer, so a join that arrives alone is not delayed. Each worker thread has a batcher of its own, because a task is
//! woken without a system call only on its own thread. This module must not know what a ticket is, nor who joins.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::Board;
use crate::ambient::Timestamp;
use crate::policy;
use crate::room::{EventId, Generation, Position};
use crate::store::{JoinBatch, Store, StoreError, Taken};

/// A position with what its ticket says besides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) position: Position,
    pub(super) entry: Timestamp,
    pub(super) generation: Generation,
}

/// The batchers of one room.
pub(super) struct JoinBatchers(Vec<Arc<JoinBatcher>>);

struct JoinBatcher {
    event: EventId,
    board: Arc<Board>,
    /// The batch that still takes joins; never held across an await.
    newest: Mutex<Option<Arc<Group>>>,
}

/// The joins that share a store call.
struct Group(Mutex<GroupState>);

struct GroupState {
    waiting: Vec<oneshot::Sender<Result<Place, StoreError>>>,
    /// When the latest of them arrived.
    at: Timestamp,
    /// How many there were when it closed.
    closed: Option<u32>,
}

impl JoinBatchers {
    /// The batchers of the line of `event`, whose `board` shows the positions before a join is answered.
    pub(super) fn new(event: &EventId, board: &Arc<Board>) -> Self {
        let batcher = |_| JoinBatcher { event: event.clone(), board: Arc::clone(board), newest: Mutex::default() };
        Self((0..policy::JOIN_BATCHERS).map(batcher).map(Arc::new).collect())
    }

    /// Takes the next position, durably.
    ///
    /// # Errors
    /// When the store is away: then nothing was taken. A caller that stops waiting may have taken a position.
    pub(super) async fn pass(&self, store: &Arc<dyn Store>, now: Timestamp) -> Result<Place, StoreError> {
        let (sender, place) = oneshot::channel();
        let batcher = &self.0[thread_number() % self.0.len()];
        if let Some(group) = batcher.add(sender, now) {
            // A task of its own, for the caller's may be dropped when its client goes away.
            let call = Call { batcher: Arc::clone(batcher), group };
            tokio::spawn(call.make(Arc::clone(store)));
        }
        place.await.map_err(|_| StoreError::Unavailable("the service is stopping".to_owned()))?
    }
}

/// A small number of the current thread's own.
fn thread_number() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! { static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed); }
    NUMBER.with(|number| *number)
}

impl JoinBatcher {
    /// Adds somebody to those who come together; answers the group if they are its first.
    fn add(&self, visitor: oneshot::Sender<Result<Place, StoreError>>, now: Timestamp) -> Option<Arc<Group>> {
        let mut newest = lock(&self.newest);
        if let Some(group) = &*newest {
            let mut gathering = lock(&group.0);
            if gathering.closed.is_none() {
                gathering.waiting.push(visitor);
                gathering.at = now.max(gathering.at);
                return None;
            }
        }
        let group = Arc::new(Group(Mutex::new(GroupState { waiting: vec![visitor], at: now, closed: None })));
        *newest = Some(Arc::clone(&group));
        Some(group)
    }
}

impl JoinBatch for Group {
    fn close(&self) -> (u32, Timestamp) {
        let mut gathering = lock(&self.0);
        let count = u32::try_from(gathering.waiting.len()).unwrap_or(u32::MAX);
        (*gathering.closed.get_or_insert(count), gathering.at)
    }
}

/// A call of the store. Should it end early, with its runtime, those who wait are told.
struct Call {
    batcher: Arc<JoinBatcher>,
    group: Arc<Group>,
}

impl Call {
    async fn make(self, store: Arc<dyn Store>) {
        let batch = Arc::clone(&self.group) as Arc<dyn JoinBatch>;
        let taken = store.take_positions(&self.batcher.event, batch).await;
        if let Ok(taken) = &taken {
            self.batcher.board.joined(taken);
        }
        for (index, visitor) in (0..).zip(self.end()) {
            // Who has gone is not told.
            drop(visitor.send(taken.clone().and_then(|taken| place(&taken, index))));
        }
    }

    /// Nobody comes any more; who waits.
    fn end(&self) -> Vec<oneshot::Sender<Result<Place, StoreError>>> {
        self.group.close();
        std::mem::take(&mut lock(&self.group.0).waiting)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        drop(self.end());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn place(taken: &Taken, index: u64) -> Result<Place, StoreError> {
    let position = Position::new(taken.first.get() + index).filter(|position| *position <= taken.last);
    let position = position.ok_or_else(|| StoreError::Corrupt("fewer positions than were asked for".to_owned()))?;
    Ok(Place { position, entry: taken.entry, generation: taken.counters.generation })
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
        board: Arc<Board>,
        _home: tempfile::TempDir,
    }

    impl Line {
        async fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(home.path()).unwrap());
            let (event, board) = ("Sample".parse().unwrap(), Arc::default());
            store.ensure_event(&event).await.unwrap();
            Self { join_batchers: JoinBatchers::new(&event, &board), store, board, _home: home }
        }

        async fn pass(&self) -> Result<Place, StoreError> {
            self.join_batchers.pass(&self.store, NOW).await
        }
    }

    #[tokio::test]
    async fn those_who_come_together_share_a_call_and_get_consecutive_positions() {
        let line = Line::new().await;
        let before = line.store.counters(&"Sample".parse().unwrap()).await.unwrap().version;
        let places = join_all((0..100).map(|_| line.pass())).await;
        let positions: Vec<u64> = places.into_iter().map(|place| place.unwrap().position.get()).collect();
        assert_eq!(positions, (1..=100).collect::<Vec<_>>());
        assert_eq!(line.board.counters().version, before + 1);
    }

    #[tokio::test]
    async fn who_comes_before_the_positions_are_taken_comes_along() {
        let line = Line::new().await;
        let batcher = &line.join_batchers.0[0];
        let come = |seconds| {
            let (visitor, _) = oneshot::channel();
            batcher.add(visitor, NOW + Duration::from_secs(seconds))
        };
        let group = come(0).unwrap();
        assert!(come(2).is_none() && come(1).is_none(), "they are of the same group");
        assert_eq!([group.close(), group.close()], [(3, NOW + Duration::from_secs(2)); 2]);
        assert_eq!(come(3).unwrap().close().0, 1, "the next is of another");
        assert_eq!(group.close().0, 3);
    }

    #[tokio::test]
    async fn a_position_is_on_the_board_when_its_visitor_is_told() {
        let line = Line::new().await;
        for number in 1..=3 {
            let place = line.pass().await.unwrap();
            let view = line.board.view();
            assert_eq!((place.position.get(), view.counters.queue), (number, number));
            assert!(view.arrivals.fits(place.position, place.entry));
        }
    }

    #[tokio::test]
    async fn who_goes_away_holds_up_nobody() {
        let line = Line::new().await;
        assert!(poll_immediate(line.pass()).await.is_none());
        let places = join_all((0..3).map(|_| line.pass())).await;
        assert!(places.iter().all(Result::is_ok), "{places:?}");
        assert_eq!(line.board.counters().queue, 4);
    }

    #[tokio::test]
    async fn everybody_is_told_when_the_store_is_away() {
        let line = Line::new().await;
        line.store.close().await;
        for _ in 0..2 {
            let places = join_all((0..3).map(|_| line.pass())).await;
            assert!(places.iter().all(|place| matches!(place, Err(StoreError::Unavailable(_)))), "{places:?}");
        }
        assert_eq!(line.board.counters().queue, 0);
    }
}
