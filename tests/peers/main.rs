//! Real peers against the built program, without mocks: third-party relying parties, proxies, and a browser.
//!
//! Each test starts the program as a process on ports of its own, and the peer beside it. Under plain `cargo test` a
//! test whose peer is not installed reports it and passes; with `ANTEROOM_TEST_ALL` set, as in `scripts/test`, it
//! fails.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test, a panic reports a failure")]

mod apache;
mod aws;
mod browser;
mod edge;
mod nginx;
mod openid_client;
mod openidconnect_crate;
mod schemathesis;
mod signers;
mod support;
