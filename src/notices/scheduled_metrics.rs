//! Notices that no state change writes: joins, each second, and an event's metrics, each minute.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::ambient::Timestamp;
use crate::lobby::{Lobby, Room};
use crate::policy;
use crate::room::{DomainEvent, EventId, MetricsEvents};
use crate::store::StoreError;

const MINUTE: u64 = 60;

/// Writes them until it is dropped, and sweeps records that are old or that all `sinks` have.
pub(super) async fn run(lobby: Arc<Lobby>, sinks: Vec<String>) {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut done: HashMap<EventId, Timestamp> = HashMap::new();
    let mut swept = None;
    loop {
        seconds.tick().await;
        let now = lobby.now();
        let minute = Timestamp::from_secs(now.as_secs() / MINUTE * MINUTE);
        for room in lobby.rooms() {
            let event = &room.settings.id;
            let due = room.settings.metrics_events == MetricsEvents::EachMinute && done.get(event) != Some(&minute);
            match publish(&lobby, room, due.then_some(minute)).await {
                Ok(()) => drop(done.insert(event.clone(), minute)),
                Err(error) => tracing::warn!(%event, %error, "an event's metrics cannot be recorded; it is retried"),
            }
        }
        if swept != Some(minute) {
            swept = Some(minute);
            if let Err(error) = lobby.store().forget_letters(&sinks, now - policy::OUTBOX_RETENTION).await {
                tracing::warn!(%error, "the outbox cannot be swept; it is retried in a minute");
            }
        }
    }
}

async fn publish(lobby: &Lobby, room: &Room, minute: Option<Timestamp>) -> Result<(), StoreError> {
    let (store, event) = (lobby.store(), &room.settings.id);
    store.tell_joins(event).await?;
    let Some(minute) = minute else { return Ok(()) };
    let num_active_tokens = store.active_sessions(event, lobby.now()).await?;
    let counters = store.counters(event).await?;
    let metrics = DomainEvent::WaitingRoomMetrics {
        num_active_tokens,
        total_num_tokens: counters.sessions_opened,
        queue_counter: counters.queue,
        serving_number: counters.serving,
        completed_sessions: counters.completed,
        abandoned_sessions: counters.abandoned,
    };
    store.post_letter(event, minute, &metrics).await.map(drop)
}
