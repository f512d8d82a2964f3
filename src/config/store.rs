//! `[store]`: where state lives.

use std::fmt;
use std::str;

use url::Url;
use zeroize::Zeroizing;

use super::reader::{Read, Section};
use super::value::{Found, web_address};
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

/// What the nodes of a deployment share.
#[derive(Clone, Debug)]
pub struct DistributedConfig {
    /// Where Redis is: at least one address. Several are nodes of one Redis Cluster, each as good as the others.
    pub redis_urls: Vec<RedisUrl>,
    /// Where DynamoDB is; unset: AWS's, region and credentials as every AWS SDK finds them.
    pub dynamodb_endpoint: Option<Url>,
    /// What the names of tables, and of channels in Redis, begin with.
    pub table_prefix: String,
    /// What every symmetric key of the deployment is derived from; unset: the first node makes it and leaves it in DynamoDB.
    pub master_secret: Option<MasterSecret>,
}

/// The address of a Redis, checked, with the password that it may hold. Shown without user and password.
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

    /// Whether it holds one.
    fn has_password(&self) -> bool {
        Url::parse(&self.text).is_ok_and(|url| url.password().is_some())
    }

    /// Takes `redis://HOST`, and `rediss://HOST` for TLS.
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

/// The keys that mean nothing without the distributed engine.
const OF_THE_DISTRIBUTED_ENGINE: [&str; 4] = ["redis_url", "dynamodb_endpoint", "table_prefix", "master_secret"];

/// What the names of tables begin with, unless it is said otherwise.
pub(super) const DEFAULT_TABLE_PREFIX: &str = "anteroom-";

/// Leaves most of the 255 characters of a table's name to its own (DynamoDB Developer Guide, *Naming rules*).
const MAX_TABLE_PREFIX: usize = 64;

/// The engines by name.
#[derive(Clone, Copy)]
enum Engine {
    Embedded,
    Distributed,
}

pub(super) fn read(section: &mut Section<'_>) -> Read<StoreConfig> {
    let engines = [("embedded", Engine::Embedded), ("distributed", Engine::Distributed)];
    match section.or("engine", Engine::Embedded, |found| found.choice(&engines)) {
        Ok(Engine::Embedded) => {
            let others = OF_THE_DISTRIBUTED_ENGINE
                .map(|key| section.unfit(key, "it belongs to the distributed engine, and engine is \"embedded\""));
            others.into_iter().collect::<Read<()>>().map(|()| StoreConfig::Embedded)
        }
        Ok(Engine::Distributed) => distributed(section).map(StoreConfig::Distributed),
        Err(noted) => {
            section.ignore_the_rest();
            Err(noted)
        }
    }
}

fn distributed(section: &mut Section<'_>) -> Read<DistributedConfig> {
    let redis_urls = section.required("redis_url", redis_urls);
    let dynamodb_endpoint = section.optional("dynamodb_endpoint", |found| found.parsed(endpoint));
    let table_prefix = section.or("table_prefix", DEFAULT_TABLE_PREFIX.to_owned(), |found| found.parsed(table_prefix));
    let master_secret = section.optional("master_secret", master_secret);
    Ok(DistributedConfig {
        redis_urls: redis_urls?,
        dynamodb_endpoint: dynamodb_endpoint?,
        table_prefix: table_prefix?,
        master_secret: master_secret?,
    })
}

fn redis_urls(found: &Found<'_>) -> Read<Vec<RedisUrl>> {
    let urls = if found.is_list() { found.each(urls_of_text)?.concat() } else { urls_of_text(found)? };
    if urls.is_empty() { Err(found.refuse("at least one is needed")) } else { Ok(urls) }
}

/// One, or several with commas between them: a variable or a secret is always one text.
fn urls_of_text(found: &Found<'_>) -> Read<Vec<RedisUrl>> {
    let text = found.referenced()?;
    let text = str::from_utf8(text.expose()).map_err(|_| found.refuse(NOT_A_REDIS_URL))?;
    let urls: Result<Vec<RedisUrl>, _> = text.split(',').map(|url| RedisUrl::parse(url.trim())).collect();
    let urls = urls.map_err(|message| found.refuse(message))?;
    if urls.iter().any(RedisUrl::has_password) {
        found.note_secret();
    }
    Ok(urls)
}

fn master_secret(found: &Found<'_>) -> Read<MasterSecret> {
    let text = found.referenced()?;
    found.note_secret();
    let text = str::from_utf8(text.expose()).unwrap_or_default();
    MasterSecret::parse(text).map_err(|error| found.refuse(error.to_string()))
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
