//! The use cases: what visitors, relying parties and operators can do, each a method of [`Lobby`].
//!
//! Owns the order of things (look, decide, write, answer) and the counters in memory that waiting visitors
//! are answered from. Knows no HTTP: requests come in as types of `room` and `oauth`, answers go out as such.
//! What must be atomic is one call of the store; nothing here reads, decides and writes back.

mod background;
mod board;
mod clients;
mod code;
mod completed_logins;
mod exchange;
mod expiry;
mod gate;
mod identity;
mod join;
mod join_batcher;
mod key_service;
mod lag;
mod login;
mod operate;
mod places;
mod rare_keys;
mod recent_joins;
mod refresh;
mod sessions;
mod signing;
mod token_cache;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::sleep;

pub use background::BackgroundTasks;
pub use board::{Board, View};
pub use clients::{Clients, RegisteredClient};
pub use exchange::{ExchangeError, TokenSet};
pub use identity::IdentityError;
pub use join::Visitor;
pub use key_service::{KEYS_DOCUMENT, KeyServiceError, Keys};
pub use login::{Attempt, LoggedIn, Login, NoPlace, Notice, Wait};
pub use operate::AdvanceError;
pub use places::{Exits, Refilled};
pub use recent_joins::BrowserName;
pub use sessions::{Caller, Overrides, Remaining, RestTokens, Worth};
pub use signing::{Place, SigningQueue, Urgency};

use completed_logins::CompletedLogins;
use gate::Latch;
use join_batcher::JoinBatchers;
use lag::Lag;
use rare_keys::RareKeys;
use recent_joins::RecentJoins;
use token_cache::TokenCache;

use crate::ambient::{Clock, Entropy, Secret, Timestamp};
use crate::keys::{CodeSeal, KeyError, MasterSecret, RotationPlan};
use crate::policy;
use crate::room::{CookieKey, EventId, EventSettings, Moment, PassingTime, RequestId, SessionStatus, TicketKey};
use crate::store::{Store, StoreError};

/// Something that failed on our side: the request may be good, and nothing wrong was answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// The store is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A token could not be signed.
    #[error("signing failed: {0}")]
    Signing(Arc<KeyError>),
    /// More waits to be signed than the processors can do in time. Nothing was used up.
    #[error("too much waits to be signed")]
    Busy,
    /// Something that cannot be, with what was seen.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl From<KeyError> for Fault {
    fn from(error: KeyError) -> Self {
        Self::Signing(Arc::new(error))
    }
}

/// A waiting room with all that is needed to serve it.
pub struct Room {
    /// What the operator set.
    pub settings: EventSettings,
    /// Its numbers.
    pub board: Arc<Board>,
    /// Held, across awaits, by who ends sessions and gives their places on: so that the sender of a message is told what
    /// became of its own, and the inlet's tick takes nothing from it in between.
    turn: tokio::sync::Mutex<()>,
    join_batchers: JoinBatchers,
    recent_joins: RecentJoins,
    latch: Latch,
    lag: Lag,
    tickets: TicketKey,
    cookies: CookieKey,
    /// What the clock said when places were last looked at for expiry, in seconds.
    looked_at: AtomicU64,
}

impl Room {
    fn new(settings: EventSettings, master: &Secret) -> Self {
        let tickets = TicketKey::derive(master, &settings.id);
        let cookies = CookieKey::derive(master, &settings.id);
        let board = Arc::default();
        let join_batchers = JoinBatchers::new(&settings.id, &board);
        let (turn, latch, lag) = (tokio::sync::Mutex::default(), Latch::default(), Lag::default());
        let (recent_joins, looked_at) = (RecentJoins::default(), AtomicU64::new(0));
        Self { settings, board, turn, join_batchers, recent_joins, latch, lag, tickets, cookies, looked_at }
    }

    /// Logs whose session was closed, and by whom: an operator, or the topic of a message. The visitor is named by the
    /// position, as a request ID is a secret.
    fn log_closed(&self, request_id: &RequestId, status: SessionStatus, by: &str) {
        let position = self.tickets.position(request_id).map(tracing::field::display);
        tracing::info!(by, event = %self.settings.id, position, ?status, "a session was closed");
    }
}

/// What the world around the use cases provides.
pub struct LobbyDeps {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Where state lives.
    pub store: Arc<dyn Store>,
    /// The deployment's secret: tickets, cookies and keys are derived from it.
    pub master: MasterSecret,
    /// Which signing keys rotate by themselves.
    pub rotation: RotationPlan,
}

/// The use cases over all events of a deployment.
pub struct Lobby {
    issuer: String,
    rooms: HashMap<EventId, Arc<Room>>,
    clients: Clients,
    keys: Keys,
    codes: CodeSeal,
    signing: SigningQueue,
    signed: TokenCache,
    completed_logins: CompletedLogins,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// The time by which things are forgotten.
    forgetting: Mutex<PassingTime>,
    entropy: Arc<dyn Entropy>,
}

impl Lobby {
    /// Opens the lobby: creates what the store does not have yet, and reads how every event stands.
    ///
    /// # Errors
    /// When the store or its key ring cannot be read, or no thread can be started.
    pub async fn open(
        issuer: &str,
        events: Vec<EventSettings>,
        clients: Clients,
        around: LobbyDeps,
    ) -> Result<Self, KeyServiceError> {
        let LobbyDeps { clock, entropy, store, master, rotation } = around;
        let rare = RareKeys::of(&clients);
        let longest_token = events.iter().map(|event| event.validity).max().unwrap_or(policy::DEFAULT_VALIDITY);
        rare.open(&*store, clock.now(), longest_token).await?;
        let keys = Keys::open(&*store, master.clone(), &*entropy, clock.now(), (rare, rotation)).await?;
        let opening = stream::iter(events).map(async |settings| {
            let room = Arc::new(Room::new(settings, master.secret()));
            store.ensure_event(&room.settings.id).await?;
            room.board.refresh(&*store, &room.settings.id).await?;
            Ok::<_, StoreError>((room.settings.id.clone(), room))
        });
        let rooms = opening.buffer_unordered(policy::REFRESHES_AT_ONCE).try_collect().await?;
        let codes = CodeSeal::new(&master);
        let signing = SigningQueue::start(available_parallelism().map_or(1, usize::from))?;
        let (signed, completed_logins) = (TokenCache::default(), CompletedLogins::default());
        let (forgetting, issuer) = (Mutex::default(), issuer.to_owned());
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
            forgetting,
            entropy,
        })
    }

    /// The provider's name.
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
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What waits to be signed.
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

    /// The current time, and how much of it has passed.
    pub fn moment(&self) -> Moment {
        Moment { wall: self.clock.now(), steady: self.clock.steady() }
    }

    /// Returns when `time` has passed, by our clock or by the machine's, whichever is there first.
    pub async fn passes(&self, time: Duration) {
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
