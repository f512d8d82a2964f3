//! What is forgotten, and what stays of it: sessions a day after their end, the rows of a line that nobody asks for any
//! more, dead letters.
//!
//! Owns the table `used_positions`: of a session that is forgotten before its position is given up, one bit stays, so
//! that its ticket opens no second one. Each step is one command of the writer and deletes few rows; `docs/operators.md`,
//! *What grows*, says what comes of it.

use rusqlite::{Connection, Error, OptionalExtension, params};

use super::EmbeddedStore;
use super::ledger::{EventRow, Failure, Ledger};
use super::rows::{number, stored, stored_time};
use crate::ambient::Timestamp;
use crate::policy::{DEAD_LETTER_RETENTION, DEAD_LETTERS_KEPT, PACE_HORIZON, SESSION_RETENTION, SWEEP_STEP};
use crate::room::line::LineState;
use crate::room::{Counters, EventId, Position, UsedChunk};
use crate::store::StoreError;

/// Schema version 4.
pub(super) const TABLES: &str = "
CREATE TABLE used_positions (
    life INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    bits BLOB NOT NULL,
    PRIMARY KEY (life, chunk)
) STRICT, WITHOUT ROWID;
";

/// Walks the index of ends, from the earliest on.
pub(super) const OVER_SESSIONS: &str =
    "SELECT request_id, position FROM sessions WHERE life = ?1 AND expires_at <= ?2 ORDER BY expires_at LIMIT ?3";

/// The used positions of a chunk.
pub(super) fn used_chunk(connection: &Connection, life: i64, chunk: u64) -> Result<Option<UsedChunk>, Error> {
    let mut select = connection.prepare_cached("SELECT bits FROM used_positions WHERE life = ?1 AND chunk = ?2")?;
    let bits = select.query_row(params![life, stored(chunk)], |row| row.get(0)).optional()?;
    Ok(bits.map(|bits| UsedChunk::new(chunk, bits)))
}

/// How many of the positions above `after`, through `through`, had a session that is forgotten.
pub(super) fn used_between(connection: &Connection, life: i64, after: u64, through: u64) -> Result<u64, Error> {
    let mut select = connection.prepare_cached(
        "SELECT chunk, bits FROM used_positions WHERE life = ?1 AND chunk BETWEEN ?2 AND ?3 ORDER BY chunk",
    )?;
    let chunks = [after + 1, through].map(|position| stored(UsedChunk::number_of(position)));
    let counts = select.query_map(params![life, chunks[0], chunks[1]], |row| {
        Ok(UsedChunk::new(number(row, 0)?, row.get(1)?).count(after, through))
    })?;
    counts.sum()
}

/// Notes that positions were used.
pub(super) fn note_used(connection: &Connection, life: i64, positions: &[Position]) -> Result<(), Error> {
    for positions in
        positions.chunk_by(|one, other| UsedChunk::number_of(one.get()) == UsedChunk::number_of(other.get()))
    {
        let Some(first) = positions.first() else { continue };
        let chunk = UsedChunk::number_of(first.get());
        let mut used = used_chunk(connection, life, chunk)?.unwrap_or_else(|| UsedChunk::new(chunk, Vec::new()));
        positions.iter().for_each(|position| used.insert(*position));
        let mut replace = connection.prepare_cached(
            "INSERT INTO used_positions (life, chunk, bits) VALUES (?1, ?2, ?3)
             ON CONFLICT (life, chunk) DO UPDATE SET bits = excluded.bits",
        )?;
        replace.execute(params![life, stored(chunk), used.bits()])?;
    }
    Ok(())
}

impl Ledger {
    /// Whether the position had a session that is forgotten, and is not given up.
    pub(super) fn is_used(&self, life: i64, position: Position) -> Result<bool, Failure> {
        let chunk = used_chunk(&self.connection, life, UsedChunk::number_of(position.get()))?;
        Ok(chunk.is_some_and(|chunk| chunk.contains(position)))
    }

    /// Forgets up to `limit` rows of each kind of the event's present generation. Answers how many; 0: there are no more.
    fn forget(&mut self, event: &EventId, now: Timestamp, limit: u32) -> Result<u64, Failure> {
        let EventRow { life, line } = self.row(event)?;
        let mut forgotten = self.forget_sessions(life, &line.counters, now - SESSION_RETENTION, limit)?;
        self.pass_used(event, life, &line)?;
        let counters = self.row(event)?.counters();
        let given_up = stored(counters.max_expired);
        let mut chunks = self.connection.prepare_cached(
            "DELETE FROM used_positions WHERE life = ?1 AND chunk IN
                 (SELECT chunk FROM used_positions WHERE life = ?1 AND chunk < ?2 LIMIT ?3)",
        )?;
        let mut lost = self.connection.prepare_cached("DELETE FROM lost_positions WHERE life = ?1 AND last <= ?2")?;
        lost.execute(params![life, given_up])?;
        drop(lost);
        let passed = stored(UsedChunk::number_of(counters.max_expired + 1));
        forgotten += chunks.execute(params![life, passed, limit])?;
        let mut records = self.connection.prepare_cached(
            "DELETE FROM serving_records WHERE life = ?1 AND serving IN (SELECT serving FROM serving_records
                 WHERE life = ?1 AND serving <= ?2 AND issued_at < ?3 ORDER BY serving LIMIT ?4)",
        )?;
        forgotten += records.execute(params![life, given_up, stored_time(now - PACE_HORIZON), limit])?;
        // A visitor whose session is there still has a ticket to be opened.
        let mut arrivals = self.connection.prepare_cached(
            "DELETE FROM arrivals WHERE life = ?1 AND first IN (SELECT first FROM arrivals
                 WHERE life = ?1 AND first < (SELECT max(first) FROM arrivals WHERE life = ?1 AND first <= 1 + min(?2,
                     (SELECT coalesce(min(position) - 1, ?2) FROM sessions WHERE life = ?1))) ORDER BY first LIMIT ?3)",
        )?;
        forgotten += arrivals.execute(params![life, given_up, limit])?;
        Ok(forgotten as u64)
    }

    fn forget_sessions(&self, life: i64, counters: &Counters, before: Timestamp, limit: u32) -> Result<usize, Failure> {
        let mut select = self.connection.prepare_cached(OVER_SESSIONS)?;
        let over = select
            .query_map(params![life, stored_time(before), limit], |row| {
                Ok((row.get::<_, [u8; 16]>(0)?, super::rows::position(row, 1)?))
            })?
            .collect::<Result<Vec<_>, _>>()?;
        let mut delete = self.connection.prepare_cached("DELETE FROM sessions WHERE life = ?1 AND request_id = ?2")?;
        let mut usable: Vec<Position> = Vec::new();
        for (request_id, position) in &over {
            delete.execute(params![life, request_id])?;
            usable.extend(Some(*position).filter(|position| position.get() > counters.max_expired));
        }
        usable.sort_unstable();
        note_used(&self.connection, life, &usable)?;
        Ok(over.len())
    }

    /// Counts positions as dealt with that follow those that are, and had a session that is forgotten: so that nothing
    /// grows where positions do not expire and nobody stays away.
    fn pass_used(&mut self, event: &EventId, life: i64, line: &LineState) -> Result<(), Failure> {
        let Counters { max_expired, serving, queue, .. } = line.counters;
        let mut through = max_expired;
        while let Some(chunk) = used_chunk(&self.connection, life, UsedChunk::number_of(through + 1))? {
            let last = chunk.run_after(through).min(serving).min(queue);
            if last <= through {
                break;
            }
            through = last;
        }
        let passed = Position::new(through).and_then(|through| line.begin_expiry(through));
        passed.map_or(Ok(()), |decision| self.carry_out(event, decision).map(drop))
    }

    fn forget_dead_letters(&mut self, letters: &[(String, i64)]) -> Result<(), Failure> {
        let mut delete = self.connection.prepare_cached("DELETE FROM dead_letters WHERE sink = ?1 AND seq = ?2")?;
        for (sink, seq) in letters {
            delete.execute(params![sink, seq])?;
        }
        Ok(())
    }
}

/// Dead letters that are too old or too many.
fn old_dead_letters(connection: &Connection, before: Timestamp) -> Result<Vec<(String, i64)>, Error> {
    let mut select = connection.prepare_cached(
        "SELECT sink, seq FROM dead_letters WHERE died_at <= ?1
         UNION SELECT * FROM (SELECT sink, seq FROM dead_letters ORDER BY died_at DESC, seq DESC LIMIT -1 OFFSET ?2)",
    )?;
    select.query_map(params![stored_time(before), DEAD_LETTERS_KEPT], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

impl EmbeddedStore {
    /// Forgets what is over at `now`, in steps between which others are served.
    pub(super) async fn forget(&self, now: Timestamp) -> Result<(), StoreError> {
        for event in self.committed.events()? {
            let event = &event;
            let step = || {
                let event = event.clone();
                self.operate(move |ledger| ledger.forget(&event, now, SWEEP_STEP))
            };
            while step().await? > 0 {}
        }
        let before = now - DEAD_LETTER_RETENTION;
        let old = self.readers.list(|connection| old_dead_letters(connection, before))?;
        for letters in old.chunks(SWEEP_STEP as usize) {
            let letters = letters.to_vec();
            self.operate(move |ledger| ledger.forget_dead_letters(&letters)).await?;
        }
        // Letters that a sink of an earlier configuration never got.
        while self.operate(move |ledger| ledger.forget_letters(u64::MAX, before)).await? > 0 {}
        Ok(())
    }
}
