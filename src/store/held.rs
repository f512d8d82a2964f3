//! A store for tests whose operations can be made to wait or to fail, and whose feed says what the test says.
//!
//! Otherwise it is the store that it wraps, which stands for what other nodes did. It must not know who uses it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::{Semaphore, broadcast, watch};

use super::timed::forward;
use super::{
    Advance, AdvanceFrom, Change, Closed, Document, GrantId, LongGrant, Opened, Redeemed, Redemption, Store,
    StoreError, Taken, TokenStanding,
};
use super::{DeadLetter, Expired, JoinBatch, Letter, Outbox, Refill, Resent};
use crate::ambient::Timestamp;
use crate::room::{
    Arrival, Counters, DomainEvent, EventId, Inlet, Occupancy, Position, RequestId, ServingRecord, Session,
    SessionStatus,
};

/// What becomes of the next calls of one operation.
#[derive(Clone, Copy)]
enum Fate {
    /// They do their work once they are let go on.
    Wait,
    /// They fail.
    Fail,
}

/// The wrapper.
pub struct Held<S> {
    /// What is really there.
    pub store: S,
    feed: broadcast::Sender<Change>,
    /// By operation, what becomes of how many of its next calls.
    fates: Mutex<HashMap<&'static str, (Fate, usize)>>,
    /// How many calls wait.
    waiting: watch::Sender<usize>,
    /// Lets calls go on that wait.
    open: Semaphore,
}

impl<S: Store> Held<S> {
    /// Wraps `store`; its feed keeps `capacity` changes.
    pub fn new(store: S, capacity: usize) -> Arc<Self> {
        let (feed, waiting) = (broadcast::channel(capacity).0, watch::Sender::new(0));
        Arc::new(Self { store, feed, fates: Mutex::default(), waiting, open: Semaphore::new(0) })
    }

    /// Says something on the feed.
    pub fn announce(&self, change: Change) {
        drop(self.feed.send(change));
    }

    /// Makes the next `calls` of `operation` wait.
    pub fn hold(&self, operation: &'static str, calls: usize) {
        self.fates.lock().unwrap().insert(operation, (Fate::Wait, calls));
    }

    /// Makes the next `calls` of `operation` fail.
    pub fn fail(&self, operation: &'static str, calls: usize) {
        self.fates.lock().unwrap().insert(operation, (Fate::Fail, calls));
    }

    /// Waits until `calls` wait.
    pub async fn until_waiting(&self, calls: usize) {
        self.waiting.subscribe().wait_for(|waiting| *waiting == calls).await.unwrap();
    }

    /// How many calls wait now.
    pub fn waiting(&self) -> usize {
        *self.waiting.borrow()
    }

    /// Lets so many go on.
    pub fn release(&self, calls: usize) {
        self.open.add_permits(calls);
    }

    async fn around<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let fate = {
            let mut fates = self.fates.lock().unwrap();
            fates.get_mut(operation).filter(|(_, left)| *left > 0).map(|(fate, left)| {
                *left -= 1;
                *fate
            })
        };
        match fate {
            None => work.await,
            Some(Fate::Fail) => Err(StoreError::Unavailable("made to fail".to_owned())),
            Some(Fate::Wait) => {
                self.waiting.send_modify(|waiting| *waiting += 1);
                self.open.acquire().await.unwrap().forget();
                self.waiting.send_modify(|waiting| *waiting -= 1);
                work.await
            }
        }
    }
}

forward! {
    Held {
        fn changes(&self) -> broadcast::Receiver<Change> {
            self.feed.subscribe()
        }

        async fn close(&self) {
            self.store.close().await;
        }
    }
}
