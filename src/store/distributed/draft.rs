//! The commands of an event, as its item will hold what they do: no reading and no writing.
//!
//! A [`Draft`] is the item as the next write will leave it. What a command does to the line is decided in
//! [`crate::room::line`]; here the decision becomes part of the item: its records and events enter the intent log, and what
//! depends on other items becomes an intent. A command refuses before it changes anything, for the other commands of
//! the same write go on. All of them may run again, from a newer item, when another node wrote meanwhile.

use super::intent_log::{Entrant, Execution, IdempotencyKey, Intent, IntentKind, LogRow, Note, Past};
use super::state::EventState;
use crate::ambient::Timestamp;
use crate::policy::INTENT_LOG_ROOM;
use crate::room::line::{self, AnnouncedJoins, Decision, LineState, Record, binds};
use crate::room::{Arrival, Counters, DomainEvent, EventId, Inlet, Position, ServingRecord, Session, SessionStatus};
use crate::store::{Advance, AdvanceFrom, Closed, Expired, Opened, Refill, StoreError, Taken};

/// See the module's documentation.
pub(super) struct Draft<'a> {
    pub(super) event: &'a EventId,
    pub(super) state: EventState,
    /// The time of outbox records; `None`: there is no outbox.
    pen: Option<Timestamp>,
    /// How many bytes are left for further intents.
    room: usize,
}

/// A session that was to be opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Opening {
    /// The caller has to execute it.
    Begun(Execution),
    /// Another call executes it.
    UnderWay(Execution),
    /// Its position is one of those whose sessions may be forgotten: its place tells.
    Unsure,
}

/// A session that was to be closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Closing {
    /// The caller has to execute it.
    Begun(Execution),
    /// Another call executes it.
    UnderWay(Execution),
    /// It belongs to a line that was reset.
    Gone,
}

/// Positions that were to be given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Expiry {
    /// There are none.
    Nothing(Counters),
    /// They are given up; it is up to the caller to count them.
    Begun(Execution),
    /// Those of an earlier call have not been counted yet.
    UnderWay(Execution),
}

impl<'a> Draft<'a> {
    /// A draft of the item that stands as `state`.
    pub(super) fn new(event: &'a EventId, state: EventState, pen: Option<Timestamp>) -> Self {
        let room = INTENT_LOG_ROOM.saturating_sub(state.weight());
        Self { event, state, pen, room }
    }

    /// Adds an intent, if the item has room for it.
    fn begin(&mut self, idempotency_key: IdempotencyKey, kind: IntentKind) -> Result<Execution, StoreError> {
        let intent = Intent { idempotency_key, kind };
        let Some(left) = self.room.checked_sub(intent.weight()) else {
            return Err(StoreError::Unavailable(format!("event {} has too much under way", self.event)));
        };
        self.room = left;
        let begun = self.state.execution(&intent);
        self.state.intent_log.intents.push(intent);
        Ok(begun)
    }

    fn outdated(&self) -> StoreError {
        StoreError::Outdated(self.event.clone())
    }

    /// The line as the item says it.
    const fn line(&self) -> LineState {
        let EventState { counters, newest_arrival, tick: inlet_tick, .. } = self.state;
        LineState { counters, newest_arrival, inlet_tick }
    }

    /// Makes a decision part of the item.
    fn apply<Reply>(&mut self, decision: Decision<Reply>) -> Reply {
        for record in decision.records {
            let intent_log = &mut self.state.intent_log;
            match record {
                Record::Arrival(Arrival { first, at }) => intent_log.rows.push(LogRow::Arrival { first, at }),
                Record::Serving(ServingRecord { serving, issued_at: at, served }) => {
                    intent_log.turns += 1;
                    intent_log.rows.push(LogRow::Serving { turn: intent_log.turns, serving, at, served });
                }
                Record::RemoveServingAbove(serving) => self.state.cut(serving),
            }
        }
        let LineState { counters, newest_arrival, inlet_tick } = decision.state;
        (self.state.counters, self.state.newest_arrival, self.state.tick) = (counters, newest_arrival, inlet_tick);
        decision.events.iter().for_each(|event| self.note(event));
        decision.reply
    }

    /// [`crate::store::Store::take_positions`].
    pub(super) fn take_positions(&mut self, count: u32, at: Timestamp) -> Result<Taken, StoreError> {
        let decision = self.line().take_positions(count, at);
        let decision = decision.map_err(|error| StoreError::refused(error, self.event))?;
        Ok(self.apply(decision))
    }

    /// [`crate::store::Store::advance`] forward.
    pub(super) fn advance(&mut self, by: u64, at: Timestamp) -> Advance {
        let Ok(by) = i64::try_from(by) else { return Advance::OutOfRange };
        let decision = self.line().advance(by, at);
        self.apply(decision)
    }

    /// [`crate::store::Store::advance`] back `by` some, from where the caller saw the counter and looked whether a record
    /// `stands` where it goes. `None`: it is there no more.
    pub(super) fn go_back(&mut self, seen: &EventState, by: i64, stands: bool, at: Timestamp) -> Option<Advance> {
        let turns = |state: &EventState| (state.epoch, state.intent_log.turns);
        if turns(seen) != turns(&self.state) {
            return None;
        }
        let mut decision = self.line().advance(by, at);
        if stands && decision.records.iter().any(|record| matches!(record, Record::Serving(_))) {
            // It stays as it is, and the counter moved all the same.
            decision.records.retain(|record| !matches!(record, Record::Serving(_)));
            let advance = self.apply(decision);
            self.state.intent_log.turns += 1;
            return Some(advance);
        }
        Some(self.apply(decision))
    }

    /// [`crate::store::Store::advance_from`].
    pub(super) fn advance_from(&mut self, seen: &Counters, by: u64, at: Timestamp) -> AdvanceFrom {
        // Until the places that were given up are counted, nobody knows how many are free.
        if self.state.expiring().is_some() {
            return AdvanceFrom::Changed;
        }
        let decision = self.line().advance_from(seen, by, at);
        self.apply(decision)
    }

    /// [`crate::store::Store::expire_positions`], the first half: from now on none of them can be used.
    pub(super) fn begin_expiry(
        &mut self,
        through: Position,
        refill: Refill,
        at: Timestamp,
        idempotency_key: IdempotencyKey,
    ) -> Result<Expiry, StoreError> {
        if let Some(intent) = self.state.expiring() {
            return Ok(Expiry::UnderWay(self.state.execution(intent)));
        }
        let Some(decision) = self.line().begin_expiry(through) else {
            return Ok(Expiry::Nothing(self.state.counters));
        };
        let line::Expiry { from, through } = decision.reply;
        let begun =
            self.begin(idempotency_key, IntentKind::Expire { from, through, refill: refill == Refill::Next, at })?;
        self.apply(decision);
        Ok(Expiry::Begun(begun))
    }

    /// Its second half: `used` of them have a session. The counters alone where somebody else did it.
    pub(super) fn end_expiry(&mut self, idempotency_key: IdempotencyKey, used: u64) -> Expired {
        let Some(IntentKind::Expire { from, through, refill, at }) = self.complete(idempotency_key) else {
            return Expired { positions: 0, counters: self.state.counters };
        };
        let refill = if refill { Refill::Next } else { Refill::None };
        let decision = self.line().end_expiry(line::Expiry { from, through }, used, refill, at);
        let positions = self.apply(decision);
        Expired { positions, counters: self.state.counters }
    }

    /// [`crate::store::Store::step_inlet`].
    pub(super) fn step_inlet(&mut self, inlet: &Inlet, known: Option<Timestamp>, tick: Timestamp) -> Option<Counters> {
        let decision = self.line().step_inlet(inlet, known, tick)?;
        Some(self.apply(decision))
    }

    /// [`crate::store::Store::open_session`], the first half, for a ticket that had no session a moment ago.
    pub(super) fn begin_opening(
        &mut self,
        session: &Session,
        past: Past,
        idempotency_key: IdempotencyKey,
    ) -> Result<Opening, StoreError> {
        if session.generation != self.state.counters.generation {
            return Err(self.outdated());
        }
        let same = |intent: &&Intent| matches!(&intent.kind, IntentKind::Open(entrant) if entrant.request_id == session.request_id);
        if let Some(intent) = self.state.intent_log.intents.iter().find(same) {
            return Ok(Opening::UnderWay(self.state.execution(intent)));
        }
        self.line()
            .admit(session.generation, session.position)
            .map_err(|error| StoreError::refused(error, self.event))?;
        if past == Past::Unknown && session.position.get() <= self.state.intent_log.forgotten {
            return Ok(Opening::Unsure);
        }
        self.begin(idempotency_key, IntentKind::Open(Entrant::of(session))).map(Opening::Begun)
    }

    /// Its second half: it was `inserted`, or another had come first.
    pub(super) fn end_opening(
        &mut self,
        session: Session,
        idempotency_key: IdempotencyKey,
        inserted: bool,
    ) -> Result<Opened, StoreError> {
        let struck = self.complete(idempotency_key);
        if session.generation != self.state.counters.generation {
            return Err(self.outdated());
        }
        if let (Some(IntentKind::Open(entrant)), true) = (&struck, inserted) {
            self.apply(self.line().session_opened(entrant.request_id));
        }
        Ok(Opened { session, inserted, counters: self.state.counters })
    }

    /// [`crate::store::Store::close_session`], the first half, for a session that was active a moment ago.
    pub(super) fn begin_closing(
        &mut self,
        session: &Session,
        status: SessionStatus,
        idempotency_key: IdempotencyKey,
    ) -> Result<Closing, StoreError> {
        if session.generation != self.state.counters.generation {
            return Ok(Closing::Gone);
        }
        let same = |intent: &&Intent| matches!(intent.kind, IntentKind::Close { request_id, .. } if request_id == session.request_id);
        if let Some(intent) = self.state.intent_log.intents.iter().find(same) {
            return Ok(Closing::UnderWay(self.state.execution(intent)));
        }
        self.begin(idempotency_key, IntentKind::Close { request_id: session.request_id, code: status.code() })
            .map(Closing::Begun)
    }

    /// Its second half: the session was closed by this (`None`), or had been before. Of a line that was reset since it
    /// began in this `epoch`, nothing is known.
    pub(super) fn end_closing(
        &mut self,
        idempotency_key: IdempotencyKey,
        epoch: u64,
        before: Option<SessionStatus>,
    ) -> Closed {
        let struck = self.complete(idempotency_key);
        if self.state.epoch != epoch {
            return Closed::Unknown;
        }
        if let Some(status) = before {
            return Closed::Before(status);
        }
        if let Some(IntentKind::Close { request_id, code }) = struck {
            let status = SessionStatus::from_code(code.into()).unwrap_or(SessionStatus::Completed);
            self.apply(self.line().session_closed(request_id, status));
        }
        Closed::Now(self.state.counters)
    }

    fn complete(&mut self, idempotency_key: IdempotencyKey) -> Option<IntentKind> {
        let intent = &mut self.state.intent_log.intents;
        let at = intent.iter().position(|intent| intent.idempotency_key == idempotency_key)?;
        Some(intent.remove(at).kind)
    }

    /// [`crate::store::Store::reset`].
    pub(super) fn reset(&mut self) -> Counters {
        self.tell_joins(true);
        let decision = self.line().reset();
        let old = std::mem::take(&mut self.state);
        self.state.revision = old.revision;
        self.state.epoch = old.epoch + 1;
        let intent_log = &mut self.state.intent_log;
        (intent_log.notes, intent_log.noted) = (old.intent_log.notes, old.intent_log.noted);
        (intent_log.posted, intent_log.nodes) = (old.intent_log.posted, old.intent_log.nodes);
        intent_log.ended = old.intent_log.ended;
        intent_log.ended.push(old.epoch);
        self.apply(decision)
    }

    /// [`crate::store::Outbox::post_letter`].
    pub(super) fn post(&mut self, tick: Timestamp, happening: &DomainEvent) -> bool {
        let kind = happening.kind().name();
        let latest = self.state.intent_log.posted.get(kind);
        if self.pen.is_none() || latest.is_some_and(|latest| binds(*latest, tick)) {
            return false;
        }
        self.state.intent_log.posted.insert(kind.to_owned(), tick);
        self.note(happening);
        true
    }

    /// [`crate::store::Outbox::tell_joins`]; with `at_once`, however short a time ago it was last done.
    pub(super) fn tell_joins(&mut self, at_once: bool) -> bool {
        let Some(now) = self.pen else { return false };
        let (queue, at) = self.state.intent_log.told;
        let announced = self.line().announce_joins(AnnouncedJoins { queue, at }, now, at_once);
        let Some((AnnouncedJoins { queue, at }, joins)) = announced else { return false };
        self.state.intent_log.told = (queue, at);
        self.note(&joins);
        true
    }

    /// Adds an outbox record, if there is an outbox.
    fn note(&mut self, happening: &DomainEvent) {
        let Some(at) = self.pen else { return };
        // All of it is text and numbers: it cannot fail.
        let Ok(body) = happening.body(self.event) else { return };
        let intent_log = &mut self.state.intent_log;
        intent_log.noted += 1;
        let number = intent_log.noted;
        intent_log.notes.push(Note { number, at, kind: happening.kind().name().to_owned(), body });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::suite::{at, position, session};

    #[test]
    fn what_is_under_way_has_bounds_and_can_always_be_ended() {
        let event: EventId = "Sample".parse().unwrap();
        let mut draft = Draft::new(&event, EventState::default(), Some(at(0)));
        draft.advance(1_000_000, at(0));
        let idempotency_key = |number: u64| IdempotencyKey::new(u128::from(number).to_be_bytes());
        let mut begun = Vec::new();
        let refusal = loop {
            let number = begun.len() as u64 + 1;
            match draft.begin_opening(&session(&event, number, 60), Past::Unknown, idempotency_key(number)) {
                Ok(opening) => begun.push(opening),
                Err(refusal) => break refusal,
            }
            // As another node, or a later write, finds it.
            draft = Draft::new(&event, draft.state, Some(at(0)));
        };
        assert!(matches!(&refusal, StoreError::Unavailable(why) if why.contains("too much under way")), "{refusal}");
        assert!(begun.len() > 500, "{} sessions at once", begun.len());
        let closing = draft.begin_closing(&session(&event, 1, 60), SessionStatus::Completed, idempotency_key(0));
        let expiry = draft.begin_expiry(position(9), Refill::None, at(0), idempotency_key(0));
        draft.state.counters.queue = 9;
        assert!(closing.is_err() && matches!(expiry, Ok(Expiry::Nothing(_))), "{closing:?} {expiry:?}");
        assert!(draft.begin_expiry(position(9), Refill::None, at(0), idempotency_key(0)).is_err());
        assert_eq!(draft.state.counters.max_expired, 0, "what is refused changes nothing");
        for number in 1..=begun.len() as u64 {
            draft.end_opening(session(&event, number, 60), idempotency_key(number), true).unwrap();
        }
        let item = draft.state.item(&event).unwrap();
        assert!(item.text("journal").unwrap().len() < 350 * 1024, "the letters of all that found room as well");
        assert_eq!(draft.state.counters.sessions_opened, begun.len() as u64);
        draft.state.intent_log.notes.clear();
        let mut draft = Draft::new(&event, draft.state, Some(at(0)));
        assert!(draft.begin_opening(&session(&event, 9_999, 60), Past::Unknown, idempotency_key(1)).is_ok());
    }
}
