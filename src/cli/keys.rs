//! `keys`: lists and rotates the signing keys, whether the service runs or not.
//!
//! The state belongs to one process. If no other process holds it, the command opens it itself; if a running service
//! does, the command calls that service's private API with the first admin key of the configuration.

use std::sync::Arc;

use anteroom::ambient::{OsEntropy, SystemClock};
use anteroom::config::{Config, Environment};
use anteroom::keys::{KeyChannel, KeyState, PublishedKey, Rotation};
use anteroom::lobby::Lobby;
use anteroom::policy::KEYS_CALL_TIMEOUT;
use anteroom::server::{self, StartError, SystemDeps};
use anteroom::store::embedded::OpenError;
use anteroom::web::{KEYS, KeyList, ROTATE_KEYS, RotateKeys};
use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;

use super::local_client::{block_on, cause, client, operators_url};
use super::{CliError, ConfigFile, existing_config, print};

/// The subcommands.
#[derive(Subcommand)]
pub(super) enum KeysCommand {
    /// List the published keys: algorithm, key ID, and what each is there for
    List(ConfigFile),
    /// Let the next keys sign, and publish new next ones
    Rotate(Rotate),
}

#[derive(Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    file: ConfigFile,
    /// Do not wait until the next keys have been published for a day: sites that keep an old key set may refuse
    /// logins until they fetch it again
    #[arg(long, conflicts_with = "compromised")]
    at_once: bool,
    /// The keys are known to others: drop all of them, so that no token signed before is accepted any more
    #[arg(long)]
    compromised: bool,
    /// Rotate the keys of this channel alone: those of OpenID Connect, or that of the REST calls
    #[arg(long, value_enum)]
    channel: Option<Channel>,
}

/// A channel, as the command line names it.
#[derive(Clone, Copy, ValueEnum)]
enum Channel {
    Login,
    Rest,
}

impl From<Channel> for KeyChannel {
    fn from(channel: Channel) -> Self {
        match channel {
            Channel::Login => Self::Login,
            Channel::Rest => Self::Rest,
        }
    }
}

pub(super) fn run(command: KeysCommand, environment: &Environment) -> Result<(), CliError> {
    let (file, rotation) = match command {
        KeysCommand::List(file) => (file, None),
        KeysCommand::Rotate(Rotate { file, at_once, compromised, channel }) => {
            let how = match (at_once, compromised) {
                (_, true) => Rotation::Compromised,
                (true, false) => Rotation::AtOnce,
                (false, false) => Rotation::Patient,
            };
            (file, Some(RotateKeys { how, channel: channel.map(KeyChannel::from) }))
        }
    };
    let config = existing_config(file.named(environment).as_deref(), environment)?;
    let keys = block_on(async {
        let system = SystemDeps { clock: Arc::new(SystemClock), entropy: Arc::new(OsEntropy) };
        match server::open_offline(&config, &system).await {
            Ok(lobby) => run_locally(&lobby, rotation).await,
            Err(StartError::Store(held @ OpenError::InUse { .. })) => run_remotely(&config, rotation, &held).await,
            Err(error) => Err(CliError::Runtime(error.to_string())),
        }
    })?;
    print(&table(&keys));
    Ok(())
}

async fn run_locally(lobby: &Lobby, rotation: Option<RotateKeys>) -> Result<Vec<PublishedKey>, CliError> {
    let keys = match rotation {
        None => Ok(lobby.keys().published(lobby.now())),
        Some(rotation) => {
            lobby.rotate_keys(rotation.uses(), rotation.how).await.map_err(|error| CliError::Runtime(error.to_string()))
        }
    };
    lobby.store().close().await;
    keys
}

/// Calls the process that holds the state; `held` names it.
async fn run_remotely(
    config: &Config,
    rotation: Option<RotateKeys>,
    held: &OpenError,
) -> Result<Vec<PublishedKey>, CliError> {
    let failed = |reason: String| CliError::Runtime(format!("{held}, and {reason}"));
    let Some(admin) = config.admin.keys.first() else {
        return Err(failed("[admin] has no key to ask that process with".to_owned()));
    };
    let key = std::str::from_utf8(admin.key.expose()).map_err(|_| failed("its admin key is not text".to_owned()))?;
    let (method, path) = if rotation.is_some() { (Method::POST, ROTATE_KEYS) } else { (Method::GET, KEYS) };
    let url = operators_url(&config.endpoints, path);
    let certificate = config.endpoints.tls.as_ref().map(|tls| tls.certificate.as_path());
    let mut request = client(certificate, KEYS_CALL_TIMEOUT)?.request(method, &url).bearer_auth(key);
    if let Some(rotation) = rotation {
        let body = serde_json::to_string(&rotation).map_err(|error| failed(error.to_string()))?;
        request = request.header(CONTENT_TYPE, "application/json").body(body);
    }
    let answer = request.send().await.map_err(|error| failed(format!("{url} does not answer: {}", cause(&error))))?;
    let status = answer.status();
    let body = answer.text().await.map_err(|error| failed(format!("{url} breaks off: {}", cause(&error))))?;
    if !status.is_success() {
        let reason = refusal(&body).unwrap_or_else(|| format!("{url} answers {status}: {}", body.trim()));
        return Err(CliError::Runtime(reason));
    }
    let list: KeyList = serde_json::from_str(&body).map_err(|_| failed(format!("{url} does not list keys")))?;
    Ok(list.keys)
}

/// The error message of the private API.
fn refusal(body: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    body.get("error")?.as_str().map(str::to_owned)
}

fn table(keys: &[PublishedKey]) -> String {
    let line = |key: &PublishedKey| {
        let state = match key.state {
            KeyState::Signing => "signing",
            KeyState::Next => "next",
            KeyState::Retired => "retired",
        };
        let channels = key.channels.iter().map(|channel| match channel {
            KeyChannel::Login => "login",
            KeyChannel::Rest => "rest",
        });
        let channels = channels.collect::<Vec<_>>().join(",");
        format!("{:<5}  {}  {state:<7}  {channels}", key.alg.as_str(), key.kid).trim_end().to_owned() + "\n"
    };
    keys.iter().map(line).collect()
}
