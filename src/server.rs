//! Wiring: starts a service from a configuration, and stops it. The only place that picks an engine.

mod connections;
mod startup_retry;
mod state;
mod tls;
mod transfer;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::dev::{Server, ServerHandle};
use actix_web::web::Data;
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};
use tokio::task::JoinHandle;

pub use state::{create_tables, open_offline};
pub use tls::{TlsError, check as check_tls};
pub use transfer::{MoveError, SecretLine, export, import};

use connections::{Connections, Socket, serve, serve_shop};
use startup_retry::retry_until_open;
use state::{OpenState, open_store, read_state};

use crate::ambient::{Clock, Entropy};
use crate::aws::MissingRegionError;
use crate::aws::sns::Inbox;
use crate::config::{Config, Hsts, SampleShop, Scheme, StoreConfig, TopicConfig};
use crate::demo::{Shop, ShopApp};
use crate::gates::{Gates, GatesError};
use crate::http::{Shutdown, StopTimes};
use crate::keys::MasterSecretError;
use crate::lobby::{BackgroundTasks, KeyServiceError, Lobby};
use crate::notices::{Notices, NoticesError};
use crate::outbound::OutboundError;
use crate::policy;
use crate::store::StoreError;
use crate::store::embedded::OpenError;
use crate::telemetry::Telemetry;
use crate::web::{App, Feeds, Mounts, Site, Streams, Topics};

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is in use or not available.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The operating system's error.
        source: io::Error,
    },
    /// The process may open too few files; each connection is one.
    #[error(
        "the limit of open files is {limit}, and at least {} are needed: raise it (ulimit -n, LimitNOFILE)",
        policy::LEAST_FILES
    )]
    OpenFiles {
        /// The limit.
        limit: usize,
    },
    /// A command that works on existing state finds none.
    #[error("there is nothing in the data directory {} yet: the first `anteroom serve` fills it", path.display())]
    Empty {
        /// The data directory.
        path: PathBuf,
    },
    /// The DynamoDB client cannot be configured.
    #[error("store: {0}")]
    Aws(#[from] MissingRegionError),
    /// An address of Redis cannot be used.
    #[error("store.redis_url: {0}")]
    Redis(String),
    /// The distributed engine does not open.
    #[error("store: {0}")]
    Tables(#[from] StoreError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The master secret cannot be used.
    #[error("{}: {source}", path.display())]
    MasterSecret {
        /// Its file.
        path: PathBuf,
        /// The cause.
        source: MasterSecretError,
    },
    /// An import was interrupted.
    #[error("an import into this store was broken off: run `anteroom store import` with the same file once more")]
    HalfImported,
    /// The master secret that the nodes share cannot be used.
    #[error("the master secret in the table of documents: {0}")]
    SharedSecret(MasterSecretError),
    /// The master secret is missing although data sealed under it exists.
    #[error("{} is missing, and the signing keys in the store were sealed under it: put it back from your backup, or \
             begin with an empty data directory", path.display())]
    SecretMissing {
        /// Its file.
        path: PathBuf,
    },
    /// The stored state cannot be read or completed.
    #[error("the state in {place} cannot be opened: {source}")]
    State {
        /// The data directory, or the tables.
        place: String,
        /// The cause.
        source: KeyServiceError,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The delivery of notices cannot start.
    #[error(transparent)]
    Notices(#[from] NoticesError),
    /// The probes of gates cannot start.
    #[error(transparent)]
    Gates(#[from] GatesError),
    /// The messages of a topic cannot be verified.
    #[error("the messages of {topic} cannot be checked: {source}")]
    Topic {
        /// The topic.
        topic: String,
        /// The cause.
        source: OutboundError,
    },
    /// The sample shop cannot start.
    #[error("the sample shop cannot be opened: {0}")]
    Shop(#[source] io::Error),
    /// The discovery document cannot be serialised.
    #[error("the discovery document cannot be written: {0}")]
    Discovery(#[from] serde_json::Error),
}

/// The injected clock and randomness.
#[derive(Clone)]
pub struct SystemDeps {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// A running service.
pub struct Running {
    /// The public listening address.
    pub address: SocketAddr,
    /// The private listening address, if there is one.
    pub private_address: Option<SocketAddr>,
    /// The address of the sample shop, if it runs.
    pub shop: Option<String>,
    /// Its public URL.
    pub issuer: String,
    lobby: Arc<Lobby>,
    feeds: Arc<Feeds>,
    notices: Option<Arc<Notices>>,
    background: BackgroundTasks,
    gates: Gates,
    publishers: Vec<JoinHandle<()>>,
    shutdown: Arc<Shutdown>,
    servers: Vec<ServerHandle>,
    serving: Vec<JoinHandle<io::Result<()>>>,
}

/// Starts the service. It serves when this returns, and does not listen before; while a shared store is away, the start
/// waits. Dropping the future ends the start.
///
/// # Errors
/// See [`StartError`]; nothing keeps running then.
pub async fn start(mut config: Config, system: SystemDeps) -> Result<Running, StartError> {
    let listener = reserve(config.endpoints.listen)?;
    let address = address_of(&listener)?;
    config.endpoints.public_url = config.endpoints.public_url.with_chosen_port(address.port());
    let private = config.endpoints.private_listen.map(reserve).transpose()?;
    let private_address = private.as_ref().map(address_of).transpose()?;
    let shop = config.demo.as_ref().map(|shop| reserve(shop.listen)).transpose()?;
    if let Some(listener) = &shop {
        config.place_shop(address_of(listener)?.port());
    }
    let tls = config.endpoints.tls.as_ref().map(tls::load).transpose()?;
    let parts = Connections::divide(private.is_some(), shop.is_some())?;

    let telemetry = Arc::new(Telemetry::default());
    let store = open_store(&config, &system, &telemetry).await?;
    let opening = async || {
        let opened = read_state(&config, &system, &store).await?;
        let notices = open_notices(&config, &opened.lobby).await?;
        Ok((opened, notices))
    };
    let (OpenState { lobby, master }, notices) = match config.store {
        StoreConfig::Embedded => opening().await?,
        StoreConfig::Distributed(_) => retry_until_open(address, opening).await?,
    };
    let feeds = Arc::new(Feeds::new(&lobby));
    let site = site(&config);
    let app = App::new(Arc::clone(&lobby), site, &master, config.admin.clone(), telemetry, Arc::clone(&feeds))?;
    let streams = Streams::new(parts.public.visitors_share());
    let app = Data::new(app.with_notices(notices.clone()).with_topics(topics(&config)?).with_streams(streams));
    let gates = Gates::start(&lobby).await?;
    [Some(&listener), private.as_ref(), shop.as_ref()].into_iter().flatten().try_for_each(listen)?;
    let mounts = if private.is_some() { Mounts::Public } else { Mounts::All };
    let shutdown = Arc::new(Shutdown::default());
    let mut servers = vec![serve(&app, mounts, Socket { listener, tls, parts: parts.public }, &shutdown)?];
    if let Some(listener) = private {
        let socket = Socket { listener, tls: None, parts: parts.private };
        servers.push(serve(&app, Mounts::Private, socket, &shutdown)?);
    }
    if let Some((listener, shop)) = shop.zip(open_shop(&config, &system)?) {
        servers.push(serve_shop(shop, Socket { listener, tls: None, parts: parts.shop }, &shutdown)?);
    }

    Ok(Running {
        address,
        private_address,
        shop: config.demo.as_ref().map(SampleShop::url),
        issuer: lobby.issuer().to_owned(),
        background: BackgroundTasks::start(&lobby),
        gates,
        publishers: feeds.publish(&lobby),
        servers: servers.iter().map(Server::handle).collect(),
        serving: servers.into_iter().map(tokio::spawn).collect(),
        lobby,
        feeds,
        notices,
        shutdown,
    })
}

impl Running {
    /// The use cases, for tests.
    pub const fn lobby(&self) -> &Arc<Lobby> {
        &self.lobby
    }

    /// Finishes pending requests, ends the streams, and stops all tasks.
    pub async fn stop(self) {
        self.stop_within(StopTimes::default()).await;
    }

    /// The same with other time limits.
    pub async fn stop_within(self, times: StopTimes) {
        self.feeds.close();
        self.notices.iter().for_each(|notices| notices.close());
        self.shutdown.run(&self.servers, times).await;
        for serving in self.serving {
            if let Ok(Err(error)) = serving.await {
                tracing::error!(%error, "a listener failed; the stop continues");
            }
        }
        self.publishers.iter().for_each(JoinHandle::abort);
        self.background.stop().await;
        self.gates.stop().await;
        if let Some(notices) = self.notices {
            notices.stop().await;
        }
        self.lobby.store().close().await;
    }
}

/// Binds the address; connections are still refused.
fn reserve(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bind = || {
        let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        // Connections inherit these.
        socket.set_recv_buffer_size(policy::SOCKET_RECEIVES)?;
        socket.set_send_buffer_size(policy::SOCKET_SENDS)?;
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    bind().map_err(|source| StartError::Listen { address, source })
}

/// Accepts connections.
fn listen(reserved: &TcpListener) -> Result<(), StartError> {
    let address = address_of(reserved)?;
    SockRef::from(reserved).listen(policy::BACKLOG).map_err(|source| StartError::Listen { address, source })
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| StartError::Listen { address: unknown, source })
}

async fn open_notices(config: &Config, lobby: &Arc<Lobby>) -> Result<Option<Arc<Notices>>, NoticesError> {
    if !config.sends_events_out() {
        return Ok(None);
    }
    Ok(Some(Arc::new(Notices::start(lobby, &config.webhooks, &config.event_buses).await?)))
}

fn topics(config: &Config) -> Result<Topics, StartError> {
    let inbox = |configured: &TopicConfig| {
        let TopicConfig { topic, event } = configured;
        let inbox = Inbox::new(topic.clone());
        let inbox = inbox.map_err(|source| StartError::Topic { topic: topic.arn.to_string(), source })?;
        Ok((topic.arn.to_string(), (inbox, event.clone())))
    };
    config.topics.iter().map(inbox).collect()
}

fn site(config: &Config) -> Site {
    Site {
        issuer: config.endpoints.public_url.as_str().to_owned(),
        base_path: config.endpoints.public_url.path_prefix().to_owned(),
        https: config.endpoints.public_url.scheme() == Scheme::Https,
        hsts: config.endpoints.hsts == Hsts::Sent && config.endpoints.public_url.scheme() == Scheme::Https,
        trusted_proxies: config.trusted_proxies.clone(),
        limits: config.limits.clone(),
        metrics: config.metrics.clone(),
    }
}

/// The sample shop of a demonstration.
fn open_shop(config: &Config, system: &SystemDeps) -> Result<Option<ShopApp>, StartError> {
    let Some(sample) = &config.demo else { return Ok(None) };
    let client = config.clients.iter().map(|configured| &configured.client).find(|one| one.id == sample.client_id);
    let secret = client.and_then(|client| client.secret.clone());
    let no_client = || StartError::Shop(io::Error::other("its client is not configured or has no secret"));
    let shop = Shop {
        public_url: sample.url().parse().map_err(|error| StartError::Shop(io::Error::other(error)))?,
        issuer: config.endpoints.public_url.as_str().to_owned(),
        client_id: sample.client_id.clone(),
        client_secret: secret.ok_or_else(no_client)?,
    };
    let (clock, entropy) = (Arc::clone(&system.clock), Arc::clone(&system.entropy));
    ShopApp::new(shop, clock, entropy).map(Some).map_err(StartError::Shop)
}
