//! Looking after an event from this node: what Redis did not tell, and what a node that is no more left half done.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use tokio::time::{Instant, MissedTickBehavior};

use super::client::Attributes;
use super::client::Table;
use super::desk::{Desk, closed};
use super::engine::Engine;
use super::journal::{LogRow, Mark};
use super::log;
use super::state::EventState;
use crate::ambient::random;
use crate::policy::{DOCUMENT_PERIOD, ORPHAN_AGE, WATCH_PERIOD};
use crate::room::EventId;
use crate::store::StoreError;

/// What stands in a journal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Seen {
    Task(Mark),
    Row(u64, LogRow),
}

/// Watches the event for as long as the engine lives. To be called on its runtime.
pub(super) fn start(engine: &Arc<Engine>, event: &EventId, desk: &Arc<Desk>) {
    let (engine, desk, event) = (Arc::downgrade(engine), Arc::downgrade(desk), event.clone());
    tokio::spawn(watch(engine, desk, event));
}

/// Looks after documents for as long as the engine lives.
pub(super) async fn documents(engine: Weak<Engine>) {
    let mut ticks = tokio::time::interval(DOCUMENT_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(engine) = engine.upgrade() else { return };
        // As below.
        drop(engine.look_at_documents().await);
    }
}

async fn watch(engine: Weak<Engine>, desk: Weak<Desk>, event: EventId) {
    // Each event at a moment of its own, not all at once.
    let [dice] = engine.upgrade().map_or([0], |engine| random(&*engine.office.entropy));
    let first = Instant::now() + WATCH_PERIOD * u32::from(dice) / u32::from(u8::MAX);
    let mut ticks = tokio::time::interval_at(first, WATCH_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut since = HashMap::new();
    loop {
        ticks.tick().await;
        let (Some(engine), Some(desk)) = (engine.upgrade(), desk.upgrade()) else { return };
        // What fails is tried again a second later; the verbs tell of a store that is away.
        drop(look(&engine, &desk, &event, &mut since).await);
    }
}

async fn look(
    engine: &Engine,
    desk: &Desk,
    event: &EventId,
    since: &mut HashMap<Seen, Instant>,
) -> Result<(), StoreError> {
    let key = Attributes::new().with_text("event_id", event.as_str());
    let item = {
        // The semaphore is never closed.
        let _slot = engine.looks.acquire().await.map_err(|_| closed())?;
        engine.office.tables.get_eventual(Table::Events, key).await?
    };
    let Some(item) = item else { return Err(StoreError::UnknownEvent(event.clone())) };
    let state = EventState::read(&item)?;
    desk.cache.learn(state.counters);
    let rows = state.journal.rows.iter().map(|row| Seen::Row(state.life, *row));
    let now: Vec<Seen> = state.journal.pending.iter().map(|pending| Seen::Task(pending.mark)).chain(rows).collect();
    since.retain(|seen, _| now.contains(seen));
    let old = |seen: &Seen, since: &mut HashMap<Seen, Instant>| {
        since.entry(*seen).or_insert_with(Instant::now).elapsed() >= ORPHAN_AGE
    };
    // What fails keeps nothing else from being done.
    for pending in &state.journal.pending {
        if old(&Seen::Task(pending.mark), since) {
            tracing::info!(%event, "finishing what another node, or an earlier try, left half done");
            if let Err(error) = engine.help(event, &state.undertaking(pending)).await {
                tracing::warn!(%event, %error, "it cannot be finished yet");
            }
        }
    }
    for row in &state.journal.rows {
        if old(&Seen::Row(state.life, *row), since)
            && log::put(&engine.office.tables, event, state.life, *row).await.is_ok()
        {
            desk.rows_done(state.life, [*row]);
        }
    }
    // Whoever they are for may not ask for a while; an item has no room for many.
    if !state.journal.notes.is_empty() {
        engine.move_letters().await?;
    }
    // Without a lease this node has no use for its reservation, and no other node may use it.
    let unused = state.has_reservation(&engine.office.node) && !desk.cache.is_open();
    if unused || desk.is_untidy() {
        desk.run(|_| Ok(())).await?;
    }
    Ok(())
}
