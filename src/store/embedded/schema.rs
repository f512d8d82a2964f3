//! The database file: how connections to it behave, and its tables with their versions.
//!
//! Owns the SQL that defines; the SQL that uses it stands beside its use. Every row of an event that a
//! reset must forget is keyed by a *life*, a number that is never used twice: a reset gives the event a
//! new life, so that all old rows vanish from every read at once and can be deleted at leisure.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags};

use super::directory::OpenError;
use super::rows::is_corruption;
use super::{grants, outbox, reservations, retention};
use crate::policy::{WAL_CHECKPOINT_PAGES, WAL_SIZE_LIMIT};
use crate::store::BUSY_TIMEOUT;

/// Marks the file as ours ("Ante"), so that another program's database is refused, not filled.
pub(super) const APPLICATION_ID: i64 = 0x416e_7465;

/// Step `n` leads from schema version `n` to `n + 1`. Steps are never edited once released, only added.
pub(super) const MIGRATIONS: [&str; 6] =
    [VERSION_1, outbox::TABLES, grants::TABLES, OPENERS, retention::TABLES, reservations::TABLES];

/// The newest schema version that this program knows.
pub(super) const KNOWN_VERSION: i64 = MIGRATIONS.len() as i64;

/// More than the distinct statements of one connection.
const CACHED_STATEMENTS: usize = 64;

const VERSION_1: &str = "
CREATE TABLE lives (
    life INTEGER PRIMARY KEY AUTOINCREMENT,
    ended INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE events (
    name TEXT PRIMARY KEY,
    life INTEGER NOT NULL,
    version INTEGER NOT NULL DEFAULT 0,
    generation INTEGER NOT NULL DEFAULT 0,
    queue INTEGER NOT NULL DEFAULT 0,
    serving INTEGER NOT NULL DEFAULT 0,
    sessions_opened INTEGER NOT NULL DEFAULT 0,
    completed INTEGER NOT NULL DEFAULT 0,
    abandoned INTEGER NOT NULL DEFAULT 0,
    max_expired INTEGER NOT NULL DEFAULT 0,
    expired_positions INTEGER NOT NULL DEFAULT 0,
    tick INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE arrivals (
    life INTEGER NOT NULL,
    first INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (life, first)
) STRICT, WITHOUT ROWID;
CREATE TABLE serving_records (
    life INTEGER NOT NULL,
    serving INTEGER NOT NULL,
    issued_at INTEGER NOT NULL,
    served INTEGER NOT NULL,
    PRIMARY KEY (life, serving)
) STRICT, WITHOUT ROWID;
CREATE TABLE sessions (
    life INTEGER NOT NULL,
    request_id BLOB NOT NULL,
    position INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    status INTEGER NOT NULL,
    issuer TEXT,
    PRIMARY KEY (life, request_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_end ON sessions (life, expires_at, request_id);
CREATE INDEX sessions_active ON sessions (life, expires_at) WHERE status = 0;
CREATE INDEX sessions_by_position ON sessions (life, position);
CREATE TABLE grants (
    id BLOB PRIMARY KEY,
    event TEXT NOT NULL,
    request_id BLOB NOT NULL,
    redeem_before INTEGER NOT NULL,
    keep_until INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_by_keeping ON grants (keep_until);
CREATE TABLE documents (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE pulse (
    beat INTEGER NOT NULL
) STRICT;
CREATE TABLE ballast (
    body BLOB NOT NULL
) STRICT;
INSERT INTO pulse (beat) VALUES (0);
";

/// Which login request opened a session; those that were there before name none.
const OPENERS: &str = "ALTER TABLE sessions ADD COLUMN opener BLOB;";

/// Opens the connection that writes, and brings the file to the newest schema.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|error| refusal(path, &error))?;
    let found = version(&connection).map_err(|error| refusal(path, &error))?;
    match found {
        Found::Foreign => {
            let reason = "it belongs to another program".to_owned();
            return Err(OpenError::Unreadable { path: path.to_owned(), reason });
        }
        Found::Version(found) if found > KNOWN_VERSION => {
            return Err(OpenError::Newer { path: path.to_owned(), found, known: KNOWN_VERSION });
        }
        Found::Version(found) => prepare(&mut connection, found).map_err(|error| refusal(path, &error))?,
    }
    Ok(connection)
}

/// Opens a connection that reads beside the writer.
pub(super) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|error| refusal(path, &error))
}

fn open(path: &Path, access: OpenFlags) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    // Without it SQLite, as it is bundled, plans many statements anew whenever a value is bound to them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

enum Found {
    Foreign,
    Version(i64),
}

fn version(connection: &Connection) -> Result<Found, Error> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let empty = application == 0 && version == 0 && tables == 0;
    if empty || (application == APPLICATION_ID && version >= 0) {
        Ok(Found::Version(version))
    } else {
        Ok(Found::Foreign)
    }
}

fn prepare(connection: &mut Connection, found: i64) -> Result<(), Error> {
    // Another program (a shell, a backup) may hold the file for a moment; it is not worth 5 s of a start.
    connection.busy_timeout(Duration::from_secs(1))?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", WAL_CHECKPOINT_PAGES, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_SIZE_LIMIT, |_| Ok(()))?;
    let transaction = connection.transaction()?;
    for step in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or_default()) {
        transaction.execute_batch(step)?;
    }
    if found < KNOWN_VERSION {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", KNOWN_VERSION)?;
    }
    // A store that cannot be written is refused here, by name, rather than at the first visitor.
    transaction.execute("UPDATE pulse SET beat = beat + 1", [])?;
    transaction.commit()
}

/// The error of opening that stands for an error of SQLite.
pub(super) fn refusal(path: &Path, error: &Error) -> OpenError {
    let (path, reason) = (path.to_owned(), error.to_string());
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => std::io::ErrorKind::PermissionDenied,
        Some(ErrorCode::DiskFull) => std::io::ErrorKind::StorageFull,
        _ if is_corruption(error) => return OpenError::Unreadable { path, reason },
        _ => return OpenError::Refused { path, reason },
    };
    OpenError::Unwritable { path, source: std::io::Error::new(kind, reason) }
}
