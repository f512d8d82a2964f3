//! The public REST API (`docs/integrators.md`, *The REST calls*) and the waiting page's own view of the line.

pub mod counters;
pub mod line;
pub mod openapi;
pub mod queue;
pub mod sns;
pub mod tokens;
pub mod verify;
