//! An event's item: its counters, and a journal of what is under way.
//!
//! DynamoDB changes one item at a time. So the item of the event decides everything about the line, and what belongs
//! into other items as well (a session, a row of a log, a letter) stands in its journal first, in the same write as
//! the decision. Whoever finds it there may carry it out: doing it twice is doing it once. Only then is it struck out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::aside::Aside;
use super::fields::{Fields, number, text, unreadable};
use crate::ambient::Timestamp;
use crate::policy::{ASIDE_COMPANY, TURN_COMPANY};
use crate::room::{Arrival, Counters, EventId, Generation, Position, RequestId, ServingRecord, Session, SessionStatus};
use crate::store::StoreError;

/// Names something; drawn by lot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Mark([u8; 16]);

impl Mark {
    pub(super) const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl From<Mark> for String {
    fn from(mark: Mark) -> Self {
        format!("{:032x}", u128::from_be_bytes(mark.0))
    }
}

impl TryFrom<String> for Mark {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(|number| Self(number.to_be_bytes()))
    }
}

/// A row of a log, until it stands in its table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(super) enum LogRow {
    #[serde(rename = "a")]
    Arrival { first: Position, at: Timestamp },
    /// The `turn` is of [`Journal::turns`].
    #[serde(rename = "r")]
    Serving { turn: u64, serving: u64, at: Timestamp, served: u64 },
}

/// A session as the journal says it: the event and its generation are the item's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Entrant {
    #[serde(rename = "r")]
    pub(super) request_id: RequestId,
    #[serde(rename = "p")]
    pub(super) position: Position,
    #[serde(rename = "o")]
    pub(super) opened_at: Timestamp,
    #[serde(rename = "e")]
    pub(super) expires_at: Timestamp,
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub(super) issuer: Option<String>,
}

impl Entrant {
    pub(super) fn of(session: &Session) -> Self {
        Self {
            request_id: session.request_id,
            position: session.position,
            opened_at: session.opened_at,
            expires_at: session.expires_at,
            issuer: session.issuer.clone(),
        }
    }

    pub(super) fn session(&self, event: &EventId, generation: Generation) -> Session {
        Session {
            event: event.clone(),
            generation,
            request_id: self.request_id,
            position: self.position,
            opened_at: self.opened_at,
            expires_at: self.expires_at,
            status: SessionStatus::Active,
            issuer: self.issuer.clone(),
        }
    }
}

/// What is decided and not yet carried out; how it ends depends on other items.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Task {
    /// A session is to be opened, unless its ticket has one.
    #[serde(rename = "o")]
    Open(Entrant),
    /// A session is to be closed, unless it was.
    #[serde(rename = "c")]
    Close { request_id: RequestId, code: i8 },
    /// The positions above `from` through `through` are given up, but for those that have a session.
    #[serde(rename = "e")]
    Expire { from: u64, through: u64, refill: bool, at: Timestamp },
}

/// A [`Task`] with its name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Pending {
    #[serde(rename = "m")]
    pub(super) mark: Mark,
    #[serde(rename = "t")]
    pub(super) task: Task,
}

/// A letter that has no number of the outbox yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// 1 for the event's first, then one more.
    pub(super) number: u64,
    pub(super) at: Timestamp,
    pub(super) kind: String,
    pub(super) body: String,
}

/// The serving counter went back: of the rows with an earlier turn, those above `serving` count no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Cut {
    turn: u64,
    serving: u64,
}

/// The latest write of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Stamp {
    #[serde(rename = "b")]
    pub(super) batch: u64,
    #[serde(rename = "v")]
    pub(super) revision: u64,
    /// The revision by which it took positions last; 0: never.
    #[serde(rename = "t", default)]
    pub(super) took: u64,
}

/// What else the item says; JSON in one of its fields.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Journal {
    pub(super) rows: Vec<LogRow>,
    pub(super) pending: Vec<Pending>,
    pub(super) notes: Vec<Note>,
    /// How many letters the event ever wrote.
    pub(super) noted: u64,
    /// How often the serving counter moved in this life.
    pub(super) turns: u64,
    pub(super) cuts: Vec<Cut>,
    /// Lives that ended and still have rows.
    pub(super) ended: Vec<u64>,
    /// By kind, the latest tick that a letter was posted for.
    pub(super) posted: BTreeMap<String, Timestamp>,
    /// Positions whose handing out was told, and when that was.
    pub(super) told: (u64, Timestamp),
    /// By node, what it wrote last: so a node whose write was not answered learns whether it was done.
    pub(super) nodes: BTreeMap<String, Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) aside: Option<Aside>,
}

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
        let lately = |stamp: &Stamp| stamp.took > 0 && stamp.took + ASIDE_COMPANY > self.revision;
        self.journal.nodes.iter().any(|(other, stamp)| other != node && lately(stamp))
    }

    /// What was set aside, if it is another node's.
    pub(super) fn aside_of_others(&self, node: &str) -> Option<&Aside> {
        self.journal.aside.as_ref().filter(|aside| aside.node != node)
    }

    /// Whether the node has positions set aside, and nobody took any after them.
    pub(super) fn has_aside(&self, node: &str) -> bool {
        let aside = self.journal.aside.as_ref();
        aside.is_some_and(|aside| aside.node == node && aside.through >= self.counters.queue)
    }

    /// Has the counters say what is set aside.
    pub(super) fn say_aside(&mut self) {
        let through = self.journal.aside.as_ref().map_or(0, |aside| aside.through);
        self.counters.set_aside = if through > self.counters.queue { through } else { 0 };
    }

    /// As the table of events has it.
    pub(super) fn item(&self, event: &EventId) -> Result<Fields, StoreError> {
        let counters = &self.counters;
        let journal = serde_json::to_string(&self.journal).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        Ok(Fields::new()
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
    pub(super) fn read(item: &Fields) -> Result<Self, StoreError> {
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
            set_aside: 0,
        };
        let newest = item.maybe("arrival_first", Fields::position)?.zip(item.maybe("arrival_time", Fields::time)?);
        let mut state = Self {
            revision: item.number("revision")?,
            seal: item.owned_text("seal")?.try_into().map_err(|_| unreadable("seal"))?,
            knock: item.maybe("knock", Fields::owned_text)?,
            life: item.number("life")?,
            counters,
            newest_arrival: newest.map(|(first, at)| Arrival { first, at }),
            tick: item.maybe("inlet_tick", Fields::time)?,
            journal: serde_json::from_str(item.text("journal")?).map_err(|_| unreadable("journal"))?,
        };
        state.say_aside();
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        state.journal.aside = Some(Aside { node: "n".to_owned(), through: 20, since: 8 });
        state.say_aside();
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
