//! Opens the state of a deployment: its engine, its master secret, its lobby.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{StartError, SystemDeps};
use crate::aws;
use crate::config::{Config, DistributedConfig, StoreConfig};
use crate::keys::MasterSecret;
use crate::lobby::{Clients, KEYS_DOCUMENT, KeyServiceError, Lobby, LobbyDeps, RegisteredClient};
use crate::store::distributed::{self, Creation, DistributedStore};
use crate::store::embedded::EmbeddedStore;
use crate::store::timed::Timed;
use crate::store::transfer::{IMPORT, IMPORTING};
use crate::store::{OutboxMode, Store};
use crate::telemetry::Telemetry;

/// The name of the master secret's file in the data directory, and of its document in a shared store.
pub(super) const MASTER_SECRET: &str = "master-secret";

/// The opened state of a deployment.
pub(super) struct OpenState {
    pub(super) lobby: Arc<Lobby>,
    pub(super) master: MasterSecret,
}

/// Opens the state of a stopped service, for commands that work on it. The embedded engine's is locked until the
/// lobby's store is closed.
///
/// # Errors
/// See [`StartError`]; [`StartError::Store`] when a running service holds the state.
pub async fn open_offline(config: &Config, system: &SystemDeps) -> Result<Arc<Lobby>, StartError> {
    let embedded = matches!(config.store, StoreConfig::Embedded);
    if embedded && !config.data_dir.join(MASTER_SECRET).exists() {
        return Err(StartError::Empty { path: config.data_dir.clone() });
    }
    let store = open_store(config, system, &Arc::new(Telemetry::default())).await?;
    Ok(read_state(config, system, &store).await?.lobby)
}

/// Creates the missing tables of the distributed engine. `None`: the embedded engine has none.
///
/// # Errors
/// See [`StartError`].
pub async fn create_tables(config: &Config) -> Result<Option<Creation>, StartError> {
    match &config.store {
        StoreConfig::Embedded => Ok(None),
        StoreConfig::Distributed(shared) => {
            let dynamodb = aws::dynamodb(shared.dynamodb_endpoint.as_ref().map(url::Url::as_str)).await?;
            Ok(Some(distributed::create_tables(dynamodb, &shared.table_prefix, Arc::new(Telemetry::default())).await?))
        }
    }
}

/// The configured engine. The distributed one has not contacted DynamoDB yet.
pub(super) async fn open_store(
    config: &Config,
    system: &SystemDeps,
    telemetry: &Arc<Telemetry>,
) -> Result<Arc<dyn Store>, StartError> {
    let outbox = match config.sends_events_out() {
        true => OutboxMode::Kept(Arc::clone(&system.clock)),
        false => OutboxMode::Off,
    };
    Ok(match &config.store {
        StoreConfig::Embedded => {
            Arc::new(Timed::new(EmbeddedStore::open_with(&config.data_dir, outbox)?, telemetry.clone()))
        }
        StoreConfig::Distributed(shared) => {
            Arc::new(Timed::new(open_distributed(shared, system, outbox, telemetry).await?, telemetry.clone()))
        }
    })
}

/// Reads the state of the deployment, and creates what is missing.
pub(super) async fn read_state(
    config: &Config,
    system: &SystemDeps,
    store: &Arc<dyn Store>,
) -> Result<OpenState, StartError> {
    let master = match &config.store {
        StoreConfig::Embedded => local_master_secret(config, system, &**store).await?,
        StoreConfig::Distributed(shared) => shared_master_secret(shared, system, &**store).await?,
    };
    if store.document(IMPORT).await?.is_some_and(|import| import.body == IMPORTING) {
        return Err(StartError::HalfImported);
    }
    let lobby = open_lobby(config, system, Arc::clone(store), master.clone()).await?;
    Ok(OpenState { lobby: Arc::new(lobby), master })
}

pub(super) async fn open_distributed(
    shared: &DistributedConfig,
    system: &SystemDeps,
    outbox: OutboxMode,
    telemetry: &Arc<Telemetry>,
) -> Result<DistributedStore, StartError> {
    let options = distributed::Options {
        dynamodb: aws::dynamodb(shared.dynamodb_endpoint.as_ref().map(url::Url::as_str)).await?,
        redis: redis_clients(shared)?,
        table_prefix: shared.table_prefix.clone(),
        outbox,
        entropy: Arc::clone(&system.entropy),
        clock: Arc::clone(&system.clock),
        meter: telemetry.clone(),
    };
    Ok(DistributedStore::open(options)?)
}

/// The clients of Redis.
pub(super) fn redis_clients(shared: &DistributedConfig) -> Result<Vec<distributed::RedisClient>, StartError> {
    shared.redis_urls.iter().map(|url| redis_client(url.expose())).collect()
}

fn redis_client(url: &str) -> Result<distributed::RedisClient, StartError> {
    // The library's own text could contain the address and its password.
    distributed::RedisClient::open(url).map_err(|error| StartError::Redis(error.category().to_owned()))
}

/// The master secret of a single-process deployment. It is created only without existing keys: beside keys sealed under
/// another secret, a new one would hide that the old one is missing.
async fn local_master_secret(
    config: &Config,
    system: &SystemDeps,
    store: &dyn Store,
) -> Result<MasterSecret, StartError> {
    let path = config.data_dir.join(MASTER_SECRET);
    let state = |source| StartError::State { place: location(config), source: KeyServiceError::Store(source) };
    let in_use = store.document(KEYS_DOCUMENT).await.map_err(state)?.is_some();
    if in_use && !path.exists() {
        return Err(StartError::SecretMissing { path });
    }
    let made = MasterSecret::load_or_create(&path, &*system.entropy);
    Ok(made.map_err(|source| StartError::MasterSecret { path, source })?.0)
}

/// The master secret of all nodes: the configured one, or else the one that the first node created and stored.
async fn shared_master_secret(
    shared: &DistributedConfig,
    system: &SystemDeps,
    store: &dyn Store,
) -> Result<MasterSecret, StartError> {
    if let Some(secret) = &shared.master_secret {
        return Ok(secret.clone());
    }
    if store.document(MASTER_SECRET).await?.is_none() {
        // Of several nodes that start together one creates it; all read the result.
        let fresh = MasterSecret::generate(&*system.entropy);
        store.replace_document(MASTER_SECRET, 0, fresh.to_text().as_bytes()).await?;
    }
    let made = Zeroizing::new(store.document(MASTER_SECRET).await?.map(|made| made.body).unwrap_or_default());
    MasterSecret::parse(&String::from_utf8_lossy(&made)).map_err(StartError::SharedSecret)
}

/// The location of the state, as operators know it.
fn location(config: &Config) -> String {
    match &config.store {
        StoreConfig::Embedded => config.data_dir.display().to_string(),
        StoreConfig::Distributed(shared) => format!("DynamoDB's tables {}…", shared.table_prefix),
    }
}

async fn open_lobby(
    config: &Config,
    system: &SystemDeps,
    store: Arc<dyn Store>,
    master: MasterSecret,
) -> Result<Lobby, StartError> {
    let clients = config
        .clients
        .iter()
        .map(|configured| RegisteredClient { client: configured.client.clone(), event: configured.event.clone() });
    let around = LobbyDeps {
        clock: Arc::clone(&system.clock),
        entropy: Arc::clone(&system.entropy),
        store,
        master,
        rotation: config.rotation,
    };
    let clients: Clients = clients.collect();
    let opened = Lobby::open(config.endpoints.public_url.as_str(), config.events.clone(), clients, around).await;
    opened.map_err(|source| StartError::State { place: location(config), source })
}
