//! Between SQLite's values and the nouns of the room, both ways, and from its errors to the port's.
//!
//! SQLite's integers are signed: nothing that the port counts exceeds 2⁶³ − 1, and a negative number
//! where the port knows none means that the file was damaged.

use rusqlite::types::Type;
use rusqlite::{Error, ErrorCode, Row};

use crate::ambient::Timestamp;
use crate::room::{
    Arrival, Counters, EventId, Generation, Opener, Position, RequestId, ServingRecord, Session, SessionStatus,
};
use crate::store::StoreError;

/// `number` as SQLite keeps it. What is too large for it (a time in the year 292 277 026 596) becomes the largest.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// `time` as SQLite keeps it.
pub(super) fn stored_time(time: Timestamp) -> i64 {
    stored(time.as_secs())
}

/// The unsigned number in column `index`.
pub(super) fn number(row: &Row<'_>, index: usize) -> Result<u64, Error> {
    let signed: i64 = row.get(index)?;
    u64::try_from(signed).map_err(|_| Error::IntegralValueOutOfRange(index, signed))
}

/// The time in column `index`.
pub(super) fn time(row: &Row<'_>, index: usize) -> Result<Timestamp, Error> {
    number(row, index).map(Timestamp::from_secs)
}

/// The position in column `index`.
pub(super) fn position(row: &Row<'_>, index: usize) -> Result<Position, Error> {
    Position::new(number(row, index)?).ok_or_else(|| unreadable(index, Type::Integer, "no such position"))
}

/// The columns `first, at`.
pub(super) fn arrival(row: &Row<'_>) -> Result<Arrival, Error> {
    Ok(Arrival { first: position(row, 0)?, at: time(row, 1)? })
}

/// The columns `serving, issued_at, served`.
pub(super) fn serving_record(row: &Row<'_>) -> Result<ServingRecord, Error> {
    Ok(ServingRecord { serving: number(row, 0)?, issued_at: time(row, 1)?, served: number(row, 2)? })
}

/// The columns of [`counters`], of the table `events`.
macro_rules! columns_of_counters {
    () => {
        "version, generation, queue, serving, sessions_opened, completed, abandoned, max_expired, expired_positions,
         reserved"
    };
}
pub(super) use columns_of_counters;

/// The counters in the columns of [`columns_of_counters`], which begin at `first`.
pub(super) fn counters(row: &Row<'_>, first: usize) -> Result<Counters, Error> {
    let mut counters = Counters {
        version: number(row, first)?,
        generation: Generation(row.get(first + 1)?),
        queue: number(row, first + 2)?,
        serving: number(row, first + 3)?,
        sessions_opened: number(row, first + 4)?,
        completed: number(row, first + 5)?,
        abandoned: number(row, first + 6)?,
        max_expired: number(row, first + 7)?,
        expired_positions: number(row, first + 8)?,
        reserved: 0,
    };
    counters.reserve(number(row, first + 9)?);
    Ok(counters)
}

/// A statement that selects the columns of [`session`] first, of tables named `e` (events) and `s` (sessions).
macro_rules! select_session {
    ($rest:literal) => {
        concat!(
            "SELECT s.request_id, s.position, s.opened_at, s.expires_at, s.status, s.issuer, s.opener, e.generation ",
            $rest
        )
    };
}
pub(super) use select_session;

/// The session in the columns of [`select_session`]; `None` where an outer join found none.
pub(super) fn session(row: &Row<'_>, event: &EventId) -> Result<Option<Session>, Error> {
    let Some(request_id) = row.get::<_, Option<[u8; 16]>>(0)? else { return Ok(None) };
    let status: i64 = row.get(4)?;
    Ok(Some(Session {
        event: event.clone(),
        generation: Generation(row.get(7)?),
        request_id: RequestId::from_bytes(request_id),
        position: position(row, 1)?,
        opened_at: time(row, 2)?,
        expires_at: time(row, 3)?,
        status: SessionStatus::from_code(status).ok_or(Error::IntegralValueOutOfRange(4, status))?,
        issuer: row.get(5)?,
        opener: row.get::<_, Option<[u8; 16]>>(6)?.map(Opener::from_bytes),
    }))
}

/// A value that this program did not write.
pub(super) fn unreadable(index: usize, kind: Type, reason: &str) -> Error {
    Error::FromSqlConversionFailure(index, kind, reason.into())
}

/// Whether the error says that the file holds nonsense, rather than that it cannot be used now.
pub(super) fn is_corruption(error: &Error) -> bool {
    match error {
        Error::FromSqlConversionFailure(..) | Error::InvalidColumnType(..) | Error::IntegralValueOutOfRange(..) => true,
        error => {
            matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        }
    }
}

/// The port's word for the error.
pub(super) fn store_error(error: &Error) -> StoreError {
    if is_corruption(error) {
        StoreError::Corrupt(error.to_string())
    } else {
        StoreError::Unavailable(error.to_string())
    }
}
