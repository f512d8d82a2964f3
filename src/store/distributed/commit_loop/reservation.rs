//! The reservation in a write: what was handed out of it since the last one, and what is reserved for the next joins.

use tokio::time::Instant;

use super::super::intent_log::Reservation;
use super::super::state::EventState;
use super::CommitLoop;
use crate::store::counter_cache::Leasing;

impl CommitLoop {
    /// Sets the queue counter to the last position that was handed out from memory. Answers the end of the reservation
    /// if this node goes on handing out while it writes: not if commands of the write are `taking` positions.
    pub(super) fn take_back(&mut self, state: &mut EventState, taking: bool) -> Option<u64> {
        if let Some(other) = state.reservation_of_another(&self.context.node) {
            let (through, since) = (other.through, other.since);
            self.shared.cache.settle(Leasing::Ends);
            if taking {
                state.counters.queue = state.counters.queue.max(through);
                if self.drained == Some(since) {
                    state.intent_log.reservation = None;
                } else {
                    self.drain_wait = Some(since);
                }
            }
            return None;
        }
        let mine = state.has_reservation(&self.context.node);
        if !mine && !taking && state.intent_log.reservation.is_some() && self.shared.cache.is_usable() {
            // Other nodes took positions behind the rest, and wait until this lease has ended.
            return None;
        }
        let kept = mine && !taking && self.wanted(state, self.shared.cache.counters().queue) > 0;
        let exact = self.shared.cache.settle(if kept { Leasing::GoesOn } else { Leasing::Ends });
        if mine && exact.generation == state.counters.generation {
            state.counters.queue = state.counters.queue.max(exact.queue);
        }
        state.intent_log.reservation.take().filter(|_| kept).map(|reservation| reservation.through)
    }

    /// Reserves positions for the joins until the next write.
    pub(super) fn reserve(&mut self, next: &mut EventState, mut kept: Option<u64>) {
        if next.epoch != self.known.epoch {
            kept = None;
            // Until its lease has ended, another node may hand out positions of the old line.
            let other = self.known.reservation_of_another(&self.context.node).map(|other| other.since);
            self.drain_wait = other.filter(|since| self.drained != Some(*since)).or(self.drain_wait);
        }
        let wanted = self.wanted(next, next.counters.queue);
        // The item contains the reservation for as long as this node has a lease.
        if (wanted > 0 || kept.is_some()) && next.intent_log.reservation.is_none() && next.newest_arrival.is_some() {
            let through = next.counters.queue.saturating_add(wanted).max(kept.unwrap_or(0));
            let since = self.known.revision + 1;
            next.intent_log.reservation = Some(Reservation { node: self.context.node.clone(), through, since });
        }
        next.count_reservation();
    }

    fn wanted(&mut self, state: &EventState, queue: u64) -> u64 {
        let wanted = self.arrivals.wanted(queue, Instant::now());
        if self.leaving || state.has_rivals(&self.context.node) { 0 } else { wanted }
    }
}
