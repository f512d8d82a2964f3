//! An event's item: its counters, and a journal of what is under way.
//!
//! DynamoDB changes one item at a time. So the item of the event decides everything about the line, and what belongs
//! into other items as well (a session, a row of a log, a letter) stands in its journal first, in the same write as
//! the decision. Whoever finds it there may carry it out: doing it twice is doing it once. Only then is it struck out.

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::client::{Attributes, number, text, unreadable};
use super::journal::{Cut, Entrant, Journal, LogRow, Mark, Note, Pending, Reservation, Stamp, Task, Undertaking};
use crate::ambient::Timestamp;
use crate::policy::{LEASE_SOLE_WRITES, LEASE_TIME, TURN_COMPANY};
use crate::room::line::PositionLease;
use crate::room::{Arrival, Counters, EventId, Generation, ServingRecord};
use crate::store::StoreError;
use crate::store::counter_cache::LeaseEnd;

/// See the module's documentation.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct EventState {
    /// One more with each write of the item; each write rests on the one that it saw.
    pub(super) revision: u64,
    /// Drawn by lot for each write: who knows it of an item knows the whole item as it was written.
    pub(super) seal: Mark,
    /// A node that was refused again and again, and so changed the item to have the others leave it a turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) knock: Option<String>,
    /// Names the rows of the current generation in the other tables; never used twice.
    pub(super) life: u64,
    pub(super) counters: Counters,
    pub(super) newest_arrival: Option<Arrival>,
    pub(super) tick: Option<Timestamp>,
    pub(super) journal: Journal,
}

/// The name that an event's rows of one life have in common.
pub(super) fn life_key(event: &EventId, life: u64) -> String {
    format!("{event}#{life}")
}

impl EventState {
    /// Whether a record of the log counts: the serving counter did not go back behind it since.
    pub(super) fn counts(&self, turn: u64, serving: u64) -> bool {
        !self.journal.cuts.iter().any(|cut| turn < cut.turn && cut.serving < serving)
    }

    /// Notes that the records above `serving` count no more from the turn after this on.
    pub(super) fn cut(&mut self, serving: u64) {
        let turn = self.journal.turns + 1;
        // What an earlier cut took from above here, this one takes as well.
        self.journal.cuts.retain(|cut| cut.serving < serving);
        self.journal.cuts.push(Cut { turn, serving });
    }

    /// The records that have not reached their table, in order.
    pub(super) fn fresh_records(&self) -> impl Iterator<Item = ServingRecord> {
        self.journal.rows.iter().filter_map(|row| match *row {
            LogRow::Serving { turn, serving, at, served } if self.counts(turn, serving) => {
                Some(ServingRecord { serving, issued_at: at, served })
            }
            _ => None,
        })
    }

    /// The arrivals that have not reached their table, in order.
    pub(super) fn fresh_arrivals(&self) -> impl Iterator<Item = Arrival> {
        self.journal.rows.iter().filter_map(|row| match *row {
            LogRow::Arrival { first, at } => Some(Arrival { first, at }),
            LogRow::Serving { .. } => None,
        })
    }

    /// How many bytes of the item are of what is under way, roughly: those that grow without bound.
    pub(super) fn weight(&self) -> usize {
        let pending = self.journal.pending.iter().map(Pending::weight).sum::<usize>();
        pending + self.journal.notes.iter().map(Note::weight).sum::<usize>()
    }

    /// The sessions that are being opened.
    pub(super) fn entrants(&self) -> impl Iterator<Item = (Mark, &Entrant)> {
        self.journal.pending.iter().filter_map(|pending| match &pending.task {
            Task::Open(entrant) => Some((pending.mark, entrant)),
            _ => None,
        })
    }

    pub(super) fn expiring(&self) -> Option<&Pending> {
        self.journal.pending.iter().find(|pending| matches!(pending.task, Task::Expire { .. }))
    }

    /// Through which position nobody asks after places any more: they are given up, and counted.
    pub(super) fn expired_and_counted(&self) -> u64 {
        match self.expiring() {
            Some(Pending { task: Task::Expire { from, .. }, .. }) => *from,
            _ => self.counters.max_expired,
        }
    }

    /// One of its tasks, with what carries it out.
    pub(super) fn undertaking(&self, pending: &Pending) -> Undertaking {
        let counts = matches!(pending.task, Task::Expire { .. });
        let entering = self.entrants().filter(|_| counts).map(|(_, entrant)| entrant.position.get()).collect();
        let (life, generation) = (self.life, self.counters.generation);
        Undertaking { life, generation, pending: pending.clone(), entering }
    }

    /// The nodes that wrote the item not long ago.
    pub(super) fn late_writers(&self) -> impl Iterator<Item = &str> {
        let lately = |(_, stamp): &(&String, &Stamp)| stamp.revision + TURN_COMPANY > self.revision;
        self.journal.nodes.iter().filter(lately).map(|(node, _)| node.as_str())
    }

    /// The revision by which the node wrote it last; 0: not lately, or never.
    pub(super) fn written_by(&self, node: &str) -> u64 {
        self.journal.nodes.get(node).map_or(0, |stamp| stamp.revision)
    }

    /// The node that wrote it last.
    pub(super) fn last_writer(&self) -> Option<&str> {
        let last = self.journal.nodes.iter().max_by_key(|(_, stamp)| stamp.revision);
        last.map(|(node, _)| node.as_str())
    }

    /// Whether another node took positions lately.
    pub(super) fn has_rivals(&self, node: &str) -> bool {
        let lately = |stamp: &Stamp| stamp.took > 0 && stamp.took + LEASE_SOLE_WRITES > self.revision;
        self.journal.nodes.iter().any(|(other, stamp)| other != node && lately(stamp))
    }

    /// The reservation, if it is another node's.
    pub(super) fn reservation_of_another(&self, node: &str) -> Option<&Reservation> {
        self.journal.reservation.as_ref().filter(|reservation| reservation.node != node)
    }

    /// Whether the reservation is the node's, and no positions were taken after it.
    pub(super) fn has_reservation(&self, node: &str) -> bool {
        let reservation = self.journal.reservation.as_ref();
        reservation.is_some_and(|reservation| reservation.node == node && reservation.through >= self.counters.queue)
    }

    /// Copies the end of the reservation into the counters.
    pub(super) fn count_reservation(&mut self) {
        let through = self.journal.reservation.as_ref().map_or(0, |reservation| reservation.through);
        self.counters.reserve(through);
    }

    /// The lease that a node has once it has written the item so, in a write that `began` then.
    pub(super) fn lease(&self, began: Instant) -> Option<(PositionLease, LeaseEnd)> {
        let reservation = self.journal.reservation.as_ref().filter(|made| made.since == self.revision)?;
        let entry = self.newest_arrival?.at;
        let Counters { generation, queue: after, .. } = self.counters;
        let lease = PositionLease { generation, after, through: reservation.through, entry };
        Some((lease, LeaseEnd::At(began + LEASE_TIME)))
    }

    /// As the table of events has it.
    pub(super) fn item(&self, event: &EventId) -> Result<Attributes, StoreError> {
        let counters = &self.counters;
        let journal = serde_json::to_string(&self.journal).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        Ok(Attributes::new()
            .with_text("event_id", event.as_str())
            .with_number("revision", self.revision)
            .with_text("seal", self.seal)
            .with_some("knock", self.knock.as_ref().map(text))
            .with_number("life", self.life)
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
            .with("journal", text(journal)))
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
            // The journal knows.
            reserved: 0,
        };
        let newest =
            item.maybe("arrival_first", Attributes::position)?.zip(item.maybe("arrival_time", Attributes::time)?);
        let mut state = Self {
            revision: item.number("revision")?,
            seal: item.owned_text("seal")?.try_into().map_err(|_| unreadable("seal"))?,
            knock: item.maybe("knock", Attributes::owned_text)?,
            life: item.number("life")?,
            counters,
            newest_arrival: newest.map(|(first, at)| Arrival { first, at }),
            tick: item.maybe("inlet_tick", Attributes::time)?,
            journal: serde_json::from_str(item.text("journal")?).map_err(|_| unreadable("journal"))?,
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
            seal: Mark::new([9; 16]),
            knock: Some("m".to_owned()),
            life: 2,
            counters: Counters { version: 5, generation: Generation(3), queue: 8, serving: 7, ..Counters::default() },
            newest_arrival: Some(Arrival { first, at: Timestamp::from_secs(50) }),
            tick: Some(Timestamp::from_secs(60)),
            journal: Journal::default(),
        };
        state.journal.rows.push(LogRow::Arrival { first, at: Timestamp::from_secs(50) });
        let task = Task::Close { request_id: RequestId::from_bytes([1; 16]), code: -1 };
        state.journal.pending.push(Pending { mark: Mark::new([255; 16]), task });
        state.journal.nodes.insert("n".to_owned(), Stamp { batch: 3, revision: 8, took: 7 });
        state.journal.reservation = Some(Reservation { node: "n".to_owned(), through: 20, since: 8 });
        state.count_reservation();
        assert_eq!(state.counters.handed_out_at_most(), 20);
        assert_eq!(EventState::read(&state.item(&event).unwrap()), Ok(state));
    }

    #[test]
    fn an_older_journal_lacks_what_came_later() {
        let bare = EventState::default().item(&"Sample".parse().unwrap()).unwrap().with_text("journal", "{}");
        assert_eq!(EventState::read(&bare), Ok(EventState::default()));
    }

    #[test]
    fn a_record_counts_until_the_counter_goes_back_behind_it() {
        let mut state = EventState::default();
        state.journal.turns = 4;
        state.cut(10);
        state.journal.turns = 5;
        assert!(state.counts(4, 10) && !state.counts(4, 11) && state.counts(5, 11));
        state.journal.turns = 7;
        state.cut(20);
        assert!(!state.counts(4, 11), "the later cut takes less");
        assert!(!state.counts(7, 21) && state.counts(7, 20) && state.counts(8, 21));
        state.cut(0);
        assert_eq!(state.journal.cuts.len(), 1);
    }
}
