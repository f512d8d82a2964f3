//! The outbox in SQLite: letters are rows of the transaction that makes the change they tell of.
//!
//! Owns the tables `outbox`, `joins_told`, `cursors` and `dead_letters`. It must not know who is told. The clock is
//! handed in when the store is opened, for closing a session and resetting an event are verbs without a time.

use async_trait::async_trait;
use rusqlite::types::Type;
use rusqlite::{Connection, Error, Row, params};

use super::EmbeddedStore;
use super::ledger::{Failure, Ledger};
use super::rows::{number, stored, stored_time, time, unreadable};
use crate::ambient::Timestamp;
use crate::policy::SWEEP_STEP;
use crate::room::line::AnnouncedJoins;
use crate::room::{DomainEvent, EventId, EventKind};
use crate::store::StoreError;
use crate::store::outbox::{DeadLetter, Letter, Outbox, Resent};

/// Schema version 2. `AUTOINCREMENT`: a number is never used twice, though letters are forgotten.
pub(super) const TABLES: &str = "
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event TEXT NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    tick INTEGER
) STRICT;
CREATE UNIQUE INDEX outbox_once ON outbox (event, kind, tick) WHERE tick IS NOT NULL;
CREATE TABLE joins_told (
    event TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,
    queue INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE cursors (
    sink TEXT PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE dead_letters (
    sink TEXT NOT NULL,
    seq INTEGER NOT NULL,
    event TEXT NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    reason TEXT NOT NULL,
    died_at INTEGER NOT NULL,
    again INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (sink, seq)
) STRICT, WITHOUT ROWID;
";

impl Ledger {
    /// Writes a letter, if there is an outbox: to be called by the verb that does what it tells of.
    pub(super) fn post(&mut self, event: &EventId, happening: &DomainEvent) -> Result<(), Failure> {
        self.write_letter(event, happening, None).map(drop)
    }

    fn write_letter(
        &mut self,
        event: &EventId,
        happening: &DomainEvent,
        tick: Option<Timestamp>,
    ) -> Result<bool, Failure> {
        let Some(now) = self.outbox.now() else { return Ok(false) };
        let unwritable = |error: serde_json::Error| Error::ToSqlConversionFailure(error.into());
        let body = happening.body(event).map_err(unwritable)?;
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO outbox (event, at, kind, body, tick) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        )?;
        let tick = tick.map(stored_time);
        let written = insert.execute(params![event.as_str(), stored_time(now), happening.kind().name(), body, tick])?;
        self.letters |= written > 0;
        Ok(written > 0)
    }

    /// [`Outbox::tell_joins`]; with `at_once`, however short a time ago it was last done.
    pub(super) fn tell_joins(&mut self, event: &EventId, at_once: bool) -> Result<bool, Failure> {
        let Some(now) = self.outbox.now() else { return Ok(false) };
        let line = self.row(event)?.line;
        let generation = line.counters.generation.0;
        let mut select =
            self.connection.prepare_cached("SELECT generation, queue, at FROM joins_told WHERE event = ?1")?;
        let mut rows = select.query([event.as_str()])?;
        let last = match rows.next()? {
            Some(row) if row.get::<_, u16>(0)? == generation => {
                AnnouncedJoins { queue: number(row, 1)?, at: time(row, 2)? }
            }
            _ => AnnouncedJoins::default(),
        };
        drop(rows);
        drop(select);
        let Some((announced, joins)) = line.announce_joins(last, now, at_once) else { return Ok(false) };
        let mut replace = self.connection.prepare_cached(
            "INSERT INTO joins_told (event, generation, queue, at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (event) DO UPDATE SET generation = excluded.generation, queue = excluded.queue, at = excluded.at",
        )?;
        replace.execute(params![event.as_str(), generation, stored(announced.queue), stored_time(announced.at)])?;
        drop(replace);
        self.post(event, &joins)?;
        Ok(true)
    }

    fn claim_delivery(&mut self, sink: &str) -> Result<u64, Failure> {
        let newest = stored(newest(&self.connection)?);
        let mut insert =
            self.connection.prepare_cached("INSERT INTO cursors (sink, seq) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
        insert.execute(params![sink, newest])?;
        let mut select = self.connection.prepare_cached("SELECT seq FROM cursors WHERE sink = ?1")?;
        Ok(select.query_row([sink], |row| number(row, 0))?)
    }

    fn note_delivered(&mut self, sink: &str, through: u64) -> Result<(), Failure> {
        let mut update = self.connection.prepare_cached("UPDATE cursors SET seq = ?2 WHERE sink = ?1 AND seq < ?2")?;
        update.execute(params![sink, stored(through)])?;
        Ok(())
    }

    fn bury_letters(&mut self, sink: &str, letters: &[Letter], reason: &str, through: u64) -> Result<(), Failure> {
        let Some(now) = self.outbox.now() else { return Ok(()) };
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO dead_letters (sink, seq, event, at, kind, body, reason, died_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        )?;
        for letter in letters {
            insert.execute(params![
                sink,
                stored(letter.seq),
                letter.event.as_str(),
                stored_time(letter.at),
                letter.kind.name(),
                letter.body,
                reason,
                stored_time(now),
            ])?;
        }
        drop(insert);
        self.note_delivered(sink, through)
    }

    fn revive_dead_letters(&mut self, sink: Option<&str>) -> Result<u64, Failure> {
        let mut update =
            self.connection.prepare_cached("UPDATE dead_letters SET again = 1 WHERE ?1 IS NULL OR sink = ?1")?;
        let revived = update.execute([sink])?;
        self.letters |= revived > 0;
        Ok(revived as u64)
    }

    fn settle_dead_letter(&mut self, sink: &str, seq: u64, outcome: Resent) -> Result<(), Failure> {
        let sql = match outcome {
            Resent::Taken => "DELETE FROM dead_letters WHERE sink = ?1 AND seq = ?2",
            Resent::Refused => "UPDATE dead_letters SET again = 0 WHERE sink = ?1 AND seq = ?2",
        };
        self.connection.prepare_cached(sql)?.execute(params![sink, stored(seq)])?;
        Ok(())
    }

    pub(super) fn forget_letters(&mut self, through: u64, before: Timestamp) -> Result<u64, Failure> {
        // Numbers grow with time, give or take a clock that was set: the oldest letters are the first ones.
        let mut delete = self.connection.prepare_cached(
            "DELETE FROM outbox WHERE seq IN
                 (SELECT seq FROM outbox WHERE seq <= ?1 ORDER BY seq LIMIT ?3) AND at < ?2",
        )?;
        Ok(delete.execute(params![stored(through), stored_time(before), SWEEP_STEP])? as u64)
    }
}

fn newest(connection: &Connection) -> Result<u64, Error> {
    let mut select =
        connection.prepare_cached("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0)")?;
    select.query_row([], |row| number(row, 0))
}

/// The columns `seq, event, at, kind, body`.
fn letter(row: &Row<'_>) -> Result<Letter, Error> {
    let (event, kind): (String, String) = (row.get(1)?, row.get(3)?);
    Ok(Letter {
        seq: number(row, 0)?,
        event: event.parse().map_err(|_| unreadable(1, Type::Text, "no such event"))?,
        at: time(row, 2)?,
        kind: EventKind::from_name(&kind).ok_or_else(|| unreadable(3, Type::Text, "no such kind"))?,
        body: row.get(4)?,
    })
}

fn dead_letter(row: &Row<'_>) -> Result<DeadLetter, Error> {
    Ok(DeadLetter {
        letter: letter(row)?,
        sink: row.get(5)?,
        reason: row.get(6)?,
        died_at: time(row, 7)?,
        again: row.get(8)?,
    })
}

fn letters(connection: &Connection, after: u64, limit: u32) -> Result<Vec<Letter>, Error> {
    let mut select = connection
        .prepare_cached("SELECT seq, event, at, kind, body FROM outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    select.query_map(params![stored(after), limit], letter)?.collect()
}

fn dead_letters(connection: &Connection, after: Option<&(String, u64)>, limit: u32) -> Result<Vec<DeadLetter>, Error> {
    let (sink, seq) = after.map_or(("", 0), |(sink, seq)| (sink.as_str(), *seq));
    let mut select = connection.prepare_cached(
        "SELECT seq, event, at, kind, body, sink, reason, died_at, again FROM dead_letters
         WHERE (sink, seq) > (?1, ?2) ORDER BY sink, seq LIMIT ?3",
    )?;
    select.query_map(params![sink, stored(seq), limit], dead_letter)?.collect()
}

fn revived_letters(connection: &Connection, sink: &str, limit: u32) -> Result<Vec<Letter>, Error> {
    let mut select = connection.prepare_cached(
        "SELECT seq, event, at, kind, body FROM dead_letters WHERE sink = ?1 AND again = 1 ORDER BY seq LIMIT ?2",
    )?;
    select.query_map(params![sink, limit], letter)?.collect()
}

/// Through which number all of `sinks` are done; without sinks, everything is.
fn done_by_all(connection: &Connection, sinks: &[String]) -> Result<u64, Error> {
    let mut select = connection.prepare_cached("SELECT seq FROM cursors WHERE sink = ?1")?;
    sinks.iter().try_fold(newest(connection)?, |done, sink| {
        let cursor = select.query([sink])?.next()?.map(|row| number(row, 0)).transpose()?;
        Ok(done.min(cursor.unwrap_or_default()))
    })
}

#[async_trait]
impl Outbox for EmbeddedStore {
    async fn post_letter(&self, event: &EventId, tick: Timestamp, happening: &DomainEvent) -> Result<bool, StoreError> {
        let (event, happening) = (event.clone(), happening.clone());
        self.write(move |ledger| ledger.write_letter(&event, &happening, Some(tick))).await
    }

    async fn tell_joins(&self, event: &EventId) -> Result<bool, StoreError> {
        let event = event.clone();
        self.write(move |ledger| ledger.tell_joins(&event, false)).await
    }

    async fn letters(&self, after: u64, limit: u32) -> Result<Vec<Letter>, StoreError> {
        self.readers.look_up(|connection| letters(connection, after, limit))
    }

    async fn newest_letter(&self) -> Result<u64, StoreError> {
        self.readers.look_up(newest)
    }

    async fn claim_delivery(&self, sink: &str) -> Result<Option<u64>, StoreError> {
        let sink = sink.to_owned();
        self.operate(move |ledger| ledger.claim_delivery(&sink)).await.map(Some)
    }

    async fn note_delivered(&self, sink: &str, through: u64) -> Result<(), StoreError> {
        let sink = sink.to_owned();
        self.operate(move |ledger| ledger.note_delivered(&sink, through)).await
    }

    async fn bury_letters(&self, sink: &str, letters: &[Letter], reason: &str, through: u64) -> Result<(), StoreError> {
        let (sink, letters, reason) = (sink.to_owned(), letters.to_vec(), reason.to_owned());
        self.write(move |ledger| ledger.bury_letters(&sink, &letters, &reason, through)).await
    }

    async fn dead_letters(&self, after: Option<(String, u64)>, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        self.readers.look_up(|connection| dead_letters(connection, after.as_ref(), limit))
    }

    async fn revive_dead_letters(&self, sink: Option<&str>) -> Result<u64, StoreError> {
        let sink = sink.map(str::to_owned);
        self.operate(move |ledger| ledger.revive_dead_letters(sink.as_deref())).await
    }

    async fn revived_letters(&self, sink: &str, limit: u32) -> Result<Vec<Letter>, StoreError> {
        self.readers.look_up(|connection| revived_letters(connection, sink, limit))
    }

    async fn settle_dead_letter(&self, sink: &str, seq: u64, outcome: Resent) -> Result<(), StoreError> {
        let sink = sink.to_owned();
        self.operate(move |ledger| ledger.settle_dead_letter(&sink, seq, outcome)).await
    }

    async fn forget_letters(&self, sinks: &[String], before: Timestamp) -> Result<u64, StoreError> {
        let through = self.readers.look_up(|connection| done_by_all(connection, sinks))?;
        let mut forgotten = 0;
        loop {
            let step = self.operate(move |ledger| ledger.forget_letters(through, before)).await?;
            forgotten += step;
            if step < u64::from(SWEEP_STEP) {
                return Ok(forgotten);
            }
        }
    }
}
