//! Taking turns: nodes that write the same item disturb each other less if each knows when the others will.
//!
//! Owns what a clerk hears from other nodes, and whose turn it is. Nothing rests on either: a write is conditional
//! whatever was heard, and a node that writes out of turn is refused at worst. It must not know what is written.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::desk::lock;
use super::state::EventState;
use crate::policy::{TURN_FIRST, TURN_LONGEST};

/// The item as another node said that it wrote it, until the clerk listens.
#[derive(Default)]
pub(super) struct Heard {
    latest: Mutex<Option<EventState>>,
    bell: Notify,
}

impl Heard {
    pub(super) fn tell(&self, state: EventState) {
        let mut latest = lock(&self.latest);
        if latest.as_ref().is_none_or(|latest| latest.revision < state.revision) {
            *latest = Some(state);
            self.bell.notify_one();
        }
    }

    pub(super) fn take(&self) -> Option<EventState> {
        lock(&self.latest).take()
    }

    /// Waits until there is a newer item to know.
    pub(super) async fn rings(&self) {
        self.bell.notified().await;
    }
}

/// How long a write takes, since when the item is known as it is, and who does not come though it is their turn.
pub(super) struct Turns {
    slot: Duration,
    since: Instant,
    /// Who asked for a turn.
    wanting: BTreeMap<String, Wanting>,
    /// Who missed a turn, with the revision of the last write that is known of them.
    absent: BTreeMap<String, u64>,
}

/// A node that asked for a turn.
struct Wanting {
    /// The revision of the last write that was known of it.
    revision: u64,
    /// Whether this node wrote since.
    waited: bool,
}

impl Turns {
    pub(super) fn new(now: Instant) -> Self {
        Self { slot: TURN_FIRST, since: now, wanting: BTreeMap::new(), absent: BTreeMap::new() }
    }

    /// Notes that the item is known anew.
    pub(super) fn begin(&mut self, now: Instant) {
        self.since = now;
    }

    /// Notes how long a write took.
    pub(super) fn took(&mut self, elapsed: Duration) {
        // Several times as long as a write, for some take longer, and it has to be heard of.
        self.slot = ((self.slot * 3 + elapsed * 3) / 4).min(TURN_LONGEST);
    }

    /// Notes that a node asks for a turn.
    pub(super) fn want(&mut self, node: &str, known: &EventState) {
        self.absent.remove(node);
        self.wanting.insert(node.to_owned(), Wanting { revision: known.written_by(node), waited: false });
    }

    /// From when on the node may write: after those between the one that wrote last and itself, a slot for each.
    pub(super) fn mine(&self, known: &EventState, node: &str) -> Instant {
        self.since + self.slot * u32::try_from(self.ahead(known, node).len()).unwrap_or(u32::MAX)
    }

    /// Notes that it is the node's turn because those before it did not use theirs: nobody waits for them until they
    /// write, or ask for a turn.
    pub(super) fn missed(&mut self, known: &EventState, node: &str) {
        let missed: Vec<String> = self.ahead(known, node).into_iter().map(str::to_owned).collect();
        self.wanting.retain(|other, _| !missed.contains(other));
        self.absent.retain(|other, revision| known.written_by(other) == *revision);
        self.absent.extend(missed.into_iter().map(|other| (other.clone(), known.written_by(&other))));
    }

    fn ahead<'a>(&'a self, known: &'a EventState, node: &str) -> BTreeSet<&'a str> {
        let last = known.last_writer().unwrap_or(node);
        let between = |other: &&str| match last.cmp(node) {
            Ordering::Less => last < *other && *other < node,
            Ordering::Greater => last < *other || *other < node,
            Ordering::Equal => *other != node,
        };
        let comes = |other: &&str| self.absent.get(*other).is_none_or(|seen| known.written_by(other) != *seen);
        // Who wrote since has had the turn.
        let wants = |(other, wanting): &(&String, &Wanting)| known.written_by(other) == wanting.revision;
        let wanting = self.wanting.iter().filter(wants).map(|(other, _)| other.as_str());
        known.late_writers().filter(comes).chain(wanting).filter(between).collect()
    }

    /// Notes that this node wrote. Whoever wanted a turn before the last time has had the time for one.
    pub(super) fn wrote(&mut self) {
        self.wanting.retain(|_, wanting| !std::mem::replace(&mut wanting.waited, true));
    }
}

#[cfg(test)]
mod tests {
    use super::super::journal::Stamp;
    use super::*;
    use crate::policy::TURN_COMPANY;

    /// The item after writes of these nodes, in this order.
    fn written_by(nodes: &[&str]) -> EventState {
        let mut state = EventState::default();
        for node in nodes {
            state.revision += 1;
            let stamp = Stamp { revision: state.revision, ..Stamp::default() };
            state.journal.nodes.insert((*node).to_owned(), stamp);
        }
        state
    }

    #[test]
    fn nodes_write_in_turn() {
        let now = Instant::now();
        let turns = Turns::new(now);
        let wait = |state: &EventState, node: &str| (turns.mine(state, node) - now).as_nanos() / TURN_FIRST.as_nanos();
        let waits = |state: &EventState| ["a", "b", "c"].map(|node| wait(state, node));
        assert_eq!(waits(&written_by(&[])), [0, 0, 0]);
        assert_eq!(waits(&written_by(&["b"])), [0, 0, 0], "nobody else is known to write");
        assert_eq!(waits(&written_by(&["a", "c", "b"])), [1, 2, 0]);
        assert_eq!(waits(&written_by(&["a", "b", "c"])), [0, 1, 2]);
        assert_eq!(wait(&written_by(&["a", "b", "d"]), "c"), 2, "a node that has not written yet has its place, too");
    }

    #[test]
    fn who_wants_a_turn_is_left_one() {
        let now = Instant::now();
        let mut turns = Turns::new(now);
        let state = written_by(&["a"]);
        turns.want("b", &state);
        assert_eq!(turns.mine(&state, "a"), now + TURN_FIRST);
        turns.wrote();
        assert_eq!(turns.mine(&state, "a"), now + TURN_FIRST, "it was heard during a write");
        turns.wrote();
        assert_eq!(turns.mine(&state, "a"), now);
    }

    #[test]
    fn who_wrote_since_has_had_the_turn() {
        let now = Instant::now();
        let mut turns = Turns::new(now);
        let mut state = written_by(&["b", "b", "a"]);
        state.revision += TURN_COMPANY;
        state.journal.nodes.get_mut("a").unwrap().revision = state.revision;
        turns.want("b", &state);
        assert_eq!(turns.mine(&state, "a"), now + TURN_FIRST);
        turns.want("b", &written_by(&["b"]));
        assert_eq!(turns.mine(&state, "a"), now);
    }

    #[test]
    fn nobody_waits_twice_for_a_node_that_does_not_come() {
        let now = Instant::now();
        let mut turns = Turns::new(now);
        let state = written_by(&["b", "c", "a"]);
        assert_eq!(turns.mine(&state, "a"), now + TURN_FIRST * 2);
        turns.missed(&state, "a");
        assert_eq!(turns.mine(&state, "a"), now);
        assert_eq!(turns.mine(&written_by(&["b", "c", "a", "b", "a"]), "a"), now + TURN_FIRST, "b has come again");
        turns.want("c", &state);
        assert_eq!(turns.mine(&state, "a"), now + TURN_FIRST, "c has asked for it");
    }

    #[test]
    fn a_slot_is_three_times_as_long_as_a_write_and_never_long() {
        let mut turns = Turns::new(Instant::now());
        (0..100).for_each(|_| turns.took(Duration::from_millis(10)));
        assert!(turns.slot.abs_diff(Duration::from_millis(30)) < Duration::from_millis(1), "{:?}", turns.slot);
        (0..100).for_each(|_| turns.took(Duration::from_secs(9)));
        assert_eq!(turns.slot, TURN_LONGEST);
    }

    #[test]
    fn of_what_is_heard_the_newest_counts() {
        let heard = Heard::default();
        let at = |revision| EventState { revision, ..EventState::default() };
        [3, 5, 4].into_iter().for_each(|revision| heard.tell(at(revision)));
        assert_eq!([heard.take(), heard.take()], [Some(at(5)), None]);
    }
}
