//! Background tasks: inlet steps, expiry of positions, refreshes from other nodes (`refresh.rs`), sweeping of the
//! store, key rotation.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::{Lobby, LobbyError, Room, refresh};
use crate::ambient::Timestamp;
use crate::policy;
use crate::room::{EventId, Inlet};

/// The background tasks of a lobby; [`BackgroundTasks::stop`] ends them.
pub struct BackgroundTasks {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl BackgroundTasks {
    /// Starts the tasks.
    pub fn start(lobby: &Arc<Lobby>) -> Self {
        let stop = watch::Sender::new(false);
        let mut work = refresh::work(lobby);
        let slots = Arc::new(Semaphore::new(policy::INLETS_AT_ONCE));
        let inlet = |room: &Arc<Room>| inlet(Arc::clone(lobby), Arc::clone(room), Arc::clone(&slots)).boxed();
        work.extend(lobby.rooms().map(inlet));
        work.push(housekeeping(Arc::clone(lobby)).boxed());
        let tasks = work.into_iter().map(|work| tokio::spawn(until(stop.subscribe(), work))).collect();
        Self { stop, tasks }
    }

    /// Ends the tasks and waits until they have ended.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a background task panicked; it is not restarted");
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

/// Expires positions and steps the inlet of one room, once a second. Each room has a task of its own, so a slow store
/// call for one event does not stop another event's queue.
async fn inlet(lobby: Arc<Lobby>, room: Arc<Room>, slots: Arc<Semaphore>) {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut ticks = Ticks::new();
    loop {
        seconds.tick().await;
        // The semaphore is never closed.
        let Ok(_slot) = slots.acquire().await else { return };
        // Expiry comes first, so that the inlet sees the capacity that it frees.
        lobby.expire_room(&room).await;
        lobby.step_room(&room, &mut ticks).await;
    }
}

async fn housekeeping(lobby: Arc<Lobby>) {
    let mut rounds = interval(policy::HOUSEKEEPING);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        lobby.run_housekeeping().await;
    }
}

/// The last tick of each room's inlet that this node knows of.
pub(super) type Ticks = HashMap<EventId, Timestamp>;

impl Lobby {
    /// Runs every step of every inlet that is due now. `ticks` carries the last ticks from call to call.
    pub async fn step_inlets(&self, ticks: &mut Ticks) {
        for room in self.rooms.values() {
            self.step_room(room, ticks).await;
        }
    }

    /// Runs the steps of one room's inlet that are due now.
    async fn step_room(&self, room: &Room, ticks: &mut Ticks) {
        if let Err(error) = self.step_inlet(room, ticks).await {
            tracing::warn!(event = %room.settings.id, %error, "an inlet step failed; it is retried in a second");
        }
    }

    async fn step_inlet(&self, room: &Room, ticks: &mut Ticks) -> Result<(), LobbyError> {
        let (event, inlet, now) = (&room.settings.id, room.settings.inlet, self.now());
        if let Inlet::MaxSize(places) = inlet {
            return self.fill(room, places, u64::MAX).await.map(drop);
        }
        let known = ticks.get(event).copied().filter(|tick| tick.since(now) < policy::CLOCK_SET_BACK);
        let seen = known.map_or(now, |tick| tick.max(now));
        let idle = known.is_some() && inlet.due(known, now, &room.cache.counters()) == 0;
        if idle || inlet == Inlet::Manual || !room.is_open() {
            // A tick that moves nothing is spent as well: increments that an empty queue did not need, or that a closed
            // gate withheld, are not made up later.
            ticks.insert(event.clone(), seen);
            return Ok(());
        }
        // This node sees a step as due; the store knows whether another node has run it.
        let stepped = self.store.step_inlet(event, &inlet, known, now).await?;
        ticks.insert(event.clone(), seen);
        if let Some(counters) = stepped {
            tracing::debug!(%event, serving = counters.serving, "the inlet moved the serving counter");
            room.cache.update(counters);
        }
        Ok(())
    }

    /// Deletes expired data and maintains the signing keys.
    pub async fn run_housekeeping(&self) {
        let now = self.now();
        let longest = self.longest_token();
        if let Err(error) = self.keys.maintain(&*self.store, self.entropy(), now, longest).await {
            tracing::error!(%error, "key maintenance failed; it is retried in a minute");
        }
        for (event, room) in &self.rooms {
            if let Err(error) = self.settle_sessions_of(room, room.settings.validity).await {
                tracing::warn!(%event, %error, "overlong sessions cannot be shortened; it is retried in a minute");
            }
        }
        // The sweep comes last because it may take long.
        let reached = self.retention_clock.lock().unwrap_or_else(PoisonError::into_inner).reached(self.moment());
        if let Err(error) = self.store.sweep(reached).await {
            tracing::warn!(%error, "the sweep of the store failed; it is retried in a minute");
        }
        for (event, room) in &self.rooms {
            if let Err(error) = room.cache.prune_arrivals(&*self.store, event).await {
                tracing::warn!(%event, %error, "old arrivals cannot be dropped; it is retried in a minute");
            }
        }
    }

    /// The lifetime of the longest-lived token: a retired key stays published for that long.
    pub fn longest_token(&self) -> Duration {
        self.rooms.values().map(|room| room.settings.validity).max().unwrap_or(policy::DEFAULT_VALIDITY)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::ambient::{Clock as _, FrozenClock, SeededEntropy};
    use crate::keys::{KeyUse, MasterSecret, Rotation, RotationPlan};
    use crate::lobby::{Clients, LobbyDeps};
    use crate::room::{EventSettings, Periodic, Rhythm};
    use crate::store::Store;
    use crate::store::embedded::EmbeddedStore;
    use crate::store::held::Held;

    /// A node over `store`.
    async fn node(store: &Arc<dyn Store>, seed: u64) -> Lobby {
        let deps = LobbyDeps {
            clock: Arc::new(FrozenClock::at(Timestamp::from_secs(1_800_000_000))),
            entropy: Arc::new(SeededEntropy::new(seed)),
            store: Arc::clone(store),
            master: MasterSecret::generate(&SeededEntropy::new(1)),
            rotation: RotationPlan::default(),
        };
        Lobby::open("https://queue.example", Vec::new(), Clients::default(), deps).await.unwrap()
    }

    #[tokio::test]
    async fn an_event_moves_while_store_calls_for_another_are_slow() {
        let directory = TempDir::new().unwrap();
        let store = Held::new(EmbeddedStore::open(directory.path()).unwrap(), 64);
        let clock = Arc::new(FrozenClock::at(Timestamp::from_secs(1_800_000_000)));
        let deps = LobbyDeps {
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::new(2)),
            store: store.clone(),
            master: MasterSecret::generate(&SeededEntropy::new(1)),
            rotation: RotationPlan::default(),
        };
        let each_second = |name: &str| {
            let mut settings = EventSettings::new(name.parse().unwrap());
            let every = Duration::from_secs(1);
            let rhythm = Rhythm::AtOnce;
            settings.inlet = Inlet::Periodic(Periodic { increment_by: 1, every, rhythm, start: None, end: None });
            settings
        };
        let events = ["One", "Two"].map(each_second).to_vec();
        for event in &events {
            store.store.ensure_event(&event.id).await.unwrap();
            store.store.take_some(&event.id, 50, clock.now()).await.unwrap();
        }
        let lobby = Lobby::open("https://queue.example", events, Clients::default(), deps).await.unwrap();
        let lobby = Arc::new(lobby);
        store.hold("step_inlet", 1);
        let background = BackgroundTasks::start(&lobby);
        store.until_waiting(1).await;
        let served = || lobby.rooms().map(|room| room.cache.counters().serving).collect::<Vec<_>>();
        while served().into_iter().max() < Some(3) {
            clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!((served().into_iter().min(), store.waiting()), (Some(0), 1));
        background.stop().await;
    }

    #[tokio::test]
    async fn a_node_loads_new_keys_from_the_feed_or_in_a_housekeeping_round() {
        let directory = TempDir::new().unwrap();
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(directory.path()).unwrap());
        let (ours, theirs) = (Arc::new(node(&store, 2).await), node(&store, 3).await);
        refresh::work(&ours).into_iter().for_each(|work| drop(tokio::spawn(work)));
        let rotated = theirs.rotate_keys(&KeyUse::ALL, Rotation::Compromised).await.unwrap();
        while ours.keys.published(ours.now()) != rotated {
            tokio::time::sleep(policy::FEED_PAUSE).await;
        }
        let rotated = theirs.rotate_keys(&KeyUse::ALL, Rotation::AtOnce).await.unwrap();
        ours.run_housekeeping().await;
        assert_eq!(ours.keys.published(ours.now()), rotated);
    }
}
