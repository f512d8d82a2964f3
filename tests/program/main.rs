//! The built program as a process: start, stop, crash and restart, without mocks.
//!
//! Every test has a directory and system-chosen ports of its own; tests wait for events, never for a time to pass.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test, a panic reports a failure")]

#[path = "../common/process.rs"]
mod process;
mod support;

mod authorizer;
mod connections;
mod crash;
mod demonstration;
mod full_disk;
mod keys;
mod limits;
mod logs;
mod memory;
mod notices;
mod secrets;
mod shutdown;
mod start;
mod store_away;
mod tls;
mod transfer;
