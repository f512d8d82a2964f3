//! The engine of a node: the handles of its events, and the operations that need several steps.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::Semaphore;

use super::client::Attributes;
use super::client::{Condition, Table};
use super::command::closed;
use super::context::Context;
use super::documents;
use super::draft::{Closing, Expiry, Opening};
use super::grants;
use super::handle::EventHandle;
use super::intent_log::{Execution, IdempotencyKey, Past};
use super::item;
use super::leases::Leases;
use super::log;
use super::outbox_rows::RelayState;
use super::sessions::{self, Outcome};
use super::state::EventState;
use crate::ambient::{Timestamp, random};
use crate::policy::RECOVERIES_AT_ONCE;
use crate::room::{Counters, EventId, Moment, Occupancy, Position, RequestId, Session, SessionStatus};
use crate::store::{
    Advance, Change, Closed, Document, Expired, GrantId, Opened, Redeemed, Redemption, Refill, StoreError,
    TokenStanding,
};

/// See the module's documentation.
pub(super) struct Engine {
    pub(super) context: Context,
    handles: RwLock<HashMap<EventId, Arc<EventHandle>>>,
    closed: AtomicBool,
    /// The documents that this node asked for, in the version that it knows.
    documents: Mutex<HashMap<String, u64>>,
    /// Where the last sweep of the grants ended.
    pub(super) swept: Mutex<Option<Attributes>>,
    /// When dead letters were looked at last.
    pub(super) looked: Mutex<Timestamp>,
    pub(super) relay: tokio::sync::Mutex<RelayState>,
    /// Bounds how many items recovery reads at the same time.
    pub(super) looks: Semaphore,
    pub(super) leases: Leases,
}

/// How the opening of a session goes on.
enum Begun {
    /// This call carries it out.
    Here(Execution),
    /// Another call does.
    Elsewhere(Execution),
    /// It is there.
    Found(Session),
}

impl Engine {
    pub(super) fn new(context: Context) -> Self {
        let leases = Leases::new(&context);
        Self {
            context,
            handles: RwLock::default(),
            closed: AtomicBool::new(false),
            documents: Mutex::default(),
            swept: Mutex::default(),
            looked: Mutex::default(),
            relay: tokio::sync::Mutex::default(),
            looks: Semaphore::new(RECOVERIES_AT_ONCE),
            leases,
        }
    }

    pub(super) fn open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    pub(super) fn handle(&self, event: &EventId) -> Result<Arc<EventHandle>, StoreError> {
        self.open()?;
        let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
        handles.get(event).cloned().ok_or_else(|| StoreError::UnknownEvent(event.clone()))
    }

    pub(super) fn handles(&self) -> Vec<(EventId, Arc<EventHandle>)> {
        let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
        handles.iter().map(|(event, handle)| (event.clone(), Arc::clone(handle))).collect()
    }

    pub(super) fn idempotency_key(&self) -> IdempotencyKey {
        IdempotencyKey::new(random(&*self.context.entropy))
    }

    /// The event's item as it is now, which this node then knows of.
    pub(super) async fn state(&self, event: &EventId) -> Result<EventState, StoreError> {
        let handle = self.handle(event)?;
        let state = item::read(&self.context.tables, event).await?;
        handle.cache.learn(state.counters);
        Ok(state)
    }

    /// [`crate::store::Store::ensure_event`].
    pub(super) async fn ensure_event(self: &Arc<Self>, event: &EventId) -> Result<Counters, StoreError> {
        match self.handle(event) {
            Ok(handle) => return Ok(handle.cache.counters()),
            Err(StoreError::UnknownEvent(_)) => {}
            Err(error) => return Err(error),
        }
        let fresh = EventState::default().item(event)?;
        self.context.tables.put(Table::Events, fresh, Condition::new("attribute_not_exists(event_id)")).await?;
        let state = item::read(&self.context.tables, event).await?;
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        let handle = handles.entry(event.clone()).or_insert_with(|| {
            let handle = Arc::new(EventHandle::open(event.clone(), state, self.context.clone()));
            super::recovery::start(self, event, &handle);
            handle
        });
        Ok(handle.cache.counters())
    }

    /// [`crate::store::Store::advance`].
    pub(super) async fn advance(&self, event: &EventId, by: i64, at: Timestamp) -> Result<Advance, StoreError> {
        let handle = self.handle(event)?;
        if let Ok(forward) = u64::try_from(by) {
            return handle.run(move |draft| Ok(draft.advance(forward, at))).await;
        }
        loop {
            let seen = self.state(event).await?;
            let Some(to) = seen.counters.serving.checked_sub(by.unsigned_abs()) else { return Ok(Advance::OutOfRange) };
            let nearest = log::record_from(&self.context.tables, event, &seen, to).await?;
            let stands = nearest.is_some_and(|record| record.serving == to);
            if let Some(advance) = handle.run(move |draft| Ok(draft.go_back(&seen, by, stands, at))).await? {
                return Ok(advance);
            }
        }
    }

    /// [`crate::store::Store::occupancy`].
    pub(super) async fn occupancy(&self, event: &EventId, now: Timestamp) -> Result<Occupancy, StoreError> {
        let (handle, state) = (self.handle(event)?, self.state(event).await?);
        let now = Moment { wall: now, steady: self.context.clock.steady() };
        sessions::occupancy(&self.context.tables, event, &state, &handle.future, now).await
    }

    /// [`crate::store::Store::expire_positions`].
    pub(super) async fn expire_positions(
        &self,
        event: &EventId,
        through: Position,
        refill: Refill,
        at: Timestamp,
    ) -> Result<Expired, StoreError> {
        let (handle, idempotency_key) = (self.handle(event)?, self.idempotency_key());
        loop {
            match handle.run(move |draft| draft.begin_expiry(through, refill, at, idempotency_key)).await? {
                Expiry::Nothing(counters) => return Ok(Expired { positions: 0, counters }),
                Expiry::Begun(begun) => {
                    let Outcome::Counted(used) = self.execute(event, &begun).await? else { continue };
                    return handle.run(move |draft| Ok(draft.end_expiry(idempotency_key, used))).await;
                }
                Expiry::UnderWay(begun) => self.recover(event, &begun).await?,
            }
        }
    }

    /// [`crate::store::Store::open_session`].
    pub(super) async fn open_session(&self, session: Session) -> Result<Opened, StoreError> {
        let (event, idempotency_key) = (session.event.clone(), self.idempotency_key());
        let handle = self.handle(&event)?;
        let there = sessions::find(&self.context.tables, &event, session.generation, &session.request_id);
        if let Some(session) = there.await? {
            return Self::found(&handle, session).await;
        }
        let (begun, ours) = match self.begin_opening(&handle, &session, Past::Unknown, idempotency_key).await {
            Ok(Opening::Begun(begun)) => (begun, true),
            Ok(Opening::UnderWay(begun)) => (begun, false),
            Ok(Opening::Unsure) => match self.look_at_the_past(&handle, &session, idempotency_key).await? {
                Begun::Here(begun) => (begun, true),
                Begun::Elsewhere(begun) => (begun, false),
                Begun::Found(session) => return Self::found(&handle, session).await,
            },
            // It may have been opened, and its place given up or its line gone back, since we looked.
            Err(StoreError::Outdated(_)) => {
                let there = sessions::find(&self.context.tables, &event, session.generation, &session.request_id);
                let session = there.await?.ok_or(StoreError::Outdated(event))?;
                return Self::found(&handle, session).await;
            }
            Err(error) => return Err(error),
        };
        let Outcome::Opened(session, inserted) = self.execute(&event, &begun).await? else {
            return Err(StoreError::Outdated(event));
        };
        let idempotency_key = begun.intent.idempotency_key;
        let ended =
            move |draft: &mut super::draft::Draft<'_>| draft.end_opening(session.clone(), idempotency_key, inserted);
        let opened = handle.run(ended).await?;
        Ok(Opened { inserted: opened.inserted && ours, ..opened })
    }

    async fn begin_opening(
        &self,
        handle: &EventHandle,
        session: &Session,
        past: Past,
        idempotency_key: IdempotencyKey,
    ) -> Result<Opening, StoreError> {
        let wanted = session.clone();
        handle.run(move |draft| draft.begin_opening(&wanted, past, idempotency_key)).await
    }

    /// Opens a session whose position had none lately, unless it had one that is forgotten: then its place is there
    /// without it. A session is written before its place, so whoever finds the place looks for the session after it.
    async fn look_at_the_past(
        &self,
        handle: &EventHandle,
        session: &Session,
        idempotency_key: IdempotencyKey,
    ) -> Result<Begun, StoreError> {
        let (event, tables) = (&session.event, &self.context.tables);
        let epoch = self.state(event).await?.epoch;
        if sessions::has_place(tables, event, epoch, session.position).await? {
            let there = sessions::find(tables, event, session.generation, &session.request_id).await?;
            return there.map(Begun::Found).ok_or_else(|| StoreError::SessionOver(event.clone()));
        }
        match self.begin_opening(handle, session, Past::None, idempotency_key).await? {
            Opening::Begun(begun) => Ok(Begun::Here(begun)),
            Opening::UnderWay(begun) => Ok(Begun::Elsewhere(begun)),
            Opening::Unsure => Err(StoreError::Outdated(event.clone())),
        }
    }

    /// The answer about a session that was there: not of a line that was reset since.
    async fn found(handle: &EventHandle, session: Session) -> Result<Opened, StoreError> {
        handle
            .run(move |draft| {
                let counters = draft.state.counters;
                if counters.generation == session.generation {
                    Ok(Opened { session: session.clone(), inserted: false, counters })
                } else {
                    Err(StoreError::Outdated(session.event.clone()))
                }
            })
            .await
    }

    /// The session of a ticket in the present generation.
    pub(super) async fn session(&self, event: &EventId, request_id: &RequestId) -> Result<Option<Session>, StoreError> {
        let generation = self.handle(event)?.cache.counters().generation;
        sessions::find(&self.context.tables, event, generation, request_id).await
    }

    /// [`crate::store::Store::redeem`].
    pub(super) async fn redeem(&self, redemption: &Redemption) -> Result<Redeemed, StoreError> {
        grants::redeem(&self.context.tables, redemption, self.idempotency_key()).await
    }

    /// [`crate::store::Store::token_standing`].
    pub(super) async fn token_standing(
        &self,
        event: &EventId,
        request_id: &RequestId,
        grant: &GrantId,
    ) -> Result<TokenStanding, StoreError> {
        let session = self.session(event, request_id);
        let grant = grants::grant_standing(&self.context.tables, grant);
        let (session, grant) = futures_util::future::try_join(session, grant).await?;
        Ok(TokenStanding { session, grant })
    }

    /// [`crate::store::Store::active_sessions`].
    pub(super) async fn active_sessions(&self, event: &EventId, now: Timestamp) -> Result<u64, StoreError> {
        let epoch = self.state(event).await?.epoch;
        sessions::active(&self.context.tables, event, epoch, now).await
    }

    /// [`crate::store::Store::close_session`].
    pub(super) async fn close_session(
        &self,
        event: &EventId,
        request_id: &RequestId,
        status: SessionStatus,
    ) -> Result<Closed, StoreError> {
        let (handle, idempotency_key) = (self.handle(event)?, self.idempotency_key());
        let Some(session) = self.session(event, request_id).await? else { return Ok(Closed::Unknown) };
        if session.status != SessionStatus::Active || status == SessionStatus::Active {
            return Ok(Closed::Before(session.status));
        }
        match handle.run(move |draft| draft.begin_closing(&session, status, idempotency_key)).await? {
            Closing::Gone => Ok(Closed::Unknown),
            Closing::Begun(begun) => {
                let Outcome::Closed(before) = self.execute(event, &begun).await? else { return Ok(Closed::Unknown) };
                let epoch = begun.epoch;
                handle.run(move |draft| Ok(draft.end_closing(idempotency_key, epoch, before))).await
            }
            Closing::UnderWay(begun) => {
                self.recover(event, &begun).await?;
                let session = self.session(event, request_id).await?;
                Ok(session.map_or(Closed::Unknown, |session| Closed::Before(session.status)))
            }
        }
    }

    async fn execute(&self, event: &EventId, execution: &Execution) -> Result<Outcome, StoreError> {
        sessions::execute(&self.context.tables, event, execution).await
    }

    /// Finishes an intent of another call, perhaps of a node that has ended.
    pub(super) async fn recover(&self, event: &EventId, execution: &Execution) -> Result<(), StoreError> {
        let (handle, idempotency_key, epoch) = (self.handle(event)?, execution.intent.idempotency_key, execution.epoch);
        match self.execute(event, execution).await? {
            Outcome::Opened(session, inserted) => {
                let ended =
                    handle.run(move |draft| draft.end_opening(session.clone(), idempotency_key, inserted)).await;
                ended.map(drop)
            }
            Outcome::Closed(before) => {
                handle.run(move |draft| Ok(draft.end_closing(idempotency_key, epoch, before))).await.map(drop)
            }
            Outcome::Counted(used) => {
                handle.run(move |draft| Ok(draft.end_expiry(idempotency_key, used))).await.map(drop)
            }
        }
    }

    /// [`crate::store::Store::document`]; from now on this node looks after it.
    pub(super) async fn document(&self, name: &str) -> Result<Option<Document>, StoreError> {
        let found = documents::document(&self.context.tables, name).await?;
        self.knows_document(name, found.as_ref().map_or(0, |document| document.version));
        Ok(found)
    }

    /// Notes the version of a document; whether it is another than was known.
    pub(super) fn knows_document(&self, name: &str, version: u64) -> bool {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        documents.insert(name.to_owned(), version).is_some_and(|known| known != version)
    }

    /// Looks whether the documents that this node asked for are still those that it knows, and tells of others.
    pub(super) async fn look_at_documents(&self) -> Result<(), StoreError> {
        self.open()?;
        let names = self.documents.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect::<Vec<_>>();
        for name in names {
            let found = documents::document(&self.context.tables, &name).await?;
            if self.knows_document(&name, found.map_or(0, |document| document.version)) {
                // Nobody may be listening.
                drop(self.context.feed.send(Change::Document(name)));
            }
        }
        Ok(())
    }

    /// Finishes what is under way; whoever asks from now on is refused.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let handles = std::mem::take(&mut *self.handles.write().unwrap_or_else(PoisonError::into_inner));
        for handle in handles.into_values() {
            handle.stop().await;
        }
        self.leases.give_back().await;
        self.context.publisher.flush().await;
    }
}
