//! The rows of the table `Outbox`: its shelves are `letters`, `dead`, `cursor` and `lease`.

use std::collections::HashMap;
use std::time::Duration;

use super::client::{Attributes, Condition, Query, Table, text, unreadable};
use crate::room::{EventId, EventKind};
use crate::store::StoreError;
use crate::store::outbox::{DeadLetter, Letter};

/// Parts a sink's name from a number where both are a label: less than any character of a name.
pub(super) const PART: char = '\u{1}';

/// Greater than any label.
pub(super) const LAST: &str = "\u{10ffff}";

pub(super) fn key(shelf: &str, label: impl Into<String>) -> Attributes {
    Attributes::new().with_text("shelf", shelf).with_text("label", label)
}

/// A number as a text that is ordered as the number is.
pub(super) fn label(seq: u64) -> String {
    format!("{seq:020}")
}

pub(super) fn dead_label(sink: &str, seq: u64) -> String {
    format!("{sink}{PART}{}", label(seq))
}

pub(super) fn row(shelf: &str, label: String, letter: &Letter) -> Attributes {
    key(shelf, label)
        .with_number("seq", letter.seq)
        .with_text("event_id", letter.event.as_str())
        .with_time("written_at", letter.at)
        .with_text("kind", letter.kind.name())
        .with_text("body", letter.body.as_str())
}

pub(super) fn letter(row: &Attributes) -> Result<Letter, StoreError> {
    Ok(Letter {
        seq: row.number("seq")?,
        event: row.text("event_id")?.parse().map_err(|_| unreadable("event_id"))?,
        at: row.time("written_at")?,
        kind: EventKind::from_name(row.text("kind")?).ok_or_else(|| unreadable("kind"))?,
        body: row.owned_text("body")?,
    })
}

pub(super) fn dead_letter(row: &Attributes) -> Result<DeadLetter, StoreError> {
    Ok(DeadLetter {
        sink: row.owned_text("sink")?,
        letter: letter(row)?,
        reason: row.owned_text("reason")?,
        died_at: row.time("died_at")?,
        again: row.number("again")? == 1,
    })
}

/// The rows of a shelf above one label, through another.
pub(super) fn shelf(name: &str, above: &str, through: &str, limit: usize) -> Query {
    let keys = Condition::new("shelf = :shelf AND label BETWEEN :above AND :through")
        .with(":shelf", text(name))
        .with(":above", text(format!("{above}{PART}")))
        .with(":through", text(through));
    Query { limit, ..Query::of(Table::Outbox, keys) }
}

/// A label must not be empty: the newest number's own is.
pub(super) fn cursor_label(sink: &str) -> String {
    format!("to {sink}")
}

/// What the relaying node knows.
#[derive(Default)]
pub(super) struct RelayState {
    /// Until when, in steady time, nobody else can have moved any; `None`: this node does not know what was moved.
    pub(super) sure_until: Option<Duration>,
    /// By event, through which of its letters they are on the shelf.
    pub(super) moved: HashMap<EventId, u64>,
    pub(super) newest: u64,
}
