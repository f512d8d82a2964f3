//! Nodes with different clocks.

use crate::api::Answer;
use crate::cluster::{Cluster, NODES, faketime};
use crate::load::{Load, Store};

/// The cluster, with the clocks of some nodes shifted, each in libfaketime's notation; `None`: a required program is
/// missing.
fn shifted(shifts: &[(usize, &str)]) -> Option<Cluster> {
    let library = faketime()?;
    let mut variables = vec![Vec::new(); NODES];
    for (number, shift) in shifts {
        let shifted =
            [("LD_PRELOAD", library.to_str().unwrap()), ("FAKETIME", shift), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
        variables[*number] = shifted.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    }
    Cluster::start_with(variables)
}

#[test]
fn clocks_may_be_two_seconds_apart() {
    let Some(cluster) = shifted(&[(0, "+1"), (2, "-1")]) else { return };
    let load = Load::start(&cluster, Store::Reliable);
    load.goes_on();
    load.goes_on();
    load.goes_on();
    load.finish(&cluster);
    cluster.is_connected_by_redis();
}

#[test]
fn a_node_whose_clock_is_an_hour_off_revokes_a_reused_code() {
    let Some(cluster) = shifted(&[(1, "+3600"), (2, "-3600")]) else { return };
    let text = |answer: Answer| match answer {
        Answer::Done(text) => text.as_str().unwrap().to_owned(),
        other => panic!("{other:?}"),
    };
    let right = &cluster.nodes[0];
    for wrong in &cluster.nodes[1..] {
        let (code, unused) = (text(cluster.ask(right.code())), text(cluster.ask(right.code())));
        let token = text(cluster.ask(right.redeem(&code)));
        assert!(matches!(cluster.ask(right.user_info(&token)), Answer::Done(_)));
        for _ in 0..2 {
            assert!(matches!(cluster.ask(wrong.redeem(&unused)), Answer::Refused(400, _)), "{}", wrong.number);
            match cluster.ask(wrong.redeem(&code)) {
                Answer::Refused(400, said) => assert!(said.contains("was used before"), "{said}"),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(cluster.ask(right.user_info(&token)), Answer::Refused(401, _)));
        let token = text(cluster.ask(right.redeem(&unused)));
        assert!(matches!(cluster.ask(right.user_info(&token)), Answer::Done(_)), "refused, but not used up");
    }
}
