//! The periodic inlet: driven by the clock, the same on any number of nodes.
//!
//! The lobby runs without background tasks, whose ticks follow the machine's clock.

use std::collections::HashMap;
use std::sync::Arc;

use anteroom::ambient::{FrozenClock, SeededEntropy, Timestamp};
use anteroom::keys::{MasterSecret, RotationPlan};
use anteroom::lobby::{Clients, Lobby, LobbyDeps};
use anteroom::room::{Door, EventId};
use anteroom::store::embedded::EmbeddedStore;
use futures_util::future::join_all;
use tempfile::TempDir;

use crate::support::{NOW, config_from};

/// An event with a frozen clock.
pub struct Line {
    pub lobby: Lobby,
    clock: Arc<FrozenClock>,
    ticks: HashMap<EventId, Timestamp>,
    _directory: TempDir,
}

impl Line {
    /// `inlet` as in the configuration, with `crowd` visitors in the queue.
    pub async fn with(inlet: &str, crowd: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = format!("[[event]]\nid = \"Sample\"\ninlet = {{ strategy = \"periodic\", {inlet} }}\n");
        let config = config_from(directory.path(), &text);
        let (clock, entropy) = (Arc::new(FrozenClock::at(NOW)), Arc::new(SeededEntropy::new(1)));
        let around = LobbyDeps {
            clock: clock.clone(),
            master: MasterSecret::generate(&*entropy),
            entropy,
            store: Arc::new(EmbeddedStore::open(directory.path()).unwrap()),
            rotation: RotationPlan::default(),
        };
        let lobby = Lobby::open("http://127.0.0.1", config.events, Clients::default(), around).await.unwrap();
        let line = Self { lobby, clock, ticks: HashMap::new(), _directory: directory };
        line.join(crowd).await;
        line
    }

    async fn join(&self, crowd: u64) {
        let room = self.lobby.room("Sample").unwrap();
        for joined in join_all((0..crowd).map(|_| self.lobby.join(room, Door::Rest))).await {
            joined.unwrap();
        }
    }

    pub fn serving(&self) -> u64 {
        self.lobby.room("Sample").unwrap().cache.counters().serving
    }

    /// The serving counter after each tick; each tick is some seconds after the previous one.
    pub async fn after_ticks(&mut self, seconds: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut moved = Vec::new();
        for wait in seconds {
            self.clock.advance(std::time::Duration::from_secs(wait));
            self.lobby.step_inlets(&mut self.ticks).await;
            moved.push(self.serving());
        }
        moved
    }
}

#[tokio::test]
async fn a_smooth_inlet_spreads_its_increment_over_the_period() {
    let mut line = Line::with("increment_by = 6, every = 60", 50).await;
    let moved = line.after_ticks([1; 60]).await;
    assert_eq!(moved.last(), Some(&6));
    assert!(moved.windows(2).all(|pair| pair[1] - pair[0] <= 1), "{moved:?}");
    assert_eq!(line.after_ticks([1; 60]).await.last(), Some(&12));
}

#[tokio::test]
async fn a_stepped_inlet_moves_only_on_the_full_period() {
    let mut line = Line::with("increment_by = 6, every = 60, smooth = false", 50).await;
    // NOW is a multiple of 60.
    assert_eq!(line.after_ticks([1, 58]).await, [0, 0]);
    assert_eq!(line.after_ticks([1, 1, 58, 1]).await, [6, 6, 6, 12]);
}

#[tokio::test]
async fn missed_ticks_are_not_made_up_for() {
    for (inlet, most) in [
        // Smooth: five seconds' worth of the hour.
        ("increment_by = 6, every = 6", 5),
        // Stepped: one step.
        ("increment_by = 6, every = 6, smooth = false", 6),
    ] {
        let mut line = Line::with(inlet, 10_000).await;
        line.after_ticks([0]).await;
        let before = line.serving();
        line.after_ticks([3600]).await;
        assert_eq!(line.serving() - before, most, "{inlet}");
    }
}

#[tokio::test]
async fn increments_unused_by_an_empty_queue_are_not_saved_up() {
    let mut line = Line::with("increment_by = 10, every = 10", 3).await;
    line.after_ticks([1; 100]).await;
    assert_eq!(line.serving(), 4, "one step beyond the last in line");
    line.join(20).await;
    assert_eq!(line.after_ticks([1, 1]).await, [5, 6]);
}

#[tokio::test]
async fn visitors_that_join_between_two_steps_wait_for_the_next() {
    let mut line = Line::with("increment_by = 10, every = 60, smooth = false", 3).await;
    assert_eq!(line.after_ticks([60, 60, 60, 60]).await, [10, 13, 13, 13], "one step beyond the last in line");
    line.join(50).await;
    assert_eq!(line.after_ticks([1, 29, 29, 1]).await, [13, 13, 13, 23]);
}

#[tokio::test]
async fn a_restart_does_not_delay_the_inlet() {
    let mut line = Line::with("increment_by = 1, every = 2", 100).await;
    assert_eq!(line.after_ticks([1, 1, 1, 1]).await.last(), Some(&2));
    line.ticks.clear();
    assert_eq!(line.after_ticks([4, 1, 1]).await, [4, 4, 5]);
}

#[tokio::test]
async fn a_tick_of_two_nodes_moves_the_counter_once() {
    for inlet in ["increment_by = 6, every = 6", "increment_by = 6, every = 6, smooth = false"] {
        let (mut alone, line) = (Line::with(inlet, 100).await, Line::with(inlet, 100).await);
        let expected = alone.after_ticks([1; 30]).await;
        let (mut one, mut other, mut moved) = (HashMap::new(), HashMap::new(), Vec::new());
        for _ in 0..30 {
            line.clock.advance(std::time::Duration::from_secs(1));
            tokio::join!(line.lobby.step_inlets(&mut one), line.lobby.step_inlets(&mut other));
            moved.push(line.serving());
        }
        assert_eq!(moved, expected, "{inlet}");
    }
}

#[tokio::test]
async fn an_inlet_works_only_between_its_start_and_end() {
    let (start, end) = (NOW.as_secs() + 10, NOW.as_secs() + 20);
    let mut line = Line::with(&format!("increment_by = 1, every = 1, start = {start}, end = {end}"), 100).await;
    let moved = line.after_ticks([1; 30]).await;
    assert_eq!((moved[9], moved[10], moved[18], moved[19], moved[29]), (0, 1, 9, 9, 9), "{moved:?}");
}
