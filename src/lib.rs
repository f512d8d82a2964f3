//! Anteroom: an OpenID Connect identity provider whose login step is a place in line.
//!
//! The map, from the ground up; a module may use what stands above it in this list, never below:
//!
//! - [`ambient`] time, randomness and secrets, injected; [`text`] what editors leave around text;
//!   [`policy`] every duration and limit, by name; [`durable`] files that are made once; [`outbound`] requests that we send
//! - [`room`]    the rules of waiting, pure; [`oauth`] the rules of the protocol, pure
//! - [`aws`]     what we say to AWS, and hear from it
//! - [`keys`]    signing keys and JOSE; [`store`] where state lives: the port and its engines
//! - [`config`]  what the operator wrote; [`telemetry`] metrics and logs
//! - [`lobby`]   the use cases
//! - [`notices`] events out; [`gates`] whether the site can take more
//! - [`http`]    connections, and HTTP/1.1 on them
//! - [`web`]     what is asked and answered; [`demo`] the demonstration shop, a relying party; [`authorizer`] a program for API Gateway
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
