//! The configuration: the TOML file, the `ANTEROOM_*` variables that override it, and the secrets they refer to.
//!
//! Text in, a validated [`Config`] out, or every problem at once, each under the path of its key. The environment is
//! injected; files are read where the configuration refers to them. Must not know what the settings are used for:
//! meanings live in `room` and `oauth`, defaults and limits in `policy`.
//!
//! Reading order: [`Config`] and `root` here, then one file per section; `reader` and `value` are their tools.

mod admin;
mod client;
mod demonstration;
mod diagnostic;
mod endpoints;
mod environment;
mod event;
mod inlet;
mod keys;
mod kubernetes;
mod limits;
mod logging;
mod metrics;
mod notices;
mod overrides;
mod public_url;
mod reader;
mod reference;
mod secret_source;
mod store;
#[cfg(test)]
mod tests;
mod topic;
mod value;
mod warnings;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};
use toml::Table;

use crate::keys::RotationPlan;
use crate::room::{Door, EventSettings, Inlet};
use crate::text::unmarked;
use overrides::Overrides;
use reader::{Read, Reader, Section, Unique};

pub use admin::{Admin, AdminKey, SigV4Pair};
pub use client::ClientConfig;
pub use demonstration::{Demonstration, DemonstrationError, SampleShop, demonstrate};
pub use diagnostic::{ConfigError, Diagnostic};
pub use endpoints::{Endpoints, Hsts, TlsFiles};
pub use environment::Environment;
pub use limits::{Budget, INTERNAL_NETWORKS, Limits, contains, is_internal};
pub use logging::{Log, LogFormat, LogLevel};
pub use metrics::MetricsAccess;
pub use notices::{EventBridgeConfig, NoticeStream, Subscription, WebhookConfig};
pub use overrides::CONFIG_VARIABLE;
pub use public_url::{PublicUrl, PublicUrlError, Scheme};
pub use reference::{Setting, reference, reference_page};
pub use secret_source::{NoSecretSource, SecretSource, SecretSourceError};
pub use store::{DistributedConfig, RedisUrl, StoreConfig};
pub use topic::TopicConfig;

/// The default listening address: only this machine can reach it.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// The default directory for state and generated keys.
pub const DEFAULT_DATA_DIR: &str = "data";

/// The prefix of IPv4 addresses in IPv6 form, `::ffff:0:0/96` (RFC 4291 §2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The addresses.
    pub endpoints: Endpoints,
    /// The directory of the embedded engine and of generated keys.
    pub data_dir: PathBuf,
    /// Proxies that are trusted to name the visitor's address.
    pub trusted_proxies: Vec<IpNet>,
    /// The limits per visitor address.
    pub limits: Limits,
    /// Who may read the metrics without a key.
    pub metrics: MetricsAccess,
    /// Who may use the private API.
    pub admin: Admin,
    /// Which signing keys rotate automatically.
    pub rotation: RotationPlan,
    /// The store.
    pub store: StoreConfig,
    /// The waiting rooms: at least one, each with a unique ID.
    pub events: Vec<EventSettings>,
    /// The relying parties, each with a unique ID and bound to one of the events.
    pub clients: Vec<ClientConfig>,
    /// The webhooks that get notices.
    pub webhooks: Vec<WebhookConfig>,
    /// The event buses that get notices.
    pub event_buses: Vec<EventBridgeConfig>,
    /// The SNS topics that publish departures.
    pub topics: Vec<TopicConfig>,
    /// Whether operators can stream notices even without another sink.
    pub notice_stream: NoticeStream,
    /// The log.
    pub log: Log,
    /// The sample shop to run beside the provider, in a demonstration.
    pub demo: Option<SampleShop>,
    /// Variables with Anteroom's prefix that Kubernetes sets for a service: they set no key.
    pub ignored_variables: Vec<String>,
    /// The files that secrets were read from.
    pub secret_files: Vec<PathBuf>,
}

impl Config {
    /// Reads `file` and its overriding variables, with the secrets of `secret_source`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn load(file: &Path, environment: &Environment, secret_source: &dyn SecretSource) -> Result<Self, ConfigError> {
        Self::parse_with(&text_of(file)?, file, environment, secret_source)
    }

    /// Whether domain events have a sink, so that they must be recorded.
    pub const fn sends_events_out(&self) -> bool {
        !self.webhooks.is_empty() || !self.event_buses.is_empty() || matches!(self.notice_stream, NoticeStream::On)
    }

    /// Reads the text of `file`, whose directory is the base of relative paths, and the overriding variables.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them; a syntax error alone, when there is one.
    pub fn parse(text: &str, file: &Path, environment: &Environment) -> Result<Self, ConfigError> {
        Self::parse_with(text, file, environment, &NoSecretSource)
    }

    /// The same with the secrets of `secret_source`.
    ///
    /// # Errors
    ///
    /// As [`Config::parse`].
    pub fn parse_with(
        text: &str,
        file: &Path,
        environment: &Environment,
        secret_source: &dyn SecretSource,
    ) -> Result<Self, ConfigError> {
        read_with(text, file, environment, secret_source, root)
    }
}

impl Endpoints {
    /// Reads the addresses from `file` and the overriding variables. Secrets are not read, so they may be unavailable.
    ///
    /// # Errors
    ///
    /// Everything else that is wrong with them.
    pub fn load(file: &Path, environment: &Environment) -> Result<Self, ConfigError> {
        read_with(&text_of(file)?, file, environment, &secret_source::NotRead, |section| {
            let endpoints = endpoints::read(section);
            // Read only to report its problems.
            let _inside = sections(section, endpoints.clone());
            endpoints
        })
    }
}

fn text_of(file: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(file).map_err(|error| {
        let message = format!("the configuration cannot be read: {error}");
        ConfigError::of_file(&file.display().to_string(), String::new(), message)
    })
}

fn read_with<T>(
    text: &str,
    file: &Path,
    environment: &Environment,
    secret_source: &dyn SecretSource,
    read: impl FnOnce(&mut Section<'_>) -> Read<T>,
) -> Result<T, ConfigError> {
    let (name, text) = (file.display().to_string(), unmarked(text));
    let mut table: Table = text.parse().map_err(|error| syntax_error(&name, text, &error))?;
    let (overrides, mut diagnostics) = Overrides::apply(&mut table, environment);
    let reader = Reader::new(environment, secret_source, file, overrides);
    let value = reader.read(&table, read);
    diagnostics.extend(reader.into_diagnostics());
    match value {
        Ok(value) if diagnostics.is_empty() => Ok(value),
        _ => Err(ConfigError::new(&name, diagnostics)),
    }
}

/// The position and the error; never the line itself, which may contain a secret.
fn syntax_error(name: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&character| character != '\n').count() + 1;
    let message = format!("this is not TOML: {}", error.message());
    ConfigError::of_file(name, format!("line {line}, column {column}"), message)
}

fn root(section: &mut Section<'_>) -> Read<Config> {
    let endpoints = endpoints::read(section);
    sections(section, endpoints)
}

/// All sections except the addresses.
fn sections(section: &mut Section<'_>, endpoints: Read<Endpoints>) -> Read<Config> {
    let data_dir = section.optional("data_dir", |value| value.path());
    let trusted_proxies = section.list("trusted_proxies", |value| value.parsed(network));
    let limits = section.or("limits", Limits::default(), |value| value.section(limits::read));
    let metrics = section.or("metrics", MetricsAccess::default(), |value| value.section(metrics::read));
    let admin = section.or("admin", Admin::default(), |value| value.section(admin::read));
    let rotation = section.or("keys", RotationPlan::default(), |value| value.section(keys::read));
    let store = section.or("store", StoreConfig::Embedded, |value| value.section(store::read));
    let log = section.or("log", Log::default(), |value| value.section(logging::read));
    let mut event_ids = Unique::default();
    let events = section.tables("event", |event| event::read(event, &mut event_ids));
    if matches!(&events, Ok(events) if events.is_empty()) {
        section.refuse("event", "at least one [[event]] is needed");
    }
    let clients = clients(section, &event_ids, events.as_deref().unwrap_or_default());
    let mut listeners = Unique::default();
    let webhooks = section.tables("webhook", |hook| notices::webhook(hook, &event_ids, &mut listeners));
    let event_buses = section.tables("eventbridge", |bus| notices::event_bus(bus, &event_ids, &mut listeners));
    let notice_stream = section.or("notices", NoticeStream::Off, |value| value.section(notices::stream));
    let topics = topics(section, &event_ids, events.as_deref().unwrap_or_default());
    let known_clients = clients.as_deref().ok();
    let demo = section.optional("demo", |value| value.section(|demo| demonstration::read(demo, known_clients)));
    Ok(Config {
        endpoints: endpoints?,
        data_dir: data_dir?.unwrap_or_else(|| section.directory().join(DEFAULT_DATA_DIR)),
        trusted_proxies: trusted_proxies?,
        limits: limits?,
        metrics: metrics?,
        admin: admin?,
        rotation: rotation?,
        store: store?,
        events: events?,
        clients: clients?,
        webhooks: webhooks?,
        event_buses: event_buses?,
        topics: topics?,
        notice_stream: notice_stream?,
        log: log?,
        demo: demo?,
        ignored_variables: section.ignored_variables().to_vec(),
        secret_files: section.secret_files(),
    })
}

/// The event of a client must accept logins.
fn clients(section: &mut Section<'_>, ids: &Unique, events: &[EventSettings]) -> Read<Vec<ClientConfig>> {
    let mut client_ids = Unique::default();
    section.tables("client", |client| {
        let read = client::read(client, ids, &mut client_ids)?;
        let takes_no_logins = |event: &EventSettings| event.id == read.event && !event.channels.include(Door::Login);
        if events.iter().any(takes_no_logins) {
            return Err(client.refuse("event", "its channels are without \"login\": its visitors could not log in"));
        }
        Ok(read)
    })
}

/// The event of a topic must have an inlet that counts occupancy.
fn topics(section: &mut Section<'_>, ids: &Unique, events: &[EventSettings]) -> Read<Vec<TopicConfig>> {
    let mut arns = Unique::default();
    section.tables("sns_topic", |topic| {
        let read = topic::read(topic, ids, &mut arns)?;
        let takes_no_messages =
            |event: &&EventSettings| event.id == read.event && !matches!(event.inlet, Inlet::MaxSize(_));
        if events.iter().find(takes_no_messages).is_some() {
            return Err(topic.refuse("event", "its inlet has not the strategy \"max_size\", and takes no messages"));
        }
        Ok(read)
    })
}

/// A network, or a single address. IPv4 in IPv6 form (`::ffff:10.0.0.0/104`) is converted to IPv4.
fn network(text: &str) -> Result<IpNet, &'static str> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let network = text.parse::<IpNet>().or_else(|_| address());
    let network = network.map_err(|_| "it must be an IP address or network, such as 10.0.0.0/8")?;
    let canonical = match (network.addr().to_canonical(), network.prefix_len().checked_sub(MAPPED_PREFIX)) {
        (IpAddr::V4(address), Some(prefix)) if matches!(network, IpNet::V6(_)) => {
            Ipv4Net::new(address, prefix).map_or(network, IpNet::V4)
        }
        _ => network,
    };
    Ok(canonical.trunc())
}
