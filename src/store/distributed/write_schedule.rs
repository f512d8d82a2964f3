//! The write schedule: nodes that write the same item write in rounds, so that fewer writes are refused.
//!
//! Owns what other nodes published, and when this node's slot begins. Correctness does not depend on it: every write is
//! conditional, and a node that writes out of schedule is refused at worst. It must not know what is written.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::context::lock;
use super::state::EventState;
use crate::policy::{SLOT_FIRST, SLOT_LONGEST};

/// The newest item that another node published, until the commit loop takes it.
#[derive(Default)]
pub(super) struct PeerState {
    latest: Mutex<Option<EventState>>,
    publisher: Notify,
}

impl PeerState {
    pub(super) fn tell(&self, state: EventState) {
        let mut latest = lock(&self.latest);
        if latest.as_ref().is_none_or(|latest| latest.revision < state.revision) {
            *latest = Some(state);
            self.publisher.notify_one();
        }
    }

    pub(super) fn take(&self) -> Option<EventState> {
        lock(&self.latest).take()
    }

    /// Waits until a newer item is published.
    pub(super) async fn rings(&self) {
        self.publisher.notified().await;
    }
}

/// See the module's documentation: how long a write takes, when the known item was written, and which nodes skip their
/// slots.
pub(super) struct WriteSchedule {
    slot: Duration,
    since: Instant,
    /// Nodes that requested a slot.
    wanting: BTreeMap<String, Wanting>,
    /// Nodes that skipped their slot, with the revision of their last known write.
    absent: BTreeMap<String, u64>,
}

/// A node that requested a slot.
struct Wanting {
    /// The revision of its last known write.
    revision: u64,
    /// Whether this node wrote since.
    waited: bool,
}

impl WriteSchedule {
    pub(super) fn new(now: Instant) -> Self {
        Self { slot: SLOT_FIRST, since: now, wanting: BTreeMap::new(), absent: BTreeMap::new() }
    }

    /// Begins a round: the item was read or written.
    pub(super) fn begin(&mut self, now: Instant) {
        self.since = now;
    }

    /// Notes how long a write took.
    pub(super) fn took(&mut self, elapsed: Duration) {
        // Several times as long as a write: some take longer, and the message takes time.
        self.slot = ((self.slot * 3 + elapsed * 3) / 4).min(SLOT_LONGEST);
    }

    /// Notes that a node requests a slot.
    pub(super) fn want(&mut self, node: &str, known: &EventState) {
        self.absent.remove(node);
        self.wanting.insert(node.to_owned(), Wanting { revision: known.written_by(node), waited: false });
    }

    /// When the node's slot begins: after one slot for each node between the last writer and itself.
    pub(super) fn mine(&self, known: &EventState, node: &str) -> Instant {
        self.since + self.slot * u32::try_from(self.ahead(known, node).len()).unwrap_or(u32::MAX)
    }

    /// Notes that the nodes before it skipped their slots: they are left out until they write, or request a slot.
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
        // A node that wrote since has had its slot.
        let wants = |(other, wanting): &(&String, &Wanting)| known.written_by(other) == wanting.revision;
        let wanting = self.wanting.iter().filter(wants).map(|(other, _)| other.as_str());
        known.late_writers().filter(comes).chain(wanting).filter(between).collect()
    }

    /// Notes that this node wrote. Slots that were requested before its last write are over.
    pub(super) fn wrote(&mut self) {
        self.wanting.retain(|_, wanting| !std::mem::replace(&mut wanting.waited, true));
    }
}

#[cfg(test)]
mod tests {
    use super::super::intent_log::WriterRecord;
    use super::*;
    use crate::policy::SCHEDULE_WRITES;

    /// The item after writes of these nodes, in this order.
    fn written_by(nodes: &[&str]) -> EventState {
        let mut state = EventState::default();
        for node in nodes {
            state.revision += 1;
            let writer = WriterRecord { revision: state.revision, ..WriterRecord::default() };
            state.intent_log.nodes.insert((*node).to_owned(), writer);
        }
        state
    }

    #[test]
    fn nodes_write_in_turn() {
        let now = Instant::now();
        let turns = WriteSchedule::new(now);
        let wait = |state: &EventState, node: &str| (turns.mine(state, node) - now).as_nanos() / SLOT_FIRST.as_nanos();
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
        let mut turns = WriteSchedule::new(now);
        let state = written_by(&["a"]);
        turns.want("b", &state);
        assert_eq!(turns.mine(&state, "a"), now + SLOT_FIRST);
        turns.wrote();
        assert_eq!(turns.mine(&state, "a"), now + SLOT_FIRST, "it was heard during a write");
        turns.wrote();
        assert_eq!(turns.mine(&state, "a"), now);
    }

    #[test]
    fn who_wrote_since_has_had_the_turn() {
        let now = Instant::now();
        let mut turns = WriteSchedule::new(now);
        let mut state = written_by(&["b", "b", "a"]);
        state.revision += SCHEDULE_WRITES;
        state.intent_log.nodes.get_mut("a").unwrap().revision = state.revision;
        turns.want("b", &state);
        assert_eq!(turns.mine(&state, "a"), now + SLOT_FIRST);
        turns.want("b", &written_by(&["b"]));
        assert_eq!(turns.mine(&state, "a"), now);
    }

    #[test]
    fn nobody_waits_twice_for_a_node_that_does_not_come() {
        let now = Instant::now();
        let mut turns = WriteSchedule::new(now);
        let state = written_by(&["b", "c", "a"]);
        assert_eq!(turns.mine(&state, "a"), now + SLOT_FIRST * 2);
        turns.missed(&state, "a");
        assert_eq!(turns.mine(&state, "a"), now);
        assert_eq!(turns.mine(&written_by(&["b", "c", "a", "b", "a"]), "a"), now + SLOT_FIRST, "b has come again");
        turns.want("c", &state);
        assert_eq!(turns.mine(&state, "a"), now + SLOT_FIRST, "c has asked for it");
    }

    #[test]
    fn a_slot_is_three_times_as_long_as_a_write_and_never_long() {
        let mut turns = WriteSchedule::new(Instant::now());
        (0..100).for_each(|_| turns.took(Duration::from_millis(10)));
        assert!(turns.slot.abs_diff(Duration::from_millis(30)) < Duration::from_millis(1), "{:?}", turns.slot);
        (0..100).for_each(|_| turns.took(Duration::from_secs(9)));
        assert_eq!(turns.slot, SLOT_LONGEST);
    }

    #[test]
    fn of_what_is_heard_the_newest_counts() {
        let heard = PeerState::default();
        let at = |revision| EventState { revision, ..EventState::default() };
        [3, 5, 4].into_iter().for_each(|revision| heard.tell(at(revision)));
        assert_eq!([heard.take(), heard.take()], [Some(at(5)), None]);
    }
}
