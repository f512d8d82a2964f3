//! Several nodes of the built program on one Redis and one DynamoDB Local, with visitors at all of them, while a
//! component fails: a node, Redis, DynamoDB, the network between them, a clock.
//!
//! Every test starts a cluster of its own (`cluster.rs`), runs a crowd against all nodes (`load.rs`), injects a
//! failure, and checks the recorded answers against the invariants (`history.rs`). Tests wait for a number of answers,
//! except where a failure has to last. `ANTEROOM_TEST_OUTAGE`: how many seconds DynamoDB is away, instead of a few.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test, a panic reports a failure")]

#[path = "../common/process.rs"]
#[expect(dead_code, reason = "it serves other tests as well")]
mod process;
#[path = "../common/servers.rs"]
mod servers;

mod api;
mod cluster;
mod crowd;
mod dynamodb;
mod history;
mod link;
mod load;
mod redis;

mod alone;
mod clocks;
mod dynamodb_fails;
mod nodes_fail;
mod redis_fails;
