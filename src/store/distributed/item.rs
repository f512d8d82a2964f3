//! Reading an event's item, and requesting a slot in its write schedule.

use super::client::{Attributes, Condition, Table, Tables, number, text};
use super::intent_log::IdempotencyKey;
use super::state::EventState;
use crate::room::EventId;
use crate::store::StoreError;

/// The event's item as it is now.
pub(super) async fn read(tables: &Tables, event: &EventId) -> Result<EventState, StoreError> {
    let key = Attributes::new().with_text("event_id", event.as_str());
    match tables.get(Table::Events, key).await? {
        Some(item) => EventState::read(&item),
        None => Err(StoreError::UnknownEvent(event.clone())),
    }
}

/// Requests a slot: changes the event's item so that the next write of another node is refused and returns the request.
pub(super) async fn request_slot(
    tables: &Tables,
    event: &EventId,
    node: &str,
    write_id: IdempotencyKey,
) -> Result<(), StoreError> {
    let key = Attributes::new().with_text("event_id", event.as_str());
    let there = Condition::new("attribute_exists(event_id)").with(":node", text(node)).with(":seal", text(write_id));
    let there = there.with(":one", number(1));
    tables.update(Table::Events, key, "SET knock = :node, seal = :seal ADD revision :one", there).await.map(drop)
}
