//! The outbox relay: outbox records leave the intent logs of the events for the table `Outbox`, where they get their numbers.
//!
//! One node at a time moves them, as long as its lease lasts (`leases.rs`). They move in transactions that rest on the
//! newest number: should two nodes believe that they hold the lease, one of them is refused. Owns the table `Outbox`, whose
//! shelves are `letters`, `dead`, `cursor` and `lease`. Times here are of the clock that letters are dated by.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;

use super::DistributedStore;
use super::client::{Attributes, FORGET_AFTER, number, text, unreadable};
use super::client::{Condition, Query, Table, Tables, Written};
use super::engine::Engine;
use super::intent_log::Note;
use crate::ambient::Timestamp;
use crate::policy::{DEAD_LETTER_RETENTION, LEASE, RELAY_BATCH, RELAY_ROUNDS};
use crate::room::{DomainEvent, EventId, EventKind};
use crate::store::StoreError;
use crate::store::outbox::{DeadLetter, Letter, Outbox, Resent};

/// Parts a sink's name from a number where both are a label: less than any character of a name.
const PART: char = '\u{1}';

/// Greater than any label.
const LAST: &str = "\u{10ffff}";

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

fn row(shelf: &str, label: String, letter: &Letter) -> Attributes {
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

fn dead_letter(row: &Attributes) -> Result<DeadLetter, StoreError> {
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

/// What the relaying node knows.
#[derive(Default)]
pub(super) struct RelayState {
    /// Until when, in steady time, nobody else can have moved any; `None`: this node does not know what was moved.
    sure_until: Option<Duration>,
    /// By event, through which of its letters they are on the shelf.
    moved: HashMap<EventId, u64>,
    newest: u64,
}

impl Engine {
    fn tables(&self) -> &Tables {
        &self.context.tables
    }

    /// Moves records from the intent logs to the outbox, if this node holds the relay's lease; if there are many, the
    /// first of each event.
    pub(super) async fn relay_outbox(&self) -> Result<(), StoreError> {
        self.open()?;
        if self.context.outbox.now().is_none() {
            return Ok(());
        }
        let mut relay = self.relay.lock().await;
        let now = self.context.clock.steady();
        if !self.lease("letters").await? {
            return Ok(());
        }
        if relay.sure_until.is_none_or(|until| until < now) {
            *relay = self.take_over().await?;
        }
        relay.sure_until = Some(now + LEASE / 2);
        for (event, handle) in self.handles() {
            for _ in 0..RELAY_ROUNDS {
                let notes = self.state(&event).await?.intent_log.notes;
                let notes: Vec<Note> = notes.into_iter().take(RELAY_BATCH).collect();
                let Some(last) = notes.last().map(|note| note.number) else { break };
                let through = relay.moved.get(&event).copied().unwrap_or(0);
                let fresh = notes.into_iter().filter(|note| note.number > through).collect();
                let Some(newest) = self.publish(relay.newest, &event, fresh).await? else {
                    // Another node moved some: what this one knows is old.
                    *relay = RelayState::default();
                    return Ok(());
                };
                relay.newest = newest;
                relay.moved.insert(event.clone(), last);
                handle
                    .run(move |draft| {
                        draft.state.intent_log.notes.retain(|note| note.number > last);
                        Ok(())
                    })
                    .await?;
            }
        }
        Ok(())
    }

    /// What the node that moved letters before this one had done.
    async fn take_over(&self) -> Result<RelayState, StoreError> {
        let keys = Condition::new("shelf = :shelf").with(":shelf", text("letters"));
        // It may have stopped between putting letters on the shelf and removing them from their intent log.
        let latest = Query { newest_first: true, limit: RELAY_BATCH, ..Query::of(Table::Outbox, keys) };
        let mut relay = RelayState { newest: self.newest().await?, ..RelayState::default() };
        for row in self.tables().query(latest).await? {
            let event = row.text("event_id")?.parse().map_err(|_| unreadable("event_id"))?;
            let through = relay.moved.entry(event).or_default();
            *through = row.number("note")?.max(*through);
        }
        Ok(relay)
    }

    /// Puts letters on the shelf, under the numbers after `newest`: all of them or, where that is the newest no more,
    /// none. Answers the newest number.
    pub(super) async fn publish(
        &self,
        newest: u64,
        event: &EventId,
        notes: Vec<Note>,
    ) -> Result<Option<u64>, StoreError> {
        let mut items = Vec::new();
        let mut seq = newest;
        for note in notes {
            let Some(kind) = EventKind::from_name(&note.kind) else { continue };
            seq += 1;
            let letter = Letter { seq, event: event.clone(), at: note.at, kind, body: note.body };
            let item = row("letters", label(seq), &letter)
                .with_number("note", note.number)
                .with_time(FORGET_AFTER, letter.at + DEAD_LETTER_RETENTION);
            items.push((item, Condition::new("attribute_not_exists(shelf)")));
        }
        if items.is_empty() {
            return Ok(Some(newest));
        }
        // Kept apart, for letters are forgotten.
        let unmoved = match newest {
            0 => Condition::new("attribute_not_exists(shelf)"),
            newest => Condition::new("through = :newest").with(":newest", number(newest)),
        };
        items.push((key("cursor", cursor_label("")).with_number("through", seq), unmoved));
        Ok(self.tables().put_together(Table::Outbox, items).await?.then_some(seq))
    }

    async fn newest(&self) -> Result<u64, StoreError> {
        self.cursor("").await.map(Option::unwrap_or_default)
    }

    pub(super) async fn cursor(&self, sink: &str) -> Result<Option<u64>, StoreError> {
        let cursor = self.tables().get(Table::Outbox, key("cursor", cursor_label(sink))).await?;
        cursor.map(|cursor| cursor.number("through")).transpose()
    }

    /// [`crate::store::Outbox::letters`].
    pub(super) async fn letters(&self, after: u64, limit: usize) -> Result<Vec<Letter>, StoreError> {
        self.relay_outbox().await?;
        let rows = self.tables().query(shelf("letters", &label(after), LAST, limit)).await?;
        rows.iter().take(limit).map(letter).collect()
    }

    /// [`crate::store::Outbox::newest_letter`].
    pub(super) async fn newest_letter(&self) -> Result<u64, StoreError> {
        self.relay_outbox().await?;
        self.newest().await
    }

    /// [`crate::store::Outbox::claim_delivery`].
    pub(super) async fn claim_delivery(&self, sink: &str) -> Result<Option<u64>, StoreError> {
        if self.context.outbox.now().is_none() {
            return Ok(Some(0));
        }
        if !self.lease(&format!("to {sink}")).await? {
            return Ok(None);
        }
        if let Some(through) = self.cursor(sink).await? {
            return Ok(Some(through));
        }
        let newest = self.newest_letter().await?;
        let first = key("cursor", cursor_label(sink)).with_number("through", newest);
        let condition = Condition::new("attribute_not_exists(shelf)");
        self.tables().put(Table::Outbox, first, condition).await?;
        self.cursor(sink).await
    }

    /// [`crate::store::Outbox::note_delivered`].
    pub(super) async fn note_delivered(&self, sink: &str, through: u64) -> Result<(), StoreError> {
        self.open()?;
        let further = Condition::new("through < :through").with(":through", number(through));
        let cursor = key("cursor", cursor_label(sink));
        self.tables().update(Table::Outbox, cursor, "SET through = :through", further).await.map(drop)
    }

    /// The first half of [`crate::store::Outbox::bury_letters`].
    pub(super) async fn bury_letters(&self, sink: &str, letters: &[Letter], reason: &str) -> Result<(), StoreError> {
        self.open()?;
        let Some(now) = self.context.outbox.now() else { return Ok(()) };
        for letter in letters {
            let item = row("dead", dead_label(sink, letter.seq), letter)
                .with_text("sink", sink)
                .with_text("reason", reason)
                .with_time("died_at", now)
                .with_time(FORGET_AFTER, now + DEAD_LETTER_RETENTION)
                .with_number("again", 0);
            self.tables().put(Table::Outbox, item, Condition::new("attribute_not_exists(shelf)")).await?;
        }
        Ok(())
    }

    /// [`crate::store::Outbox::dead_letters`].
    pub(super) async fn dead_letters(
        &self,
        after: Option<(String, u64)>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.open()?;
        let above = after.map_or_else(String::new, |(sink, seq)| dead_label(&sink, seq));
        let rows = self.tables().query(shelf("dead", &above, LAST, limit)).await?;
        rows.iter().take(limit).map(dead_letter).collect()
    }

    pub(super) async fn dead_of(&self, sink: Option<&str>) -> Result<Vec<DeadLetter>, StoreError> {
        self.open()?;
        let whole = match sink {
            Some(sink) => shelf("dead", sink, &format!("{sink}{PART}{LAST}"), 0),
            None => shelf("dead", "", LAST, 0),
        };
        self.tables().query(whole).await?.iter().map(dead_letter).collect()
    }

    /// [`crate::store::Outbox::revive_dead_letters`].
    pub(super) async fn revive_dead_letters(&self, sink: Option<&str>) -> Result<u64, StoreError> {
        let mut revived = 0;
        for dead in self.dead_of(sink).await? {
            revived += u64::from(self.mark_dead(&dead.sink, dead.letter.seq, true).await?);
        }
        if revived > 0 {
            self.context.publisher.announce_outbox();
            // Nobody may be listening.
            drop(self.context.feed.send(crate::store::Change::Letters));
        }
        Ok(revived)
    }

    async fn mark_dead(&self, sink: &str, seq: u64, again: bool) -> Result<bool, StoreError> {
        let there = Condition::new("attribute_exists(shelf)").with(":again", number(u8::from(again)));
        let dead = key("dead", dead_label(sink, seq));
        Ok(self.tables().update(Table::Outbox, dead, "SET again = :again", there).await? == Written::Done)
    }

    /// [`crate::store::Outbox::revived_letters`].
    pub(super) async fn revived_letters(&self, sink: &str, limit: usize) -> Result<Vec<Letter>, StoreError> {
        let dead = self.dead_of(Some(sink)).await?;
        Ok(dead.into_iter().filter(|dead| dead.again).map(|dead| dead.letter).take(limit).collect())
    }

    /// [`crate::store::Outbox::settle_dead_letter`].
    pub(super) async fn settle_dead_letter(&self, sink: &str, seq: u64, outcome: Resent) -> Result<(), StoreError> {
        self.open()?;
        match outcome {
            Resent::Refused => self.mark_dead(sink, seq, false).await.map(drop),
            Resent::Taken => {
                let dead = key("dead", dead_label(sink, seq));
                self.tables().delete(Table::Outbox, dead, Condition::none()).await.map(drop)
            }
        }
    }
}

/// A label must not be empty: the newest number's own is.
fn cursor_label(sink: &str) -> String {
    format!("to {sink}")
}

#[async_trait]
impl Outbox for DistributedStore {
    async fn post_letter(&self, event: &EventId, tick: Timestamp, happening: &DomainEvent) -> Result<bool, StoreError> {
        let happening = happening.clone();
        self.engine.handle(event)?.run(move |draft| Ok(draft.post(tick, &happening))).await
    }

    async fn tell_joins(&self, event: &EventId) -> Result<bool, StoreError> {
        self.engine.handle(event)?.run(|draft| Ok(draft.tell_joins(false))).await
    }

    async fn letters(&self, after: u64, limit: u32) -> Result<Vec<Letter>, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.on_engine(move |engine| async move { engine.letters(after, limit).await }).await
    }

    async fn newest_letter(&self) -> Result<u64, StoreError> {
        self.on_engine(|engine| async move { engine.newest_letter().await }).await
    }

    async fn claim_delivery(&self, sink: &str) -> Result<Option<u64>, StoreError> {
        let sink = sink.to_owned();
        self.on_engine(move |engine| async move { engine.claim_delivery(&sink).await }).await
    }

    async fn note_delivered(&self, sink: &str, through: u64) -> Result<(), StoreError> {
        let sink = sink.to_owned();
        self.on_engine(move |engine| async move { engine.note_delivered(&sink, through).await }).await
    }

    async fn bury_letters(&self, sink: &str, letters: &[Letter], reason: &str, through: u64) -> Result<(), StoreError> {
        let (sink, letters, reason) = (sink.to_owned(), letters.to_vec(), reason.to_owned());
        self.on_engine(move |engine| async move {
            engine.bury_letters(&sink, &letters, &reason).await?;
            engine.note_delivered(&sink, through).await
        })
        .await
    }

    async fn dead_letters(&self, after: Option<(String, u64)>, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.on_engine(move |engine| async move { engine.dead_letters(after, limit).await }).await
    }

    async fn revive_dead_letters(&self, sink: Option<&str>) -> Result<u64, StoreError> {
        let sink = sink.map(str::to_owned);
        self.on_engine(move |engine| async move { engine.revive_dead_letters(sink.as_deref()).await }).await
    }

    async fn revived_letters(&self, sink: &str, limit: u32) -> Result<Vec<Letter>, StoreError> {
        let (sink, limit) = (sink.to_owned(), usize::try_from(limit).unwrap_or(usize::MAX));
        self.on_engine(move |engine| async move { engine.revived_letters(&sink, limit).await }).await
    }

    async fn settle_dead_letter(&self, sink: &str, seq: u64, outcome: Resent) -> Result<(), StoreError> {
        let sink = sink.to_owned();
        self.on_engine(move |engine| async move { engine.settle_dead_letter(&sink, seq, outcome).await }).await
    }

    async fn forget_letters(&self, sinks: &[String], before: Timestamp) -> Result<u64, StoreError> {
        let sinks = sinks.to_vec();
        self.on_engine(move |engine| async move { engine.forget_letters(&sinks, before).await }).await
    }
}
