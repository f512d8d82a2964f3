//! What DynamoDB is to the engine: items in tables, of which one at a time changes, under a condition.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;

use super::attributes::Attributes;
use crate::store::StoreError;

/// A table, by what it holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(in super::super) enum Table {
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
    pub(in super::super) const ALL: [Self; 8] = [
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
    pub(in super::super) const fn name(self) -> &'static str {
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
pub(in super::super) const EXPIRES_INDEX: &str = "EventExpiresIndex";

/// Whether a conditional write was done.
#[derive(Debug, PartialEq)]
pub(in super::super) enum Written {
    Done,
    /// The condition did not hold; the item as it stands (empty: there is none).
    Refused(Attributes),
}

/// What must hold for a write to be done, with its values.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Condition {
    pub(in super::super) expression: Option<String>,
    pub(in super::super) values: Vec<(String, AttributeValue)>,
}

impl Condition {
    /// None.
    pub(in super::super) fn none() -> Self {
        Self::default()
    }

    pub(in super::super) fn new(expression: &str) -> Self {
        Self { expression: Some(expression.to_owned()), values: Vec::new() }
    }

    #[must_use]
    pub(in super::super) fn with(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.push((name.to_owned(), value));
        self
    }
}

/// What a query looks for: one partition, part of its order.
#[derive(Clone)]
pub(in super::super) struct Query {
    pub(in super::super) table: Table,
    pub(in super::super) index: Option<&'static str>,
    /// Of the key alone.
    pub(in super::super) keys: Condition,
    /// What of it is answered.
    pub(in super::super) filter: Option<&'static str>,
    pub(in super::super) newest_first: bool,
    /// How many items are looked at at most; 0: all.
    pub(in super::super) limit: usize,
}

impl Query {
    pub(in super::super) const fn of(table: Table, keys: Condition) -> Self {
        Self { table, index: None, keys, filter: None, newest_first: false, limit: 0 }
    }
}

/// How new the answer to a read is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Consistency {
    /// As the item is now.
    Strong,
    /// Perhaps as it was a moment ago; half the price.
    Eventual,
}

/// What is answered of the items that a query finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Select {
    Items,
    /// How many there are.
    Count,
}

/// Some items of a query or a scan.
#[derive(Debug, Default)]
pub(in super::super) struct Page {
    pub(in super::super) items: Vec<Attributes>,
    pub(in super::super) count: u64,
    /// Where the next page begins; `None`: there is none.
    pub(in super::super) next: Option<Attributes>,
}

/// Items in tables, of which one at a time changes, under a condition.
#[async_trait]
pub(in super::super) trait ItemStore: Send + Sync {
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
