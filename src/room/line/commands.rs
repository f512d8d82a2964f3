//! The commands of a line.

use super::decision::{Advance, AdvanceFrom, AnnouncedJoins, Decision, Expiry, LineError, Record, Refill, Taken};
use super::state::LineState;
use crate::ambient::Timestamp;
use crate::policy::CLOCK_SET_BACK;
use crate::room::{
    Arrival, Counters, DomainEvent, Generation, Inlet, Position, RequestId, ServingRecord, SessionStatus,
};

/// A decision that is being made.
struct Draft {
    state: LineState,
    records: Vec<Record>,
    events: Vec<DomainEvent>,
}

impl Draft {
    const fn of(state: LineState) -> Self {
        Self { state, records: Vec::new(), events: Vec::new() }
    }

    /// Changes the counters, as their next version.
    fn count(&mut self, change: impl FnOnce(&mut Counters)) -> Counters {
        change(&mut self.state.counters);
        self.state.counters.version += 1;
        self.state.counters
    }

    /// Moves the serving counter, which then has served so many positions more.
    fn serve(&mut self, serving: u64, served: u64, at: Timestamp) -> Counters {
        let previous = self.state.counters.serving;
        self.records.push(Record::Serving(ServingRecord { serving, issued_at: at, served }));
        let counters = self.count(|counters| counters.serving = serving);
        if previous != serving {
            self.events.push(DomainEvent::ServingCounterChanged { previous, current: serving });
        }
        counters
    }

    fn decide<Reply>(self, reply: Reply) -> Decision<Reply> {
        Decision { state: self.state, reply, records: self.records, events: self.events }
    }
}

impl LineState {
    /// Hands out the next `count` positions to visitors who came at `at`. A clock that is a little behind changes no order:
    /// the entry time is never before that of an earlier position.
    ///
    /// # Errors
    /// [`LineError::NoPositions`], [`LineError::Exhausted`].
    pub fn take_positions(&self, count: u32, at: Timestamp) -> Result<Decision<Taken>, LineError> {
        let queue = self.counters.queue;
        if count == 0 {
            return Err(LineError::NoPositions);
        }
        let (first, last) = (Position::new(queue + 1), Position::new(queue + u64::from(count)));
        let (first, last) = first.zip(last).ok_or(LineError::Exhausted)?;
        let mut draft = Draft::of(*self);
        let entry = match self.newest_arrival {
            Some(newest) if newest.takes(at) => newest.at,
            _ => {
                let arrival = Arrival { first, at };
                draft.state.newest_arrival = Some(arrival);
                draft.records.push(Record::Arrival(arrival));
                at
            }
        };
        let counters = draft.count(|counters| counters.queue = last.get());
        Ok(draft.decide(Taken { first, last, entry, counters }))
    }

    /// The line with the joins that were answered from a lease, as `known` counts them.
    #[must_use]
    pub fn with_joins(mut self, known: &Counters) -> Self {
        let counters = &mut self.counters;
        if known.generation == counters.generation && known.queue > counters.queue {
            counters.queue = known.queue;
            counters.reserve(counters.reserved);
            counters.version += 1;
        }
        self
    }

    /// The line with the next `count` positions reserved, and at least those through `kept`. Until the first visitor has
    /// arrived there is no entry time for them, and none is.
    #[must_use]
    pub fn with_reservation(mut self, count: u64, kept: u64) -> Self {
        let counters = &mut self.counters;
        let before = *counters;
        let through = counters.queue.saturating_add(count).min(Position::LAST.get()).max(kept);
        counters.reserve(if self.newest_arrival.is_some() { through } else { 0 });
        counters.version += u64::from(*counters != before);
        self
    }

    /// Moves the serving counter by `by`, negative: back. By 0 nothing changes.
    pub fn advance(&self, by: i64, at: Timestamp) -> Decision<Advance> {
        let mut draft = Draft::of(*self);
        let moved = self.counters.serving.checked_add_signed(by).filter(|serving| *serving <= Counters::MAX);
        let Some(serving) = moved else { return draft.decide(Advance::OutOfRange) };
        if by == 0 {
            return draft.decide(Advance::Moved(self.counters));
        }
        if by < 0 {
            draft.records.push(Record::RemoveServingAbove(serving));
        }
        let counters = draft.serve(serving, u64::try_from(by).unwrap_or(0), at);
        draft.decide(Advance::Moved(counters))
    }

    /// Moves the serving counter forward by `by` if it stands where the caller `saw` it, in the same generation.
    pub fn advance_from(&self, saw: &Counters, by: u64, at: Timestamp) -> Decision<AdvanceFrom> {
        let unchanged = (self.counters.serving, self.counters.generation) == (saw.serving, saw.generation);
        if !unchanged {
            return Draft::of(*self).decide(AdvanceFrom::Changed);
        }
        let Ok(by) = i64::try_from(by) else { return Draft::of(*self).decide(AdvanceFrom::OutOfRange) };
        self.advance(by, at).map(|advance| match advance {
            Advance::Moved(counters) => AdvanceFrom::Moved(counters),
            Advance::OutOfRange => AdvanceFrom::OutOfRange,
        })
    }

    /// Does the inlet's step at `tick`: moves the serving counter by what is due since the step before it, or since
    /// `known`, whichever is later. `None`: this step, or a later one, was done before.
    pub fn step_inlet(&self, inlet: &Inlet, known: Option<Timestamp>, tick: Timestamp) -> Option<Decision<Counters>> {
        if self.inlet_tick.is_some_and(|latest| binds(latest, tick)) {
            return None;
        }
        let due = inlet.due(self.inlet_tick.max(known), tick, &self.counters);
        let stepped = Self { inlet_tick: Some(tick), ..*self };
        // What is due never leads beyond the range.
        let decision = stepped.advance(i64::try_from(due).unwrap_or(0), tick);
        let counters = decision.state.counters;
        Some(decision.map(|_| counters))
    }

    /// Gives up the served positions up to `through`, the first half: from now on none of them can be used. `None`: they
    /// were given up before, or are not served or not handed out yet.
    pub fn begin_expiry(&self, through: Position) -> Option<Decision<Expiry>> {
        let Counters { serving, queue, max_expired: from, .. } = self.counters;
        let through = through.get().min(serving).min(queue);
        if through <= from {
            return None;
        }
        let mut draft = Draft::of(*self);
        draft.count(|counters| counters.max_expired = through);
        Some(draft.decide(Expiry { from, through }))
    }

    /// The second half, when `used` of the positions are known to have a session: how many were given up unused.
    pub fn end_expiry(&self, expiry: Expiry, used: u64, refill: Refill, at: Timestamp) -> Decision<u64> {
        let positions = (expiry.through - expiry.from).saturating_sub(used);
        let previous = self.counters.serving;
        let admitted = match refill {
            Refill::Next => positions.min(Counters::MAX - previous),
            Refill::None => 0,
        };
        let mut draft = Draft::of(*self);
        draft.count(|counters| counters.expired_positions += positions);
        if admitted > 0 {
            draft.events.push(DomainEvent::AutomaticServingCounterIncr {
                previous_serving_counter_position: previous,
                increment_by: admitted,
                current_serving_counter_position: previous + admitted,
            });
            draft.serve(previous + admitted, admitted, at);
        }
        draft.decide(positions)
    }

    /// Whether a session may be opened for a ticket of `generation` at `position` that has none.
    ///
    /// # Errors
    /// [`LineError::Outdated`].
    pub fn admit(&self, generation: Generation, position: Position) -> Result<(), LineError> {
        let admitted = generation == self.counters.generation && self.counters.admits(position);
        admitted.then_some(()).ok_or(LineError::Outdated)
    }

    /// Counts a session that was opened.
    pub fn session_opened(&self, request_id: RequestId) -> Decision<Counters> {
        let mut draft = Draft::of(*self);
        let counters = draft.count(|counters| counters.sessions_opened += 1);
        draft.events.push(DomainEvent::TokenGenerated { request_id });
        draft.decide(counters)
    }

    /// Counts a session that was closed with this status.
    pub fn session_closed(&self, request_id: RequestId, status: SessionStatus) -> Decision<Counters> {
        let mut draft = Draft::of(*self);
        let counters = draft.count(|counters| match status {
            SessionStatus::Abandoned => counters.abandoned += 1,
            SessionStatus::Completed | SessionStatus::Active => counters.completed += 1,
        });
        draft.events.push(DomainEvent::SessionUpdated { request_id, status });
        draft.decide(counters)
    }

    /// Begins the next generation: all numbers at zero. The latest step of the inlet stays, for time does not go back with
    /// the line.
    pub fn reset(&self) -> Decision<Counters> {
        let counters = Counters {
            version: self.counters.version + 1,
            generation: self.counters.generation.next(),
            ..Counters::default()
        };
        let state = Self { counters, newest_arrival: None, inlet_tick: self.inlet_tick };
        let mut draft = Draft::of(state);
        draft.events.push(DomainEvent::RoomReset { generation: counters.generation });
        draft.decide(counters)
    }

    /// Announces the joins since this was `last` done: once a second unless `at_once`, and not for nobody.
    pub fn announce_joins(
        &self,
        last: AnnouncedJoins,
        now: Timestamp,
        at_once: bool,
    ) -> Option<(AnnouncedJoins, DomainEvent)> {
        let queue = self.counters.queue;
        let count = queue.saturating_sub(last.queue);
        let due = count > 0 && (at_once || last.at != now);
        due.then_some((AnnouncedJoins { queue, at: now }, DomainEvent::VisitorJoined { count, queue_counter: queue }))
    }
}

impl<Reply> Decision<Reply> {
    /// The same decision with another reply.
    pub fn map<Other>(self, reply: impl FnOnce(Reply) -> Other) -> Decision<Other> {
        Decision { state: self.state, reply: reply(self.reply), records: self.records, events: self.events }
    }
}

/// Whether what was done for the tick `latest` stands against `tick`, rather than being of a clock that was wrong.
pub fn binds(latest: Timestamp, tick: Timestamp) -> bool {
    latest >= tick && latest.since(tick) < CLOCK_SET_BACK
}
