//! The suite of the port against the distributed engine, on a real Redis and DynamoDB Local.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};

use super::servers::{Servers, servers};
use super::{DistributedStore, Meter, Options, RequestKind, create_tables};
use crate::ambient::{FrozenClock, OsEntropy};
use crate::store::suite::{Shared, at, outbox_suite, store_suite};
use crate::store::{OutboxMode, Store};

fn client(servers: &Servers) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(crate::aws::http_client())
        .endpoint_url(&servers.dynamodb)
        .region(Region::new("local"))
        .credentials_provider(Credentials::new("local", "local", None, None, "test"))
        .build();
    Client::from_conf(config)
}

/// What is asked costs nothing here.
struct Free;

impl Meter for Free {
    fn request(&self, _kind: RequestKind, _units: f64) {}
}

/// Tables of its own for each test.
fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("test{}-", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A node of the deployment with these tables.
fn node(servers: &Servers, prefix: &str, outbox: OutboxMode) -> DistributedStore {
    let redis = vec![redis::Client::open(servers.redis.as_str()).unwrap()];
    let entropy = Arc::new(OsEntropy);
    let (dynamodb, table_prefix, meter) = (client(servers), prefix.to_owned(), Arc::new(Free));
    let options = Options { dynamodb, redis, table_prefix, outbox, entropy, meter };
    DistributedStore::open(options).unwrap()
}

async fn open_with(outbox: OutboxMode) -> Option<(Shared, ())> {
    let servers = servers()?;
    let prefix = prefix();
    create_tables(client(servers), &prefix, Arc::new(Free)).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(node(servers, &prefix, outbox));
    Some((store, ()))
}

async fn open() -> Option<(Shared, ())> {
    open_with(OutboxMode::Off).await
}

async fn open_outbox() -> Option<(Shared, ())> {
    open_with(OutboxMode::Kept(Arc::new(FrozenClock::at(at(0))))).await
}

store_suite!(open);

mod with_an_outbox {
    use super::*;

    outbox_suite!(open_outbox);
}
