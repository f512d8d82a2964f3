//! The commands that move an event's counters: join, advance, expire, step, reset.
//!
//! Each is one step of the writer's open transaction. What they do is decided in [`crate::room::line`]; here it is carried
//! out. The event's row is written once by the commit, however many commands there were.

use rusqlite::{Connection, Error, params};

use super::ledger::{EventRow, Failure, Ledger};
use super::reservations::sessions_between;
use super::retention::used_between;
use crate::ambient::Timestamp;
use crate::room::line::{Expiry, LineError};
use crate::room::{Counters, EventId, Inlet, Position};
use crate::store::{Advance, AdvanceFrom, Expired, Refill, StoreError, Taken};

/// Sessions go in the order of the line: that is about the order of their ends as well, so that a step
/// touches few pages of either index.
pub(super) const FORGETTING: [&str; 5] = [
    "DELETE FROM sessions WHERE life = ?1 AND request_id IN
         (SELECT request_id FROM sessions WHERE life = ?1 ORDER BY position LIMIT ?2)",
    "DELETE FROM serving_records WHERE life = ?1 AND serving IN
         (SELECT serving FROM serving_records WHERE life = ?1 LIMIT ?2)",
    "DELETE FROM arrivals WHERE life = ?1 AND first IN (SELECT first FROM arrivals WHERE life = ?1 LIMIT ?2)",
    "DELETE FROM used_positions WHERE life = ?1 AND chunk IN
         (SELECT chunk FROM used_positions WHERE life = ?1 LIMIT ?2)",
    "DELETE FROM lost_positions WHERE life = ?1 AND first IN
         (SELECT first FROM lost_positions WHERE life = ?1 LIMIT ?2)",
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
        Ok(self.row(event)?.counters())
    }

    /// [`crate::store::Store::take_positions`].
    pub(super) fn take_positions(&mut self, event: &EventId, count: u32, at: Timestamp) -> Result<Taken, Failure> {
        self.end_lease(event);
        let decision = self.row(event)?.line.take_positions(count, at);
        self.carry_out(event, decision.map_err(|error| refused(error, event))?)
    }

    /// [`crate::store::Store::advance`].
    pub(super) fn advance(&mut self, event: &EventId, by: i64, at: Timestamp) -> Result<Advance, Failure> {
        let decision = self.row(event)?.line.advance(by, at);
        self.carry_out(event, decision)
    }

    /// [`crate::store::Store::advance_from`].
    pub(super) fn advance_from(
        &mut self,
        event: &EventId,
        seen: &Counters,
        by: u64,
        at: Timestamp,
    ) -> Result<AdvanceFrom, Failure> {
        let decision = self.row(event)?.line.advance_from(seen, by, at);
        self.carry_out(event, decision)
    }

    /// [`crate::store::Store::expire_positions`].
    pub(super) fn expire_positions(
        &mut self,
        event: &EventId,
        through: Position,
        refill: Refill,
        at: Timestamp,
    ) -> Result<Expired, Failure> {
        let row = self.row(event)?;
        let Some(begun) = row.line.begin_expiry(through) else {
            return Ok(Expired { positions: 0, counters: row.counters() });
        };
        let expiry = begun.reply;
        let used = self.used_positions(row.life, expiry)?;
        self.carry_out(event, begun)?;
        let decision = self.row(event)?.line.end_expiry(expiry, used, refill, at);
        let positions = self.carry_out(event, decision)?;
        Ok(Expired { positions, counters: self.row(event)?.counters() })
    }

    /// How many of these positions have, or had, a session.
    fn used_positions(&self, life: i64, expiry: Expiry) -> Result<u64, Failure> {
        let Expiry { from, through } = expiry;
        let sessions = sessions_between(&self.connection, life, from, through)?;
        Ok(sessions + used_between(&self.connection, life, from, through)?)
    }

    /// [`crate::store::Store::step_inlet`].
    pub(super) fn step_inlet(
        &mut self,
        event: &EventId,
        inlet: &Inlet,
        known: Option<Timestamp>,
        tick: Timestamp,
    ) -> Result<Option<Counters>, Failure> {
        let step = self.row(event)?.line.step_inlet(inlet, known, tick);
        step.map(|decision| self.carry_out(event, decision)).transpose()
    }

    /// [`crate::store::Store::reset`].
    pub(super) fn reset(&mut self, event: &EventId) -> Result<Counters, Failure> {
        self.end_lease(event);
        self.tell_joins(event, true)?;
        let old = self.row(event)?;
        let life = begin_life(&self.connection)?;
        self.connection.prepare_cached("UPDATE lives SET ended = 1 WHERE life = ?1")?.execute([old.life])?;
        self.set(event, EventRow { life, ..old });
        self.carry_out(event, old.line.reset())
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

/// The refusal of a command, before anything was written.
pub(super) fn refused(error: LineError, event: &EventId) -> Failure {
    Failure::Refused(StoreError::refused(error, event))
}
