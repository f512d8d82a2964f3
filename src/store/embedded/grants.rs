//! What is kept of authorization codes: redemptions in order of the codes' time of issue, revocations, and grants that are
//! too long for their codes.
//!
//! Redemptions are the one thing that is written for every login, so they are written where the last ones were and are
//! deleted from the other end: no index, no page that is read again. Owns the SQL of these three tables; what a code is, it
//! need not know.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, Error, OptionalExtension, params};

use super::ledger::{Failure, Ledger};
use super::rows::stored_time;
use crate::ambient::Timestamp;
use crate::policy::{CODE_LIFETIME, CODE_MEMORY, HOUSEKEEPING, LONG_GRANTS, REDEMPTION_STEP, SWEEP_STEP};
use crate::room::RequestId;
use crate::store::{CodeAge, GrantId, LongGrant, Redeemed, Redemption};

/// The third step of the schema. Grants of codes that an older program gave and nobody redeemed are not taken along; of the
/// redeemed ones it is enough to know which were revoked.
pub(super) const TABLES: &str = "
CREATE TABLE redemptions (
    issued_at INTEGER NOT NULL,
    id BLOB NOT NULL,
    PRIMARY KEY (issued_at, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE revocations (
    id BLOB PRIMARY KEY,
    keep_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX revocations_by_keeping ON revocations (keep_until);
CREATE TABLE long_grants (
    number INTEGER PRIMARY KEY,
    request_id BLOB NOT NULL,
    id BLOB NOT NULL,
    issued_at INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX long_grants_by_session ON long_grants (request_id, number);
CREATE INDEX long_grants_by_issue ON long_grants (issued_at);
INSERT INTO revocations (id, keep_until) SELECT id, keep_until FROM grants WHERE state = 2;
DROP TABLE grants;
";

/// Finds where a step of the sweep ends.
pub(super) const END_OF_STEP: &str =
    "SELECT issued_at, id FROM redemptions WHERE issued_at < ?1 ORDER BY issued_at, id LIMIT 1 OFFSET ?2";

/// Deletes the redemptions before it.
pub(super) const FORGET_STEP: &str = "DELETE FROM redemptions WHERE (issued_at, id) < (?1, ?2)";

/// How many sweeps lie between a redemption and its end at least.
const SWEEPS: usize = (CODE_MEMORY.as_secs() / HOUSEKEEPING.as_secs()) as usize;

/// When the latest sweeps were by the clock, which may have been wrong: their number is not.
#[derive(Default)]
pub(super) struct Sweeps(Mutex<VecDeque<Timestamp>>);

impl Sweeps {
    /// Notes a sweep. What was over before the answered time has been there for [`CODE_MEMORY`] by the clock and by the
    /// number of sweeps; `None`: nothing has.
    pub(super) fn note(&self, now: Timestamp) -> Option<Timestamp> {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let then = if latest.len() < SWEEPS { None } else { latest.pop_front() };
        latest.push_back(now);
        then.map(|then| then.min(now - CODE_MEMORY))
    }
}

impl Ledger {
    /// [`crate::store::Store::redeem`].
    pub(super) fn redeem(&mut self, redemption: &Redemption) -> Result<Redeemed, Failure> {
        let Redemption { id, issued_at, session_end, code } = redemption;
        match code {
            CodeAge::Good if self.note_redeemed(id, *issued_at)? => return Ok(Redeemed::Now),
            CodeAge::Wrong if !self.is_redeemed(id, *issued_at)? => return Ok(Redeemed::Never),
            CodeAge::Good | CodeAge::Wrong => {}
        }
        self.revoke(id, *session_end)?;
        Ok(Redeemed::Before)
    }

    /// Notes that a code was redeemed; whether it had not been.
    pub(super) fn note_redeemed(&mut self, id: &GrantId, issued_at: Timestamp) -> Result<bool, Failure> {
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO redemptions (issued_at, id) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
        Ok(insert.execute(params![stored_time(issued_at), id.0])? == 1)
    }

    fn is_redeemed(&self, id: &GrantId, issued_at: Timestamp) -> Result<bool, Failure> {
        let mut select =
            self.connection.prepare_cached("SELECT 1 FROM redemptions WHERE issued_at = ?1 AND id = ?2")?;
        Ok(select.exists(params![stored_time(issued_at), id.0])?)
    }

    /// Revokes the tokens of a grant.
    pub(super) fn revoke(&mut self, id: &GrantId, keep_until: Timestamp) -> Result<(), Failure> {
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO revocations (id, keep_until) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
        insert.execute(params![id.0, stored_time(keep_until)])?;
        Ok(())
    }

    /// [`crate::store::Store::put_long_grant`].
    pub(super) fn put_long_grant(&mut self, grant: &LongGrant) -> Result<(), Failure> {
        let session = grant.request_id.as_bytes();
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO long_grants (request_id, id, issued_at, body) VALUES (?1, ?2, ?3, ?4)")?;
        insert.execute(params![session, grant.id.0, stored_time(grant.issued_at), grant.body])?;
        let mut replace = self.connection.prepare_cached(
            "DELETE FROM long_grants WHERE request_id = ?1 AND number <= (
                 SELECT number FROM long_grants WHERE request_id = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        )?;
        replace.execute(params![session, LONG_GRANTS])?;
        Ok(())
    }

    /// Deletes some of the redemptions of codes issued before this time. Answers how many.
    pub(super) fn forget_redemptions(&mut self, before: Timestamp) -> Result<u64, Failure> {
        let mut end = self.connection.prepare_cached(END_OF_STEP)?;
        let end = end.query_row(params![stored_time(before), REDEMPTION_STEP], |row| Ok((row.get(0)?, row.get(1)?)));
        let (issued_at, id): (i64, Vec<u8>) = end.optional()?.unwrap_or((stored_time(before), Vec::new()));
        Ok(self.connection.prepare_cached(FORGET_STEP)?.execute(params![issued_at, id])? as u64)
    }

    /// Deletes some of the revocations that were kept until before this time. Answers how many.
    pub(super) fn forget_revocations(&mut self, before: Timestamp) -> Result<u64, Failure> {
        let mut delete = self.connection.prepare_cached(
            "DELETE FROM revocations WHERE id IN (SELECT id FROM revocations WHERE keep_until < ?1 LIMIT ?2)",
        )?;
        Ok(delete.execute(params![stored_time(before), SWEEP_STEP])? as u64)
    }

    /// Deletes some of the long grants whose codes have expired. Answers how many.
    pub(super) fn forget_long_grants(&mut self, now: Timestamp) -> Result<u64, Failure> {
        let mut delete = self.connection.prepare_cached(
            "DELETE FROM long_grants WHERE number IN (SELECT number FROM long_grants WHERE issued_at <= ?1 LIMIT ?2)",
        )?;
        Ok(delete.execute(params![stored_time(now - CODE_LIFETIME), SWEEP_STEP])? as u64)
    }
}

/// [`crate::store::Store::long_grant`].
pub(super) fn long_grant(
    connection: &Connection,
    request_id: &RequestId,
    id: &GrantId,
) -> Result<Option<Vec<u8>>, Error> {
    let mut select = connection.prepare_cached("SELECT body FROM long_grants WHERE request_id = ?1 AND id = ?2")?;
    select.query_row(params![request_id.as_bytes(), id.0], |row| row.get(0)).optional()
}
