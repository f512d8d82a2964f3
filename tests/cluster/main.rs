//! Several nodes of the built program on one Redis and one DynamoDB Local, with visitors coming to all of them, while
//! something fails: a node, Redis, DynamoDB, the network between them, a clock.
//!
//! Every test starts a cluster of its own (`cluster.rs`), lets a crowd come to all nodes (`load.rs`), has something fail
//! in the middle of it, and holds what was answered, with when it was asked and when it was answered, against what must
//! be true whatever fails (`history.rs`). All waiting is for a number of answers, but where a fault has to last for a
//! time. `ANTEROOM_TEST_OUTAGE`: how many seconds DynamoDB is away, instead of a few.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test, a panic is how a failure is told")]

#[path = "../common/process.rs"]
#[expect(dead_code, reason = "it serves other tests as well")]
mod process;
#[path = "../common/servers.rs"]
mod servers;

mod api;
mod cluster;
mod crowd;
mod dynamodb;
mod gate;
mod history;
mod load;
mod redis;

mod alone;
mod clocks;
mod dynamodb_fails;
mod nodes_fail;
mod redis_fails;
