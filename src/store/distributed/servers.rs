//! What the engine's tests stand on: a Redis and a DynamoDB Local, in memory only, one of each for the test process.
//!
//! They are started by who asks first and end with the process, however it ends. Tests share them, so each takes a
//! table prefix of its own. Must not know the engine.

use std::env;
use std::sync::OnceLock;

#[path = "../../../tests/common/servers.rs"]
mod started;

pub(super) use started::Server;

/// The servers of this test process.
pub(super) struct Servers {
    /// Where DynamoDB Local is: `http://127.0.0.1:PORT`. Its tables are the same for every region and credential.
    pub(super) dynamodb: String,
    /// Where Redis is: `redis://127.0.0.1:PORT`.
    pub(super) redis: String,
    _servers: [Server; 2],
}

/// The servers, which answer. Without them a test is left out, or fails where all have to run.
pub(super) fn servers() -> Option<&'static Servers> {
    static SERVERS: OnceLock<Option<Servers>> = OnceLock::new();
    SERVERS.get_or_init(start).as_ref()
}

fn start() -> Option<Servers> {
    let redis = Server::redis(&env::temp_dir())?;
    let dynamodb = Server::dynamodb()?;
    Some(Servers {
        dynamodb: format!("http://{}", dynamodb.address),
        redis: format!("redis://{}", redis.address),
        _servers: [redis, dynamodb],
    })
}

#[test]
fn the_servers_are_the_same_for_every_test_of_the_process() {
    let Some(servers) = servers() else { return };
    assert!(std::ptr::eq(servers, self::servers().unwrap()));
}
