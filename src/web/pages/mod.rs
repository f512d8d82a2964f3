//! What visitors see: pages, their words, and the files they are made of.
//!
//! Owns the templates' data and the embedded assets. Knows no HTTP, no store and no rule of waiting or of
//! the protocol: everything a page says is handed to it, so that each page can be rendered and looked at
//! with sample data alone.

pub mod assets;
pub mod serve;
pub mod views;
pub mod wording;

#[cfg(test)]
mod script_tests;
