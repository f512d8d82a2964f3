//! The tables, and the few ways in which they are read and written.
//!
//! Owns names, keys and index (those of the retired system where it had them) and turns the SDK's many errors into
//! the two that matter: a condition did not hold, or the store is away. Every write is of one item, but for letters, which
//! leave together (`bulk.rs`). It is repeated by the SDK where no answer came, so whoever writes must be able to tell that it was
//! already done.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConsumedCapacity, ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure, Select,
};

use super::fields::Fields;
use crate::store::StoreError;

/// A table, by what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Table {
    /// An item for each event: its counters, and what is under way.
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
    /// Letters, how far each sink is, dead letters, leases.
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

/// Every request says what it took.
pub(super) const TOTAL: ReturnConsumedCapacity = ReturnConsumedCapacity::Total;

/// The index of [`Table::Tokens`] by event and end.
pub(super) const EXPIRES_INDEX: &str = "EventExpiresIndex";

/// Whether a conditional write was done.
#[derive(Debug, PartialEq)]
pub(super) enum Written {
    Done,
    /// The condition did not hold; the item as it stands (empty: there is none).
    Refused(Fields),
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

/// Hears what is asked of DynamoDB, for that is what is paid for.
pub trait Meter: Send + Sync + 'static {
    /// One request of this kind took so many capacity units.
    fn request(&self, kind: RequestKind, units: f64);
}

/// What kind of capacity a request takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RequestKind {
    /// Read request units: 4 KB as it is now, 8 KB as it was a moment ago.
    Read,
    /// Write request units: 1 KB.
    Write,
}

/// See the module's documentation.
#[derive(Clone)]
pub(super) struct Tables {
    client: Client,
    prefix: String,
    meter: Arc<dyn Meter>,
}

impl Tables {
    pub(super) fn new(client: Client, prefix: &str, meter: Arc<dyn Meter>) -> Self {
        Self { client, prefix: prefix.to_owned(), meter }
    }

    pub(super) fn took(&self, kind: RequestKind, capacity: Option<&ConsumedCapacity>) {
        self.meter.request(kind, capacity.and_then(ConsumedCapacity::capacity_units).unwrap_or(0.0));
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn name(&self, table: Table) -> String {
        format!("{}{}", self.prefix, table.name())
    }

    /// The item of this key, as it is now.
    pub(super) async fn get(&self, table: Table, key: Fields) -> Result<Option<Fields>, StoreError> {
        self.read(table, key, true).await
    }

    /// The item of this key, perhaps as it was a moment ago; half the price.
    pub(super) async fn glance(&self, table: Table, key: Fields) -> Result<Option<Fields>, StoreError> {
        self.read(table, key, false).await
    }

    async fn read(&self, table: Table, key: Fields, consistent: bool) -> Result<Option<Fields>, StoreError> {
        let get = self.client.get_item().table_name(self.name(table)).set_key(Some(key.0)).consistent_read(consistent);
        let answer = get.return_consumed_capacity(TOTAL).send().await;
        let answer = answer.map_err(|error| self.away(table, &error))?;
        self.took(RequestKind::Read, answer.consumed_capacity());
        Ok(answer.item.map(Fields))
    }

    /// Writes the item whole, if the condition holds.
    pub(super) async fn put(&self, table: Table, item: Fields, condition: Condition) -> Result<Written, StoreError> {
        let mut put = self.client.put_item().table_name(self.name(table)).set_item(Some(item.0));
        put = put.set_condition_expression(condition.expression);
        for (name, value) in condition.values {
            put = put.expression_attribute_values(name, value);
        }
        put = put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.return_consumed_capacity(TOTAL).send().await {
            Ok(answer) => {
                self.took(RequestKind::Write, answer.consumed_capacity());
                Ok(Written::Done)
            }
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(refusal)) => {
                    Ok(Written::Refused(self.refused(refusal.item.clone())))
                }
                _ => Err(self.away(table, &error)),
            },
        }
    }

    /// Changes fields of the item by an update expression, if the condition holds; the values are the condition's.
    pub(super) async fn update(
        &self,
        table: Table,
        key: Fields,
        change: &str,
        condition: Condition,
    ) -> Result<Written, StoreError> {
        let changed = self.change(table, key, change, condition).await?;
        Ok(changed.map_or_else(Written::Refused, |_| Written::Done))
    }

    /// The same; answers the item as it is then, or as it stood if the condition did not hold.
    pub(super) async fn change(
        &self,
        table: Table,
        key: Fields,
        change: &str,
        condition: Condition,
    ) -> Result<Result<Fields, Fields>, StoreError> {
        let mut update = self.client.update_item().table_name(self.name(table)).set_key(Some(key.0));
        update = update.update_expression(change).set_condition_expression(condition.expression);
        for (name, value) in condition.values {
            update = update.expression_attribute_values(name, value);
        }
        update = update.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        update = update.return_values(ReturnValue::AllNew);
        match update.return_consumed_capacity(TOTAL).send().await {
            Ok(answer) => {
                self.took(RequestKind::Write, answer.consumed_capacity());
                Ok(Ok(Fields(answer.attributes.unwrap_or_default())))
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refusal)) => {
                    Ok(Err(self.refused(refusal.item.clone())))
                }
                _ => Err(self.away(table, &error)),
            },
        }
    }

    /// Deletes the item, if the condition holds.
    pub(super) async fn delete(&self, table: Table, key: Fields, condition: Condition) -> Result<Written, StoreError> {
        let mut delete = self.client.delete_item().table_name(self.name(table)).set_key(Some(key.0));
        delete = delete.set_condition_expression(condition.expression);
        for (name, value) in condition.values {
            delete = delete.expression_attribute_values(name, value);
        }
        match delete.return_consumed_capacity(TOTAL).send().await {
            Ok(answer) => {
                self.took(RequestKind::Write, answer.consumed_capacity());
                Ok(Written::Done)
            }
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(refusal)) => {
                    Ok(Written::Refused(self.refused(refusal.item.clone())))
                }
                _ => Err(self.away(table, &error)),
            },
        }
    }

    /// What the query finds, in the order of the key.
    pub(super) async fn query(&self, query: Query) -> Result<Vec<Fields>, StoreError> {
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let answer = self.page(&query, from, None).await?;
            found.extend(answer.items.unwrap_or_default().into_iter().map(Fields));
            from = answer.last_evaluated_key;
            if from.is_none() || (query.limit > 0 && found.len() >= query.limit) {
                return Ok(found);
            }
        }
    }

    /// A page of the table in no order, from where the last one ended: some items and where they end (`None`: there
    /// are no more).
    pub(super) async fn scan(
        &self,
        table: Table,
        from: Option<Fields>,
        limit: i32,
    ) -> Result<(Vec<Fields>, Option<Fields>), StoreError> {
        let scan = self.client.scan().table_name(self.name(table)).limit(limit);
        let scan = scan.set_exclusive_start_key(from.map(|key| key.0)).return_consumed_capacity(TOTAL);
        let answer = scan.send().await.map_err(|error| self.away(table, &error))?;
        self.took(RequestKind::Read, answer.consumed_capacity());
        let items = answer.items.unwrap_or_default().into_iter().map(Fields).collect();
        Ok((items, answer.last_evaluated_key.map(Fields)))
    }

    /// How many the query finds.
    pub(super) async fn count(&self, query: Query) -> Result<u64, StoreError> {
        let mut found = 0;
        let mut from = None;
        loop {
            let answer = self.page(&query, from, Some(Select::Count)).await?;
            found += u64::try_from(answer.count).unwrap_or(0);
            from = answer.last_evaluated_key;
            if from.is_none() {
                return Ok(found);
            }
        }
    }

    async fn page(
        &self,
        query: &Query,
        from: Option<HashMap<String, AttributeValue>>,
        select: Option<Select>,
    ) -> Result<aws_sdk_dynamodb::operation::query::QueryOutput, StoreError> {
        let mut page = self.client.query().table_name(self.name(query.table)).set_exclusive_start_key(from);
        page = page.set_key_condition_expression(query.keys.expression.clone()).set_select(select);
        for (name, value) in &query.keys.values {
            page = page.expression_attribute_values(name, value.clone());
        }
        if let Some(filter) = query.filter {
            page = page.filter_expression(filter);
        }
        // An index answers as it was a moment ago, whatever one asks of it.
        page = page.set_index_name(query.index.map(str::to_owned)).consistent_read(query.index.is_none());
        page = page.scan_index_forward(!query.newest_first);
        if query.limit > 0 {
            page = page.limit(i32::try_from(query.limit).unwrap_or(i32::MAX));
        }
        let answer = page.return_consumed_capacity(TOTAL).send().await;
        let answer = answer.map_err(|error| self.away(query.table, &error))?;
        self.took(RequestKind::Read, answer.consumed_capacity());
        Ok(answer)
    }

    /// A refusal costs as a write does; how much is not said.
    fn refused(&self, item: Option<HashMap<String, AttributeValue>>) -> Fields {
        self.meter.request(RequestKind::Write, 1.0);
        Fields(item.unwrap_or_default())
    }

    /// What the log and the store's error say where DynamoDB did not do it.
    pub(super) fn away<E: ProvideErrorMetadata, R>(&self, table: Table, error: &SdkError<E, R>) -> StoreError {
        let name = self.name(table);
        let said = |reason: &dyn Display| format!("DynamoDB, table {name}: {reason}");
        let reason = |reason: &dyn Display| StoreError::Unavailable(said(reason));
        match error {
            SdkError::ServiceError(service) => match service.err().code() {
                Some("ResourceNotFoundException") => {
                    StoreError::Unusable(said(&"there is no such table; `anteroom store init` creates it"))
                }
                Some(code) if REFUSALS.contains(&code) => StoreError::Unusable(said(&code)),
                code => reason(&code.or_else(|| service.err().message()).unwrap_or("refused")),
            },
            SdkError::TimeoutError(_) => reason(&"no answer in time"),
            error => match credentials_fault(error) {
                Some(fault) if PASSING.iter().any(|passing| fault.contains(passing)) => {
                    reason(&"the credentials for AWS cannot be fetched")
                }
                Some(_) => StoreError::Unusable(said(&"no credentials for AWS were found")),
                None if matches!(error, SdkError::DispatchFailure(_)) => reason(&"it cannot be reached"),
                None => reason(&"its answer was not understood"),
            },
        }
    }
}

/// What DynamoDB answers to everything until somebody changes credentials, rights or this program ("Common Errors" of its API
/// reference: those that are of no use to be tried again).
const REFUSALS: [&str; 10] = [
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "OptInRequired",
    "SerializationException",
    "UnrecognizedClientException",
    "ValidationException",
];

/// Of what the SDK says of credentials, what the next try may find mended: whoever gives them out is slow or errs.
const PASSING: [&str; 2] = ["timed out", "an error occurred while loading"];

/// Why a request was not even signed. The SDK says so in words alone.
fn credentials_fault<E, R>(error: &SdkError<E, R>) -> Option<String> {
    let source = match error {
        SdkError::DispatchFailure(failure) => failure.as_connector_error().and_then(std::error::Error::source),
        _ => None,
    };
    let mut words = std::iter::successors(source, |error| error.source()).map(ToString::to_string);
    words.find(|words| words.contains("credentials"))
}
