//! An event's item: its counters, and the intent log.
//!
//! DynamoDB changes one item at a time. So the item of the event decides everything about the line, and what belongs into
//! other items as well (a session, a row of a log, an outbox record) enters its intent log first, in the same write as the
//! decision. Any node may execute it, for execution is idempotent; only then is it removed.

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::client::{Attributes, number, text, unreadable};
use super::intent_log::{
    Cut, Entrant, Execution, IdempotencyKey, Intent, IntentKind, IntentLog, LogRow, Note, Reservation, WriterRecord,
};
use crate::ambient::Timestamp;
use crate::policy::{LEASE_SOLE_WRITES, LEASE_TIME, SCHEDULE_WRITES};
use crate::room::line::PositionLease;
use crate::room::{Arrival, Counters, EventId, Generation, ServingRecord};
use crate::store::StoreError;
use crate::store::counter_cache::LeaseEnd;

/// See the module's documentation.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct EventState {
    /// One more with each write of the item.
    pub(super) revision: u64,
    /// Random, for each write. A node that knows revision and write ID knows the whole item.
    #[serde(rename = "seal")]
    pub(super) write_id: IdempotencyKey,
    /// A node whose writes were refused repeatedly, and that asks the others for a slot.
    #[serde(rename = "knock", default, skip_serializing_if = "Option::is_none")]
    pub(super) slot_request: Option<String>,
    /// Names the rows of the current generation in the other tables; never used twice.
    #[serde(rename = "life")]
    pub(super) epoch: u64,
    pub(super) counters: Counters,
    pub(super) newest_arrival: Option<Arrival>,
    pub(super) tick: Option<Timestamp>,
    #[serde(rename = "journal")]
    pub(super) intent_log: IntentLog,
}

/// The name that an event's rows of one epoch have in common.
pub(super) fn epoch_key(event: &EventId, epoch: u64) -> String {
    format!("{event}#{epoch}")
}

impl EventState {
    /// Whether a record of the log is valid: the serving counter has not moved back behind it since.
    pub(super) fn counts(&self, turn: u64, serving: u64) -> bool {
        !self.intent_log.cuts.iter().any(|cut| turn < cut.turn && cut.serving < serving)
    }

    /// Makes the records above `serving` void that have a turn before the next one.
    pub(super) fn cut(&mut self, serving: u64) {
        let turn = self.intent_log.turns + 1;
        // This one includes earlier ones above here.
        self.intent_log.cuts.retain(|cut| cut.serving < serving);
        self.intent_log.cuts.push(Cut { turn, serving });
    }

    /// The records that are not in their table yet, in order.
    pub(super) fn fresh_records(&self) -> impl Iterator<Item = ServingRecord> {
        self.intent_log.rows.iter().filter_map(|row| match *row {
            LogRow::Serving { turn, serving, at, served } if self.counts(turn, serving) => {
                Some(ServingRecord { serving, issued_at: at, served })
            }
            _ => None,
        })
    }

    /// The arrivals that are not in their table yet, in order.
    pub(super) fn fresh_arrivals(&self) -> impl Iterator<Item = Arrival> {
        self.intent_log.rows.iter().filter_map(|row| match *row {
            LogRow::Arrival { first, at } => Some(Arrival { first, at }),
            LogRow::Serving { .. } => None,
        })
    }

    /// Roughly how many bytes intents and outbox records take: they are what grows.
    pub(super) fn weight(&self) -> usize {
        let intent = self.intent_log.intents.iter().map(Intent::weight).sum::<usize>();
        intent + self.intent_log.notes.iter().map(Note::weight).sum::<usize>()
    }

    /// The sessions that are being opened.
    pub(super) fn entrants(&self) -> impl Iterator<Item = (IdempotencyKey, &Entrant)> {
        self.intent_log.intents.iter().filter_map(|intent| match &intent.kind {
            IntentKind::Open(entrant) => Some((intent.idempotency_key, entrant)),
            _ => None,
        })
    }

    pub(super) fn expiring(&self) -> Option<&Intent> {
        self.intent_log.intents.iter().find(|intent| matches!(intent.kind, IntentKind::Expire { .. }))
    }

    /// Up to which position places are given up and counted, so that they are not read any more.
    pub(super) fn expired_and_counted(&self) -> u64 {
        match self.expiring() {
            Some(Intent { kind: IntentKind::Expire { from, .. }, .. }) => *from,
            _ => self.counters.max_expired,
        }
    }

    /// One of its intents, with what its execution needs.
    pub(super) fn execution(&self, intent: &Intent) -> Execution {
        let counts = matches!(intent.kind, IntentKind::Expire { .. });
        let entering = self.entrants().filter(|_| counts).map(|(_, entrant)| entrant.position.get()).collect();
        let (epoch, generation) = (self.epoch, self.counters.generation);
        Execution { epoch, generation, intent: intent.clone(), entering }
    }

    /// The nodes that wrote the item recently.
    pub(super) fn late_writers(&self) -> impl Iterator<Item = &str> {
        let lately = |(_, writer): &(&String, &WriterRecord)| writer.revision + SCHEDULE_WRITES > self.revision;
        self.intent_log.nodes.iter().filter(lately).map(|(node, _)| node.as_str())
    }

    /// The revision of the node's last write; 0: it did not write recently.
    pub(super) fn written_by(&self, node: &str) -> u64 {
        self.intent_log.nodes.get(node).map_or(0, |writer| writer.revision)
    }

    /// The node that wrote it last.
    pub(super) fn last_writer(&self) -> Option<&str> {
        let last = self.intent_log.nodes.iter().max_by_key(|(_, writer)| writer.revision);
        last.map(|(node, _)| node.as_str())
    }

    /// Whether another node took positions lately.
    pub(super) fn has_rivals(&self, node: &str) -> bool {
        let lately = |writer: &WriterRecord| writer.took > 0 && writer.took + LEASE_SOLE_WRITES > self.revision;
        self.intent_log.nodes.iter().any(|(other, writer)| other != node && lately(writer))
    }

    /// The reservation, if it is another node's.
    pub(super) fn reservation_of_another(&self, node: &str) -> Option<&Reservation> {
        self.intent_log.reservation.as_ref().filter(|reservation| reservation.node != node)
    }

    /// Whether the reservation is the node's, and no positions were taken after it.
    pub(super) fn has_reservation(&self, node: &str) -> bool {
        let reservation = self.intent_log.reservation.as_ref();
        reservation.is_some_and(|reservation| reservation.node == node && reservation.through >= self.counters.queue)
    }

    /// Copies the end of the reservation into the counters.
    pub(super) fn count_reservation(&mut self) {
        let through = self.intent_log.reservation.as_ref().map_or(0, |reservation| reservation.through);
        self.counters.reserve(through);
    }

    /// The lease that a node has once it has written the item so, in a write that `began` then.
    pub(super) fn lease(&self, began: Instant) -> Option<(PositionLease, LeaseEnd)> {
        let reservation = self.intent_log.reservation.as_ref().filter(|made| made.since == self.revision)?;
        let entry = self.newest_arrival?.at;
        let Counters { generation, queue: after, .. } = self.counters;
        let lease = PositionLease { generation, after, through: reservation.through, entry };
        Some((lease, LeaseEnd::At(began + LEASE_TIME)))
    }

    /// As the table of events has it.
    pub(super) fn item(&self, event: &EventId) -> Result<Attributes, StoreError> {
        let counters = &self.counters;
        let intent_log =
            serde_json::to_string(&self.intent_log).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        Ok(Attributes::new()
            .with_text("event_id", event.as_str())
            .with_number("revision", self.revision)
            .with_text("seal", self.write_id)
            .with_some("knock", self.slot_request.as_ref().map(text))
            .with_number("life", self.epoch)
            .with_number("version", counters.version)
            .with_number("generation", counters.generation.0)
            .with_number("queue_counter", counters.queue)
            .with_number("serving_counter", counters.serving)
            .with_number("sessions_opened", counters.sessions_opened)
            .with_number("completed_sessions", counters.completed)
            .with_number("abandoned_sessions", counters.abandoned)
            .with_number("max_queue_position_expired", counters.max_expired)
            .with_number("expired_positions", counters.expired_positions)
            .with_some("arrival_first", self.newest_arrival.map(|arrival| number(arrival.first.get())))
            .with_some("arrival_time", self.newest_arrival.map(|arrival| number(arrival.at.as_secs())))
            .with_some("inlet_tick", self.tick.map(|tick| number(tick.as_secs())))
            .with("journal", text(intent_log)))
    }

    /// What [`EventState::item`] wrote.
    pub(super) fn read(item: &Attributes) -> Result<Self, StoreError> {
        let generation = u16::try_from(item.number("generation")?).map_err(|_| unreadable("generation"))?;
        let counters = Counters {
            version: item.number("version")?,
            generation: Generation(generation),
            queue: item.number("queue_counter")?,
            serving: item.number("serving_counter")?,
            sessions_opened: item.number("sessions_opened")?,
            completed: item.number("completed_sessions")?,
            abandoned: item.number("abandoned_sessions")?,
            max_expired: item.number("max_queue_position_expired")?,
            expired_positions: item.number("expired_positions")?,
            // Set below, from the intent log.
            reserved: 0,
        };
        let newest =
            item.maybe("arrival_first", Attributes::position)?.zip(item.maybe("arrival_time", Attributes::time)?);
        let mut state = Self {
            revision: item.number("revision")?,
            write_id: item.owned_text("seal")?.try_into().map_err(|_| unreadable("seal"))?,
            slot_request: item.maybe("knock", Attributes::owned_text)?,
            epoch: item.number("life")?,
            counters,
            newest_arrival: newest.map(|(first, at)| Arrival { first, at }),
            tick: item.maybe("inlet_tick", Attributes::time)?,
            intent_log: serde_json::from_str(item.text("journal")?).map_err(|_| unreadable("journal"))?,
        };
        state.count_reservation();
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::{Position, RequestId};

    #[test]
    fn an_item_reads_back_as_it_was_written() {
        let event: EventId = "Sample".parse().unwrap();
        let first = Position::new(7).unwrap();
        let mut state = EventState {
            revision: 9,
            write_id: IdempotencyKey::new([9; 16]),
            slot_request: Some("m".to_owned()),
            epoch: 2,
            counters: Counters { version: 5, generation: Generation(3), queue: 8, serving: 7, ..Counters::default() },
            newest_arrival: Some(Arrival { first, at: Timestamp::from_secs(50) }),
            tick: Some(Timestamp::from_secs(60)),
            intent_log: IntentLog::default(),
        };
        state.intent_log.rows.push(LogRow::Arrival { first, at: Timestamp::from_secs(50) });
        let kind = IntentKind::Close { request_id: RequestId::from_bytes([1; 16]), code: -1 };
        state.intent_log.intents.push(Intent { idempotency_key: IdempotencyKey::new([255; 16]), kind });
        state.intent_log.nodes.insert("n".to_owned(), WriterRecord { commit: 3, revision: 8, took: 7 });
        state.intent_log.reservation = Some(Reservation { node: "n".to_owned(), through: 20, since: 8 });
        state.count_reservation();
        assert_eq!(state.counters.handed_out_at_most(), 20);
        assert_eq!(EventState::read(&state.item(&event).unwrap()), Ok(state));
    }

    /// As nodes of other versions read and write it.
    const WIRE: &str = concat!(
        r#"{"revision":9,"seal":"09090909090909090909090909090909","knock":"m","life":2,"counters":{"version":5"#,
        r#","generation":0,"queue":8,"set_aside":20,"serving":7,"sessions_opened":0,"completed":0,"abandoned":0"#,
        r#","max_expired":0,"expired_positions":0},"newest_arrival":{"first":7,"at":50},"tick":50,"journal":{"r"#,
        r#"ows":[{"a":{"first":7,"at":50}},{"r":{"turn":1,"serving":7,"at":50,"served":7}}],"pending":[{"m":"03"#,
        r#"030303030303030303030303030303","t":{"o":{"r":"01010101-0101-0101-0101-010101010101","p":8,"o":51,"e"#,
        r#"":61,"i":"i"}}},{"m":"03030303030303030303030303030303","t":{"c":{"request_id":"02020202-0202-0202-0"#,
        r#"202-020202020202","code":-1}}},{"m":"03030303030303030303030303030303","t":{"e":{"from":1,"through":"#,
        r#"2,"refill":true,"at":50}}}],"notes":[{"number":4,"at":50,"kind":"room_reset","body":"{}"}],"noted":4"#,
        r#","turns":1,"cuts":[{"turn":1,"serving":2}],"forgotten":3,"passed":[[50,3]],"ended":[1],"posted":{"in"#,
        r#"let_paused":50},"told":[8,50],"nodes":{"n":{"b":3,"v":8,"t":7}},"aside":{"node":"n","through":20,"si"#,
        r#"nce":8}}}"#,
    );

    #[test]
    fn the_form_of_an_item_stays() {
        let entrant = Entrant {
            request_id: RequestId::from_bytes([1; 16]),
            position: Position::new(8).unwrap(),
            opened_at: Timestamp::from_secs(51),
            expires_at: Timestamp::from_secs(61),
            issuer: Some("i".to_owned()),
            opener: None,
        };
        let first = Position::new(7).unwrap();
        let at = Timestamp::from_secs(50);
        let mut state = EventState {
            revision: 9,
            write_id: IdempotencyKey::new([9; 16]),
            slot_request: Some("m".to_owned()),
            epoch: 2,
            counters: Counters { version: 5, queue: 8, serving: 7, ..Counters::default() },
            newest_arrival: Some(Arrival { first, at }),
            tick: Some(at),
            intent_log: IntentLog::default(),
        };
        let intent_log = &mut state.intent_log;
        intent_log.rows = vec![LogRow::Arrival { first, at }, LogRow::Serving { turn: 1, serving: 7, at, served: 7 }];
        let tasks = [
            IntentKind::Open(entrant),
            IntentKind::Close { request_id: RequestId::from_bytes([2; 16]), code: -1 },
            IntentKind::Expire { from: 1, through: 2, refill: true, at },
        ];
        intent_log.intents = tasks.map(|kind| Intent { idempotency_key: IdempotencyKey::new([3; 16]), kind }).into();
        intent_log.notes = vec![Note { number: 4, at, kind: "room_reset".to_owned(), body: "{}".to_owned() }];
        (intent_log.noted, intent_log.turns, intent_log.forgotten, intent_log.told) = (4, 1, 3, (8, at));
        (intent_log.cuts, intent_log.passed) = (vec![Cut { turn: 1, serving: 2 }], vec![(at, 3)]);
        (intent_log.ended, intent_log.posted) = (vec![1], [("inlet_paused".to_owned(), at)].into());
        intent_log.nodes = [("n".to_owned(), WriterRecord { commit: 3, revision: 8, took: 7 })].into();
        intent_log.reservation = Some(Reservation { node: "n".to_owned(), through: 20, since: 8 });
        state.count_reservation();
        assert_eq!(serde_json::to_string(&state).unwrap(), WIRE);
        assert_eq!(serde_json::from_str::<EventState>(WIRE).unwrap(), state);
    }

    #[test]
    fn an_older_journal_lacks_what_came_later() {
        let bare = EventState::default().item(&"Sample".parse().unwrap()).unwrap().with_text("journal", "{}");
        assert_eq!(EventState::read(&bare), Ok(EventState::default()));
    }

    #[test]
    fn a_record_counts_until_the_counter_goes_back_behind_it() {
        let mut state = EventState::default();
        state.intent_log.turns = 4;
        state.cut(10);
        state.intent_log.turns = 5;
        assert!(state.counts(4, 10) && !state.counts(4, 11) && state.counts(5, 11));
        state.intent_log.turns = 7;
        state.cut(20);
        assert!(!state.counts(4, 11), "the later cut takes less");
        assert!(!state.counts(7, 21) && state.counts(7, 20) && state.counts(8, 21));
        state.cut(0);
        assert_eq!(state.intent_log.cuts.len(), 1);
    }
}
