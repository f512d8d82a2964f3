//! Many items at once: rows that nobody reads any more, and letters that leave together.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::error::TransactionCanceledException;
use aws_sdk_dynamodb::types::{CancellationReason, Put, TransactWriteItem};
use futures_util::future;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::fields::Fields;
use super::tables::{Condition, RequestKind, TOTAL, Table, Tables};
use crate::policy::SWEEP_HANDS;
use crate::store::StoreError;

impl Tables {
    /// Deletes these items, some at a time.
    pub(super) async fn delete_all(&self, table: Table, keys: Vec<Fields>) -> Result<(), StoreError> {
        self.delete_where(table, keys, &Condition::none()).await
    }

    /// Deletes those of these items for which the condition holds, some at a time.
    pub(super) async fn delete_where(
        &self,
        table: Table,
        keys: Vec<Fields>,
        condition: &Condition,
    ) -> Result<(), StoreError> {
        let deletes = stream::iter(keys).map(|key| self.delete(table, key, condition.clone()));
        deletes.buffer_unordered(SWEEP_HANDS).try_for_each(|_| future::ready(Ok(()))).await
    }

    /// Writes these items whole if all their conditions hold, and else none: at most a hundred. Whether it was done.
    pub(super) async fn put_together(&self, table: Table, items: Vec<(Fields, Condition)>) -> Result<bool, StoreError> {
        let put = |(item, condition): (Fields, Condition)| {
            let put = Put::builder().table_name(self.name(table)).set_item(Some(item.0));
            let put = put.set_condition_expression(condition.expression);
            let values = Some(condition.values).filter(|values| !values.is_empty());
            let put = put.set_expression_attribute_values(values.map(|values| values.into_iter().collect())).build();
            put.map(|put| TransactWriteItem::builder().put(put).build())
        };
        let puts = items.into_iter().map(put).collect::<Result<Vec<_>, _>>();
        let puts = puts.map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let write = self.client().transact_write_items().set_transact_items(Some(puts)).return_consumed_capacity(TOTAL);
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

/// Whether a transaction was refused because a condition did not hold, rather than by throttling or another at the same
/// items.
fn refused_by_condition(refusal: &TransactionCanceledException) -> bool {
    let mut reasons = refusal.cancellation_reasons().iter().filter_map(CancellationReason::code);
    reasons.any(|code| code == "ConditionalCheckFailed")
}
