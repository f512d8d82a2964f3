//! The state of each queue as streamed to waiting pages: serialised once, sent to many sockets.

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

/// The state that a waiting page needs; the page knows the visitor's own position.
#[derive(Serialize, PartialEq, Debug)]
pub struct LineStatus {
    generation: u16,
    serving: u64,
    waiting: u64,
    /// In seconds per position (best, worst) and between moves; `None`: not known yet.
    pace: Option<[f64; 3]>,
    /// Whether the gate is closed, so that the inlet admits no one.
    paused: bool,
}

impl LineStatus {
    /// The current state.
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

    /// Whether something changed that waiting pages must show at once.
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
    /// Streams with the current state of each queue.
    pub fn new(lobby: &Lobby) -> Self {
        let sender = |room: &Arc<Room>| watch::Sender::new(Some(LineStatus::of(lobby, room).event()));
        Self { senders: lobby.rooms().map(|room| (room.settings.id.clone(), sender(room))).collect() }
    }

    /// A subscription to the stream of `event`.
    pub fn listen(&self, event: &str) -> Option<watch::Receiver<Option<Bytes>>> {
        self.senders.get(event).map(watch::Sender::subscribe)
    }

    /// Ends all streams; browsers reconnect, to another node or after the restart.
    pub fn close(&self) {
        self.senders.values().for_each(|sender| drop(sender.send_replace(None)));
    }

    /// Publishes changes, on average at most once per [`policy::STREAM_THROTTLE`] and queue, until the tasks are
    /// aborted.
    pub fn publish(self: &Arc<Self>, lobby: &Arc<Lobby>) -> Vec<JoinHandle<()>> {
        let rooms = lobby.rooms().cloned();
        rooms.map(|room| tokio::spawn(Arc::clone(self).publish_line(Arc::clone(lobby), room))).collect()
    }

    async fn publish_line(self: Arc<Self>, lobby: Arc<Lobby>, room: Arc<Room>) {
        let Some(sender) = self.senders.get(&room.settings.id) else { return };
        let mut changes = room.cache.subscribe();
        let mut sent = LineStatus::of(&lobby, &room);
        // When the next message would be due if all were equally spaced.
        let mut due = Instant::now();
        let mut silence = pin!(lobby.wait_for(policy::STREAM_HEARTBEAT));
        loop {
            let silent = tokio::select! {
                biased;
                () = &mut silence => true,
                // The cache lives as long as the room.
                _ = changes.changed() => false,
            };
            // Joins notify all the time but change nothing for waiting pages. Only a move, a pause, or the heartbeat
            // that keeps proxies from closing an idle stream is worth waking every socket.
            if !silent && !sent.is_outdated(&room) {
                continue;
            }
            sleep_until(due.max(Instant::now() + policy::STREAM_SLACK) - policy::STREAM_SLACK).await;
            sent = LineStatus::of(&lobby, &room);
            // A closed stream stays closed.
            sender.send_if_modified(|message| message.as_mut().map(|message| *message = sent.event()).is_some());
            due = due.max(Instant::now()) + policy::STREAM_THROTTLE;
            silence.set(lobby.wait_for(policy::STREAM_HEARTBEAT));
        }
    }
}
