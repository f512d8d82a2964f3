//! Reading beside the writer: look-ups by key at once, long lists on a thread that may block.
//!
//! In WAL mode a reader sees the last commit and never waits for the writer. A look-up by key takes some
//! microseconds, less than handing it to another thread would: it runs where it is asked, on one of a few
//! connections used in turn. Whatever grows with the number of sessions or records has a connection of its
//! own and runs under `spawn_blocking`, so that no worker thread stands still for it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Error, OptionalExtension, params};

use super::reservations::lost_positions;
use super::retention::used_between;
use super::rows::{
    arrival, columns_of_counters, counters, number, select_session, serving_record, session, store_error, stored,
    stored_time,
};
use super::writer::closed;
use crate::ambient::Timestamp;
use crate::room::{Arrival, EventId, Occupancy, Position, RequestId, ServingRecord, Session};
use crate::store::{Document, GrantId, GrantStanding, StoreError, TokenStanding};

/// The connections that read; each empty once the store is closed. A lock guards the use of its connection
/// for one query, and is never held across an await.
pub(super) struct Readers {
    lookups: Vec<Mutex<Option<Connection>>>,
    turn: AtomicUsize,
    lists: Mutex<Option<Connection>>,
}

impl Readers {
    /// Readers on these connections: one for the lists, and at least one for look-ups.
    pub(super) fn new(lists: Connection, lookups: Vec<Connection>) -> Self {
        let lookups = lookups.into_iter().map(|connection| Mutex::new(Some(connection))).collect();
        Self { lookups, turn: AtomicUsize::new(0), lists: Mutex::new(Some(lists)) }
    }

    /// Runs a look-up by key, here and now.
    pub(super) fn look_up<T>(&self, query: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, StoreError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.lookups.len();
        let free = (0..count).find_map(|offset| self.lookups[(turn + offset) % count].try_lock().ok());
        let connection = free.unwrap_or_else(|| lock(&self.lookups[turn % count]));
        query(connection.as_ref().ok_or_else(closed)?).map_err(|error| store_error(&error))
    }

    /// Runs a query that may take long. For threads that may block.
    pub(super) fn list<T>(&self, query: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, StoreError> {
        let connection = lock(&self.lists);
        query(connection.as_ref().ok_or_else(closed)?).map_err(|error| store_error(&error))
    }

    /// Closes every connection as soon as its query is over.
    pub(super) fn close(&self) {
        for reader in self.lookups.iter().chain([&self.lists]) {
            drop(lock(reader).take());
        }
    }
}

fn lock(reader: &Mutex<Option<Connection>>) -> MutexGuard<'_, Option<Connection>> {
    reader.lock().unwrap_or_else(PoisonError::into_inner)
}

/// [`crate::store::Store::session`]; the outer `None`: no such event.
pub(super) fn find_session(
    connection: &Connection,
    event: &EventId,
    request_id: &RequestId,
) -> Result<Option<Option<Session>>, Error> {
    let mut select = connection.prepare_cached(select_session!(
        "FROM events AS e LEFT JOIN sessions AS s ON s.life = e.life AND s.request_id = ?2 WHERE e.name = ?1"
    ))?;
    let parameters = params![event.as_str(), request_id.as_bytes()];
    select.query_row(parameters, |row| session(row, event)).optional()
}

/// [`crate::store::Store::token_standing`]; `None`: no such event.
pub(super) fn token_standing(
    connection: &Connection,
    event: &EventId,
    request_id: &RequestId,
    grant: &GrantId,
) -> Result<Option<TokenStanding>, Error> {
    let mut select = connection.prepare_cached(select_session!(
        ", EXISTS (SELECT 1 FROM revocations WHERE id = ?3)
         FROM events AS e LEFT JOIN sessions AS s ON s.life = e.life AND s.request_id = ?2 WHERE e.name = ?1"
    ))?;
    let parameters = params![event.as_str(), request_id.as_bytes(), grant.0];
    let standing = select.query_row(parameters, |row| {
        let grant = if row.get(8)? { GrantStanding::Revoked } else { GrantStanding::Good };
        Ok(TokenStanding { session: session(row, event)?, grant })
    });
    standing.optional()
}

/// [`crate::store::Store::serving_record_at`].
pub(super) fn serving_record_at(
    connection: &Connection,
    event: &EventId,
    position: Position,
) -> Result<Option<ServingRecord>, Error> {
    let mut select = connection.prepare_cached(
        "SELECT serving, issued_at, served FROM serving_records
         WHERE life = (SELECT life FROM events WHERE name = ?1) AND serving >= ?2 ORDER BY serving LIMIT 1",
    )?;
    select.query_row(params![event.as_str(), stored(position.get())], serving_record).optional()
}

/// [`crate::store::Store::document`].
pub(super) fn document(connection: &Connection, name: &str) -> Result<Option<Document>, Error> {
    let mut select = connection.prepare_cached("SELECT version, body FROM documents WHERE name = ?1")?;
    select.query_row([name], |row| Ok(Document { version: number(row, 0)?, body: row.get(1)? })).optional()
}

/// [`crate::store::Store::arrivals`].
pub(super) fn arrivals(
    connection: &Connection,
    event: &EventId,
    from: Option<Position>,
) -> Result<Vec<Arrival>, Error> {
    let mut select = connection.prepare_cached(
        "WITH now AS (SELECT life FROM events WHERE name = ?1)
         SELECT first, at FROM arrivals
         WHERE life = (SELECT life FROM now)
           AND first >= coalesce(
               (SELECT max(first) FROM arrivals WHERE life = (SELECT life FROM now) AND first <= ?2), 0)
         ORDER BY first",
    )?;
    let from = from.map_or(0, Position::get);
    select.query_map(params![event.as_str(), stored(from)], arrival)?.collect()
}

/// [`crate::store::Store::oldest_arrival`].
pub(super) fn oldest_arrival(connection: &Connection, event: &EventId) -> Result<Option<Arrival>, Error> {
    let mut select = connection.prepare_cached(
        "SELECT first, at FROM arrivals WHERE life = (SELECT life FROM events WHERE name = ?1) ORDER BY first LIMIT 1",
    )?;
    select.query_row([event.as_str()], arrival).optional()
}

/// [`crate::store::Store::recent_serving_records`].
pub(super) fn recent_serving_records(
    connection: &Connection,
    event: &EventId,
    limit: u32,
) -> Result<Vec<ServingRecord>, Error> {
    let mut select = connection.prepare_cached(
        "SELECT serving, issued_at, served FROM serving_records
         WHERE life = (SELECT life FROM events WHERE name = ?1) ORDER BY serving DESC LIMIT ?2",
    )?;
    let newest_first = select.query_map(params![event.as_str(), limit], serving_record)?;
    let mut records = newest_first.collect::<Result<Vec<_>, _>>()?;
    records.reverse();
    Ok(records)
}

/// Counts along an index of active sessions alone.
pub(super) const ACTIVE_SESSIONS: &str = "SELECT count(*) FROM sessions
    WHERE life = (SELECT life FROM events WHERE name = ?1) AND status = 0 AND expires_at >= ?2";

/// [`crate::store::Store::active_sessions`].
pub(super) fn active_sessions(connection: &Connection, event: &EventId, now: Timestamp) -> Result<u64, Error> {
    let mut select = connection.prepare_cached(ACTIVE_SESSIONS)?;
    select.query_row(params![event.as_str(), stored_time(now)], |row| number(row, 0))
}

/// Counts along an index twice: active sessions by their end, and sessions of the positions that can still be used.
pub(super) const OCCUPANCY: &str = concat!(
    "SELECT ",
    columns_of_counters!(),
    ", (SELECT count(*) FROM sessions WHERE life = e.life AND status = 0 AND expires_at >= ?2),
        (SELECT count(*) FROM sessions WHERE life = e.life AND position > e.max_expired AND position <= e.serving),
        e.life
    FROM events AS e WHERE e.name = ?1"
);

/// [`crate::store::Store::occupancy`].
pub(super) fn occupancy(connection: &Connection, event: &EventId, now: Timestamp) -> Result<Occupancy, Error> {
    // Both statements see one commit.
    let snapshot = connection.unchecked_transaction()?;
    let mut select = snapshot.prepare_cached(OCCUPANCY)?;
    let (counters, active, used, life) = select.query_row(params![event.as_str(), stored_time(now)], |row| {
        Ok((counters(row, 0)?, number(row, 10)?, number(row, 11)?, row.get(12)?))
    })?;
    let forgotten = used_between(&snapshot, life, counters.max_expired, counters.serving)?;
    let lost = lost_positions(&snapshot, life, &counters, now)?;
    Ok(Occupancy::new(counters, active, used + forgotten + lost))
}

/// Walks an index in the order of the answer, from where the last page ended.
pub(super) const EXPIRED_SESSIONS: &str = select_session!(
    "FROM events AS e JOIN sessions AS s ON s.life = e.life
     WHERE e.name = ?1 AND s.expires_at < ?2 AND (s.expires_at, s.request_id) > (?3, ?4)
     ORDER BY s.expires_at, s.request_id LIMIT ?5"
);

/// [`crate::store::Store::expired_sessions`].
pub(super) fn expired_sessions(
    connection: &Connection,
    event: &EventId,
    now: Timestamp,
    after: Option<(Timestamp, RequestId)>,
    limit: u32,
) -> Result<Vec<Session>, Error> {
    let mut select = connection.prepare_cached(EXPIRED_SESSIONS)?;
    let (end, request_id) = match &after {
        Some((end, request_id)) => (stored_time(*end), request_id.as_bytes().as_slice()),
        None => (-1, [].as_slice()),
    };
    let parameters = params![event.as_str(), stored_time(now), end, request_id, limit];
    let rows = select.query_and_then(parameters, |row| session(row, event))?;
    rows.filter_map(Result::transpose).collect()
}
