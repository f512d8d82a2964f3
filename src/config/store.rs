//! `[store]`: the engine and its settings.

use std::fmt;
use std::str;

use url::Url;
use zeroize::Zeroizing;

use super::reader::{Read, Section};
use super::value::{Value, web_address};
use crate::keys::MasterSecret;

/// The engine that keeps the state.
#[derive(Clone, Debug, Default)]
pub enum StoreConfig {
    /// SQLite in the data directory.
    #[default]
    Embedded,
    /// Redis and DynamoDB, for several nodes.
    Distributed(DistributedConfig),
}

/// The settings that the nodes of a deployment share.
#[derive(Clone, Debug)]
pub struct DistributedConfig {
    /// The addresses of Redis, at least one. Several are nodes of one Redis Cluster, in any order.
    pub redis_urls: Vec<RedisUrl>,
    /// The address of DynamoDB; unset: AWS's, with the region and credentials that every AWS SDK finds.
    pub dynamodb_endpoint: Option<Url>,
    /// The prefix of the names of tables and of channels in Redis.
    pub table_prefix: String,
    /// The secret from which every symmetric key of the deployment is derived; unset: the first node generates it and
    /// stores it in DynamoDB.
    pub master_secret: Option<MasterSecret>,
}

/// A validated address of Redis, with its password if any. Displayed without user and password.
#[derive(Clone)]
pub struct RedisUrl {
    text: Zeroizing<String>,
    shown: String,
}

impl RedisUrl {
    /// The URL, password and all: `redis://` or `rediss://`; never for a log or an answer.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether it has a password.
    fn has_password(&self) -> bool {
        Url::parse(&self.text).is_ok_and(|url| url.password().is_some())
    }

    /// Parses `redis://HOST`, and `rediss://HOST` for TLS.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| NOT_A_REDIS_URL)?;
        let host = url.host_str().filter(|host| !host.is_empty() && matches!(url.scheme(), "redis" | "rediss"));
        let host = host.ok_or(NOT_A_REDIS_URL)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err("it must have no query and no fragment");
        }
        let path = url.path().trim_start_matches('/');
        if !path.is_empty() && path.parse::<u8>().is_err() {
            return Err("after the host there must be nothing, or the number of a database, such as /0");
        }
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let shown = format!("{}://{host}{port}{}", url.scheme(), url.path());
        Ok(Self { text: Zeroizing::new(text.to_owned()), shown })
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RedisUrl({self})")
    }
}

const NOT_A_REDIS_URL: &str =
    "it must be a URL such as redis://HOST:6379, or rediss:// for TLS; a comma in a password is written %2C";

/// The keys of the distributed engine alone.
const OF_THE_DISTRIBUTED_ENGINE: [&str; 4] = ["redis_url", "dynamodb_endpoint", "table_prefix", "master_secret"];

/// The default prefix of table names.
pub(super) const DEFAULT_TABLE_PREFIX: &str = "anteroom-";

/// Leaves most of a table name's 255 characters to the name itself (DynamoDB Developer Guide, *Naming rules*).
const MAX_TABLE_PREFIX: usize = 64;

/// The engines by name.
#[derive(Clone, Copy)]
enum Engine {
    Embedded,
    Distributed,
}

pub(super) fn read(section: &mut Section<'_>) -> Read<StoreConfig> {
    let engines = [("embedded", Engine::Embedded), ("distributed", Engine::Distributed)];
    match section.or("engine", Engine::Embedded, |value| value.choice(&engines)) {
        Ok(Engine::Embedded) => {
            let others = OF_THE_DISTRIBUTED_ENGINE.map(|key| {
                section.reject_if_set(key, "it belongs to the distributed engine, and engine is \"embedded\"")
            });
            others.into_iter().collect::<Read<()>>().map(|()| StoreConfig::Embedded)
        }
        Ok(Engine::Distributed) => distributed(section).map(StoreConfig::Distributed),
        Err(reported) => {
            section.ignore_unknown_keys();
            Err(reported)
        }
    }
}

fn distributed(section: &mut Section<'_>) -> Read<DistributedConfig> {
    let redis_urls = section.required("redis_url", redis_urls);
    let dynamodb_endpoint = section.optional("dynamodb_endpoint", |value| value.parsed(endpoint));
    let table_prefix = section.or("table_prefix", DEFAULT_TABLE_PREFIX.to_owned(), |value| value.parsed(table_prefix));
    let master_secret = section.optional("master_secret", master_secret);
    Ok(DistributedConfig {
        redis_urls: redis_urls?,
        dynamodb_endpoint: dynamodb_endpoint?,
        table_prefix: table_prefix?,
        master_secret: master_secret?,
    })
}

fn redis_urls(value: &Value<'_>) -> Read<Vec<RedisUrl>> {
    let urls = if value.is_list() { value.each(urls_of_text)?.concat() } else { urls_of_text(value)? };
    if urls.is_empty() { Err(value.refuse("at least one is needed")) } else { Ok(urls) }
}

/// One URL, or several separated by commas: a variable or a secret is always one text.
fn urls_of_text(value: &Value<'_>) -> Read<Vec<RedisUrl>> {
    let text = value.referenced()?;
    let text = str::from_utf8(text.expose()).map_err(|_| value.refuse(NOT_A_REDIS_URL))?;
    let urls: Result<Vec<RedisUrl>, _> = text.split(',').map(|url| RedisUrl::parse(url.trim())).collect();
    let urls = urls.map_err(|message| value.refuse(message))?;
    if urls.iter().any(RedisUrl::has_password) {
        value.note_secret();
    }
    Ok(urls)
}

fn master_secret(value: &Value<'_>) -> Read<MasterSecret> {
    let text = value.referenced()?;
    value.note_secret();
    let text = str::from_utf8(text.expose()).unwrap_or_default();
    MasterSecret::parse(text).map_err(|error| value.refuse(error.to_string()))
}

fn endpoint(text: &str) -> Result<Url, &'static str> {
    let url = web_address(text)?;
    let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if bare && url.fragment().is_none() { Ok(url) } else { Err("it must have no user, password, query or fragment") }
}

fn table_prefix(text: &str) -> Result<String, &'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let good = text.len() <= MAX_TABLE_PREFIX && text.bytes().all(allowed);
    if good { Ok(text.to_owned()) } else { Err("it must be at most 64 letters, digits, '_', '.' and '-'") }
}
