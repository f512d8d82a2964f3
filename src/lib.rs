//! Anteroom: an OpenID Connect identity provider whose login step is a virtual waiting-room queue.
//!
//! The map, from the ground up; a module may use modules above it in this list, never below:
//!
//! - [`ambient`] time, randomness and secrets, injected; [`text`] byte order marks and line ends; [`policy`] every
//!   duration and limit, by name; [`durable`] files created atomically; [`outbound`] outgoing requests
//! - [`room`]    the rules of the queue, pure; [`oauth`] the rules of the protocol, pure
//! - [`aws`]     clients of AWS services
//! - [`keys`]    signing keys and JOSE; [`store`] the state: the port and its engines
//! - [`config`]  the configuration; [`telemetry`] metrics and logs
//! - [`lobby`]   the use cases
//! - [`notices`] delivery of notices; [`gates`] health probes of the sites
//! - [`http`]    connections, and HTTP/1.1 on them
//! - [`web`]     HTTP requests and answers; [`demo`] the demonstration shop, a relying party; [`authorizer`] a program
//!   for API Gateway
//! - [`server`]  wiring: the only place that picks an engine

pub mod ambient;
pub mod authorizer;
pub mod aws;
pub mod config;
pub mod demo;
pub mod durable;
pub mod gates;
pub mod http;
pub mod keys;
pub mod lobby;
pub mod notices;
pub mod oauth;
pub mod outbound;
pub mod policy;
pub mod room;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod text;
pub mod web;
