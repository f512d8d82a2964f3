//! What the verbs work with, on the engine's own thread: the desks, the tables, and the verbs that need several steps.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::Semaphore;

use super::client::Attributes;
use super::client::{Condition, Table};
use super::desk::{self, Desk, Office, closed};
use super::draft::{Closing, Expiry, Opening};
use super::grants;
use super::journal::{Mark, Past, Undertaking};
use super::leases::Leases;
use super::log;
use super::outbox::Mover;
use super::sessions::{self, Outcome};
use super::shelf;
use super::state::EventState;
use crate::ambient::{Timestamp, random};
use crate::policy::WATCHES_AT_ONCE;
use crate::room::{Counters, EventId, Moment, Occupancy, Position, RequestId, Session, SessionStatus};
use crate::store::{
    Advance, Change, Closed, Document, Expired, GrantId, Opened, Redeemed, Redemption, Refill, StoreError,
    TokenStanding,
};

/// See the module's documentation.
pub(super) struct Engine {
    pub(super) office: Office,
    desks: RwLock<HashMap<EventId, Arc<Desk>>>,
    closed: AtomicBool,
    /// The documents that this node asked for, in the version that it knows.
    documents: Mutex<HashMap<String, u64>>,
    /// Where the last look at the grants ended.
    pub(super) swept: Mutex<Option<Attributes>>,
    /// When dead letters were looked at last.
    pub(super) looked: Mutex<Timestamp>,
    pub(super) mover: tokio::sync::Mutex<Mover>,
    /// One for each look at an event's item that may be under way.
    pub(super) looks: Semaphore,
    pub(super) leases: Leases,
}

/// How the opening of a session goes on.
enum Begun {
    /// This call carries it out.
    Here(Undertaking),
    /// Another call does.
    Elsewhere(Undertaking),
    /// It is there.
    Found(Session),
}

impl Engine {
    pub(super) fn new(office: Office) -> Self {
        Self {
            office,
            desks: RwLock::default(),
            closed: AtomicBool::new(false),
            documents: Mutex::default(),
            swept: Mutex::default(),
            looked: Mutex::default(),
            mover: tokio::sync::Mutex::default(),
            looks: Semaphore::new(WATCHES_AT_ONCE),
            leases: Leases::default(),
        }
    }

    pub(super) fn open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    pub(super) fn desk(&self, event: &EventId) -> Result<Arc<Desk>, StoreError> {
        self.open()?;
        let desks = self.desks.read().unwrap_or_else(PoisonError::into_inner);
        desks.get(event).cloned().ok_or_else(|| StoreError::UnknownEvent(event.clone()))
    }

    pub(super) fn desks(&self) -> Vec<(EventId, Arc<Desk>)> {
        let desks = self.desks.read().unwrap_or_else(PoisonError::into_inner);
        desks.iter().map(|(event, desk)| (event.clone(), Arc::clone(desk))).collect()
    }

    pub(super) fn mark(&self) -> Mark {
        Mark::new(random(&*self.office.entropy))
    }

    /// The event's item as it is now, which this node then knows of.
    pub(super) async fn state(&self, event: &EventId) -> Result<EventState, StoreError> {
        let desk = self.desk(event)?;
        let state = desk::read(&self.office.tables, event).await?;
        desk.cache.learn(state.counters);
        Ok(state)
    }

    /// [`crate::store::Store::ensure_event`].
    pub(super) async fn ensure_event(self: &Arc<Self>, event: &EventId) -> Result<Counters, StoreError> {
        match self.desk(event) {
            Ok(desk) => return Ok(desk.cache.counters()),
            Err(StoreError::UnknownEvent(_)) => {}
            Err(error) => return Err(error),
        }
        let fresh = EventState::default().item(event)?;
        self.office.tables.put(Table::Events, fresh, Condition::new("attribute_not_exists(event_id)")).await?;
        let state = desk::read(&self.office.tables, event).await?;
        let mut desks = self.desks.write().unwrap_or_else(PoisonError::into_inner);
        let desk = desks.entry(event.clone()).or_insert_with(|| {
            let desk = Arc::new(Desk::open(event.clone(), state, self.office.clone()));
            super::watch::start(self, event, &desk);
            desk
        });
        Ok(desk.cache.counters())
    }

    /// [`crate::store::Store::advance`].
    pub(super) async fn advance(&self, event: &EventId, by: i64, at: Timestamp) -> Result<Advance, StoreError> {
        let desk = self.desk(event)?;
        if let Ok(forward) = u64::try_from(by) {
            return desk.run(move |draft| Ok(draft.advance(forward, at))).await;
        }
        loop {
            let seen = self.state(event).await?;
            let Some(to) = seen.counters.serving.checked_sub(by.unsigned_abs()) else { return Ok(Advance::OutOfRange) };
            let nearest = log::record_from(&self.office.tables, event, &seen, to).await?;
            let stands = nearest.is_some_and(|record| record.serving == to);
            if let Some(advance) = desk.run(move |draft| Ok(draft.go_back(&seen, by, stands, at))).await? {
                return Ok(advance);
            }
        }
    }

    /// [`crate::store::Store::occupancy`].
    pub(super) async fn occupancy(&self, event: &EventId, now: Timestamp) -> Result<Occupancy, StoreError> {
        let (desk, state) = (self.desk(event)?, self.state(event).await?);
        let now = Moment { wall: now, steady: self.office.clock.steady() };
        sessions::occupancy(&self.office.tables, event, &state, &desk.future, now).await
    }

    /// [`crate::store::Store::expire_positions`].
    pub(super) async fn expire_positions(
        &self,
        event: &EventId,
        through: Position,
        refill: Refill,
        at: Timestamp,
    ) -> Result<Expired, StoreError> {
        let (desk, mark) = (self.desk(event)?, self.mark());
        loop {
            match desk.run(move |draft| draft.begin_expiry(through, refill, at, mark)).await? {
                Expiry::Nothing(counters) => return Ok(Expired { positions: 0, counters }),
                Expiry::Begun(begun) => {
                    let Outcome::Counted(used) = self.carry_out(event, &begun).await? else { continue };
                    return desk.run(move |draft| Ok(draft.end_expiry(mark, used))).await;
                }
                Expiry::UnderWay(begun) => self.help(event, &begun).await?,
            }
        }
    }

    /// [`crate::store::Store::open_session`].
    pub(super) async fn open_session(&self, session: Session) -> Result<Opened, StoreError> {
        let (event, mark) = (session.event.clone(), self.mark());
        let desk = self.desk(&event)?;
        let there = sessions::find(&self.office.tables, &event, session.generation, &session.request_id);
        if let Some(session) = there.await? {
            return Self::found(&desk, session).await;
        }
        let (begun, ours) = match self.begin_opening(&desk, &session, Past::Unknown, mark).await {
            Ok(Opening::Begun(begun)) => (begun, true),
            Ok(Opening::UnderWay(begun)) => (begun, false),
            Ok(Opening::Unsure) => match self.look_at_the_past(&desk, &session, mark).await? {
                Begun::Here(begun) => (begun, true),
                Begun::Elsewhere(begun) => (begun, false),
                Begun::Found(session) => return Self::found(&desk, session).await,
            },
            // It may have been opened, and its place given up or its line gone back, since we looked.
            Err(StoreError::Outdated(_)) => {
                let there = sessions::find(&self.office.tables, &event, session.generation, &session.request_id);
                let session = there.await?.ok_or(StoreError::Outdated(event))?;
                return Self::found(&desk, session).await;
            }
            Err(error) => return Err(error),
        };
        let Outcome::Opened(session, inserted) = self.carry_out(&event, &begun).await? else {
            return Err(StoreError::Outdated(event));
        };
        let mark = begun.pending.mark;
        let ended = move |draft: &mut super::draft::Draft<'_>| draft.end_opening(session.clone(), mark, inserted);
        let opened = desk.run(ended).await?;
        Ok(Opened { inserted: opened.inserted && ours, ..opened })
    }

    async fn begin_opening(
        &self,
        desk: &Desk,
        session: &Session,
        past: Past,
        mark: Mark,
    ) -> Result<Opening, StoreError> {
        let wanted = session.clone();
        desk.run(move |draft| draft.begin_opening(&wanted, past, mark)).await
    }

    /// Opens a session whose position had none lately, unless it had one that is forgotten: then its place is there
    /// without it. A session is written before its place, so whoever finds the place looks for the session after it.
    async fn look_at_the_past(&self, desk: &Desk, session: &Session, mark: Mark) -> Result<Begun, StoreError> {
        let (event, tables) = (&session.event, &self.office.tables);
        let life = self.state(event).await?.life;
        if sessions::has_place(tables, event, life, session.position).await? {
            let there = sessions::find(tables, event, session.generation, &session.request_id).await?;
            return there.map(Begun::Found).ok_or_else(|| StoreError::SessionOver(event.clone()));
        }
        match self.begin_opening(desk, session, Past::None, mark).await? {
            Opening::Begun(begun) => Ok(Begun::Here(begun)),
            Opening::UnderWay(begun) => Ok(Begun::Elsewhere(begun)),
            Opening::Unsure => Err(StoreError::Outdated(event.clone())),
        }
    }

    /// The answer about a session that was there: not of a line that was reset since.
    async fn found(desk: &Desk, session: Session) -> Result<Opened, StoreError> {
        desk.run(move |draft| {
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
        let generation = self.desk(event)?.cache.counters().generation;
        sessions::find(&self.office.tables, event, generation, request_id).await
    }

    /// [`crate::store::Store::redeem`].
    pub(super) async fn redeem(&self, redemption: &Redemption) -> Result<Redeemed, StoreError> {
        grants::redeem(&self.office.tables, redemption, self.mark()).await
    }

    /// [`crate::store::Store::token_standing`].
    pub(super) async fn token_standing(
        &self,
        event: &EventId,
        request_id: &RequestId,
        grant: &GrantId,
    ) -> Result<TokenStanding, StoreError> {
        let session = self.session(event, request_id);
        let grant = grants::grant_standing(&self.office.tables, grant);
        let (session, grant) = futures_util::future::try_join(session, grant).await?;
        Ok(TokenStanding { session, grant })
    }

    /// [`crate::store::Store::active_sessions`].
    pub(super) async fn active_sessions(&self, event: &EventId, now: Timestamp) -> Result<u64, StoreError> {
        let life = self.state(event).await?.life;
        sessions::active(&self.office.tables, event, life, now).await
    }

    /// [`crate::store::Store::close_session`].
    pub(super) async fn close_session(
        &self,
        event: &EventId,
        request_id: &RequestId,
        status: SessionStatus,
    ) -> Result<Closed, StoreError> {
        let (desk, mark) = (self.desk(event)?, self.mark());
        let Some(session) = self.session(event, request_id).await? else { return Ok(Closed::Unknown) };
        if session.status != SessionStatus::Active || status == SessionStatus::Active {
            return Ok(Closed::Before(session.status));
        }
        match desk.run(move |draft| draft.begin_closing(&session, status, mark)).await? {
            Closing::Gone => Ok(Closed::Unknown),
            Closing::Begun(begun) => {
                let Outcome::Closed(before) = self.carry_out(event, &begun).await? else { return Ok(Closed::Unknown) };
                let life = begun.life;
                desk.run(move |draft| Ok(draft.end_closing(mark, life, before))).await
            }
            Closing::UnderWay(begun) => {
                self.help(event, &begun).await?;
                let session = self.session(event, request_id).await?;
                Ok(session.map_or(Closed::Unknown, |session| Closed::Before(session.status)))
            }
        }
    }

    async fn carry_out(&self, event: &EventId, undertaking: &Undertaking) -> Result<Outcome, StoreError> {
        sessions::carry_out(&self.office.tables, event, undertaking).await
    }

    /// Does for another call, perhaps of a node that is no more, what it has under way.
    pub(super) async fn help(&self, event: &EventId, undertaking: &Undertaking) -> Result<(), StoreError> {
        let (desk, mark, life) = (self.desk(event)?, undertaking.pending.mark, undertaking.life);
        match self.carry_out(event, undertaking).await? {
            Outcome::Opened(session, inserted) => {
                let ended = desk.run(move |draft| draft.end_opening(session.clone(), mark, inserted)).await;
                ended.map(drop)
            }
            Outcome::Closed(before) => desk.run(move |draft| Ok(draft.end_closing(mark, life, before))).await.map(drop),
            Outcome::Counted(used) => desk.run(move |draft| Ok(draft.end_expiry(mark, used))).await.map(drop),
        }
    }

    /// [`crate::store::Store::document`]; from now on this node looks after it.
    pub(super) async fn document(&self, name: &str) -> Result<Option<Document>, StoreError> {
        let found = shelf::document(&self.office.tables, name).await?;
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
            let found = shelf::document(&self.office.tables, &name).await?;
            if self.knows_document(&name, found.map_or(0, |document| document.version)) {
                // Nobody may be listening.
                drop(self.office.feed.send(Change::Document(name)));
            }
        }
        Ok(())
    }

    /// Finishes what is under way; whoever asks from now on is refused.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let desks = std::mem::take(&mut *self.desks.write().unwrap_or_else(PoisonError::into_inner));
        for desk in desks.into_values() {
            desk.stop().await;
        }
        self.give_back_leases().await;
        self.office.bell.flush().await;
    }
}
