//! Amazon DynamoDB as the item store.
//!
//! Turns the SDK's many errors into the two that matter: a condition did not hold, or the store is away. It must not know
//! what an item means.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::error::TransactionCanceledException;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, ConsumedCapacity, Put, ReturnConsumedCapacity,
    ReturnValuesOnConditionCheckFailure, Select as SelectKind, TransactWriteItem,
};

use super::attributes::Attributes;
use super::item_store::{Condition, Consistency, ItemStore, Page, Query, Select, Table, Written};
use crate::store::StoreError;

/// Every request says what it took.
const TOTAL: ReturnConsumedCapacity = ReturnConsumedCapacity::Total;

/// Counts what is requested of DynamoDB, which is what is paid for.
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
pub(in super::super) struct DynamoDb {
    client: Client,
    prefix: String,
    meter: Arc<dyn Meter>,
}

impl DynamoDb {
    pub(in super::super) fn new(client: Client, prefix: &str, meter: Arc<dyn Meter>) -> Self {
        Self { client, prefix: prefix.to_owned(), meter }
    }

    fn took(&self, kind: RequestKind, capacity: Option<&ConsumedCapacity>) {
        self.meter.request(kind, capacity.and_then(ConsumedCapacity::capacity_units).unwrap_or(0.0));
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn name(&self, table: Table) -> String {
        format!("{}{}", self.prefix, table.name())
    }

    /// A refusal costs as a write does; how much is not said.
    fn refused(&self, item: Option<HashMap<String, AttributeValue>>) -> Attributes {
        self.meter.request(RequestKind::Write, 1.0);
        Attributes(item.unwrap_or_default())
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

#[async_trait]
impl ItemStore for DynamoDb {
    async fn get(
        &self,
        table: Table,
        key: Attributes,
        consistency: Consistency,
    ) -> Result<Option<Attributes>, StoreError> {
        let get = self.client.get_item().table_name(self.name(table)).set_key(Some(key.0));
        let get = get.consistent_read(consistency == Consistency::Strong);
        let answer = get.return_consumed_capacity(TOTAL).send().await;
        let answer = answer.map_err(|error| self.away(table, &error))?;
        self.took(RequestKind::Read, answer.consumed_capacity());
        Ok(answer.item.map(Attributes))
    }

    async fn put(&self, table: Table, item: Attributes, condition: Condition) -> Result<Written, StoreError> {
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

    async fn update(
        &self,
        table: Table,
        key: Attributes,
        change: &str,
        condition: Condition,
    ) -> Result<Written, StoreError> {
        let mut update = self.client.update_item().table_name(self.name(table)).set_key(Some(key.0));
        update = update.update_expression(change).set_condition_expression(condition.expression);
        for (name, value) in condition.values {
            update = update.expression_attribute_values(name, value);
        }
        update = update.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match update.return_consumed_capacity(TOTAL).send().await {
            Ok(answer) => {
                self.took(RequestKind::Write, answer.consumed_capacity());
                Ok(Written::Done)
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refusal)) => {
                    Ok(Written::Refused(self.refused(refusal.item.clone())))
                }
                _ => Err(self.away(table, &error)),
            },
        }
    }

    async fn delete(&self, table: Table, key: Attributes, condition: Condition) -> Result<Written, StoreError> {
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

    async fn query(&self, query: &Query, from: Option<Attributes>, select: Select) -> Result<Page, StoreError> {
        let mut page = self.client.query().table_name(self.name(query.table));
        page = page.set_exclusive_start_key(from.map(|key| key.0));
        page = page.set_key_condition_expression(query.keys.expression.clone());
        page = page.set_select(Some(SelectKind::Count).filter(|_| select == Select::Count));
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
        Ok(Page {
            items: answer.items.unwrap_or_default().into_iter().map(Attributes).collect(),
            count: u64::try_from(answer.count).unwrap_or(0),
            next: answer.last_evaluated_key.map(Attributes),
        })
    }

    async fn scan(&self, table: Table, from: Option<Attributes>, limit: i32) -> Result<Page, StoreError> {
        let scan = self.client.scan().table_name(self.name(table)).limit(limit);
        let scan = scan.set_exclusive_start_key(from.map(|key| key.0)).return_consumed_capacity(TOTAL);
        let answer = scan.send().await.map_err(|error| self.away(table, &error))?;
        self.took(RequestKind::Read, answer.consumed_capacity());
        let items: Vec<_> = answer.items.unwrap_or_default().into_iter().map(Attributes).collect();
        Ok(Page { count: items.len() as u64, items, next: answer.last_evaluated_key.map(Attributes) })
    }

    async fn put_together(&self, table: Table, items: Vec<(Attributes, Condition)>) -> Result<bool, StoreError> {
        let put = |(item, condition): (Attributes, Condition)| {
            let put = Put::builder().table_name(self.name(table)).set_item(Some(item.0));
            let put = put.set_condition_expression(condition.expression);
            let values = Some(condition.values).filter(|values| !values.is_empty());
            let put = put.set_expression_attribute_values(values.map(|values| values.into_iter().collect())).build();
            put.map(|put| TransactWriteItem::builder().put(put).build())
        };
        let puts = items.into_iter().map(put).collect::<Result<Vec<_>, _>>();
        let puts = puts.map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let write = self.client.transact_write_items().set_transact_items(Some(puts)).return_consumed_capacity(TOTAL);
        match write.send().await {
            Ok(answer) => {
                answer.consumed_capacity().iter().for_each(|took| self.took(RequestKind::Write, Some(took)));
                Ok(true)
            }
            Err(error) => match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(refusal))
                    if refused_by_condition(refusal) =>
                {
                    self.took(RequestKind::Write, None);
                    Ok(false)
                }
                _ => Err(self.away(table, &error)),
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

/// Whether a transaction was refused because a condition did not hold, rather than by throttling or another at the same
/// items.
fn refused_by_condition(refusal: &TransactionCanceledException) -> bool {
    let mut reasons = refusal.cancellation_reasons().iter().filter_map(CancellationReason::code);
    reasons.any(|code| code == "ConditionalCheckFailed")
}
