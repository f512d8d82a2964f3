//! The verbs that write sessions and documents: each one step of the writer's open transaction.
//!
//! All of them read first and write last, so that a rule or an unreadable row refuses one command and
//! leaves the rest of the batch alone (see [`Failure`]).

use std::time::Duration;

use rusqlite::params;

use super::counters::refused;
use super::ledger::{EventRow, Failure, Ledger};
use super::rows::{number, select_session, session, stored, stored_time};
use crate::ambient::Timestamp;
use crate::policy::CLOCK_AHEAD;
use crate::room::{EventId, RequestId, Session, SessionStatus};
use crate::store::{Closed, Opened, StoreError};

/// Bytes that [`Ledger::beat`] asks the disk for: a little more than any command but the largest document.
const BALLAST: u32 = 32 << 10;

impl Ledger {
    /// [`crate::store::Store::open_session`].
    pub(super) fn open_session(&mut self, new: &Session) -> Result<Opened, Failure> {
        let EventRow { life, line } = self.row(&new.event)?;
        let counters = line.counters;
        let found = match new.generation == counters.generation {
            true => self.find_session(&new.event, &new.request_id)?,
            false => None,
        };
        if let Some(session) = found {
            return Ok(Opened { session, inserted: false, counters });
        }
        line.admit(new.generation, new.position).map_err(|error| refused(error, &new.event))?;
        if self.is_used(life, new.position)? {
            return Err(Failure::Refused(StoreError::SessionOver(new.event.clone())));
        }
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO sessions (life, request_id, position, opened_at, expires_at, status, issuer, opener)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        insert.execute(params![
            life,
            new.request_id.as_bytes(),
            stored(new.position.get()),
            stored_time(new.opened_at),
            stored_time(new.expires_at),
            new.status.code(),
            new.issuer,
            new.opener.map(|opener| *opener.as_bytes()),
        ])?;
        drop(insert);
        let counters = self.carry_out(&new.event, line.session_opened(new.request_id))?;
        Ok(Opened { session: new.clone(), inserted: true, counters })
    }

    /// [`crate::store::Store::close_session`].
    pub(super) fn close_session(
        &mut self,
        event: &EventId,
        request_id: &RequestId,
        status: SessionStatus,
    ) -> Result<Closed, Failure> {
        let EventRow { life, line } = self.row(event)?;
        let Some(session) = self.find_session(event, request_id)? else { return Ok(Closed::Unknown) };
        if session.status != SessionStatus::Active || status == SessionStatus::Active {
            return Ok(Closed::Before(session.status));
        }
        let mut update =
            self.connection.prepare_cached("UPDATE sessions SET status = ?3 WHERE life = ?1 AND request_id = ?2")?;
        update.execute(params![life, request_id.as_bytes(), status.code()])?;
        drop(update);
        let counters = self.carry_out(event, line.session_closed(*request_id, status))?;
        Ok(Closed::Now(counters))
    }

    /// [`crate::store::Store::settle_sessions`].
    pub(super) fn settle_sessions(
        &mut self,
        event: &EventId,
        now: Timestamp,
        within: Duration,
    ) -> Result<u64, Failure> {
        let EventRow { life, .. } = self.row(event)?;
        let mut update = self.connection.prepare_cached(
            "UPDATE sessions SET expires_at = expires_at - (opened_at - ?2), opened_at = ?2
             WHERE life = ?1 AND status = 0 AND expires_at > ?3 AND opened_at > ?4",
        )?;
        let (end, ahead) = (stored_time(now + within), stored_time(now + CLOCK_AHEAD));
        Ok(update.execute(params![life, stored_time(now), end, ahead])? as u64)
    }

    fn find_session(&self, event: &EventId, request_id: &RequestId) -> Result<Option<Session>, Failure> {
        let EventRow { life, line } = self.row(event)?;
        let mut select = self.connection.prepare_cached(select_session!(
            "FROM (SELECT ?3 AS generation) AS e, sessions AS s WHERE s.life = ?1 AND s.request_id = ?2"
        ))?;
        let mut rows = select.query(params![life, request_id.as_bytes(), line.counters.generation.0])?;
        Ok(rows.next()?.map(|row| session(row, event)).transpose()?.flatten())
    }

    /// [`crate::store::Store::replace_document`].
    pub(super) fn replace_document(&mut self, name: &str, expected: u64, body: &[u8]) -> Result<bool, Failure> {
        let mut select = self.connection.prepare_cached("SELECT version FROM documents WHERE name = ?1")?;
        let found = select.query([name])?.next()?.map(|row| number(row, 0)).transpose()?;
        if found.unwrap_or(0) != expected {
            return Ok(false);
        }
        let mut replace = self.connection.prepare_cached(
            "INSERT INTO documents (name, version, body) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET version = excluded.version, body = excluded.body",
        )?;
        replace.execute(params![name, stored(expected + 1), body])?;
        self.documents.push(name.to_owned());
        Ok(true)
    }

    /// Writes for the sake of writing, and asks for some space on the way.
    pub(super) fn beat(&mut self) -> Result<(), Failure> {
        self.connection.prepare_cached("INSERT INTO ballast (body) VALUES (zeroblob(?1))")?.execute([BALLAST])?;
        let row = self.connection.last_insert_rowid();
        self.connection.prepare_cached("DELETE FROM ballast WHERE rowid = ?1")?.execute([row])?;
        self.connection.prepare_cached("UPDATE pulse SET beat = beat + 1")?.execute([])?;
        Ok(())
    }
}
