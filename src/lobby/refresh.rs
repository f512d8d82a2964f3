//! Keeping this node's memory current: what the feed announces is shown at once, what lies behind it is read later.
//!
//! Owns which boards are behind the store, and how many are read at the same time. The task that receives the feed never
//! waits for the store, and each event is read by a task of its own: so no event waits for the reads of another, however
//! far away the store is. It must not know what a change means, only whose it is.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::time::sleep;

use super::key_service::KEYS_DOCUMENT;
use super::{KeyServiceError, Lobby, Room};
use crate::outbound::Complaints;
use crate::policy;
use crate::room::{Counters, EventId};
use crate::store::Change;

/// Marks something as behind the store; marking it again before it is read changes nothing.
type Stale = watch::Sender<()>;

/// What keeps the memory of `lobby` current from now on, to be run side by side until it is dropped.
pub(super) fn work(lobby: &Arc<Lobby>) -> Vec<BoxFuture<'static, ()>> {
    let pending = Arc::new(PendingRefresh::new(lobby));
    // All listen before anything runs: what is marked meanwhile is not lost.
    let changes = lobby.store.changes();
    let mut work = Vec::new();
    for room in lobby.rooms() {
        let Some(stale) = pending.events.get(&room.settings.id).map(Stale::subscribe) else { continue };
        let (pending, lobby, room) = (Arc::clone(&pending), Arc::clone(lobby), Arc::clone(room));
        work.push(async move { pending.keep_board(&lobby, &room, stale).await }.boxed());
    }
    let (stale, keeping, keys) = (pending.keys.subscribe(), Arc::clone(&pending), Arc::clone(lobby));
    work.push(async move { keeping.keep_keys(&keys, stale).await }.boxed());
    let lobby = Arc::clone(lobby);
    work.push(async move { pending.follow(&lobby, changes).await }.boxed());
    work
}

/// See the module's documentation.
struct PendingRefresh {
    events: HashMap<EventId, Stale>,
    keys: Stale,
    /// One for each refresh that may read the store now.
    slots: Semaphore,
    complaints: Complaints,
}

impl PendingRefresh {
    fn new(lobby: &Lobby) -> Self {
        let events = lobby.rooms().map(|room| (room.settings.id.clone(), Stale::new(())));
        let slots = Semaphore::new(policy::REFRESHES_AT_ONCE);
        Self { events: events.collect(), keys: Stale::new(()), slots, complaints: Complaints::default() }
    }

    /// Shows what the change announces, and marks what has to be read.
    fn note(&self, lobby: &Lobby, change: &Change) {
        match change {
            Change::Counters(event, counters) => {
                if let (Some(room), Some(stale)) = (lobby.rooms.get(event), self.events.get(event)) {
                    room.board.update(*counters);
                    stale.send_replace(());
                }
            }
            Change::Document(name) if name == KEYS_DOCUMENT => self.keys.send_replace(()),
            Change::Document(_) | Change::Letters => {}
        }
    }

    /// Shows every event's counters as the engine knows them, which takes it no request, and marks those that `behind` says.
    async fn note_all(&self, lobby: &Lobby, behind: impl Fn(&Counters, &Counters) -> bool) {
        for (event, stale) in &self.events {
            let Some(room) = lobby.rooms.get(event) else { continue };
            let before = room.board.counters();
            let known = lobby.store.counters(event).await.map(|counters| room.board.update(counters));
            // What the engine does not know is told of by the refresh.
            if known.is_err() || behind(&before, &room.board.counters()) {
                stale.send_replace(());
            }
        }
    }

    /// Finds everything that the feed left out.
    async fn make_up(&self, lobby: &Lobby) {
        self.note_all(lobby, |_, _| true).await;
        self.keys.send_replace(());
    }

    /// Receives the feed for as long as the store lives. It waits for nothing but the feed.
    async fn follow(&self, lobby: &Lobby, mut changes: broadcast::Receiver<Change>) {
        // What changed after the boards were read and before the feed was listened to.
        self.note_all(lobby, |before, now| before != now).await;
        loop {
            match changes.recv().await {
                Ok(change) => self.note(lobby, &change),
                Err(RecvError::Lagged(_)) => self.make_up(lobby).await,
                Err(RecvError::Closed) => return,
            }
            loop {
                match changes.try_recv() {
                    Ok(change) => self.note(lobby, &change),
                    Err(TryRecvError::Lagged(_)) => self.make_up(lobby).await,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
            sleep(policy::FEED_PAUSE).await;
        }
    }

    /// Reads what changed in `room`, each time that its board is behind. What is announced during a read is read by the
    /// next, and what cannot be read is tried again.
    async fn keep_board(&self, lobby: &Lobby, room: &Room, mut stale: watch::Receiver<()>) {
        let event = &room.settings.id;
        while stale.changed().await.is_ok() {
            sleep(policy::FEED_THROTTLE).await;
            // The semaphore is never closed.
            let Ok(slot) = self.slots.acquire().await else { return };
            stale.borrow_and_update();
            let refreshed = room.board.refresh(&*lobby.store, event).await;
            drop(slot);
            if let Err(error) = refreshed {
                // A store that is away fails all events, again and again: the log has one of them a minute.
                if self.complaints.is_news("", lobby.now()) {
                    tracing::warn!(%event, %error, "the latest rows of the event cannot be read; trying again");
                }
                stale.mark_changed();
                sleep(policy::REFRESH_RETRY).await;
            }
        }
    }

    /// Takes over the signing keys, each time that they were replaced.
    async fn keep_keys(&self, lobby: &Lobby, mut stale: watch::Receiver<()>) {
        while stale.changed().await.is_ok() {
            let Err(error) = lobby.keys.reload(&*lobby.store).await else { continue };
            tracing::error!(%error, "cannot read the new signing keys");
            // Keys that cannot be opened are no better a moment later; the next round of housekeeping complains again.
            if matches!(error, KeyServiceError::Store(_)) {
                stale.mark_changed();
                sleep(policy::REFRESH_RETRY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
