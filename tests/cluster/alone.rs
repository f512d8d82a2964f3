//! All visitors join at one node, at full rate, so that it takes a lease on positions; then it is killed, and they
//! continue elsewhere.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::runtime::Builder;
use tokio::time::Instant;

use crate::api::{Answer, Node, http};
use crate::cluster::Cluster;
use crate::history::{History, Join, Span};

/// The number of concurrent visitors.
const JOINERS: usize = 48;
/// The number of joins before the node is killed.
const RUSH: usize = 2_000;
/// The largest reservation that these joins can have: twice those of 20 ms. The node loses it.
const RESERVED: u64 = RUSH as u64 / 2;

/// A join and its ticket.
type Joined = (Span, String);

/// Joins at the node until it is gone; returns the joins and how many were not answered.
fn rush(node: &Node, began: Instant, count: &AtomicUsize, gone: &AtomicBool) -> (Vec<Joined>, u64) {
    let (node, joined, unheard) = (node.with(&http()), RefCell::new(Vec::new()), RefCell::new(0));
    let joiner = async || {
        loop {
            let asked = began.elapsed();
            match node.join().await {
                Answer::Done(Value::String(ticket)) => {
                    joined.borrow_mut().push((Span { asked, answered: began.elapsed() }, ticket));
                    count.fetch_add(1, Ordering::SeqCst);
                }
                Answer::Gone if gone.load(Ordering::SeqCst) => {
                    *unheard.borrow_mut() += 1;
                    return;
                }
                other => panic!("a join: {other:?}"),
            }
        }
    };
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(join_all((0..JOINERS).map(|_| joiner())));
    (joined.into_inner(), unheard.into_inner())
}

#[test]
fn a_killed_node_with_a_lease_loses_no_visitors_place() {
    let Some(mut cluster) = Cluster::start() else { return };
    let (began, count, gone) = (Instant::now(), AtomicUsize::new(0), AtomicBool::new(false));
    let (alone, elsewhere) = (cluster.nodes[0].clone(), [cluster.nodes[1].clone(), cluster.nodes[2].clone()]);
    let (mut joined, unheard) = thread::scope(|scope| {
        let rush = scope.spawn(|| rush(&alone, began, &count, &gone));
        cluster.until("many have joined", |_| count.load(Ordering::SeqCst) > RUSH);
        gone.store(true, Ordering::SeqCst);
        cluster.kill_node(0);
        rush.join().unwrap()
    });
    for node in elsewhere.iter().cycle().take(20) {
        let asked = began.elapsed();
        let Answer::Done(Value::String(ticket)) = cluster.ask(node.join()) else { panic!("a join failed") };
        joined.push((Span { asked, answered: began.elapsed() }, ticket));
    }
    let mut history = History { unheard: unheard + RESERVED, ..History::default() };
    for (turn, (span, ticket)) in joined.into_iter().enumerate() {
        let position = cluster.ask(elsewhere[turn % 2].position(&ticket)).number();
        history.joins.push(Join { span, position });
    }
    assert_eq!(history.faults(), Vec::<String>::new());
    eprintln!("{} joined; {}", history.joins.len(), history.figures());
}
