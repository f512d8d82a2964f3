//! The public REST API (`vwr-contract.md`) and the waiting page's own view of the line.

pub mod counters;
pub mod line;
pub mod openapi;
pub mod queue;
pub mod sns;
pub mod tokens;
pub mod verify;
