//! Keeps this node's cache current: counters that the feed announces are shown at once, the rows behind them are read
//! later.
//!
//! Owns which caches are behind the store, and how many are read at the same time. The task that receives the feed
//! never waits for the store, and each event is read by a task of its own, so no event waits for another's reads,
//! however slow the store is. Must not know what a change means, only which event it belongs to.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::time::sleep;

use super::key_service::KEYS_DOCUMENT;
use super::{KeyServiceError, Lobby, Room};
use crate::outbound::LogThrottle;
use crate::policy;
use crate::room::{Counters, EventId};
use crate::store::Change;

/// Marks something as stale; marking it again before it is read has no effect.
type Stale = watch::Sender<()>;

/// The tasks that keep the cache of `lobby` current, to be run concurrently until they are dropped.
pub(super) fn work(lobby: &Arc<Lobby>) -> Vec<BoxFuture<'static, ()>> {
    let pending = Arc::new(PendingRefresh::new(lobby));
    // All subscribe before any runs, so that no mark is lost.
    let changes = lobby.store.changes();
    let mut work = Vec::new();
    for room in lobby.rooms() {
        let Some(stale) = pending.events.get(&room.settings.id).map(Stale::subscribe) else { continue };
        let (pending, lobby, room) = (Arc::clone(&pending), Arc::clone(lobby), Arc::clone(room));
        work.push(async move { pending.refresh_event(&lobby, &room, stale).await }.boxed());
    }
    let (stale, keys_pending, keys) = (pending.keys.subscribe(), Arc::clone(&pending), Arc::clone(lobby));
    work.push(async move { keys_pending.refresh_keys(&keys, stale).await }.boxed());
    let lobby = Arc::clone(lobby);
    work.push(async move { pending.follow(&lobby, changes).await }.boxed());
    work
}

/// See the module's documentation.
struct PendingRefresh {
    events: HashMap<EventId, Stale>,
    keys: Stale,
    /// One permit for each refresh that may read the store now.
    slots: Semaphore,
    log_throttle: LogThrottle,
}

impl PendingRefresh {
    fn new(lobby: &Lobby) -> Self {
        let events = lobby.rooms().map(|room| (room.settings.id.clone(), Stale::new(())));
        let slots = Semaphore::new(policy::REFRESHES_AT_ONCE);
        Self { events: events.collect(), keys: Stale::new(()), slots, log_throttle: LogThrottle::default() }
    }

    /// Applies what the change announces, and marks what must be read.
    fn apply(&self, lobby: &Lobby, change: &Change) {
        match change {
            Change::Counters(event, counters) => {
                if let (Some(room), Some(stale)) = (lobby.rooms.get(event), self.events.get(event)) {
                    room.cache.update(*counters);
                    stale.send_replace(());
                }
            }
            Change::Document(name) if name == KEYS_DOCUMENT => self.keys.send_replace(()),
            Change::Document(_) | Change::Letters => {}
        }
    }

    /// Applies every event's counters as the engine knows them, which needs no store request, and marks those for which
    /// `behind` is true.
    async fn apply_all(&self, lobby: &Lobby, behind: impl Fn(&Counters, &Counters) -> bool) {
        for (event, stale) in &self.events {
            let Some(room) = lobby.rooms.get(event) else { continue };
            let before = room.cache.counters();
            let known = lobby.store.counters(event).await.map(|counters| room.cache.update(counters));
            // If the engine does not know them, the refresh reports it.
            if known.is_err() || behind(&before, &room.cache.counters()) {
                stale.send_replace(());
            }
        }
    }

    /// Catches up on everything that the feed dropped.
    async fn catch_up(&self, lobby: &Lobby) {
        self.apply_all(lobby, |_, _| true).await;
        self.keys.send_replace(());
    }

    /// Receives the feed for as long as the store lives. It waits only for the feed.
    async fn follow(&self, lobby: &Lobby, mut changes: broadcast::Receiver<Change>) {
        // Changes made after the caches were read and before the subscription began.
        self.apply_all(lobby, |before, now| before != now).await;
        loop {
            match changes.recv().await {
                Ok(change) => self.apply(lobby, &change),
                Err(RecvError::Lagged(_)) => self.catch_up(lobby).await,
                Err(RecvError::Closed) => return,
            }
            loop {
                match changes.try_recv() {
                    Ok(change) => self.apply(lobby, &change),
                    Err(TryRecvError::Lagged(_)) => self.catch_up(lobby).await,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
            sleep(policy::FEED_PAUSE).await;
        }
    }

    /// Reads the changes in `room` each time its cache is stale. Changes announced during a read are read by the next
    /// one, and a failed read is retried.
    async fn refresh_event(&self, lobby: &Lobby, room: &Room, mut stale: watch::Receiver<()>) {
        let event = &room.settings.id;
        while stale.changed().await.is_ok() {
            sleep(policy::FEED_THROTTLE).await;
            // The semaphore is never closed.
            let Ok(slot) = self.slots.acquire().await else { return };
            stale.borrow_and_update();
            let refreshed = room.cache.refresh(&*lobby.store, event).await;
            drop(slot);
            if let Err(error) = refreshed {
                // A store that is away fails for all events again and again: the log gets one entry a minute.
                if self.log_throttle.should_log("", lobby.now()) {
                    tracing::warn!(%event, %error, "an event's rows cannot be read; the read is retried");
                }
                stale.mark_changed();
                sleep(policy::REFRESH_RETRY).await;
            }
        }
    }

    /// Reloads the signing keys each time they are replaced.
    async fn refresh_keys(&self, lobby: &Lobby, mut stale: watch::Receiver<()>) {
        while stale.changed().await.is_ok() {
            let Err(error) = lobby.keys.reload(&*lobby.store).await else { continue };
            tracing::error!(%error, "the new signing keys cannot be loaded; it is retried in a minute");
            // Retrying keys that cannot be decrypted is of no use; the next housekeeping round logs the error again.
            if matches!(error, KeyServiceError::Store(_)) {
                stale.mark_changed();
                sleep(policy::REFRESH_RETRY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
