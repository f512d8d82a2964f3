//! Recovery: each node reads each event's item once a second, learns what Redis did not announce, and finishes intents that
//! another node left.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use tokio::time::{Instant, MissedTickBehavior};

use super::client::Attributes;
use super::client::Table;
use super::command::closed;
use super::engine::Engine;
use super::handle::EventHandle;
use super::intent_log::{IdempotencyKey, LogRow};
use super::log;
use super::state::EventState;
use crate::ambient::random;
use crate::policy::{DOCUMENT_PERIOD, INTENT_TIMEOUT, RECOVERY_PERIOD};
use crate::room::EventId;
use crate::store::StoreError;

/// An entry of an intent log.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Seen {
    IntentKind(IdempotencyKey),
    Row(u64, LogRow),
}

/// Polls the event for as long as the engine lives. To be called on its runtime.
pub(super) fn start(engine: &Arc<Engine>, event: &EventId, handle: &Arc<EventHandle>) {
    let (engine, handle, event) = (Arc::downgrade(engine), Arc::downgrade(handle), event.clone());
    tokio::spawn(recovery(engine, handle, event));
}

/// Polls the documents for as long as the engine lives.
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

async fn recovery(engine: Weak<Engine>, handle: Weak<EventHandle>, event: EventId) {
    // Events are spread over the period.
    let [dice] = engine.upgrade().map_or([0], |engine| random(&*engine.context.entropy));
    let first = Instant::now() + RECOVERY_PERIOD * u32::from(dice) / u32::from(u8::MAX);
    let mut ticks = tokio::time::interval_at(first, RECOVERY_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut since = HashMap::new();
    loop {
        ticks.tick().await;
        let (Some(engine), Some(handle)) = (engine.upgrade(), handle.upgrade()) else { return };
        // An error is retried a second later; the operations report a store that is unreachable.
        drop(look(&engine, &handle, &event, &mut since).await);
    }
}

async fn look(
    engine: &Engine,
    handle: &EventHandle,
    event: &EventId,
    since: &mut HashMap<Seen, Instant>,
) -> Result<(), StoreError> {
    let key = Attributes::new().with_text("event_id", event.as_str());
    let item = {
        // The semaphore is never closed.
        let _slot = engine.looks.acquire().await.map_err(|_| closed())?;
        engine.context.tables.get_eventual(Table::Events, key).await?
    };
    let Some(item) = item else { return Err(StoreError::UnknownEvent(event.clone())) };
    let state = EventState::read(&item)?;
    handle.cache.learn(state.counters);
    let rows = state.intent_log.rows.iter().map(|row| Seen::Row(state.epoch, *row));
    let now: Vec<Seen> =
        state.intent_log.intents.iter().map(|intent| Seen::IntentKind(intent.idempotency_key)).chain(rows).collect();
    since.retain(|seen, _| now.contains(seen));
    let old = |seen: &Seen, since: &mut HashMap<Seen, Instant>| {
        since.entry(*seen).or_insert_with(Instant::now).elapsed() >= INTENT_TIMEOUT
    };
    // An error keeps nothing else from being done.
    for intent in &state.intent_log.intents {
        if old(&Seen::IntentKind(intent.idempotency_key), since) {
            tracing::info!(%event, "finishing what another node, or an earlier try, left half done");
            if let Err(error) = engine.recover(event, &state.execution(intent)).await {
                tracing::warn!(%event, %error, "it cannot be finished yet");
            }
        }
    }
    for row in &state.intent_log.rows {
        if old(&Seen::Row(state.epoch, *row), since)
            && log::put(&engine.context.tables, event, state.epoch, *row).await.is_ok()
        {
            handle.rows_done(state.epoch, [*row]);
        }
    }
    // Their receivers may not ask for a while, and an item has no room for many.
    if !state.intent_log.notes.is_empty() {
        engine.relay_outbox().await?;
    }
    // Without a lease this node has no use for its reservation, and no other node may use it.
    let unused = state.has_reservation(&engine.context.node) && !handle.cache.is_open();
    if unused || handle.is_untidy() {
        handle.run(|_| Ok(())).await?;
    }
    Ok(())
}
