//! The verbs that write sessions, grants and documents: each one step of the writer's open transaction.
//!
//! All of them read first and write last, so that a rule or an unreadable row refuses one command and
//! leaves the rest of the batch alone (see [`Failure`]).

use rusqlite::params;

use super::ledger::{EventRow, Failure, Ledger, unknown};
use super::rows::{number, select_session, session, stored, stored_time, time};
use crate::ambient::Timestamp;
use crate::room::{EventId, RequestId, Session, SessionStatus};
use crate::store::{Closed, GrantId, Happening, NewGrant, Opened, StoreError, TakenGrant};

/// The states of a grant. Given: its code can be redeemed.
const GIVEN: i64 = 0;
/// Taken: somebody redeemed it.
pub(super) const TAKEN: i64 = 1;
/// Revoked: somebody tried again.
pub(super) const REVOKED: i64 = 2;

/// Bytes that [`Ledger::beat`] asks the disk for: a little more than any command but the largest document.
const BALLAST: u32 = 32 << 10;

impl Ledger {
    /// [`crate::store::Store::open_session`].
    pub(super) fn open_session(&mut self, new: &Session) -> Result<Opened, Failure> {
        let EventRow { life, counters, .. } = self.row(&new.event)?;
        if new.generation != counters.generation {
            return Err(Failure::Refused(StoreError::Outdated(new.event.clone())));
        }
        if let Some(session) = self.find_session(&new.event, &new.request_id)? {
            return Ok(Opened { session, inserted: false, counters });
        }
        if !counters.admits(new.position) {
            return Err(Failure::Refused(StoreError::Outdated(new.event.clone())));
        }
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO sessions (life, request_id, position, opened_at, expires_at, status, issuer)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        insert.execute(params![
            life,
            new.request_id.as_bytes(),
            stored(new.position.get()),
            stored_time(new.opened_at),
            stored_time(new.expires_at),
            new.status.code(),
            new.issuer,
        ])?;
        drop(insert);
        let counters = self.count(&new.event, |counters| counters.sessions_opened += 1)?;
        self.post(&new.event, &Happening::TokenGenerated { request_id: new.request_id })?;
        Ok(Opened { session: new.clone(), inserted: true, counters })
    }

    /// [`crate::store::Store::close_session`].
    pub(super) fn close_session(
        &mut self,
        event: &EventId,
        request_id: &RequestId,
        status: SessionStatus,
    ) -> Result<Closed, Failure> {
        let EventRow { life, .. } = self.row(event)?;
        let Some(session) = self.find_session(event, request_id)? else { return Ok(Closed::Unknown) };
        if session.status != SessionStatus::Active || status == SessionStatus::Active {
            return Ok(Closed::Before(session.status));
        }
        let mut update =
            self.connection.prepare_cached("UPDATE sessions SET status = ?3 WHERE life = ?1 AND request_id = ?2")?;
        update.execute(params![life, request_id.as_bytes(), status.code()])?;
        drop(update);
        let counters = self.count(event, |counters| match status {
            SessionStatus::Completed => counters.completed += 1,
            SessionStatus::Abandoned => counters.abandoned += 1,
            SessionStatus::Active => {}
        })?;
        self.post(event, &Happening::SessionUpdated { request_id: *request_id, status })?;
        Ok(Closed::Now(counters))
    }

    fn find_session(&self, event: &EventId, request_id: &RequestId) -> Result<Option<Session>, Failure> {
        let EventRow { life, counters, .. } = self.row(event)?;
        let mut select = self.connection.prepare_cached(select_session!(
            "FROM (SELECT ?3 AS generation) AS e, sessions AS s WHERE s.life = ?1 AND s.request_id = ?2"
        ))?;
        let mut rows = select.query(params![life, request_id.as_bytes(), counters.generation.0])?;
        Ok(rows.next()?.map(|row| session(row, event)).transpose()?.flatten())
    }

    /// [`crate::store::Store::put_grant`].
    pub(super) fn put_grant(&mut self, grant: &NewGrant) -> Result<(), Failure> {
        if !self.knows(&grant.event) {
            return Err(unknown(&grant.event));
        }
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO grants (id, event, request_id, redeem_before, keep_until, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
        )?;
        insert.execute(params![
            grant.id.0,
            grant.event.as_str(),
            grant.request_id.as_bytes(),
            stored_time(grant.redeem_before),
            stored_time(grant.keep_until),
            grant.body,
        ])?;
        Ok(())
    }

    /// [`crate::store::Store::take_grant`].
    pub(super) fn take_grant(&mut self, id: &GrantId, now: Timestamp) -> Result<TakenGrant, Failure> {
        let mut select = self
            .connection
            .prepare_cached("SELECT state, redeem_before, keep_until, body FROM grants WHERE id = ?1")?;
        let mut rows = select.query([id.0])?;
        let Some(row) = rows.next()? else { return Ok(TakenGrant::Unknown) };
        let state: i64 = row.get(0)?;
        let (redeem_before, keep_until) = (time(row, 1)?, time(row, 2)?);
        let body: String = row.get(3)?;
        drop(rows);
        if now >= keep_until || (state == GIVEN && now >= redeem_before) {
            return Ok(TakenGrant::Unknown);
        }
        let mut update = self.connection.prepare_cached("UPDATE grants SET state = ?2 WHERE id = ?1")?;
        let next = if state == GIVEN { TAKEN } else { REVOKED };
        update.execute(params![id.0, next])?;
        Ok(if state == GIVEN { TakenGrant::Taken(body) } else { TakenGrant::Replayed })
    }

    /// Deletes up to `limit` grants whose time of keeping is over at `now`. Answers how many.
    pub(super) fn forget_grants(&mut self, now: Timestamp, limit: u32) -> Result<u64, Failure> {
        let mut delete = self
            .connection
            .prepare_cached("DELETE FROM grants WHERE id IN (SELECT id FROM grants WHERE keep_until <= ?1 LIMIT ?2)")?;
        Ok(delete.execute(params![stored_time(now), limit])? as u64)
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
        self.connection.prepare_cached("DELETE FROM ballast")?.execute([])?;
        self.connection.prepare_cached("UPDATE pulse SET beat = beat + 1")?.execute([])?;
        Ok(())
    }
}
