//! The data directory: made, locked for one process, and given to SQLite with tight permissions.
//!
//! Owns what can go wrong before there is a store, and says it by name. It must not know what the
//! database holds: the lock is an advisory lock of the operating system, which a crash releases.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why the embedded store could not be opened. Each names the path at fault.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Something else stands where the data directory should be.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The configured data directory.
        path: PathBuf,
    },
    /// The directory or a file in it cannot be made or written: permissions, read-only medium, disk full.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable {
        /// The directory or file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process uses the directory; two writers would hand out the same positions.
    #[error("the data directory {} is in use by process {process}", path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// The process ID that the other one noted, or "unknown".
        process: String,
    },
    /// The file is no database, a damaged one, or one of another program.
    #[error("{} is not a database of this program: {reason}", path.display())]
    Unreadable {
        /// The database file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer version of this program wrote the database; reading it might lose what it added.
    #[error("{} has schema version {found}; this program knows versions up to {known}", path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest schema version that this program can read.
        known: i64,
    },
    /// SQLite or the operating system refused, for a reason that is none of the above.
    #[error("cannot open {}: {reason}", path.display())]
    Refused {
        /// The database file.
        path: PathBuf,
        /// What was said.
        reason: String,
    },
}

const PRIVATE_DIRECTORY: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;

/// The data directory, held by this process until the value is dropped.
#[derive(Debug)]
pub(super) struct DataDirectory {
    path: PathBuf,
    /// The lock lives as long as the file is open.
    _lock: File,
}

impl DataDirectory {
    /// Creates the directory unless it is there (readable by its owner alone) and locks it.
    pub(super) fn hold(path: &Path) -> Result<Self, OpenError> {
        create(path)?;
        Ok(Self { path: path.to_owned(), _lock: lock(path)? })
    }

    /// The path of the database, and the file. It exists, readable by its owner alone if it is new: SQLite gives
    /// the log beside it the same permissions. To be closed after SQLite has closed it: POSIX drops every lock of a
    /// process on a file with the first descriptor that it closes.
    pub(super) fn database(&self) -> Result<(PathBuf, File), OpenError> {
        let path = self.path.join("anteroom.db");
        let file = open_private(&path).map_err(|source| OpenError::Unwritable { path: path.clone(), source })?;
        Ok((path, file))
    }
}

fn create(path: &Path) -> Result<(), OpenError> {
    if path.exists() && !path.is_dir() {
        return Err(OpenError::NotADirectory { path: path.to_owned() });
    }
    let created = DirBuilder::new().recursive(true).mode(PRIVATE_DIRECTORY).create(path);
    created.map_err(|source| match source.kind() {
        io::ErrorKind::NotADirectory => OpenError::NotADirectory { path: path.to_owned() },
        _ => OpenError::Unwritable { path: path.to_owned(), source },
    })
}

fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(PRIVATE_FILE).open(path)
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let unwritable = |source| OpenError::Unwritable { path: path.clone(), source };
    let mut file = open_private(&path).map_err(unwritable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let noted = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
            let process = if noted { holder.trim().to_owned() } else { "unknown".to_owned() };
            return Err(OpenError::InUse { path: directory.to_owned(), process });
        }
        Err(TryLockError::Error(source)) => return Err(unwritable(source)),
    }
    // Over what is there: a full disk may not give back what a shorter file gave up.
    let holder = format!("{}\n", std::process::id());
    file.rewind().map_err(unwritable)?;
    file.write_all(holder.as_bytes()).map_err(unwritable)?;
    file.set_len(holder.len() as u64).map_err(unwritable)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use rusqlite::Connection;
    use tempfile::TempDir;

    use super::*;
    use crate::store::Store;
    use crate::store::embedded::EmbeddedStore;

    fn refusal(path: &Path) -> OpenError {
        EmbeddedStore::open(path).map(drop).unwrap_err()
    }

    #[test]
    fn everything_is_created_for_its_owner_alone() {
        let home = TempDir::new().unwrap();
        let directory = home.path().join("var/data");
        let _store = EmbeddedStore::open(&directory).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        for name in ["anteroom.db", "anteroom.db-wal", "anteroom.db-shm", "lock"] {
            assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
        }
    }

    #[tokio::test]
    async fn a_directory_in_use_is_refused_with_the_process_that_has_it() {
        let home = TempDir::new().unwrap();
        let store = EmbeddedStore::open(home.path()).unwrap();
        let error = refusal(home.path());
        assert!(matches!(&error, OpenError::InUse { process, .. } if *process == std::process::id().to_string()));
        assert!(error.to_string().contains(&home.path().display().to_string()));
        store.close().await;
        EmbeddedStore::open(home.path()).unwrap();
    }

    #[test]
    fn a_file_in_place_of_the_directory_is_named() {
        let home = TempDir::new().unwrap();
        let file = home.path().join("data");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = refusal(&path);
            assert!(matches!(&error, OpenError::NotADirectory { path: named } if *named == path), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let home = TempDir::new().unwrap();
        for name in ["lock", "anteroom.db"] {
            let directory = home.path().join(format!("with {name}"));
            fs::create_dir_all(directory.join(name)).unwrap();
            let error = refusal(&directory);
            assert!(matches!(&error, OpenError::Unwritable { path, .. } if path.ends_with(name)), "{error}");
        }
        let nowhere = Path::new("/proc/anteroom");
        assert!(matches!(refusal(nowhere), OpenError::Unwritable { path, .. } if path == nowhere));
    }

    #[test]
    fn a_read_only_directory_is_refused_to_all_but_root() {
        let home = TempDir::new().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o500)).unwrap();
        let permissions_bind = fs::write(home.path().join("probe"), "").is_err();
        let opened = EmbeddedStore::open(home.path());
        match opened {
            Ok(_) => assert!(!permissions_bind),
            Err(error) => assert!(permissions_bind && matches!(error, OpenError::Unwritable { .. }), "{error}"),
        }
    }

    #[test]
    fn a_file_that_is_no_database_of_ours_is_refused_and_left_alone() {
        let home = TempDir::new().unwrap();
        let path = home.path().join("anteroom.db");
        let foreign = |connection: Connection| connection.execute_batch("CREATE TABLE shop (item)").unwrap();
        let writings: [&dyn Fn(); 2] = [&|| fs::write(&path, "not a database ".repeat(999)).unwrap(), &|| {
            fs::remove_file(&path).unwrap();
            foreign(Connection::open(&path).unwrap());
        }];
        for write in writings {
            write();
            let before = fs::read(&path).unwrap();
            let error = refusal(home.path());
            assert!(matches!(&error, OpenError::Unreadable { path: named, .. } if *named == path), "{error}");
            assert_eq!(fs::read(&path).unwrap(), before);
        }
    }

    #[test]
    fn a_damaged_database_is_refused() {
        let home = TempDir::new().unwrap();
        let path = home.path().join("anteroom.db");
        drop(EmbeddedStore::open(home.path()).unwrap());
        let mut bytes = fs::read(&path).unwrap();
        bytes[100..4000].fill(0xff);
        fs::write(&path, bytes).unwrap();
        assert!(matches!(refusal(home.path()), OpenError::Unreadable { .. }));
    }

    #[test]
    fn a_newer_schema_is_refused_by_its_number() {
        let home = TempDir::new().unwrap();
        drop(EmbeddedStore::open(home.path()).unwrap());
        let connection = Connection::open(home.path().join("anteroom.db")).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        let known_version = super::super::schema::KNOWN_VERSION;
        assert!(matches!(refusal(home.path()), OpenError::Newer { found: 99, known, .. } if known == known_version));
    }
}
