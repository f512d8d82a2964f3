//! What happens by itself: the inlet's steps, the expiry of places, news from other nodes, sweeping, keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::key_service::KEYS_DOCUMENT;
use super::{Fault, Lobby, Room};
use crate::ambient::Timestamp;
use crate::policy;
use crate::room::{Counters, EventId, Inlet};
use crate::store::Change;

/// The background work of a lobby; it ends with [`Caretaker::stop`].
pub struct Caretaker {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Caretaker {
    /// Starts the work.
    pub fn start(lobby: &Arc<Lobby>) -> Self {
        let stop = watch::Sender::new(false);
        let tasks = vec![
            tokio::spawn(until(stop.subscribe(), follow(Arc::clone(lobby)))),
            tokio::spawn(until(stop.subscribe(), inlets(Arc::clone(lobby)))),
            tokio::spawn(until(stop.subscribe(), housekeeping(Arc::clone(lobby)))),
        ];
        Self { stop, tasks }
    }

    /// Ends the work and waits for its end.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a background task ended badly");
            }
        }
    }
}

async fn until(mut stop: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|&stopped| stopped) => {}
    }
}

/// Brings the boards up to date whenever the feed says that something changed, at most once in
/// [`policy::FEED_THROTTLE`].
async fn follow(lobby: Arc<Lobby>) {
    let mut changes = lobby.store.changes();
    loop {
        let mut told = Told::default();
        match changes.recv().await {
            Ok(change) => told.note(change),
            Err(broadcast::error::RecvError::Lagged(_)) => told.everything(&lobby),
            Err(broadcast::error::RecvError::Closed) => return,
        }
        sleep(policy::FEED_THROTTLE).await;
        loop {
            match changes.try_recv() {
                Ok(change) => told.note(change),
                Err(broadcast::error::TryRecvError::Lagged(_)) => told.everything(&lobby),
                Err(_) => break,
            }
        }
        lobby.catch_up(told).await;
    }
}

/// What the feed told since the last look.
#[derive(Default)]
struct Told {
    /// With their latest counters, if they were told.
    events: HashMap<EventId, Option<Counters>>,
    keys: bool,
}

impl Told {
    fn note(&mut self, change: Change) {
        match change {
            Change::Counters(event, counters) => drop(self.events.insert(event, Some(counters))),
            Change::Document(name) => self.keys |= name == KEYS_DOCUMENT,
            Change::Letters => {}
        }
    }

    fn everything(&mut self, lobby: &Lobby) {
        self.events.extend(lobby.rooms.keys().map(|event| (event.clone(), None)));
        self.keys = true;
    }
}

async fn inlets(lobby: Arc<Lobby>) {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut clocks = HashMap::new();
    loop {
        seconds.tick().await;
        // First, so that the inlet sees the places that became free.
        lobby.expire_positions().await;
        lobby.step_inlets(&mut clocks).await;
    }
}

async fn housekeeping(lobby: Arc<Lobby>) {
    let mut rounds = interval(policy::HOUSEKEEPING);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        lobby.keep_house().await;
    }
}

/// The last tick of each room's inlet, as far as this node knows.
pub(super) type Ticks = HashMap<EventId, Timestamp>;

impl Lobby {
    async fn catch_up(&self, told: Told) {
        for (event, counters) in &told.events {
            let Some(room) = self.rooms.get(event) else { continue };
            // Shown even if the store cannot tell more.
            if let Some(counters) = counters {
                room.board.update(*counters);
            }
            if let Err(error) = room.board.refresh(&*self.store, event).await {
                tracing::warn!(%event, %error, "cannot read how the event stands");
            }
        }
        if told.keys
            && let Err(error) = self.keys.reload(&*self.store).await
        {
            tracing::error!(%error, "cannot read the new signing keys");
        }
    }

    /// Lets every inlet do what is due now. `ticks` carries what this node saw from call to call.
    pub async fn step_inlets(&self, ticks: &mut Ticks) {
        for (event, room) in &self.rooms {
            if let Err(error) = self.step_inlet(room, ticks).await {
                tracing::warn!(%event, %error, "the inlet cannot move the line");
            }
        }
    }

    async fn step_inlet(&self, room: &Room, ticks: &mut Ticks) -> Result<(), Fault> {
        let (event, inlet, now) = (&room.settings.id, room.settings.inlet, self.now());
        if let Inlet::MaxSize(places) = inlet {
            return self.fill(room, places, u64::MAX).await.map(drop);
        }
        let known = ticks.get(event).copied().filter(|tick| tick.since(now) < policy::CLOCK_SET_BACK);
        let seen = known.map_or(now, |tick| tick.max(now));
        let idle = known.is_some() && inlet.due(known, now, &room.board.counters()) == 0;
        if idle || inlet == Inlet::Manual || !room.is_open() {
            // A tick that moves nothing is over as well: what an empty line did not need, or a closed gate kept back, is
            // not owed to the next rush.
            ticks.insert(event.clone(), seen);
            return Ok(());
        }
        // Something seems due; the store knows whether another node was quicker.
        let stepped = self.store.step_inlet(event, &inlet, known, now).await?;
        ticks.insert(event.clone(), seen);
        if let Some(counters) = stepped {
            tracing::debug!(%event, serving = counters.serving, "the inlet did its step");
            room.board.update(counters);
        }
        Ok(())
    }

    /// Forgets what is over, and looks after the signing keys.
    pub async fn keep_house(&self) {
        let now = self.now();
        let longest = self.longest_token();
        if let Err(error) = self.keys.maintain(&*self.store, self.entropy(), now, longest).await {
            tracing::error!(%error, "cannot maintain the signing keys");
        }
        for (event, room) in &self.rooms {
            if let Err(error) = self.settle_sessions_of(room).await {
                tracing::warn!(%event, %error, "cannot look for sessions that end too late");
            }
        }
        // Last, for it may take a while.
        if let Err(error) = self.store.sweep(now).await {
            tracing::warn!(%error, "cannot sweep the store");
        }
    }

    /// How long the longest-lived token can live: that long an old key stays published.
    pub fn longest_token(&self) -> Duration {
        self.rooms.values().map(|room| room.settings.validity).max().unwrap_or(policy::DEFAULT_VALIDITY)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::ambient::{FrozenClock, SeededEntropy};
    use crate::keys::{MasterSecret, Rotation};
    use crate::lobby::{Clients, Surroundings};
    use crate::store::Store;
    use crate::store::embedded::EmbeddedStore;

    /// A node over `store`.
    async fn node(store: &Arc<dyn Store>, seed: u64) -> Lobby {
        let around = Surroundings {
            clock: Arc::new(FrozenClock::at(Timestamp::from_secs(1_800_000_000))),
            entropy: Arc::new(SeededEntropy::new(seed)),
            store: Arc::clone(store),
            master: MasterSecret::generate(&SeededEntropy::new(1)),
        };
        Lobby::open("https://queue.example", Vec::new(), Clients::default(), around).await.unwrap()
    }

    #[tokio::test]
    async fn a_node_takes_over_the_keys_that_the_feed_tells_of_or_that_a_round_finds() {
        let directory = TempDir::new().unwrap();
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(directory.path()).unwrap());
        let (ours, theirs) = (node(&store, 2).await, node(&store, 3).await);
        let mut changes = store.changes();
        let rotated = theirs.rotate_keys(Rotation::Compromised).await.unwrap();
        assert_ne!(ours.keys.ring().duties(), rotated);
        let mut told = Told::default();
        told.note(changes.recv().await.unwrap());
        ours.catch_up(told).await;
        assert_eq!(ours.keys.ring().duties(), rotated);
        let rotated = theirs.rotate_keys(Rotation::AtOnce).await.unwrap();
        ours.keep_house().await;
        assert_eq!(ours.keys.ring().duties(), rotated);
    }
}
