//! The verbs that move an event's counters: join, advance, expire, claim, reset.
//!
//! Each is one step of the writer's open transaction. They change the row in memory, which the commit
//! writes once however many of them there were, and write a row of their own only where the log needs one.

use rusqlite::{Connection, Error, params};

use super::ledger::{EventRow, Failure, Ledger, unknown};
use super::retention::used_between;
use super::rows::{stored, stored_time};
use crate::ambient::Timestamp;
use crate::policy;
use crate::room::{Arrival, Counters, EventId, Inlet, Position};
use crate::store::{Advance, AdvanceFrom, Expired, Happening, Refill, StoreError, Taken};

/// Sessions go in the order of the line: that is about the order of their ends as well, so that a step
/// touches few pages of either index.
pub(super) const FORGETTING: [&str; 4] = [
    "DELETE FROM sessions WHERE life = ?1 AND request_id IN
         (SELECT request_id FROM sessions WHERE life = ?1 ORDER BY position LIMIT ?2)",
    "DELETE FROM serving_records WHERE life = ?1 AND serving IN
         (SELECT serving FROM serving_records WHERE life = ?1 LIMIT ?2)",
    "DELETE FROM arrivals WHERE life = ?1 AND first IN (SELECT first FROM arrivals WHERE life = ?1 LIMIT ?2)",
    "DELETE FROM used_positions WHERE life = ?1 AND chunk IN
         (SELECT chunk FROM used_positions WHERE life = ?1 LIMIT ?2)",
];

impl Ledger {
    /// [`crate::store::Store::ensure_event`].
    pub(super) fn ensure_event(&mut self, event: &EventId) -> Result<Counters, Failure> {
        if !self.knows(event) {
            let life = begin_life(&self.connection)?;
            let mut insert = self.connection.prepare_cached("INSERT INTO events (name, life) VALUES (?1, ?2)")?;
            insert.execute(params![event.as_str(), life])?;
            drop(insert);
            self.add(event.clone(), life);
        }
        Ok(self.row(event)?.counters)
    }

    /// [`crate::store::Store::take_positions`].
    pub(super) fn take_positions(&mut self, event: &EventId, count: u32, at: Timestamp) -> Result<Taken, Failure> {
        let mut row = self.row(event)?;
        let queue = row.counters.queue + u64::from(count);
        let (Some(first), Some(last)) = (Position::new(row.counters.queue + 1), Position::new(queue)) else {
            return Err(Failure::Refused(StoreError::Unavailable(format!("event {event} has no position left"))));
        };
        if first > last {
            return Err(Failure::Refused(StoreError::Unavailable("somebody asked for no positions".to_owned())));
        }
        let entry = match row.newest_arrival {
            Some(newest) if newest.takes(at) => newest.at,
            _ => {
                note_arrival(&self.connection, row.life, first, at)?;
                row.newest_arrival = Some(Arrival { first, at });
                at
            }
        };
        row.counters.queue = queue;
        row.counters.version += 1;
        self.set(event, row);
        Ok(Taken { first, last, entry, counters: row.counters })
    }

    /// [`crate::store::Store::advance`].
    pub(super) fn advance(&mut self, event: &EventId, by: i64, at: Timestamp) -> Result<Advance, Failure> {
        let row = self.row(event)?;
        let moved = row.counters.serving.checked_add_signed(by).filter(|serving| *serving <= Counters::MAX);
        let Some(serving) = moved else { return Ok(Advance::OutOfRange) };
        if by == 0 {
            return Ok(Advance::Moved(row.counters));
        }
        if by < 0 {
            let mut delete =
                self.connection.prepare_cached("DELETE FROM serving_records WHERE life = ?1 AND serving > ?2")?;
            delete.execute(params![row.life, stored(serving)])?;
        }
        note_serving(&self.connection, row.life, serving, at, u64::try_from(by).unwrap_or(0))?;
        let moved = self.count(event, |counters| counters.serving = serving)?;
        self.post_move(event, row.counters.serving, moved).map(Advance::Moved)
    }

    /// [`crate::store::Store::advance_from`].
    pub(super) fn advance_from(
        &mut self,
        event: &EventId,
        seen: &Counters,
        by: u64,
        at: Timestamp,
    ) -> Result<AdvanceFrom, Failure> {
        let EventRow { counters, .. } = self.row(event)?;
        if (counters.serving, counters.generation) != (seen.serving, seen.generation) {
            return Ok(AdvanceFrom::Changed);
        }
        let Ok(by) = i64::try_from(by) else { return Ok(AdvanceFrom::OutOfRange) };
        Ok(match self.advance(event, by, at)? {
            Advance::Moved(counters) => AdvanceFrom::Moved(counters),
            Advance::OutOfRange => AdvanceFrom::OutOfRange,
        })
    }

    /// [`crate::store::Store::expire_positions`].
    pub(super) fn expire_positions(
        &mut self,
        event: &EventId,
        through: Position,
        refill: Refill,
        at: Timestamp,
    ) -> Result<Expired, Failure> {
        let EventRow { life, counters, .. } = self.row(event)?;
        let through = through.get().min(counters.serving).min(counters.queue);
        if through <= counters.max_expired {
            return Ok(Expired { positions: 0, counters });
        }
        let used: i64 = self
            .connection
            .prepare_cached("SELECT count(*) FROM sessions WHERE life = ?1 AND position > ?2 AND position <= ?3")?
            .query_row(params![life, stored(counters.max_expired), stored(through)], |row| row.get(0))?;
        let used = used.unsigned_abs() + used_between(&self.connection, life, counters.max_expired, through)?;
        let positions = (through - counters.max_expired).saturating_sub(used);
        let admitted = match refill {
            Refill::Next => positions.min(Counters::MAX - counters.serving),
            Refill::None => 0,
        };
        if admitted > 0 {
            note_serving(&self.connection, life, counters.serving + admitted, at, admitted)?;
        }
        let previous = counters.serving;
        let counters = self.count(event, |counters| {
            counters.max_expired = through;
            counters.expired_positions += positions;
            counters.serving += admitted;
        })?;
        if admitted > 0 {
            let refilled = Happening::AutomaticServingCounterIncr {
                previous_serving_counter_position: previous,
                increment_by: admitted,
                current_serving_counter_position: counters.serving,
            };
            self.post(event, &refilled)?;
        }
        self.post_move(event, previous, counters)?;
        Ok(Expired { positions, counters })
    }

    /// [`crate::store::Store::step_inlet`].
    pub(super) fn step_inlet(
        &mut self,
        event: &EventId,
        inlet: &Inlet,
        known: Option<Timestamp>,
        tick: Timestamp,
    ) -> Result<Option<Counters>, Failure> {
        let mut row = self.row(event)?;
        let before = row.tick;
        let too_late = |claimed: Timestamp| claimed >= tick && claimed.since(tick) < policy::CLOCK_SET_BACK;
        if before.is_some_and(too_late) {
            return Ok(None);
        }
        row.tick = Some(tick);
        let counters = row.counters;
        self.set(event, row);
        let due = inlet.due(before.max(known), tick, &counters);
        match self.advance(event, i64::try_from(due).unwrap_or(0), tick)? {
            Advance::Moved(counters) => Ok(Some(counters)),
            // What is due never leads beyond the range.
            Advance::OutOfRange => Ok(Some(counters)),
        }
    }

    /// [`crate::store::Store::reset`].
    pub(super) fn reset(&mut self, event: &EventId) -> Result<Counters, Failure> {
        if !self.knows(event) {
            return Err(unknown(event));
        }
        self.tell_joins(event, true)?;
        let old = self.row(event)?;
        let life = begin_life(&self.connection)?;
        self.connection.prepare_cached("UPDATE lives SET ended = 1 WHERE life = ?1")?.execute([old.life])?;
        let counters = Counters {
            version: old.counters.version + 1,
            generation: old.counters.generation.next(),
            ..Counters::default()
        };
        self.set(event, EventRow { life, counters, newest_arrival: None, tick: old.tick });
        self.post(event, &Happening::RoomReset { generation: counters.generation })?;
        Ok(counters)
    }

    /// Deletes up to `limit` rows of generations that ended. Answers how many; 0: there are no more.
    pub(super) fn forget_ended_lives(&mut self, limit: u32) -> Result<u64, Failure> {
        let mut select = self.connection.prepare_cached("SELECT life FROM lives WHERE ended = 1 LIMIT 1")?;
        let Some(life) = select.query([])?.next()?.map(|row| row.get::<_, i64>(0)).transpose()? else {
            return Ok(0);
        };
        let mut deleted = 0;
        for delete in FORGETTING {
            deleted += self.connection.prepare_cached(delete)?.execute(params![life, limit])?;
        }
        if deleted == 0 {
            deleted = self.connection.prepare_cached("DELETE FROM lives WHERE life = ?1")?.execute([life])?;
        }
        Ok(deleted as u64)
    }
}

fn begin_life(connection: &Connection) -> Result<i64, Error> {
    connection.prepare_cached("INSERT INTO lives (ended) VALUES (0)")?.execute([])?;
    Ok(connection.last_insert_rowid())
}

fn note_arrival(connection: &Connection, life: i64, first: Position, at: Timestamp) -> Result<(), Error> {
    let mut insert = connection.prepare_cached("INSERT INTO arrivals (life, first, at) VALUES (?1, ?2, ?3)")?;
    insert.execute(params![life, stored(first.get()), stored_time(at)]).map(drop)
}

/// A record that exists stays: the positions it covers were first served then.
fn note_serving(connection: &Connection, life: i64, serving: u64, at: Timestamp, served: u64) -> Result<(), Error> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO serving_records (life, serving, issued_at, served) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    )?;
    insert.execute(params![life, stored(serving), stored_time(at), stored(served)]).map(drop)
}
