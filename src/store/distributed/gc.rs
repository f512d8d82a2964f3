//! Garbage collection: the rows of past epochs, which a reset leaves behind.

use super::client::{Attributes, text};
use super::client::{Condition, EXPIRES_INDEX, Query, Table, Tables};
use super::state::epoch_key;
use crate::policy::{SWEEP_LOOK, SWEEP_ROWS};
use crate::room::EventId;
use crate::store::StoreError;

/// Deletes rows of a past epoch, at most so many. Whether all are gone.
pub(super) async fn forget(tables: &Tables, event: &EventId, epoch: u64) -> Result<bool, StoreError> {
    let page = usize::try_from(SWEEP_LOOK).unwrap_or(1);
    let mut left = SWEEP_ROWS;
    for (table, index, key) in [
        (Table::ServingRecords, None, &["event_id", "serving_counter"][..]),
        (Table::Arrivals, None, &["event_id", "queue_position"]),
        (Table::Places, None, &["event_id", "queue_position"]),
        (Table::Tokens, Some(EXPIRES_INDEX), &["request_id"]),
    ] {
        loop {
            let keys = Condition::new("event_id = :event").with(":event", text(epoch_key(event, epoch)));
            let rows = tables.query(Query { index, limit: page, ..Query::of(table, keys) }).await?;
            let named = |row: &Attributes| {
                let fields = key.iter().filter_map(|name| Some(((*name).to_owned(), row.0.get(*name)?.clone())));
                Attributes(fields.collect())
            };
            let last = rows.len() < page;
            tables.delete_all(table, rows.iter().map(named).collect()).await?;
            if last {
                break;
            }
            let Some(rest) = left.checked_sub(rows.len()) else { return Ok(false) };
            left = rest;
        }
    }
    Ok(true)
}
