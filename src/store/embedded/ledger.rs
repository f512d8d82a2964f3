//! What the writer thread knows: its connection, and every event's row in memory as the open transaction
//! will leave it.
//!
//! Owns the working copy of the counters: the verbs of `counters.rs` and `records.rs` change it and write
//! rows, [`Ledger::commit`] writes each changed event once and makes it all durable, and after any failure
//! [`Ledger::abandon`] reads the disk again, so that memory never says what the disk does not. It must not
//! know who asked, nor answer anybody.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Error, Row, params};
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::committed::CommittedCounters;
use super::reservations;
use super::reserve::{self, Reserve};
use super::rows::{arrival, columns_of_counters, counters, is_corruption, store_error, stored, stored_time, time};
use crate::room::line::{Decision, LineState, Record};
use crate::room::{Arrival, Counters, EventId, ServingRecord};
use crate::store::arrival_rate::ArrivalRate;
use crate::store::{Change, OutboxMode, StoreError};

/// Why a command was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// By rule, and before anything was written: the rest of the batch goes on.
    Refused(StoreError),
    /// The engine failed midway: the whole batch is undone.
    Engine(Error),
}

/// Commands read before they write, so that a row that cannot be understood fails only the command that met it.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let damaged_row = is_corruption(&error) && error.sqlite_error().is_none();
        if damaged_row { Self::Refused(store_error(&error)) } else { Self::Engine(error) }
    }
}

/// What an event's row holds, and the newest row of its arrival log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct EventRow {
    /// Names the rows of the current generation; never used twice.
    pub(super) life: i64,
    pub(super) line: LineState,
}

impl EventRow {
    /// The numbers of the event.
    pub(super) const fn counters(&self) -> Counters {
        self.line.counters
    }
}

struct Entry {
    /// As the open transaction will leave it.
    row: EventRow,
    /// As the disk has it; `None`: not yet.
    committed: Option<EventRow>,
    /// Whether it is listed in `Ledger::touched`.
    touched: bool,
    arrivals: ArrivalRate,
}

/// See the module's documentation.
pub(super) struct Ledger {
    pub(super) connection: Connection,
    events: HashMap<EventId, Entry>,
    /// What requests read, and hand positions out from.
    pub(super) committed: Arc<CommittedCounters>,
    /// The events with a lease.
    pub(super) leased: HashSet<EventId>,
    /// Nothing is reserved any more.
    pub(super) leasing_stopped: bool,
    /// The events that the open transaction changed.
    pub(super) touched: Vec<EventId>,
    /// The documents that the open transaction replaced.
    pub(super) documents: Vec<String>,
    /// What becomes of letters.
    pub(super) outbox: OutboxMode,
    /// Whether the open transaction wrote some.
    pub(super) letters: bool,
    /// Whether memory may differ from the disk, because a commit failed and so did the reading after it.
    stale: bool,
    /// What is kept for a full disk. The last field: it holds the file that SQLite must close first.
    pub(super) reserve: Reserve,
}

impl Ledger {
    /// The ledger of this database.
    pub(super) fn open(
        mut connection: Connection,
        reserve: Reserve,
        outbox: OutboxMode,
        feed: broadcast::Sender<Change>,
    ) -> Result<Self, Error> {
        reservations::recover(&mut connection)?;
        let events = load(&connection)?;
        let counters = events.iter().map(|(event, entry)| (event.clone(), entry.row.counters()));
        let committed = Arc::new(CommittedCounters::new(counters.collect(), feed));
        Ok(Self {
            connection,
            events,
            committed,
            leased: HashSet::new(),
            leasing_stopped: false,
            touched: Vec::new(),
            documents: Vec::new(),
            outbox,
            letters: false,
            stale: false,
            reserve,
        })
    }

    /// The counters that requests read.
    pub(super) fn committed(&self) -> Arc<CommittedCounters> {
        Arc::clone(&self.committed)
    }

    /// Begins the transaction of a batch.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        if self.stale {
            self.reload()?;
        }
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        self.count_leased_joins();
        Ok(())
    }

    /// Writes the changed events, makes the batch durable and shows the new counters. Answers what else changed.
    pub(super) fn commit(&mut self) -> Result<Vec<Change>, Error> {
        self.reserve_positions();
        for event in &self.touched {
            if let Some(entry) = self.events.get(event) {
                save(&self.connection, event, &entry.row)?;
            }
        }
        let pages = reserve::page_count(&self.connection)?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        if let Err(error) = self.reserve.keep_headroom(&self.connection, pages) {
            tracing::warn!(%error, "the database's space cannot be looked after");
        }
        let mut changes: Vec<Change> = self.documents.drain(..).map(Change::Document).collect();
        for event in std::mem::take(&mut self.touched) {
            let Some(entry) = self.events.get_mut(&event) else { continue };
            let moved = entry.committed.is_none_or(|committed| committed.counters() != entry.row.counters());
            entry.committed = Some(entry.row);
            entry.touched = false;
            let row = entry.row;
            // Before any command of the batch is answered: the answer can be read from here on.
            if moved {
                self.committed.learn(&event, row.counters());
            }
            self.open_lease(&event, &row);
        }
        if std::mem::take(&mut self.letters) {
            changes.push(Change::Letters);
        }
        Ok(changes)
    }

    /// Undoes the batch, on disk and in memory. Memory comes from the disk again: whether a commit that
    /// failed reached it is for the disk to say.
    pub(super) fn abandon(&mut self) {
        self.touched.clear();
        self.documents.clear();
        self.letters = false;
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a failed batch could not be rolled back");
        }
        if let Err(error) = self.reload() {
            self.stale = true;
            tracing::error!(%error, "the events cannot be read back after a failed batch");
        }
    }

    fn reload(&mut self) -> Result<(), Error> {
        self.events = load(&self.connection)?;
        self.stale = false;
        self.end_all_leases();
        Ok(())
    }

    /// How many joins the event is to expect until the commit after the next.
    pub(super) fn expected_joins(&mut self, event: &EventId, queue: u64, now: Instant) -> u64 {
        self.events.get_mut(event).map_or(0, |entry| entry.arrivals.wanted(queue, now))
    }

    /// Through which position those of the event are reserved on disk.
    pub(super) fn reserved(&self, event: &EventId) -> u64 {
        let committed = self.events.get(event).and_then(|entry| entry.committed);
        committed.map_or(0, |row| row.counters().reserved)
    }

    /// Looks whether a full disk has space again. Answers the refusal of visitors' commands if it has not.
    pub(super) fn look_for_space(&mut self) -> Option<StoreError> {
        if let Err(error) = self.reserve.recover(&self.connection) {
            tracing::warn!(%error, "cannot look whether there is space again");
        }
        self.reserve.refusal()
    }

    /// After a batch that failed for want of space: whether there is more, so that it may be run once more.
    pub(super) fn find_space(&mut self) -> bool {
        self.reserve.grow(&self.connection).unwrap_or(false)
    }

    /// The same, where there is no more: whether the reserve was released, for operators' commands alone.
    pub(super) fn release_reserve(&mut self, error: &Error) -> bool {
        let released = self.reserve.release(&self.connection, error);
        if let Err(error) = &released {
            tracing::error!(%error, "the space that is reserved for operators cannot be released");
        }
        released.is_ok()
    }

    /// Whether operators' commands have used less than half of the space that is reserved for them.
    pub(super) fn has_half_the_reserve(&self) -> bool {
        self.reserve.has_half(&self.connection).unwrap_or(false)
    }

    /// The event's row as the open transaction will leave it.
    pub(super) fn row(&self, event: &EventId) -> Result<EventRow, Failure> {
        let entry = self.events.get(event).ok_or_else(|| unknown(event))?;
        Ok(entry.row)
    }

    /// Whether the event exists.
    pub(super) fn knows(&self, event: &EventId) -> bool {
        self.events.contains_key(event)
    }

    /// Adds an event whose row was just inserted.
    pub(super) fn add(&mut self, event: EventId, life: i64) {
        let row = EventRow { life, line: LineState::default() };
        self.touched.push(event.clone());
        let arrivals = ArrivalRate::new(0, Instant::now());
        self.events.insert(event, Entry { row, committed: None, touched: true, arrivals });
    }

    /// Replaces the event's row; the commit will write it.
    pub(super) fn set(&mut self, event: &EventId, row: EventRow) {
        let Some(entry) = self.events.get_mut(event) else { return };
        entry.row = row;
        if !entry.touched {
            entry.touched = true;
            self.touched.push(event.clone());
        }
    }

    /// Replaces the event's row by that of another store: its visitors did not join here.
    pub(super) fn restore(&mut self, event: &EventId, row: EventRow) {
        self.set(event, row);
        if let Some(entry) = self.events.get_mut(event) {
            entry.arrivals = ArrivalRate::new(row.counters().queue, Instant::now());
        }
    }

    /// Adds a decision about the event's line to the open transaction.
    pub(super) fn carry_out<Reply>(&mut self, event: &EventId, decision: Decision<Reply>) -> Result<Reply, Failure> {
        let row = self.row(event)?;
        for record in &decision.records {
            write_record(&self.connection, row.life, record)?;
        }
        if decision.state != row.line {
            self.set(event, EventRow { line: decision.state, ..row });
        }
        for happened in &decision.events {
            self.post(event, happened)?;
        }
        Ok(decision.reply)
    }

    /// Copies the write-ahead log into the database and closes it. The file of the log stays, with its space: a start on a
    /// disk that is full by then needs it.
    pub(super) fn close(self) {
        let kept = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        if let Err(error) = kept.and_then(|_| self.reserve.settle(&self.connection)) {
            tracing::warn!(%error, "the write-ahead log stays until the next start");
        }
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the database did not close cleanly");
        }
    }
}

/// The refusal for an event that does not exist.
pub(super) fn unknown(event: &EventId) -> Failure {
    Failure::Refused(StoreError::UnknownEvent(event.clone()))
}

fn load(connection: &Connection) -> Result<HashMap<EventId, Entry>, Error> {
    let mut select =
        connection.prepare_cached(concat!("SELECT name, life, tick, ", columns_of_counters!(), " FROM events"))?;
    let rows = select.query_and_then([], |row| event_row(connection, row))?;
    rows.map(|row| {
        let (event, row) = row?;
        let arrivals = ArrivalRate::new(row.counters().queue, Instant::now());
        Ok((event, Entry { row, committed: Some(row), touched: false, arrivals }))
    })
    .collect()
}

fn event_row(connection: &Connection, row: &Row<'_>) -> Result<(EventId, EventRow), Error> {
    let name: String = row.get(0)?;
    let event = name
        .parse()
        .map_err(|error| Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error) as Box<_>))?;
    let life = row.get(1)?;
    let tick = row.get::<_, Option<i64>>(2)?.map(|_| time(row, 2)).transpose()?;
    let (inlet_tick, counters) = (tick, counters(row, 3)?);
    let mut newest =
        connection.prepare_cached("SELECT first, at FROM arrivals WHERE life = ?1 ORDER BY first DESC LIMIT 1")?;
    let newest_arrival = newest.query([life])?.next()?.map(arrival).transpose()?;
    Ok((event, EventRow { life, line: LineState { counters, newest_arrival, inlet_tick } }))
}

fn save(connection: &Connection, event: &EventId, row: &EventRow) -> Result<(), Error> {
    let LineState { counters, inlet_tick, .. } = &row.line;
    let mut update = connection.prepare_cached(
        "UPDATE events SET life = ?2, tick = ?3, version = ?4, generation = ?5, queue = ?6, serving = ?7,
                sessions_opened = ?8, completed = ?9, abandoned = ?10, max_expired = ?11, expired_positions = ?12,
                reserved = ?13
         WHERE name = ?1",
    )?;
    let changed = update.execute(params![
        event.as_str(),
        row.life,
        inlet_tick.map(stored_time),
        stored(counters.version),
        counters.generation.0,
        stored(counters.queue),
        stored(counters.serving),
        stored(counters.sessions_opened),
        stored(counters.completed),
        stored(counters.abandoned),
        stored(counters.max_expired),
        stored(counters.expired_positions),
        stored(counters.reserved),
    ])?;
    if changed == 1 { Ok(()) } else { Err(Error::StatementChangedRows(changed)) }
}

fn write_record(connection: &Connection, life: i64, record: &Record) -> Result<(), Error> {
    let written = match record {
        Record::Arrival(Arrival { first, at }) => connection
            .prepare_cached("INSERT INTO arrivals (life, first, at) VALUES (?1, ?2, ?3)")?
            .execute(params![life, stored(first.get()), stored_time(*at)]),
        Record::Serving(ServingRecord { serving, issued_at, served }) => connection
            .prepare_cached(
                "INSERT INTO serving_records (life, serving, issued_at, served) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![life, stored(*serving), stored_time(*issued_at), stored(*served)]),
        Record::RemoveServingAbove(serving) => connection
            .prepare_cached("DELETE FROM serving_records WHERE life = ?1 AND serving > ?2")?
            .execute(params![life, stored(*serving)]),
    };
    written.map(drop)
}
