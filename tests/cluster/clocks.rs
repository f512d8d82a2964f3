//! Clocks that differ.

use crate::cluster::{Cluster, NODES, faketime};
use crate::load::{Load, Store};

#[test]
fn clocks_may_be_two_seconds_apart() {
    let Some(library) = faketime() else { return };
    let mut variables = vec![Vec::new(); NODES];
    for (number, shift) in [(0, "+1"), (2, "-1")] {
        let shifted =
            [("LD_PRELOAD", library.to_str().unwrap()), ("FAKETIME", shift), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
        variables[number] = shifted.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    }
    let Some(cluster) = Cluster::start_with(variables) else { return };
    let load = Load::start(&cluster, Store::Reliable);
    load.goes_on();
    load.goes_on();
    load.goes_on();
    load.finish(&cluster);
    cluster.hears_by_redis();
}
