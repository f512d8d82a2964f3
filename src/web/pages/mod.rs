//! The pages: templates, wording, and embedded assets.
//!
//! Owns the templates' data and the assets. Knows no HTTP, no store and no rule of the queue or of the protocol: a page
//! gets all its content, so that each can be rendered and inspected with sample data alone.

pub mod assets;
pub mod serve;
pub mod views;
pub mod wording;

#[cfg(test)]
mod script_tests;
