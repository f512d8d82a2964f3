//! What is forgotten: sessions a day after their end, the rows of a line that nobody asks for any more, dead letters.
//!
//! One node at a time does it. Of a session that is forgotten before its position is given up, its place stays, so that
//! its ticket opens no second one (`sessions.rs`). Each look reads a page of each kind: reading is paid for.

use std::sync::PoisonError;

use super::client::Attributes;
use super::client::{Table, Tables};
use super::draft::Draft;
use super::engine::Engine;
use super::handle::EventHandle;
use super::intent_log::IntentLog;
use super::outbox_rows::{dead_label, key, label, letter, shelf};
use super::state::EventState;
use super::{grants, log, sessions};
use crate::ambient::Timestamp;
use crate::policy::{
    ARRIVAL_RETENTION, CLOCK_SET_BACK, DEAD_LETTER_LOOK, DEAD_LETTER_RETENTION, DEAD_LETTERS_KEPT, PACE_HORIZON,
    PASSED_STEP, RELAY_BATCH, SESSION_RETENTION,
};
use crate::room::{Arrival, EventId};
use crate::store::{Letter, StoreError};

/// The line of one event, as a sweep at `now` found it.
struct Line<'a> {
    tables: &'a Tables,
    event: &'a EventId,
    handle: &'a EventHandle,
    state: &'a EventState,
    now: Timestamp,
}

impl Line<'_> {
    /// Changes the event's intent log, unless the line was reset since; whether it did.
    async fn note(&self, change: impl Fn(&mut IntentLog) + Send + 'static) -> Result<bool, StoreError> {
        let epoch = self.state.epoch;
        let noting = move |draft: &mut Draft<'_>| {
            let same = draft.state.epoch == epoch;
            if same {
                change(&mut draft.state.intent_log);
            }
            Ok(same)
        };
        self.handle.run(noting).await
    }

    /// Forgets the sessions whose time is over since a day.
    async fn forget_sessions(&self) -> Result<(), StoreError> {
        let Self { tables, event, state, .. } = self;
        let before = self.now - SESSION_RETENTION;
        let over = sessions::over(tables, event, state.epoch, before).await?;
        let given_up = state.expired_and_counted();
        let usable = over.iter().map(|(_, position)| position.get()).filter(|position| *position > given_up).max();
        // Before they are gone: whoever finds none from now on looks at its place.
        if let Some(last) = usable.filter(|last| *last > state.intent_log.forgotten)
            && !self.note(move |intent_log| intent_log.forgotten = intent_log.forgotten.max(last)).await?
        {
            return Ok(());
        }
        let keys: Vec<Attributes> = over.into_iter().map(|(key, _)| key).collect();
        sessions::forget(tables, event, state.epoch, before, keys).await
    }

    /// Forgets serving records and arrivals of positions that are given up. An arrival is kept for as long as a session
    /// of its position may be: from then on no ticket of it opens anything.
    async fn forget_log(&self) -> Result<(), StoreError> {
        let Self { tables, event, state, now, .. } = *self;
        let (epoch, given_up) = (state.epoch, state.expired_and_counted());
        if given_up == 0 {
            return Ok(());
        }
        log::forget_records(tables, event, epoch, given_up, now - PACE_HORIZON).await?;
        let passed = &state.intent_log.passed;
        // What a clock that was ahead noted does not count.
        let (noted, ahead) = (passed.last(), now + CLOCK_SET_BACK);
        if noted.is_none_or(|(at, through)| *at > ahead || (*at + PASSED_STEP <= now && *through < given_up)) {
            let note = move |intent_log: &mut IntentLog| {
                let passed = &mut intent_log.passed;
                passed.retain(|(at, _)| *at <= ahead);
                passed.push((now, given_up));
                // Of those that are old enough to go by, the newest alone.
                let old = passed.iter().filter(|(at, _)| *at + ARRIVAL_RETENTION <= now).count();
                passed.drain(..old.saturating_sub(1));
            };
            self.note(note).await?;
        }
        let settled = passed.iter().rev().find(|(at, _)| *at + ARRIVAL_RETENTION <= now);
        match settled {
            Some((_, through)) => log::forget_arrivals(tables, event, epoch, *through).await,
            None => Ok(()),
        }
    }

    /// Forgets the oldest of the lines that were reset.
    async fn forget_ended(&self) -> Result<(), StoreError> {
        let Some(ended) = self.state.intent_log.ended.first().copied() else { return Ok(()) };
        if super::gc::forget(self.tables, self.event, ended).await? {
            self.handle
                .run(move |draft| {
                    draft.state.intent_log.ended.retain(|epoch| *epoch != ended);
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }
}

impl Engine {
    /// [`crate::store::Store::sweep`].
    pub(super) async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.open()?;
        let from = self.swept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (forgotten, end) = grants::forget(&self.context.tables, now, from).await?;
        *self.swept.lock().unwrap_or_else(PoisonError::into_inner) = end;
        // The rows of a line are many: one node at a time deletes them.
        if !self.leases.take("sweep").await? {
            return Ok(forgotten);
        }
        for (event, handle) in self.handles() {
            let state = self.state(&event).await?;
            let line = Line { tables: &self.context.tables, event: &event, handle: &handle, state: &state, now };
            sessions::sweep_places(line.tables, &event, &state, now).await?;
            line.forget_sessions().await?;
            line.forget_log().await?;
            line.forget_ended().await?;
        }
        self.forget_dead_letters(now).await?;
        Ok(forgotten)
    }

    /// Forgets dead letters that are old or too many. DynamoDB does the first too, but may take days.
    async fn forget_dead_letters(&self, now: Timestamp) -> Result<(), StoreError> {
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if *looked <= now && now.since(*looked) < DEAD_LETTER_LOOK {
                return Ok(());
            }
            *looked = now;
        }
        let mut dead = self.dead_of(None).await?;
        dead.sort_by_key(|dead| std::cmp::Reverse((dead.died_at, dead.letter.seq)));
        let kept = usize::try_from(DEAD_LETTERS_KEPT).unwrap_or(usize::MAX);
        let old = |index: usize, died_at: Timestamp| index >= kept || died_at + DEAD_LETTER_RETENTION <= now;
        let dead = dead.into_iter().enumerate().filter(|(index, dead)| old(*index, dead.died_at));
        self.forget_dead(dead.map(|(_, dead)| (dead.sink, dead.letter.seq)).collect()).await
    }

    /// Deletes dead letters.
    pub(super) async fn forget_dead(&self, dead: Vec<(String, u64)>) -> Result<(), StoreError> {
        let keys = dead.into_iter().map(|(sink, seq)| key("dead", dead_label(&sink, seq))).collect();
        self.context.tables.delete_all(Table::Outbox, keys).await
    }

    /// [`crate::store::Outbox::forget_letters`].
    pub(super) async fn forget_letters(&self, sinks: &[String], before: Timestamp) -> Result<u64, StoreError> {
        let mut through = self.newest_letter().await?;
        for sink in sinks {
            through = through.min(self.cursor(sink).await?.unwrap_or(0));
        }
        let mut forgotten = 0;
        loop {
            let page = self.context.tables.query(shelf("letters", "", &label(through), RELAY_BATCH)).await?;
            let old = page.iter().map(letter).collect::<Result<Vec<_>, _>>()?;
            let old: Vec<Letter> = old.into_iter().take_while(|letter| letter.at < before).collect();
            let keys = old.iter().map(|letter| key("letters", label(letter.seq))).collect();
            self.context.tables.delete_all(Table::Outbox, keys).await?;
            forgotten += old.len() as u64;
            if old.len() < RELAY_BATCH {
                return Ok(forgotten);
            }
        }
    }

    /// [`crate::store::Store::oldest_arrival`].
    pub(super) async fn oldest_arrival(&self, event: &EventId) -> Result<Option<Arrival>, StoreError> {
        let epoch = self.state(event).await?.epoch;
        log::oldest_arrival(&self.context.tables, event, epoch).await
    }
}
