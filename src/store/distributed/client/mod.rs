//! The tables, and the few ways in which they are read and written.
//!
//! Owns the names of the tables (those of the retired system where it had them) and [`ItemStore`], what DynamoDB is to the
//! engine: items that change one at a time, under a condition. `dynamodb` is Amazon's; `memory` is one for tests, which
//! decides by a seed what is slow, refused or lost. Every write is of one item, but for outbox records, which are put
//! together. A write may be repeated where no answer came, so whoever writes must be able to tell that it was done.

mod attributes;
mod dynamodb;
#[cfg(test)]
mod expression;
mod item_store;
#[cfg(test)]
pub(super) mod memory;
mod schema;
mod tables;

pub(super) use attributes::{Attributes, number, text, unreadable};
pub(super) use dynamodb::DynamoDb;
pub use dynamodb::{Meter, RequestKind};
pub(super) use item_store::{Condition, EXPIRES_INDEX, Query, Table, Written};
pub(super) use schema::FORGET_AFTER;
pub use schema::{Creation, create_tables};
pub(super) use tables::Tables;
