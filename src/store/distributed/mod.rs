//! The distributed engine: state in DynamoDB, pub/sub by Redis, any number of nodes.
//!
//! Owns one thread on which it speaks to both. DynamoDB is the authority: each event is one item that decides about its
//! line (`state.rs`, `draft.rs`). On each node a commit loop writes it (`commit_loop.rs`), fed by a command queue
//! (`handle.rs`); what belongs into other items is in the item's intent log until it is executed (`log.rs`, `sessions.rs`,
//! `outbox.rs`) or recovered (`recovery.rs`). Redis carries announcements (`pubsub.rs`), on which no answer depends. The
//! engine must not know what a login or a line is beyond the port's nouns.

mod client;
#[cfg(test)]
mod clock_steps;
mod command;
mod commit_loop;
mod context;
mod documents;
mod draft;
mod engine;
mod gc;
mod grants;
mod handle;
mod intent_log;
mod item;
mod leases;
mod log;
mod outbox;
mod outbox_port;
mod outbox_rows;
mod pubsub;
mod recovery;
mod retention;
#[cfg(test)]
mod servers;
mod sessions;
#[cfg(test)]
mod simulation;
mod state;
#[cfg(test)]
mod tests;
mod transfer;
#[cfg(test)]
mod two_nodes;
mod write_schedule;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
pub use redis::Client as RedisClient;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{broadcast, mpsc, oneshot};

pub use client::{Creation, Meter, RequestKind, create_tables};
use client::{DynamoDb, Tables};
use context::Context;
use engine::Engine;
use pubsub::{Announcement, Publisher};

use super::{
    Advance, AdvanceFrom, Change, Closed, Document, Expired, FEED_CAPACITY, GrantId, JoinBatch, LongGrant, Opened,
    OutboxMode, Redeemed, Redemption, Refill, Store, StoreError, Taken, TokenStanding,
};
use crate::ambient::{Clock, Entropy, Timestamp, random};
use crate::room::{
    Arrival, Counters, EventId, Inlet, Occupancy, Position, RequestId, ServingRecord, Session, SessionStatus,
};

/// What the engine is opened with.
pub struct Options {
    /// Speaks to DynamoDB.
    pub dynamodb: Client,
    /// Speak to Redis: the one server, or some of a cluster's.
    pub redis: Vec<RedisClient>,
    /// Stands before the names of all tables, and of the channel in Redis.
    pub table_prefix: String,
    /// Whether outbox records are written.
    pub outbox: OutboxMode,
    /// Where names of nodes and of calls are drawn from.
    pub entropy: Arc<dyn Entropy>,
    /// Tells the time that passes; what is dated has its time from the callers.
    pub clock: Arc<dyn Clock>,
    /// Counts the requests to DynamoDB.
    pub meter: Arc<dyn Meter>,
}

/// How many nodes serve from these tables, as far as Redis knows; `None`: it does not tell.
pub async fn serving_nodes(redis: &[RedisClient], table_prefix: &str) -> Option<u64> {
    pubsub::listeners(redis, &pubsub::channel(table_prefix)).await
}

/// See the module's documentation.
pub struct DistributedStore {
    engine: Arc<Engine>,
    runtime: Handle,
    feed: broadcast::Sender<Change>,
    /// Ends the thread when it is dropped.
    thread: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl DistributedStore {
    /// Opens the store. The tables must be there; Redis and DynamoDB may be away for now.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn open(options: Options) -> Result<Self, StoreError> {
        let unavailable = |error: std::io::Error| StoreError::Unavailable(error.to_string());
        let runtime = Builder::new_current_thread().enable_all().build().map_err(unavailable)?;
        let (feed, _) = broadcast::channel(FEED_CAPACITY);
        let node = format!("{:016x}", u64::from_be_bytes(random(&*options.entropy)));
        let channel = pubsub::channel(&options.table_prefix);
        let (publisher, heard) = {
            let _inside = runtime.enter();
            Publisher::start(options.redis, channel, node.clone())
        };
        let context = Context {
            tables: Tables::new(Arc::new(DynamoDb::new(options.dynamodb, &options.table_prefix, options.meter))),
            publisher,
            outbox: options.outbox,
            entropy: options.entropy,
            clock: options.clock,
            node,
            feed: feed.clone(),
        };
        let handle = runtime.handle().clone();
        let engine = start(context, heard, &handle);
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new()
            .name("store-engine".to_owned())
            .spawn(move || {
                // An error says that the sender was dropped, which means the same.
                drop(runtime.block_on(stopped));
                // A pending name look-up does not delay the end.
                runtime.shutdown_background();
            })
            .map_err(unavailable)?;
        Ok(Self { engine, runtime: handle, feed, thread: Mutex::new(Some((stop, thread))) })
    }

    /// Has `work` done on the engine's thread, to its end even if nobody waits for it any more.
    async fn on_engine<T, F>(&self, work: impl FnOnce(Arc<Engine>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.engine.open()?;
        let working = self.runtime.spawn(work(Arc::clone(&self.engine)));
        working.await.map_err(|_| command::closed())?
    }

    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, thread)) = thread {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("the store's thread had died");
            }
        }
    }
}

impl Drop for DistributedStore {
    fn drop(&mut self) {
        self.join();
    }
}

/// Starts the engine and its background tasks on a runtime.
fn start(context: Context, heard: mpsc::Receiver<Announcement>, runtime: &Handle) -> Arc<Engine> {
    let engine = Arc::new(Engine::new(context));
    runtime.spawn(hear(Arc::downgrade(&engine), heard));
    runtime.spawn(recovery::documents(Arc::downgrade(&engine)));
    engine
}

/// Takes what other nodes publish.
async fn hear(engine: std::sync::Weak<Engine>, mut heard: mpsc::Receiver<Announcement>) {
    while let Some(what) = heard.recv().await {
        let Some(engine) = engine.upgrade() else { return };
        // Nobody may be listening to the feed.
        match what {
            Announcement::Counters { event, counters, item } => {
                if let Ok(handle) = engine.handle(&event) {
                    handle.cache.learn(counters);
                    item.into_iter().for_each(|item| handle.heard.tell(*item));
                }
            }
            Announcement::Document { name } => drop(engine.context.feed.send(Change::Document(name))),
            Announcement::Letters {} => drop(engine.context.feed.send(Change::Letters)),
            Announcement::Life {} => {}
        }
    }
}

#[async_trait]
impl Store for DistributedStore {
    async fn ensure_event(&self, event: &EventId) -> Result<Counters, StoreError> {
        let event = event.clone();
        self.on_engine(|engine| async move { engine.ensure_event(&event).await }).await
    }

    async fn counters(&self, event: &EventId) -> Result<Counters, StoreError> {
        self.engine.handle(event).map(|handle| handle.cache.counters())
    }

    async fn take_positions(&self, event: &EventId, batch: Arc<dyn JoinBatch>) -> Result<Taken, StoreError> {
        self.engine.handle(event)?.take_positions(batch).await
    }

    async fn arrivals(&self, event: &EventId, from: Option<Position>) -> Result<Vec<Arrival>, StoreError> {
        let event = event.clone();
        self.on_engine(move |engine| async move {
            let state = engine.state(&event).await?;
            log::arrivals(&engine.context.tables, &event, &state, from).await
        })
        .await
    }

    async fn oldest_arrival(&self, event: &EventId) -> Result<Option<Arrival>, StoreError> {
        let event = event.clone();
        self.on_engine(move |engine| async move { engine.oldest_arrival(&event).await }).await
    }

    async fn advance(&self, event: &EventId, by: i64, at: Timestamp) -> Result<Advance, StoreError> {
        let event = event.clone();
        self.on_engine(move |engine| async move { engine.advance(&event, by, at).await }).await
    }

    async fn advance_from(
        &self,
        event: &EventId,
        seen: &Counters,
        by: u64,
        at: Timestamp,
    ) -> Result<AdvanceFrom, StoreError> {
        let seen = *seen;
        self.engine.handle(event)?.run(move |draft| Ok(draft.advance_from(&seen, by, at))).await
    }

    async fn occupancy(&self, event: &EventId, now: Timestamp) -> Result<Occupancy, StoreError> {
        let event = event.clone();
        self.on_engine(move |engine| async move { engine.occupancy(&event, now).await }).await
    }

    async fn recent_serving_records(&self, event: &EventId, limit: u32) -> Result<Vec<ServingRecord>, StoreError> {
        let (handle, event) = (self.engine.handle(event)?, event.clone());
        self.on_engine(move |engine| async move {
            log::recent_records(&engine.context.tables, &event, limit, &handle.records).await
        })
        .await
    }

    async fn serving_record_at(
        &self,
        event: &EventId,
        position: Position,
    ) -> Result<Option<ServingRecord>, StoreError> {
        let event = event.clone();
        self.on_engine(move |engine| async move {
            let state = engine.state(&event).await?;
            log::record_from(&engine.context.tables, &event, &state, position.get()).await
        })
        .await
    }

    async fn expire_positions(
        &self,
        event: &EventId,
        through: Position,
        refill: Refill,
        at: Timestamp,
    ) -> Result<Expired, StoreError> {
        let event = event.clone();
        self.on_engine(move |engine| async move { engine.expire_positions(&event, through, refill, at).await }).await
    }

    async fn step_inlet(
        &self,
        event: &EventId,
        inlet: &Inlet,
        known: Option<Timestamp>,
        tick: Timestamp,
    ) -> Result<Option<Counters>, StoreError> {
        let inlet = *inlet;
        self.engine.handle(event)?.run(move |draft| Ok(draft.step_inlet(&inlet, known, tick))).await
    }

    async fn open_session(&self, session: &Session) -> Result<Opened, StoreError> {
        let session = session.clone();
        self.on_engine(move |engine| async move { engine.open_session(session).await }).await
    }

    async fn session(&self, event: &EventId, request_id: &RequestId) -> Result<Option<Session>, StoreError> {
        let (event, request_id) = (event.clone(), *request_id);
        self.on_engine(move |engine| async move { engine.session(&event, &request_id).await }).await
    }

    async fn close_session(
        &self,
        event: &EventId,
        request_id: &RequestId,
        status: SessionStatus,
    ) -> Result<Closed, StoreError> {
        let (event, request_id) = (event.clone(), *request_id);
        self.on_engine(move |engine| async move { engine.close_session(&event, &request_id, status).await }).await
    }

    async fn active_sessions(&self, event: &EventId, now: Timestamp) -> Result<u64, StoreError> {
        let event = event.clone();
        self.on_engine(move |engine| async move { engine.active_sessions(&event, now).await }).await
    }

    async fn expired_sessions(
        &self,
        event: &EventId,
        now: Timestamp,
        after: Option<(Timestamp, RequestId)>,
        limit: u32,
    ) -> Result<Vec<Session>, StoreError> {
        let (event, limit) = (event.clone(), usize::try_from(limit).unwrap_or(usize::MAX));
        self.on_engine(move |engine| async move {
            let epoch = engine.state(&event).await?.epoch;
            sessions::expired(&engine.context.tables, &event, epoch, now, after, limit).await
        })
        .await
    }

    async fn redeem(&self, redemption: &Redemption) -> Result<Redeemed, StoreError> {
        let redemption = *redemption;
        self.on_engine(move |engine| async move { engine.redeem(&redemption).await }).await
    }

    async fn put_long_grant(&self, grant: &LongGrant) -> Result<(), StoreError> {
        let grant = grant.clone();
        self.on_engine(move |engine| async move { grants::put_long_grant(&engine.context.tables, &grant).await }).await
    }

    async fn long_grant(&self, request_id: &RequestId, id: &GrantId) -> Result<Option<Vec<u8>>, StoreError> {
        let (request_id, id) = (*request_id, *id);
        self.on_engine(move |engine| async move { grants::long_grant(&engine.context.tables, &request_id, &id).await })
            .await
    }

    async fn token_standing(
        &self,
        event: &EventId,
        request_id: &RequestId,
        grant: &GrantId,
    ) -> Result<TokenStanding, StoreError> {
        let (event, request_id, grant) = (event.clone(), *request_id, *grant);
        self.on_engine(move |engine| async move { engine.token_standing(&event, &request_id, &grant).await }).await
    }

    async fn reset(&self, event: &EventId) -> Result<Counters, StoreError> {
        self.engine.handle(event)?.run(|draft| Ok(draft.reset())).await
    }

    async fn document(&self, name: &str) -> Result<Option<Document>, StoreError> {
        let name = name.to_owned();
        self.on_engine(move |engine| async move { engine.document(&name).await }).await
    }

    async fn replace_document(&self, name: &str, expected: u64, body: &[u8]) -> Result<bool, StoreError> {
        let (name, body, idempotency_key) = (name.to_owned(), body.to_owned(), self.engine.idempotency_key());
        self.on_engine(move |engine| async move {
            let done =
                documents::replace_document(&engine.context.tables, &name, expected, &body, idempotency_key).await?;
            if done {
                engine.knows_document(&name, expected + 1);
                engine.context.publisher.announce_document(&name);
                // Nobody may be listening.
                drop(engine.context.feed.send(Change::Document(name)));
            }
            Ok(done)
        })
        .await
    }

    async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.on_engine(move |engine| async move { engine.sweep(now).await }).await
    }

    async fn health(&self) -> Result<(), StoreError> {
        self.on_engine(|engine| async move { documents::beat(&engine.context.tables).await }).await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.feed.subscribe()
    }

    async fn close(&self) {
        let engine = Arc::clone(&self.engine);
        // It can only fail because the thread has ended already.
        drop(self.runtime.spawn(async move { engine.close().await }).await);
        self.join();
    }
}
