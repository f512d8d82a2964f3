//! Space that is reserved for operators, so that a full disk takes visitors' calls from the service and no others.
//!
//! Owns how far the database may grow and what becomes of the reserve. The space lies in files that the engine has
//! already: pages of a table without meaning (`ballast`), which are released when the disk is full, and a stretch of the
//! write-ahead log. The database is only let grow over space that its file has: a commit whose pages a checkpoint could
//! not copy would block the log for every later commit. It must not know what a command means.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rusqlite::{Connection, Error, ErrorCode, ffi};

use super::rows::{number, stored};
use crate::policy::{
    RESERVE_HEADROOM_PAGES, RESERVE_LOG_PAGES, RESERVE_PAGES, RESERVE_RETRY_PAGES, RESERVE_ROW_PAGES,
    WAL_CHECKPOINT_PAGES,
};
use crate::store::StoreError;

/// How much of a page the rows of the reserve fill: an overflow page keeps four bytes for its successor.
const PAGE_OVERHEAD: u64 = 4;

/// Bytes that are appended to a file at once.
const CHUNK: usize = 64 << 10;

/// Rows of the reserve that one transaction writes: little enough for the reserved stretch of the log.
const ROWS_AT_ONCE: u64 = 4;

/// See the module's documentation.
pub(super) struct Reserve {
    /// The database. Closing any descriptor of it drops the locks that SQLite has on it: so this one is kept until
    /// SQLite has closed its own.
    database: File,
    log: PathBuf,
    page_size: u64,
    /// Pages that SQLite may use: those that the file has.
    limit: u64,
    /// Whether the log must stay within its reserved stretch.
    tight: bool,
    /// What the engine said when the disk was full; `None`: it is not.
    full: Option<String>,
    /// Pages that were released then.
    released: u64,
    /// Pages for which the disk has space: how a test has it be full.
    #[cfg(test)]
    pub(super) disk: u64,
}

impl Reserve {
    /// The reserve of the database in `database`, with its log at `log`; made as large as the disk allows.
    pub(super) fn open(connection: &Connection, database: File, log: PathBuf) -> Result<Self, Error> {
        let page_size = pragma(connection, "PRAGMA page_size")?;
        let mut reserve = Self {
            database,
            log,
            page_size,
            limit: 0,
            tight: false,
            full: None,
            released: 0,
            #[cfg(test)]
            disk: u64::MAX,
        };
        reserve.lengthen_log(RESERVE_LOG_PAGES);
        let pages = pragma(connection, "PRAGMA page_count")?;
        reserve.extend(connection, pages + RESERVE_PAGES + RESERVE_HEADROOM_PAGES)?;
        let room = reserve.room(connection)?;
        let enough = room >= RESERVE_PAGES + RESERVE_HEADROOM_PAGES;
        // Where there is little room, visitors get half of it: a small disk is better than none.
        reserve.fill(connection, if enough { RESERVE_PAGES } else { room / 2 });
        reserve.keep_headroom(connection, pragma(connection, "PRAGMA page_count")?)?;
        Ok(reserve)
    }

    /// The refusal of whatever is no operator's, while the disk is full.
    pub(super) fn refusal(&self) -> Option<StoreError> {
        let reason = self.full.as_ref()?;
        Some(StoreError::Unavailable(format!("the disk is full, operators' calls alone are done: {reason}")))
    }

    /// After a commit that left the database with so many pages: makes sure that the next one finds space. A checkpoint
    /// cuts from the file what lies behind its last page.
    pub(super) fn keep_headroom(&mut self, connection: &Connection, pages: u64) -> Result<(), Error> {
        if self.full.is_some() || self.file_pages() >= pages + RESERVE_HEADROOM_PAGES / 2 {
            return self.set_limit(connection, pages);
        }
        self.extend(connection, pages + RESERVE_HEADROOM_PAGES)
    }

    /// Before a batch that failed for want of space is run once more: whether the file could be made larger, so that it
    /// may have wanted more than the usual headroom.
    pub(super) fn grow(&mut self, connection: &Connection) -> Result<bool, Error> {
        if self.full.is_some() {
            return Ok(false);
        }
        let before = self.limit;
        self.extend(connection, pragma(connection, "PRAGMA page_count")? + RESERVE_RETRY_PAGES)?;
        Ok(self.limit > before)
    }

    /// Notes that the disk is full, and releases the reserve.
    pub(super) fn release(&mut self, connection: &Connection, error: &Error) -> Result<(), Error> {
        if self.full.is_none() {
            tracing::error!(%error, "the disk is full: joins and logins are refused until there is space, operators' calls go on");
            self.released = RESERVE_ROW_PAGES * pragma(connection, "SELECT count(*) FROM ballast").unwrap_or(0);
        }
        self.full = Some(error.to_string());
        // From now on each commit makes the next one begin at the start of the log.
        self.set_checkpoint(connection, 1)?;
        checkpoint(connection)?;
        connection.execute("DELETE FROM ballast", []).map(drop)
    }

    /// Looks, while the disk is full, whether there is space again: on the disk, or in the database, where operators
    /// deleted something.
    pub(super) fn recover(&mut self, connection: &Connection) -> Result<(), Error> {
        if self.full.is_none() {
            return Ok(());
        }
        // More than is left when a batch finds no space, so that the disk is not full and not full by turns.
        let wanted = RESERVE_PAGES + 2 * RESERVE_HEADROOM_PAGES;
        let (pages, free) = (pragma(connection, "PRAGMA page_count")?, pragma(connection, "PRAGMA freelist_count")?);
        self.extend(connection, pages + wanted.saturating_sub(free))?;
        if self.room(connection)? < wanted || !self.lengthen_log(RESERVE_LOG_PAGES) {
            return Ok(());
        }
        self.full = None;
        self.tight = !self.lengthen_log(RESERVE_LOG_PAGES + u64::from(WAL_CHECKPOINT_PAGES));
        let pages = if self.tight { RESERVE_LOG_PAGES / 4 } else { WAL_CHECKPOINT_PAGES.into() };
        self.set_checkpoint(connection, pages)?;
        self.fill(connection, RESERVE_PAGES);
        tracing::warn!("there is space again: joins and logins are accepted");
        Ok(())
    }

    /// Copies the log into the database at the end. Nothing is left in the log then, but for zeros in its reserved stretch,
    /// so that a backup may take the place of the database. Where there is little space, the log stays as it is: what it
    /// gives back, others may take before the next start.
    pub(super) fn settle(&self, connection: &Connection) -> Result<(), Error> {
        if self.full.is_some() || self.tight {
            return checkpoint(connection);
        }
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        self.lengthen_log(RESERVE_LOG_PAGES);
        Ok(())
    }

    /// Whether half of what was released can still be used.
    pub(super) fn has_half(&self, connection: &Connection) -> Result<bool, Error> {
        Ok(self.released > 0 && self.room(connection)? >= self.released / 2)
    }

    /// Pages that can still be used: those that the file has behind the last one, and those that are free.
    fn room(&self, connection: &Connection) -> Result<u64, Error> {
        let (pages, free) = (pragma(connection, "PRAGMA page_count")?, pragma(connection, "PRAGMA freelist_count")?);
        Ok(self.limit.saturating_sub(pages) + free)
    }

    /// Fills the reserve up as far as `pages` allow. What fails leaves it smaller.
    fn fill(&self, connection: &Connection, pages: u64) {
        let filling = || -> Result<(), Error> {
            let rows = pragma(connection, "SELECT count(*) FROM ballast")?;
            let wanted = (RESERVE_PAGES / RESERVE_ROW_PAGES).saturating_sub(rows);
            let mut missing = wanted.min(pages / RESERVE_ROW_PAGES);
            if missing < wanted {
                tracing::warn!("there is little space for data: less than usual is reserved for operators");
            }
            while missing > 0 {
                let step = missing.min(ROWS_AT_ONCE);
                let bytes = RESERVE_ROW_PAGES * (self.page_size - PAGE_OVERHEAD);
                let insert = format!("INSERT INTO ballast (body) VALUES (zeroblob({bytes}));");
                let inserts = insert.repeat(usize::try_from(step).unwrap_or(1));
                connection.execute_batch(&format!("BEGIN IMMEDIATE; {inserts} COMMIT"))?;
                missing -= step;
            }
            Ok(())
        };
        if let Err(error) = filling() {
            tracing::warn!(%error, "the space that is reserved for operators is smaller than it should be");
            if !connection.is_autocommit()
                && let Err(error) = connection.execute_batch("ROLLBACK")
            {
                tracing::error!(%error, "the reserve could not be rolled back");
            }
        }
    }

    /// Has the file have `pages` pages, as far as the disk allows, and lets SQLite use them.
    fn extend(&mut self, connection: &Connection, pages: u64) -> Result<(), Error> {
        #[cfg(test)]
        let pages = pages.min(self.disk);
        append(&self.database, pages * self.page_size);
        self.set_limit(connection, pragma(connection, "PRAGMA page_count")?)
    }

    /// Lets SQLite use what the file has; it has `used` in use.
    fn set_limit(&mut self, connection: &Connection, used: u64) -> Result<(), Error> {
        let limit = self.file_pages().max(used);
        if limit != self.limit {
            connection.pragma_update_and_check(None, "max_page_count", stored(limit), |_| Ok(()))?;
            self.limit = limit;
        }
        Ok(())
    }

    /// Pages that the file has whole.
    fn file_pages(&self) -> u64 {
        self.database.metadata().map_or(0, |file| file.len() / self.page_size)
    }

    /// Has the log have space for so many pages; whether it has.
    fn lengthen_log(&self, pages: u64) -> bool {
        let length = pages * self.page_size;
        if fs::metadata(&self.log).is_ok_and(|log| log.len() >= length) {
            return true;
        }
        // What lies behind the last commit is not read.
        OpenOptions::new().write(true).open(&self.log).is_ok_and(|log| append(&log, length))
    }

    fn set_checkpoint(&self, connection: &Connection, pages: u64) -> Result<(), Error> {
        connection.pragma_update_and_check(None, "wal_autocheckpoint", stored(pages), |_| Ok(()))
    }
}

/// Writes zeros behind the end of the file until it has `length` bytes; whether it then has. A file that is merely said
/// to be longer has no space yet.
fn append(file: &File, length: u64) -> bool {
    let Ok(metadata) = file.metadata() else { return false };
    let mut end = metadata.len();
    let zeros = [0; CHUNK];
    while end < length {
        let missing = usize::try_from(length - end).unwrap_or(CHUNK).min(CHUNK);
        match file.write_at(&zeros[..missing], end) {
            Ok(written) if written > 0 => end += written as u64,
            _ => return false,
        }
    }
    true
}

/// Copies the log into the database as far as readers allow.
pub(super) fn checkpoint(connection: &Connection) -> Result<(), Error> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// The number that `sql` answers.
fn pragma(connection: &Connection, sql: &str) -> Result<u64, Error> {
    connection.prepare_cached(sql)?.query_row([], |row| number(row, 0))
}

/// Pages of the database as the open transaction will leave it.
pub(super) fn page_count(connection: &Connection) -> Result<u64, Error> {
    pragma(connection, "PRAGMA page_count")
}

/// Whether the engine failed for want of space. A quota and a limit on the size of files show as failed writes.
pub(super) fn is_want_of_space(error: &Error) -> bool {
    let failed_write =
        |code| [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR_FSYNC].contains(&code);
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
        || error.sqlite_error().is_some_and(|error| failed_write(error.extended_code))
}
