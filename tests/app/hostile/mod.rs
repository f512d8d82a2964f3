//! Invalid input at every endpoint: a clear 4xx, never a 5xx, never silence; nothing changes and nothing leaks.

mod clock;
mod content;
mod framing;
mod headers;
mod paths;
mod places;
pub mod routes;
mod start;
