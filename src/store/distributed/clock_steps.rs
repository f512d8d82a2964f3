//! Nodes whose clocks differ, or are set: nobody waits for as long as a clock is wrong, and nothing is done twice.

use std::sync::Arc;
use std::time::Duration;

use super::DistributedStore;
use super::servers::servers;
use super::tests::{client, created, node};
use crate::ambient::FrozenClock;
use crate::policy::LEASE;
use crate::room::{EventId, Session};
use crate::store::outbox::Outbox;
use crate::store::suite::{at, position, session, ticket};
use crate::store::{OutboxMode, Refill, Store};

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
const SECOND: Duration = Duration::from_secs(1);

/// A node with a clock of its own.
struct Node {
    store: Arc<DistributedStore>,
    clock: Arc<FrozenClock>,
}

impl Node {
    async fn claims(&self) -> bool {
        self.store.claim_delivery("bus").await.unwrap().is_some()
    }

    async fn holding(&self, event: &EventId, now: u64) -> u64 {
        self.store.occupancy(event, at(now)).await.unwrap().active
    }
}

/// Two of them, whose clocks show so many seconds after the start; the first hundred are served.
async fn nodes(shown: [u64; 2]) -> Option<([Node; 2], EventId)> {
    let servers = servers()?;
    let prefix = created(client(servers)).await;
    let event: EventId = "Sample".parse().unwrap();
    let nodes = shown.map(|shown| {
        let clock = Arc::new(FrozenClock::at(at(shown)));
        Node { store: Arc::new(node(servers, &prefix, OutboxMode::Kept(clock.clone()))), clock }
    });
    for node in &nodes {
        node.store.ensure_event(&event).await.unwrap();
    }
    nodes[0].store.advance(&event, 100, at(0)).await.unwrap();
    nodes[0].store.take_some(&event, 100, at(0)).await.unwrap();
    Some((nodes, event))
}

/// Time passes, for both.
fn pass(nodes: &[Node; 2], time: Duration) {
    nodes.iter().for_each(|node| node.clock.advance(time));
}

#[tokio::test]
async fn a_session_that_a_clock_ahead_opened_holds_its_place_for_its_usual_time() {
    let Some((nodes, event)) = nodes([0, 0]).await else { return };
    let opened = Session { opened_at: at(DAY), ..session(&event, 1, DAY + HOUR) };
    nodes[0].store.open_session(&opened).await.unwrap();
    nodes[0].store.open_session(&session(&event, 2, 2 * HOUR)).await.unwrap();
    assert_eq!(nodes[1].holding(&event, 0).await, 2);
    pass(&nodes, Duration::from_secs(HOUR));
    assert_eq!(nodes[1].holding(&event, HOUR).await, 2);
    pass(&nodes, SECOND);
    assert_eq!(nodes[1].holding(&event, HOUR + 1).await, 1, "its place is free");
    assert_eq!(nodes[1].store.session(&event, &ticket(1)).await.unwrap(), Some(opened), "and it stays as it is");
    // Who looks for the first time sees it then.
    assert_eq!(nodes[0].holding(&event, HOUR + 1).await, 2);
    pass(&nodes, Duration::from_secs(HOUR));
    assert_eq!(nodes[0].holding(&event, 2 * HOUR).await, 2);
    pass(&nodes, SECOND);
    assert_eq!(nodes[0].holding(&event, 2 * HOUR + 1).await, 0);
}

#[tokio::test]
async fn a_node_that_is_behind_frees_no_place_too_early() {
    let Some((nodes, event)) = nodes([DAY, 0]).await else { return };
    let opened = Session { opened_at: at(DAY), ..session(&event, 1, DAY + HOUR) };
    nodes[0].store.open_session(&opened).await.unwrap();
    assert_eq!(nodes[1].holding(&event, 0).await, 1);
    pass(&nodes, 60 * SECOND);
    // Put right: an hour is not over because the clock says so.
    assert_eq!(nodes[1].holding(&event, DAY + 60).await, 1);
    assert_eq!(nodes[1].holding(&event, DAY + HOUR).await, 1);
    assert_eq!(nodes[1].holding(&event, DAY + HOUR + 1).await, 0);
}

#[tokio::test]
async fn a_lease_of_a_dead_node_passes_on_whatever_its_clock_said() {
    for ahead in [0, HOUR, DAY] {
        let Some((nodes, _)) = nodes([ahead, 0]).await else { return };
        assert!(nodes[0].claims().await && !nodes[1].claims().await);
        pass(&nodes, LEASE - SECOND);
        assert!(!nodes[1].claims().await, "{ahead}");
        pass(&nodes, SECOND);
        assert!(nodes[1].claims().await, "{ahead}");
        assert!(!nodes[0].claims().await, "and it does not come back as if nothing had been: {ahead}");
    }
}

#[tokio::test]
async fn a_lease_that_is_renewed_stays_wherever_clocks_are_set_to() {
    let Some((nodes, _)) = nodes([DAY, DAY]).await else { return };
    assert!(nodes[0].claims().await && !nodes[1].claims().await);
    for shown in [DAY, 0, 0, 2 * DAY, HOUR, HOUR, 3 * DAY] {
        pass(&nodes, LEASE / 2 + SECOND);
        nodes[0].clock.set(at(shown));
        assert!(nodes[0].claims().await, "{shown}");
        nodes[1].clock.set(at(3 * DAY - shown));
        assert!(!nodes[1].claims().await, "{shown}");
    }
    // It stops; its clock, set back for good, prolongs nothing.
    nodes[0].clock.set(at(0));
    pass(&nodes, LEASE);
    assert!(nodes[1].claims().await);
    assert!(!nodes[0].claims().await);
}

#[tokio::test]
async fn a_node_that_stops_gives_its_leases_back() {
    let Some((nodes, event)) = nodes([0, 0]).await else { return };
    assert!(nodes[0].claims().await && !nodes[1].claims().await);
    assert_eq!(nodes[0].store.letters(0, 10).await.unwrap().len(), 1);
    nodes[0].store.close().await;
    assert!(nodes[1].claims().await);
    nodes[1].store.advance(&event, 1, at(0)).await.unwrap();
    assert_eq!(nodes[1].store.letters(0, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_a_clock_ahead_noted_of_positions_given_up_does_not_keep_arrivals_for_longer() {
    const WEEK: u64 = 7 * DAY;
    let Some((nodes, event)) = nodes([0, 0]).await else { return };
    let store = &nodes[0].store;
    store.take_some(&event, 1, at(60)).await.unwrap();
    store.expire_positions(&event, position(100), Refill::None, at(900)).await.unwrap();
    store.sweep(at(100 * WEEK)).await.unwrap();
    for day in 1..=10 {
        pass(&nodes, LEASE);
        store.sweep(at(day * DAY)).await.unwrap();
    }
    let arrivals = store.arrivals(&event, None).await.unwrap();
    assert_eq!(arrivals.first().map(|row| row.at), Some(at(60)), "{arrivals:?}");
}
