//! What happens by itself: the inlet's steps, the expiry of places, news from other nodes (`refresh.rs`), sweeping, keys.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::{Fault, Lobby, Room, refresh};
use crate::ambient::Timestamp;
use crate::policy;
use crate::room::{EventId, Inlet};

/// The background work of a lobby; it ends with [`BackgroundTasks::stop`].
pub struct BackgroundTasks {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl BackgroundTasks {
    /// Starts the work.
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

/// Looks after one room each second. Each has a task of its own: a line does not stand still because the store is slow about
/// another.
async fn inlet(lobby: Arc<Lobby>, room: Arc<Room>, slots: Arc<Semaphore>) {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut ticks = Ticks::new();
    loop {
        seconds.tick().await;
        // The semaphore is never closed.
        let Ok(_slot) = slots.acquire().await else { return };
        // First, so that the inlet sees the places that became free.
        lobby.expire_room(&room).await;
        lobby.step_room(&room, &mut ticks).await;
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
    /// Lets every inlet do what is due now. `ticks` carries what this node saw from call to call.
    pub async fn step_inlets(&self, ticks: &mut Ticks) {
        for room in self.rooms.values() {
            self.step_room(room, ticks).await;
        }
    }

    /// Lets the inlet of one room do what is due now.
    async fn step_room(&self, room: &Room, ticks: &mut Ticks) {
        if let Err(error) = self.step_inlet(room, ticks).await {
            tracing::warn!(event = %room.settings.id, %error, "the inlet cannot move the line");
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
            if let Err(error) = self.settle_sessions_of(room, room.settings.validity).await {
                tracing::warn!(%event, %error, "cannot look for sessions that end too late");
            }
        }
        // Last, for it may take a while.
        let reached = self.forgetting.lock().unwrap_or_else(PoisonError::into_inner).reached(self.moment());
        if let Err(error) = self.store.sweep(reached).await {
            tracing::warn!(%error, "cannot sweep the store");
        }
        for (event, room) in &self.rooms {
            if let Err(error) = room.board.forget(&*self.store, event).await {
                tracing::warn!(%event, %error, "cannot forget old arrivals");
            }
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
    use crate::ambient::{Clock as _, FrozenClock, SeededEntropy};
    use crate::keys::{KeyUse, MasterSecret, Rotation, RotationPlan};
    use crate::lobby::{Clients, LobbyDeps};
    use crate::room::{EventSettings, Periodic, Rhythm};
    use crate::store::Store;
    use crate::store::embedded::EmbeddedStore;
    use crate::store::held::Held;

    /// A node over `store`.
    async fn node(store: &Arc<dyn Store>, seed: u64) -> Lobby {
        let around = LobbyDeps {
            clock: Arc::new(FrozenClock::at(Timestamp::from_secs(1_800_000_000))),
            entropy: Arc::new(SeededEntropy::new(seed)),
            store: Arc::clone(store),
            master: MasterSecret::generate(&SeededEntropy::new(1)),
            rotation: RotationPlan::default(),
        };
        Lobby::open("https://queue.example", Vec::new(), Clients::default(), around).await.unwrap()
    }

    #[tokio::test]
    async fn a_line_moves_while_the_store_is_slow_about_another() {
        let directory = TempDir::new().unwrap();
        let store = Held::new(EmbeddedStore::open(directory.path()).unwrap(), 64);
        let clock = Arc::new(FrozenClock::at(Timestamp::from_secs(1_800_000_000)));
        let around = LobbyDeps {
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
        let lobby = Lobby::open("https://queue.example", events, Clients::default(), around).await.unwrap();
        let lobby = Arc::new(lobby);
        store.hold("step_inlet", 1);
        let background = BackgroundTasks::start(&lobby);
        store.until_waiting(1).await;
        let served = || lobby.rooms().map(|room| room.board.counters().serving).collect::<Vec<_>>();
        while served().into_iter().max() < Some(3) {
            clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!((served().into_iter().min(), store.waiting()), (Some(0), 1));
        background.stop().await;
    }

    #[tokio::test]
    async fn a_node_takes_over_the_keys_that_the_feed_tells_of_or_that_a_round_finds() {
        let directory = TempDir::new().unwrap();
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(directory.path()).unwrap());
        let (ours, theirs) = (Arc::new(node(&store, 2).await), node(&store, 3).await);
        refresh::work(&ours).into_iter().for_each(|work| drop(tokio::spawn(work)));
        let rotated = theirs.rotate_keys(&KeyUse::ALL, Rotation::Compromised).await.unwrap();
        while ours.keys.duties(ours.now()) != rotated {
            tokio::time::sleep(policy::FEED_PAUSE).await;
        }
        let rotated = theirs.rotate_keys(&KeyUse::ALL, Rotation::AtOnce).await.unwrap();
        ours.keep_house().await;
        assert_eq!(ours.keys.duties(ours.now()), rotated);
    }
}
