//! The public REST API (`docs/integrators.md`, *The REST calls*) and the waiting page's view of the queue.

pub mod counters;
pub mod line;
pub mod openapi;
pub mod queue;
pub mod sns;
pub mod tokens;
pub mod verify;
