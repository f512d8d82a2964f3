//! What a line that was reset leaves behind: rows that nothing reads any more.

use super::fields::{Fields, text};
use super::state::life_key;
use super::tables::{Condition, EXPIRES_INDEX, Query, Table, Tables};
use crate::room::EventId;
use crate::store::StoreError;

/// Deletes the rows of a life that ended.
pub(super) async fn forget(tables: &Tables, event: &EventId, life: u64) -> Result<(), StoreError> {
    for (table, index, key) in [
        (Table::ServingRecords, None, &["event_id", "serving_counter"][..]),
        (Table::Arrivals, None, &["event_id", "queue_position"]),
        (Table::Places, None, &["event_id", "queue_position"]),
        (Table::Tokens, Some(EXPIRES_INDEX), &["request_id"]),
    ] {
        let keys = Condition::new("event_id = :event").with(":event", text(life_key(event, life)));
        for row in tables.query(Query { index, ..Query::of(table, keys) }).await? {
            let named = key.iter().filter_map(|name| Some(((*name).to_owned(), row.0.get(*name)?.clone())));
            tables.delete(table, Fields(named.collect()), Condition::none()).await?;
        }
    }
    Ok(())
}
