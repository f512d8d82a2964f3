//! What everybody on this node knows of an event, and the positions that it hands out by itself.
//!
//! Owns the counters as this node knows them and its [`Reserve`]: positions that the event's item says are set aside for
//! this node. While it is alone at a line, visitors who join need not wait for a write, since their positions can be
//! nobody else's any more. It must not know how they came to be set aside (`clerk.rs`).

use std::sync::Mutex;

use tokio::sync::broadcast;
use tokio::time::Instant;

use super::desk::lock;
use super::state::EventState;
use crate::ambient::Timestamp;
use crate::policy::ASIDE_LIFE;
use crate::room::{Arrival, Counters, EventId, Generation, Position};
use crate::store::{Change, JoinBatch, Taken};

/// Positions after the queue counter that are set aside for this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reserve {
    pub(super) generation: Generation,
    /// The last that was handed out, or the last before them.
    pub(super) after: u64,
    /// The last of them.
    pub(super) through: u64,
    /// What whoever gets one is told of when they came; who comes later has to be noted in the arrival log first.
    pub(super) entry: Timestamp,
    /// From then on another node may have answered somebody who stands behind them.
    pub(super) until: Instant,
}

impl Reserve {
    /// What a node may hand out by itself, once it has written the item so, in a write that began then.
    pub(super) fn of(known: &EventState, begun: Instant) -> Option<Self> {
        let aside = known.journal.aside.as_ref().filter(|aside| aside.since == known.revision)?;
        let entry = known.newest_arrival?.at;
        let Counters { generation, queue: after, .. } = known.counters;
        Some(Self { generation, after, through: aside.through, entry, until: begun + ASIDE_LIFE })
    }

    fn is_good_for(&self, counters: &Counters) -> bool {
        self.generation == counters.generation && self.after < self.through && Instant::now() < self.until
    }
}

#[derive(Clone, Copy)]
struct Known {
    counters: Counters,
    reserve: Option<Reserve>,
}

/// See the module's documentation.
pub(super) struct Slate {
    event: EventId,
    known: Mutex<Known>,
    feed: broadcast::Sender<Change>,
}

impl Slate {
    pub(super) fn new(event: EventId, counters: Counters, feed: broadcast::Sender<Change>) -> Self {
        Self { event, known: Mutex::new(Known { counters, reserve: None }), feed }
    }

    pub(super) fn counters(&self) -> Counters {
        lock(&self.known).counters
    }

    /// Takes newer counters, wherever they come from, and tells who listens on this node.
    pub(super) fn learn(&self, news: Counters) {
        let mut known = lock(&self.known);
        let Some(counters) = known.counters.updated(news) else { return };
        known.counters = counters;
        // Told under the lock, so that listeners hear of versions in their order; nobody may be listening.
        drop(self.feed.send(Change::Counters(self.event.clone(), counters)));
    }

    /// The next positions for the batch, if they are set aside for this node. Else it stays open, as it may.
    pub(super) fn hand_out(&self, batch: &dyn JoinBatch) -> Option<Taken> {
        let mut known = lock(&self.known);
        let Known { counters, reserve } = &mut *known;
        let reserve = reserve.as_mut().filter(|reserve| reserve.is_good_for(counters))?;
        let (count, at) = batch.close();
        let first = Position::new(reserve.after + 1)?;
        let last = Position::new(reserve.after + u64::from(count))?;
        // If others stand behind these already, nobody can be noted before them: what is left is given out as it is.
        let noted = Arrival { first, at: reserve.entry }.takes(at) || counters.queue > reserve.through;
        if last < first || last.get() > reserve.through || !noted {
            return None;
        }
        reserve.after = last.get();
        let reserve = *reserve;
        known.counters.queue = known.counters.queue.max(last.get());
        Some(Taken { first, last, entry: reserve.entry, counters: known.counters })
    }

    /// Has positions handed out from here on; where some were all the while, it goes on after the last of them.
    pub(super) fn open(&self, reserve: Reserve) {
        let mut known = lock(&self.known);
        let before = known.reserve.filter(|before| before.generation == reserve.generation);
        let after = before.map_or(reserve.after, |before| before.after.max(reserve.after));
        known.reserve = Some(Reserve { after, ..reserve });
    }

    /// Whether positions are handed out from here, or were until their time was over.
    pub(super) fn is_open(&self) -> bool {
        lock(&self.known).reserve.is_some()
    }

    /// Whether positions may be handed out from here now.
    pub(super) fn hands_out(&self) -> bool {
        let known = lock(&self.known);
        known.reserve.is_some_and(|reserve| reserve.is_good_for(&known.counters))
    }

    /// Hands out no more if `closing`, and says how many have been.
    pub(super) fn settle(&self, closing: bool) -> Counters {
        let mut known = lock(&self.known);
        if closing {
            known.reserve = None;
        }
        known.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::ASIDE_LIFE;

    const SECOND: Timestamp = Timestamp::from_secs(50);

    /// A slate with 10 handed out and those through 20 set aside.
    fn slate(until: Instant) -> Slate {
        let counters = Counters { version: 1, queue: 10, ..Counters::default() };
        let slate = Slate::new("Sample".parse().unwrap(), counters, broadcast::channel(1).0);
        slate.open(Reserve { generation: Generation(0), after: 10, through: 20, entry: SECOND, until });
        slate
    }

    fn given(slate: &Slate, count: u32, at: Timestamp) -> Option<(u64, u64)> {
        slate.hand_out(&(count, at)).map(|taken| (taken.first.get(), taken.last.get()))
    }

    #[test]
    fn what_is_set_aside_is_given_once_and_in_order_also_while_it_is_renewed() {
        let until = Instant::now() + ASIDE_LIFE * 1_000;
        let slate = slate(until);
        assert_eq!((given(&slate, 3, SECOND), given(&slate, 1, SECOND)), (Some((11, 13)), Some((14, 14))));
        // The write that renews it began when 12 had been handed out.
        slate.open(Reserve { generation: Generation(0), after: 12, through: 22, entry: SECOND, until });
        assert_eq!((given(&slate, 8, SECOND), given(&slate, 1, SECOND)), (Some((15, 22)), None));
        assert_eq!(slate.counters().queue, 22);
    }

    #[test]
    fn nothing_is_given_late_nor_to_the_next_second_nor_in_the_old_line() {
        assert_eq!(given(&slate(Instant::now()), 1, SECOND), None);
        let slate = slate(Instant::now() + ASIDE_LIFE * 1_000);
        assert_eq!((given(&slate, 1, Timestamp::from_secs(51)), given(&slate, 11, SECOND)), (None, None));
        slate.learn(Counters { version: 2, generation: Generation(1), ..Counters::default() });
        assert_eq!(given(&slate, 1, SECOND), None);
    }

    #[test]
    fn what_others_stand_behind_is_given_to_its_end() {
        let slate = slate(Instant::now() + ASIDE_LIFE * 1_000);
        slate.learn(Counters { version: 2, queue: 25, ..Counters::default() });
        assert_eq!(given(&slate, 10, Timestamp::from_secs(51)), Some((11, 20)));
        assert_eq!((given(&slate, 1, SECOND), slate.counters().queue), (None, 25));
        slate.settle(true);
        assert!(!slate.is_open() && !slate.hands_out());
    }
}
