//! A node that receives changes while its store is slow, fails, or has announced more than was received.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::sleep;

use crate::ambient::{FrozenClock, SeededEntropy, Timestamp};
use crate::keys::{KeyUse, MasterSecret, Rotation, RotationPlan};
use crate::lobby::{Clients, KEYS_DOCUMENT, Lobby, LobbyDeps, Room, refresh};
use crate::policy::REFRESHES_AT_ONCE;
use crate::room::{Counters, EventId, EventSettings};
use crate::store::embedded::EmbeddedStore;
use crate::store::held::Held;
use crate::store::{Change, Store};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A node with `events`, whose store calls the test can hold. Direct writes to the store stand for other nodes.
struct Node {
    lobby: Arc<Lobby>,
    store: Arc<Held<EmbeddedStore>>,
    _directory: TempDir,
}

fn name(number: usize) -> EventId {
    format!("E{number}").parse().unwrap()
}

impl Node {
    async fn open(events: usize, feed: usize) -> Self {
        let directory = TempDir::new().unwrap();
        let store = Held::new(EmbeddedStore::open(directory.path()).unwrap(), feed);
        let deps = LobbyDeps {
            clock: Arc::new(FrozenClock::at(NOW)),
            entropy: Arc::new(SeededEntropy::new(2)),
            store: store.clone(),
            master: MasterSecret::generate(&SeededEntropy::new(1)),
            rotation: RotationPlan::default(),
        };
        let events = (0..events).map(|number| EventSettings::new(name(number))).collect();
        let lobby = Lobby::open("https://queue.example", events, Clients::default(), deps).await.unwrap();
        Self { lobby: Arc::new(lobby), store, _directory: directory }
    }

    /// Follows the feed from now on.
    fn follow(&self) {
        refresh::work(&self.lobby).into_iter().for_each(|work| drop(tokio::spawn(work)));
    }

    fn room(&self, number: usize) -> &Arc<Room> {
        self.lobby.room(name(number).as_str()).unwrap()
    }

    fn counters(&self, number: usize) -> Counters {
        self.room(number).cache.counters()
    }

    /// Another node moves the serving counter.
    async fn moves(&self, number: usize, by: i64) -> Counters {
        self.store.store.advance(&name(number), by, NOW).await.unwrap();
        self.store.store.counters(&name(number)).await.unwrap()
    }

    /// The same, with an announcement on the feed.
    async fn moves_and_announces(&self, number: usize, by: i64) {
        let counters = self.moves(number, by).await;
        self.announce(number, counters);
    }

    fn announce(&self, number: usize, counters: Counters) {
        self.store.announce(Change::Counters(name(number), counters));
    }

    /// Waits until the cache has this serving counter.
    async fn shows(&self, number: usize, serving: u64) {
        let mut changed = self.room(number).cache.subscribe();
        while self.counters(number).serving != serving {
            changed.changed().await.unwrap();
        }
    }

    /// The serving counters of the cached records.
    fn records(&self, number: usize) -> Vec<u64> {
        self.room(number).cache.view().records.iter().map(|record| record.serving).collect()
    }
}

/// Waits until the condition holds. If it never does, the test's own time limit fails it.
async fn until(so: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if so() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("it never comes");
}

#[tokio::test]
async fn a_move_is_shown_and_announced_while_another_events_rows_are_being_read() {
    let node = Node::open(2, 64).await;
    node.follow();
    node.store.hold("arrivals", 1);
    node.moves_and_announces(0, 3).await;
    node.store.until_waiting(1).await;
    let mut changed = node.room(1).cache.subscribe();
    changed.borrow_and_update();
    node.moves_and_announces(1, 5).await;
    changed.changed().await.unwrap();
    until(|| node.counters(1).serving == 5 && node.records(1) == [5]).await;
    // The event whose rows are being read shows its next move as well, and reads it afterwards.
    node.moves_and_announces(0, 4).await;
    until(|| node.counters(0).serving == 7).await;
    assert_eq!((node.store.waiting(), node.records(0)), (1, Vec::new()));
    node.store.release(1);
    until(|| node.records(0) == [3, 7]).await;
}

#[tokio::test]
async fn a_reset_is_shown_while_the_rows_of_the_old_line_are_being_read() {
    let node = Node::open(1, 64).await;
    node.store.store.take_some(&name(0), 9, NOW).await.unwrap();
    node.follow();
    until(|| node.room(0).cache.view().arrivals.newest().is_some()).await;
    node.store.hold("recent_serving_records", 1);
    node.moves_and_announces(0, 3).await;
    node.store.until_waiting(1).await;
    let reset = node.store.store.reset(&name(0)).await.unwrap();
    node.announce(0, reset);
    until(|| node.counters(0).generation == reset.generation).await;
    assert_eq!(node.room(0).cache.view().arrivals.newest(), None);
    node.store.release(1);
    node.moves_and_announces(0, 2).await;
    until(|| node.records(0) == [2]).await;
    assert_eq!(node.counters(0).serving, 2);
}

#[tokio::test]
async fn an_announcement_that_comes_late_moves_nothing_back() {
    let node = Node::open(1, 64).await;
    node.follow();
    let early = node.moves(0, 3).await;
    node.moves_and_announces(0, 4).await;
    until(|| node.counters(0).serving == 7).await;
    let reset = node.store.store.reset(&name(0)).await.unwrap();
    node.announce(0, reset);
    node.announce(0, early);
    // The feed is received in order.
    node.moves_and_announces(0, 2).await;
    until(|| node.counters(0).generation == reset.generation && node.counters(0).serving == 2).await;
    node.announce(0, early);
    node.announce(0, reset);
    until(|| node.records(0) == [2]).await;
    assert_eq!((node.counters(0).generation, node.counters(0).serving), (reset.generation, 2));
}

#[tokio::test]
async fn changes_dropped_by_a_full_feed_are_found_for_every_event() {
    let node = Node::open(40, 4).await;
    let work = refresh::work(&node.lobby);
    for number in 0..40 {
        node.moves_and_announces(number, 2).await;
    }
    // More reads are waiting than may run: the counters are shown all the same.
    node.store.hold("recent_serving_records", 40);
    work.into_iter().for_each(|work| drop(tokio::spawn(work)));
    until(|| (0..40).all(|number| node.counters(number).serving == 2)).await;
    node.store.release(40);
    until(|| (0..40).all(|number| node.records(number) == [2])).await;
}

#[tokio::test]
async fn concurrent_reads_are_bounded_and_each_follows_its_last_announcement() {
    let events = REFRESHES_AT_ONCE + 8;
    let node = Node::open(events, 1_024).await;
    node.follow();
    node.store.hold("arrivals", events);
    for number in 0..events {
        node.moves_and_announces(number, 1).await;
    }
    node.store.until_waiting(REFRESHES_AT_ONCE).await;
    for number in 0..events {
        node.moves_and_announces(number, 1).await;
    }
    until(|| (0..events).all(|number| node.counters(number).serving == 2)).await;
    assert_eq!(node.store.waiting(), REFRESHES_AT_ONCE);
    node.store.release(events);
    until(|| (0..events).all(|number| node.records(number) == [1, 2])).await;
}

#[tokio::test]
async fn announcements_of_a_hundred_events_are_shown_before_any_read_ends() {
    const EVENTS: usize = 100;
    let reads = ["arrivals", "recent_serving_records"];
    let node = Node::open(EVENTS, 1_024).await;
    reads.into_iter().for_each(|read| node.store.hold(read, usize::MAX));
    node.follow();
    for serving in 1..=3 {
        for number in 0..EVENTS {
            node.moves_and_announces(number, 1).await;
        }
        for number in 0..EVENTS {
            node.shows(number, serving).await;
        }
        assert!((0..EVENTS).all(|number| node.records(number).is_empty()), "no read has ended");
    }
    reads.into_iter().for_each(|read| node.store.hold(read, 0));
    node.store.release(2 * EVENTS);
    until(|| (0..EVENTS).all(|number| node.records(number) == [1, 2, 3])).await;
}

#[tokio::test]
async fn a_failed_read_of_rows_is_retried() {
    let node = Node::open(1, 64).await;
    node.follow();
    node.store.fail("recent_serving_records", 1);
    node.moves_and_announces(0, 3).await;
    until(|| node.records(0) == [3]).await;
}

#[tokio::test]
async fn new_keys_are_loaded_while_rows_are_being_read_and_after_a_failure() {
    let node = Node::open(1, 64).await;
    node.follow();
    node.store.hold("arrivals", 1);
    node.moves_and_announces(0, 3).await;
    node.store.until_waiting(1).await;
    let deps = LobbyDeps {
        clock: Arc::new(FrozenClock::at(NOW)),
        entropy: Arc::new(SeededEntropy::new(3)),
        store: node.store.clone(),
        master: MasterSecret::generate(&SeededEntropy::new(1)),
        rotation: RotationPlan::default(),
    };
    let theirs = Lobby::open("https://queue.example", Vec::new(), Clients::default(), deps).await.unwrap();
    let rotated = theirs.rotate_keys(&KeyUse::ALL, Rotation::Compromised).await.unwrap();
    node.store.fail("document", 1);
    node.store.announce(Change::Document(KEYS_DOCUMENT.to_owned()));
    until(|| node.lobby.keys().published(NOW) == rotated).await;
    assert_eq!(node.store.waiting(), 1);
}

#[tokio::test]
async fn changes_before_the_subscription_are_found() {
    let node = Node::open(1, 64).await;
    node.moves(0, 3).await;
    node.follow();
    until(|| node.counters(0).serving == 3 && node.records(0) == [3]).await;
}
