//! The use cases: what visitors, relying parties and operators can do, each a method of [`Lobby`].
//!
//! Owns the order of steps (read, decide, write, answer) and the in-memory state from which waiting visitors are
//! answered. Knows no HTTP: requests and answers are types of `room` and `oauth`. An atomic step is one store call;
//! nothing here reads, decides and writes back.

mod background;
mod capacity;
mod clients;
mod code;
mod completed_logins;
mod event_cache;
mod exchange;
mod expiry;
mod gate_status;
mod identity;
mod join;
mod join_batcher;
mod key_service;
mod login;
mod on_demand_keys;
mod operate;
mod recent_joins;
mod refresh;
mod sessions;
mod signing;
mod single_flight;
mod token_cache;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::{Instant, sleep};

pub use background::BackgroundTasks;
pub use capacity::{DepartureOutcome, Departures};
pub use clients::{Clients, RegisteredClient};
pub use event_cache::{EventCache, View};
pub use exchange::{ExchangeError, TokenSet};
pub use identity::IdentityError;
pub use join::Visitor;
pub use key_service::{KEYS_DOCUMENT, KeyService, KeyServiceError};
pub use login::{Attempt, JoinDenied, LoggedIn, Login, PlaceChange, Wait};
pub use operate::AdvanceError;
pub use recent_joins::BrowserName;
pub use sessions::{Caller, Overrides, Remaining, RestTokens, TokenOutcome};
pub use signing::{SigningQueue, SigningSlot, Urgency};

use completed_logins::CompletedLogins;
use gate_status::GateStatus;
use join_batcher::JoinBatchers;
use on_demand_keys::OnDemandKeys;
use recent_joins::RecentJoins;
use single_flight::SingleFlight;
use token_cache::TokenCache;

use crate::ambient::{Clock, Entropy, Secret, Timestamp};
use crate::keys::{CodeSeal, KeyError, MasterSecret, RotationPlan};
use crate::policy;
use crate::room::{CookieKey, EventId, EventSettings, Moment, PassingTime, RequestId, SessionStatus, TicketKey};
use crate::store::{Store, StoreError};

/// A failure of the provider: the request may be valid, and no wrong answer was given.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LobbyError {
    /// The store is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A token could not be signed.
    #[error("signing failed: {0}")]
    Signing(Arc<KeyError>),
    /// The signing queue is full. No code or ticket was used up.
    #[error("the signing queue is full")]
    Busy,
    /// A broken invariant.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl From<KeyError> for LobbyError {
    fn from(error: KeyError) -> Self {
        Self::Signing(Arc::new(error))
    }
}

/// A waiting room and everything that is needed to serve it.
pub struct Room {
    /// The configuration of its event.
    pub settings: EventSettings,
    /// Its state in memory.
    pub cache: Arc<EventCache>,
    /// Held, across awaits, while sessions are closed and their capacity is handed on, so that a message's answer
    /// counts only what it caused, and the inlet's tick does not use that capacity in between.
    capacity_lock: tokio::sync::Mutex<()>,
    join_batchers: JoinBatchers,
    recent_joins: RecentJoins,
    gate: GateStatus,
    single_flight: SingleFlight,
    tickets: TicketKey,
    cookies: CookieKey,
    /// The clock at the last expiry pass, in seconds.
    looked_at: AtomicU64,
}

impl Room {
    fn new(settings: EventSettings, master: &Secret) -> Self {
        let tickets = TicketKey::derive(master, &settings.id);
        let cookies = CookieKey::derive(master, &settings.id);
        let cache = Arc::default();
        let join_batchers = JoinBatchers::new(&settings.id, &cache);
        let (capacity_lock, gate, single_flight) =
            (tokio::sync::Mutex::default(), GateStatus::default(), SingleFlight::default());
        let (recent_joins, looked_at) = (RecentJoins::default(), AtomicU64::new(0));
        Self {
            settings,
            cache,
            capacity_lock,
            join_batchers,
            recent_joins,
            gate,
            single_flight,
            tickets,
            cookies,
            looked_at,
        }
    }

    /// Logs which session was closed, and by whom: an operator, or the topic of a message. The visitor is named by the
    /// position, because a request ID is a secret.
    fn log_closed(&self, request_id: &RequestId, status: SessionStatus, by: &str) {
        let position = self.tickets.position(request_id).map(tracing::field::display);
        tracing::info!(by, event = %self.settings.id, position, ?status, "a session was closed");
    }
}

/// The dependencies of the lobby.
pub struct LobbyDeps {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Where state lives.
    pub store: Arc<dyn Store>,
    /// The deployment's master secret: tickets, cookies and keys are derived from it.
    pub master: MasterSecret,
    /// Which signing keys rotate automatically.
    pub rotation: RotationPlan,
}

/// The use cases over all events of a deployment.
pub struct Lobby {
    issuer: String,
    rooms: HashMap<EventId, Arc<Room>>,
    clients: Clients,
    keys: KeyService,
    codes: CodeSeal,
    signing: SigningQueue,
    signed: TokenCache,
    completed_logins: CompletedLogins,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// The time that governs retention.
    retention_clock: Mutex<PassingTime>,
    entropy: Arc<dyn Entropy>,
}

impl Lobby {
    /// Opens the lobby: creates what the store lacks, and reads the state of every event.
    ///
    /// # Errors
    /// When the store or its key ring cannot be read, or no thread can be started.
    pub async fn open(
        issuer: &str,
        events: Vec<EventSettings>,
        clients: Clients,
        deps: LobbyDeps,
    ) -> Result<Self, KeyServiceError> {
        let LobbyDeps { clock, entropy, store, master, rotation } = deps;
        let on_demand = OnDemandKeys::of(&clients);
        let longest_token = events.iter().map(|event| event.validity).max().unwrap_or(policy::DEFAULT_VALIDITY);
        on_demand.open(&*store, clock.now(), longest_token).await?;
        let keys = KeyService::open(&*store, master.clone(), &*entropy, clock.now(), (on_demand, rotation)).await?;
        let opening = stream::iter(events).map(async |settings| {
            let room = Arc::new(Room::new(settings, master.secret()));
            store.ensure_event(&room.settings.id).await?;
            room.cache.refresh(&*store, &room.settings.id).await?;
            Ok::<_, StoreError>((room.settings.id.clone(), room))
        });
        let rooms = opening.buffer_unordered(policy::REFRESHES_AT_ONCE).try_collect().await?;
        let codes = CodeSeal::new(&master);
        let signing = SigningQueue::start(available_parallelism().map_or(1, usize::from))?;
        let (signed, completed_logins) = (TokenCache::default(), CompletedLogins::default());
        let (retention_clock, issuer) = (Mutex::default(), issuer.to_owned());
        Ok(Self {
            issuer,
            rooms,
            clients,
            keys,
            codes,
            signing,
            signed,
            completed_logins,
            store,
            clock,
            retention_clock,
            entropy,
        })
    }

    /// The issuer of the provider.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The room of this name.
    pub fn room(&self, event: &str) -> Option<&Arc<Room>> {
        self.rooms.get(event)
    }

    /// All rooms.
    pub fn rooms(&self) -> impl Iterator<Item = &Arc<Room>> {
        self.rooms.values()
    }

    /// The relying parties.
    pub const fn clients(&self) -> &Clients {
        &self.clients
    }

    /// The signing keys.
    pub const fn keys(&self) -> &KeyService {
        &self.keys
    }

    /// The queue of signatures.
    pub const fn signing(&self) -> &SigningQueue {
        &self.signing
    }

    /// The store, for its health.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The current time, by the wall clock and by the steady clock.
    pub fn moment(&self) -> Moment {
        Moment { wall: self.clock.now(), steady: self.clock.steady() }
    }

    /// Returns after `time`, by the injected clock or by the machine's, whichever is first.
    pub async fn wait_for(&self, time: Duration) {
        let (began, started) = (self.now(), Instant::now());
        while started.elapsed() < time && self.now().since(began) < time {
            sleep(policy::CLOCK_POLL.min(time)).await;
        }
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The source of randomness.
    pub fn entropy(&self) -> &dyn Entropy {
        &*self.entropy
    }
}
