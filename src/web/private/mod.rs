//! The private API (`docs/operators.md`, *Steer the line*), for operators only.

pub mod access;
pub mod inlet;
pub mod keys;
pub mod notices;
pub mod refusals;
pub mod serving;
pub mod sessions;
pub mod sigv4;
