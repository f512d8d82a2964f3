//! The private API (`vwr-contract.md`): what only operators may do.

pub mod access;
pub mod inlet;
pub mod keys;
pub mod notices;
pub mod serving;
pub mod sessions;
mod sigv4;
