//! The outbox relay: outbox records leave the intent logs of the events for the table `Outbox`, where they get their numbers.
//!
//! One node at a time moves them, as long as its lease lasts (`leases.rs`). They move in transactions that rest on the
//! newest number: should two nodes believe that they hold the lease, one of them is refused. Owns what is written to the
//! table `Outbox` (`outbox_rows.rs`). Times here are of the clock that letters are dated by.

use super::client::{Condition, FORGET_AFTER, Query, Table, Tables, Written, number, text, unreadable};
use super::engine::Engine;
use super::intent_log::Note;
use super::outbox_rows::{
    LAST, PART, RelayState, cursor_label, dead_label, dead_letter, key, label, letter, row, shelf,
};
use crate::policy::{DEAD_LETTER_RETENTION, LEASE, RELAY_BATCH, RELAY_ROUNDS};
use crate::room::{EventId, EventKind};
use crate::store::StoreError;
use crate::store::outbox::{DeadLetter, Letter, Resent};

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
        if !self.leases.take("letters").await? {
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
        if !self.leases.take(&format!("to {sink}")).await? {
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
