//! Documents: each an item of its own, changed by conditional writes that tell who made them.

use super::client::{Attributes, number};
use super::client::{Condition, Table, Tables, Written};
use super::intent_log::IdempotencyKey;
use crate::store::{Document, StoreError};

fn document_key(name: &str) -> Attributes {
    Attributes::new().with_text("document", name)
}

/// [`crate::store::Store::document`].
pub(super) async fn document(tables: &Tables, name: &str) -> Result<Option<Document>, StoreError> {
    let Some(item) = tables.get(Table::Documents, document_key(name)).await? else { return Ok(None) };
    Ok(Some(Document { version: item.number("version")?, body: item.bytes("body")?.to_owned() }))
}

/// [`crate::store::Store::replace_document`].
pub(super) async fn replace_document(
    tables: &Tables,
    name: &str,
    expected: u64,
    body: &[u8],
    idempotency_key: IdempotencyKey,
) -> Result<bool, StoreError> {
    let idempotency_key = String::from(idempotency_key);
    let item = document_key(name)
        .with_number("version", expected + 1)
        .with_bytes("body", body)
        .with_text("written_by", idempotency_key.as_str());
    let condition = match expected {
        0 => Condition::new("attribute_not_exists(document)"),
        expected => Condition::new("version = :expected").with(":expected", number(expected)),
    };
    Ok(match tables.put(Table::Documents, item, condition).await? {
        Written::Done => true,
        Written::Refused(there) => there.maybe("written_by", Attributes::owned_text)? == Some(idempotency_key),
    })
}

/// The item that a health check writes.
pub(super) const PULSE: &str = "pulse";

/// Writes it: the store can be written.
pub(super) async fn beat(tables: &Tables) -> Result<(), StoreError> {
    tables.put(Table::Documents, document_key(PULSE), Condition::none()).await.map(drop)
}
