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
#[cfg(test)]
pub(super) mod memory;
mod schema;

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

pub(super) use attributes::{Attributes, number, text, unreadable};
pub(super) use dynamodb::DynamoDb;
pub use dynamodb::{Meter, RequestKind};
pub(super) use schema::FORGET_AFTER;
pub use schema::{Creation, create_tables};

use crate::policy::SWEEP_HANDS;
use crate::store::StoreError;

/// A table, by what it holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Table {
    /// An item for each event: its counters, and its intent log.
    Events,
    /// Sessions by ticket.
    Tokens,
    /// Serving records by serving counter.
    ServingRecords,
    /// The arrival log by position.
    Arrivals,
    /// Who holds a place, by position.
    Places,
    /// Redemptions and revocations of codes, and grants that are too long for theirs.
    Grants,
    /// Documents by name.
    Documents,
    /// Outbox records, how far each sink is, dead letters, leases.
    Outbox,
}

impl Table {
    pub(super) const ALL: [Self; 8] = [
        Self::Events,
        Self::Tokens,
        Self::ServingRecords,
        Self::Arrivals,
        Self::Places,
        Self::Grants,
        Self::Documents,
        Self::Outbox,
    ];

    /// Its name behind the prefix.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Events => "Events",
            Self::Tokens => "TokenTable",
            Self::ServingRecords => "ServingCounterIssuedAt",
            Self::Arrivals => "QueuePositionEntryTime",
            Self::Places => "Places",
            Self::Grants => "Grants",
            Self::Documents => "Documents",
            Self::Outbox => "Outbox",
        }
    }
}

/// The index of [`Table::Tokens`] by event and end.
pub(super) const EXPIRES_INDEX: &str = "EventExpiresIndex";

/// Whether a conditional write was done.
#[derive(Debug, PartialEq)]
pub(super) enum Written {
    Done,
    /// The condition did not hold; the item as it stands (empty: there is none).
    Refused(Attributes),
}

/// What must hold for a write to be done, with its values.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    pub(super) expression: Option<String>,
    pub(super) values: Vec<(String, AttributeValue)>,
}

impl Condition {
    /// None.
    pub(super) fn none() -> Self {
        Self::default()
    }

    pub(super) fn new(expression: &str) -> Self {
        Self { expression: Some(expression.to_owned()), values: Vec::new() }
    }

    #[must_use]
    pub(super) fn with(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.push((name.to_owned(), value));
        self
    }
}

/// What a query looks for: one partition, part of its order.
#[derive(Clone)]
pub(super) struct Query {
    pub(super) table: Table,
    pub(super) index: Option<&'static str>,
    /// Of the key alone.
    pub(super) keys: Condition,
    /// What of it is answered.
    pub(super) filter: Option<&'static str>,
    pub(super) newest_first: bool,
    /// How many items are looked at at most; 0: all.
    pub(super) limit: usize,
}

impl Query {
    pub(super) const fn of(table: Table, keys: Condition) -> Self {
        Self { table, index: None, keys, filter: None, newest_first: false, limit: 0 }
    }
}

/// How new the answer to a read is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Consistency {
    /// As the item is now.
    Strong,
    /// Perhaps as it was a moment ago; half the price.
    Eventual,
}

/// What is answered of the items that a query finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Select {
    Items,
    /// How many there are.
    Count,
}

/// Some items of a query or a scan.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) items: Vec<Attributes>,
    pub(super) count: u64,
    /// Where the next page begins; `None`: there is none.
    pub(super) next: Option<Attributes>,
}

/// Items in tables, of which one at a time changes, under a condition.
#[async_trait]
pub(super) trait ItemStore: Send + Sync {
    /// The item of this key.
    async fn get(
        &self,
        table: Table,
        key: Attributes,
        consistency: Consistency,
    ) -> Result<Option<Attributes>, StoreError>;

    /// Writes the item whole, if the condition holds.
    async fn put(&self, table: Table, item: Attributes, condition: Condition) -> Result<Written, StoreError>;

    /// Changes attributes of the item by an update expression, if the condition holds; the values are the condition's.
    async fn update(
        &self,
        table: Table,
        key: Attributes,
        change: &str,
        condition: Condition,
    ) -> Result<Written, StoreError>;

    /// Deletes the item, if the condition holds.
    async fn delete(&self, table: Table, key: Attributes, condition: Condition) -> Result<Written, StoreError>;

    /// A page of what the query finds, in the order of the key.
    async fn query(&self, query: &Query, from: Option<Attributes>, select: Select) -> Result<Page, StoreError>;

    /// A page of the table in no order, of at most so many items.
    async fn scan(&self, table: Table, from: Option<Attributes>, limit: i32) -> Result<Page, StoreError>;

    /// Writes these items whole if all their conditions hold, and else none: at most a hundred. Whether it was done.
    async fn put_together(&self, table: Table, items: Vec<(Attributes, Condition)>) -> Result<bool, StoreError>;
}

/// The tables of this deployment. See the module's documentation.
#[derive(Clone)]
pub(super) struct Tables(Arc<dyn ItemStore>);

impl Tables {
    pub(super) fn new(items: Arc<dyn ItemStore>) -> Self {
        Self(items)
    }

    /// The item of this key, as it is now.
    pub(super) async fn get(&self, table: Table, key: Attributes) -> Result<Option<Attributes>, StoreError> {
        self.0.get(table, key, Consistency::Strong).await
    }

    /// The item of this key, perhaps as it was a moment ago; half the price.
    pub(super) async fn get_eventual(&self, table: Table, key: Attributes) -> Result<Option<Attributes>, StoreError> {
        self.0.get(table, key, Consistency::Eventual).await
    }

    /// See [`ItemStore::put`].
    pub(super) async fn put(
        &self,
        table: Table,
        item: Attributes,
        condition: Condition,
    ) -> Result<Written, StoreError> {
        self.0.put(table, item, condition).await
    }

    /// See [`ItemStore::update`].
    pub(super) async fn update(
        &self,
        table: Table,
        key: Attributes,
        change: &str,
        condition: Condition,
    ) -> Result<Written, StoreError> {
        self.0.update(table, key, change, condition).await
    }

    /// See [`ItemStore::delete`].
    pub(super) async fn delete(
        &self,
        table: Table,
        key: Attributes,
        condition: Condition,
    ) -> Result<Written, StoreError> {
        self.0.delete(table, key, condition).await
    }

    /// Deletes these items, some at a time.
    pub(super) async fn delete_all(&self, table: Table, keys: Vec<Attributes>) -> Result<(), StoreError> {
        self.delete_where(table, keys, &Condition::none()).await
    }

    /// Deletes those of these items for which the condition holds, some at a time.
    pub(super) async fn delete_where(
        &self,
        table: Table,
        keys: Vec<Attributes>,
        condition: &Condition,
    ) -> Result<(), StoreError> {
        let deletes = stream::iter(keys).map(|key| self.delete(table, key, condition.clone()));
        deletes.buffer_unordered(SWEEP_HANDS).try_for_each(|_| future::ready(Ok(()))).await
    }

    /// See [`ItemStore::put_together`].
    pub(super) async fn put_together(
        &self,
        table: Table,
        items: Vec<(Attributes, Condition)>,
    ) -> Result<bool, StoreError> {
        self.0.put_together(table, items).await
    }

    /// What the query finds, in the order of the key.
    pub(super) async fn query(&self, query: Query) -> Result<Vec<Attributes>, StoreError> {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let page = self.0.query(&query, from, Select::Items).await?;
            found.extend(page.items);
            from = page.next;
            if from.is_none() || (query.limit > 0 && found.len() >= query.limit) {
                return Ok(found);
            }
        }
    }

    /// How many items the query finds.
    pub(super) async fn count(&self, query: Query) -> Result<u64, StoreError> {
        let (mut found, mut from) = (0, None);
        loop {
            let page = self.0.query(&query, from, Select::Count).await?;
            found += page.count;
            from = page.next;
            if from.is_none() {
                return Ok(found);
            }
        }
    }

    /// A page of the table in no order, from where the last one ended: some items and where they end (`None`: there
    /// are no more).
    pub(super) async fn scan(
        &self,
        table: Table,
        from: Option<Attributes>,
        limit: i32,
    ) -> Result<(Vec<Attributes>, Option<Attributes>), StoreError> {
        let page = self.0.scan(table, from, limit).await?;
        Ok((page.items, page.next))
    }
}
