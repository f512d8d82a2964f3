//! DynamoDB throttles, fails, loses answers, or is unreachable. Waiting visitors are answered all the same; callers who
//! need the store are served, or get Retry-After.

use std::env;
use std::thread;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::dynamodb::Mood;
use crate::load::{Count, Load, Store};

/// Waits until a request failed at every node.
fn fails_everywhere(cluster: &Cluster) {
    cluster.until("DynamoDB fails every node", |cluster| cluster.endpoints.iter().all(|door| door.failed() > 5));
}

/// Runs the crowd while DynamoDB works, then while it fails, then while it works again.
fn nothing_goes_wrong_while_dynamodb_is(mood: Mood) {
    let Some(cluster) = Cluster::start() else { return };
    let load = Load::start(&cluster, Store::Failing);
    load.goes_on();
    cluster.dynamodb_is(mood);
    fails_everywhere(&cluster);
    load.goes_on();
    cluster.dynamodb_is(Mood::Well);
    load.goes_on();
    load.finish(&cluster);
    cluster.is_connected_by_redis();
}

#[test]
fn nothing_goes_wrong_when_dynamodb_throttles() {
    nothing_goes_wrong_while_dynamodb_is(Mood::Throttles(3));
}

#[test]
fn nothing_goes_wrong_when_dynamodb_errs() {
    nothing_goes_wrong_while_dynamodb_is(Mood::Errs(3));
}

#[test]
fn a_write_whose_answer_was_lost_is_applied_once() {
    nothing_goes_wrong_while_dynamodb_is(Mood::BreaksOff(3));
}

#[test]
fn waiting_visitors_are_answered_while_dynamodb_is_away() {
    let Some(cluster) = Cluster::start() else { return };
    let load = Load::start(&cluster, Store::Failing);
    load.goes_on();
    let whole = env::var("ANTEROOM_TEST_OUTAGE").map_or(12, |seconds| seconds.parse().unwrap());
    for mood in [Mood::Away, Mood::Mute] {
        cluster.dynamodb_is(mood);
        load.until(&[0, 1, 2], Count { reads: 30, refused: 1, ..Count::default() });
        // A lasting failure: there is nothing to wait for here.
        thread::sleep(Duration::from_secs(whole) / 2);
        load.until(&[0, 1, 2], Count { reads: 30, refused: 1, ..Count::default() });
    }
    cluster.dynamodb_is(Mood::Well);
    load.goes_on();
    load.finish(&cluster);
    cluster.is_connected_by_redis();
}
