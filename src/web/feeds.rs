//! The state of each line as waiting browsers hear it: one message serialised once, many sockets.

use std::pin::pin;
use std::sync::Arc;

use actix_web::web::Bytes;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::state::ByEvent;
use crate::lobby::{Lobby, Room};
use crate::policy;

/// What a waiting page needs to know; the visitor's own position is the page's affair.
#[derive(Serialize, PartialEq, Debug)]
pub struct LineState {
    generation: u16,
    serving: u64,
    waiting: u64,
    /// In seconds: a position at best, at worst, and between moves; `None`: not known yet.
    pace: Option<[f64; 3]>,
    /// Whether nobody is let in by itself at the moment, because the site cannot take more.
    paused: bool,
}

impl LineState {
    /// The state of the line now.
    pub fn of(lobby: &Lobby, room: &Room) -> Self {
        let view = room.cache.view();
        let pace = view.pace(lobby.now());
        Self {
            generation: view.counters.generation.0,
            serving: view.counters.serving,
            waiting: view.counters.waiting(),
            pace: pace.map(|pace| pace.figures()),
            paused: !room.is_open(),
        }
    }

    /// Whether something changed since that those who wait want to know at once.
    fn is_outdated(&self, room: &Room) -> bool {
        let counters = room.cache.counters();
        (self.serving, self.generation, self.paused) != (counters.serving, counters.generation.0, !room.is_open())
    }

    fn event(&self) -> Bytes {
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("retry: {}\ndata: {json}\n\n", policy::STREAM_RETRY.as_millis()).into()
    }
}

/// The streams of all events.
pub struct Feeds {
    /// The latest message of each; `None`: the stream ends.
    senders: ByEvent<watch::Sender<Option<Bytes>>>,
}

impl Feeds {
    /// Streams that say how each line stands now.
    pub fn new(lobby: &Lobby) -> Self {
        let sender = |room: &Arc<Room>| watch::Sender::new(Some(LineState::of(lobby, room).event()));
        Self { senders: lobby.rooms().map(|room| (room.settings.id.clone(), sender(room))).collect() }
    }

    /// A listener to the line of `event`.
    pub fn listen(&self, event: &str) -> Option<watch::Receiver<Option<Bytes>>> {
        self.senders.get(event).map(watch::Sender::subscribe)
    }

    /// Ends all streams; the browsers come back, to another node or after the restart.
    pub fn close(&self) {
        self.senders.values().for_each(|sender| drop(sender.send_replace(None)));
    }

    /// Publishes changes, each line in the long run at most once in [`policy::STREAM_THROTTLE`], until the tasks are
    /// aborted.
    pub fn publish(self: &Arc<Self>, lobby: &Arc<Lobby>) -> Vec<JoinHandle<()>> {
        let rooms = lobby.rooms().cloned();
        rooms.map(|room| tokio::spawn(Arc::clone(self).publish_line(Arc::clone(lobby), room))).collect()
    }

    async fn publish_line(self: Arc<Self>, lobby: Arc<Lobby>, room: Arc<Room>) {
        let Some(sender) = self.senders.get(&room.settings.id) else { return };
        let mut bell = room.cache.subscribe();
        let mut told = LineState::of(&lobby, &room);
        // When the next message is due, were they all as far apart as they are in the long run.
        let mut due = Instant::now();
        let mut silence = pin!(lobby.wait_for(policy::STREAM_HEARTBEAT));
        loop {
            let silent = tokio::select! {
                biased;
                () = &mut silence => true,
                // The board's bell lives as long as the room.
                _ = bell.changed() => false,
            };
            // Joins ring all the time and tell those who wait nothing: only a move, a pause, or the heartbeat that keeps
            // proxies from closing a silent stream, is worth waking every socket.
            if !silent && !told.is_outdated(&room) {
                continue;
            }
            sleep_until(due.max(Instant::now() + policy::STREAM_SLACK) - policy::STREAM_SLACK).await;
            told = LineState::of(&lobby, &room);
            // A closed stream stays closed.
            sender.send_if_modified(|message| message.as_mut().map(|message| *message = told.event()).is_some());
            due = due.max(Instant::now()) + policy::STREAM_THROTTLE;
            silence.set(lobby.wait_for(policy::STREAM_HEARTBEAT));
        }
    }
}
