//! A node stops, by a kill or gracefully, and returns.

use crate::api::LINE;
use crate::cluster::{Cluster, NODES};
use crate::dynamodb::Mood;
use crate::load::{Load, Store};

#[test]
fn three_nodes_are_one_waiting_room() {
    let Some(cluster) = Cluster::start() else { return };
    let load = Load::start(&cluster, Store::Reliable);
    load.goes_on();
    load.goes_on();
    load.finish(&cluster);
    cluster.is_connected_by_redis();
    // Only the operator moves the serving counter back, and every node follows.
    let before = cluster.ask(cluster.nodes[0].let_in(LINE, 1_000)).number();
    for node in &cluster.nodes {
        cluster.until("the step is shown", |cluster| cluster.ask(node.serving()).number() >= before);
    }
    cluster.ask(cluster.nodes[1].let_in(LINE, -1_000)).number();
    for node in &cluster.nodes {
        cluster.until("the step back is shown", |cluster| cluster.ask(node.serving()).number() < before);
    }
}

#[test]
fn a_killed_node_loses_nothing_and_returns() {
    let Some(mut cluster) = Cluster::start() else { return };
    let load = Load::start(&cluster, Store::Reliable);
    load.goes_on();
    load.without(1, || {
        cluster.kill_node(1);
        load.goes_on_at(&[0, 2]);
        cluster.start_node(1);
    });
    load.goes_on();
    load.finish(&cluster);
    cluster.is_connected_by_redis();
}

#[test]
fn a_rolling_restart_loses_nothing() {
    let Some(mut cluster) = Cluster::start() else { return };
    let load = Load::start(&cluster, Store::Reliable);
    load.goes_on();
    for number in 0..NODES {
        load.without(number, || {
            cluster.stop_node(number);
            load.goes_on_at(&[(number + 1) % NODES, (number + 2) % NODES]);
            cluster.start_node(number);
        });
    }
    load.goes_on();
    load.finish(&cluster);
    cluster.is_connected_by_redis();
}

#[test]
fn a_node_that_starts_while_dynamodb_fails_serves_afterwards() {
    let Some(mut cluster) = Cluster::start() else { return };
    for mood in [Mood::Errs(1), Mood::Throttles(1), Mood::Away] {
        cluster.stop_node(1);
        cluster.endpoints[1].set(mood);
        let mut program = cluster.begin_node(1);
        let said = program.logged("the store cannot be opened; not listening until it is");
        assert!(said.contains("DynamoDB, table"), "{said}");
        cluster.endpoints[1].set(Mood::Well);
        cluster.serves(1, program);
        // It knows the event as the others do.
        let served = cluster.ask(cluster.nodes[0].let_in(LINE, 1)).number();
        cluster.until("the move is shown", |cluster| cluster.ask(cluster.nodes[1].serving()).number() >= served);
    }
    cluster.all_well();
}

#[test]
fn an_export_is_refused_while_nodes_use_the_store() {
    let Some(mut cluster) = Cluster::start() else { return };
    cluster.until("all listen to Redis", |cluster| cluster.listeners() == NODES);
    let refused = cluster.export();
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(complaint.contains("3 of its nodes still serve"), "{complaint}");
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    (0..NODES).for_each(|number| cluster.stop_node(number));
    cluster.until("no node is subscribed to Redis", |cluster| cluster.listeners() == 0);
    let exported = cluster.export();
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    assert!(String::from_utf8_lossy(&exported.stdout).lines().last().is_some_and(|line| line.contains("\"end\"")));
}
