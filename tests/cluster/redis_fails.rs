//! Redis stops, loses data, pauses, fails over, or is unreachable for one node. It only notifies nodes, so answers are
//! delayed at most, and otherwise unchanged.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::link::LinkState;
use crate::load::{Load, Store};

#[test]
fn a_restart_of_redis_without_data_goes_unnoticed() {
    let Some(mut cluster) = Cluster::start() else { return };
    let load = Load::start(&cluster, Store::Reliable);
    load.goes_on();
    cluster.redis.kill();
    load.goes_on();
    cluster.redis.replace();
    cluster.redis_moved();
    load.goes_on();
    cluster.redis.flush();
    load.goes_on();
    load.finish(&cluster);
    cluster.is_connected_by_redis();
}

#[test]
fn a_pause_of_redis_for_ten_seconds_goes_unnoticed() {
    let Some(mut cluster) = Cluster::start() else { return };
    let load = Load::start(&cluster, Store::Reliable);
    load.goes_on();
    cluster.redis.pause();
    load.goes_on_for(Duration::from_secs(10));
    cluster.redis.go_on();
    load.goes_on();
    load.finish(&cluster);
    cluster.is_connected_by_redis();
}

#[test]
fn a_failover_of_redis_with_lost_writes_goes_unnoticed() {
    let Some(mut cluster) = Cluster::start() else { return };
    let load = Load::start(&cluster, Store::Reliable);
    cluster.redis.save();
    load.goes_on();
    // The machine is gone: its connections end without notice.
    cluster.redis_links.iter().for_each(|gate| gate.set(LinkState::Silent));
    cluster.redis.fail_over();
    cluster.redis_moved();
    load.goes_on();
    cluster.redis_links.iter().for_each(|gate| gate.set(LinkState::Open));
    load.goes_on();
    load.finish(&cluster);
    cluster.is_connected_by_redis();
}

#[test]
fn a_node_without_redis_serves_as_well_as_the_others() {
    let Some(cluster) = Cluster::start() else { return };
    let load = Load::start(&cluster, Store::Reliable);
    load.goes_on();
    cluster.redis_links[1].set(LinkState::Closed);
    load.goes_on();
    cluster.redis_links[1].set(LinkState::Open);
    load.goes_on();
    load.finish(&cluster);
    cluster.is_connected_by_redis();
}
