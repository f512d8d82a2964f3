//! Files that are made once: whole or not at all, on the disk before the call returns, and never replaced.
//!
//! For secrets and what must survive a crash right after it was made. Knows no content.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::ambient::{Entropy, random};

/// Makes the file at `path`, readable by its owner alone. Of several that try at the same time, one succeeds. The file
/// system must know hard links.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when there is something at `path`, which stays as it is; otherwise what the
/// system says, and then there is nothing at `path`.
pub fn create(path: &Path, content: &[u8], entropy: &dyn Entropy) -> io::Result<()> {
    let temporary = temporary_beside(path, entropy)?;
    // A link, unlike a rename, fails when the name is taken.
    let linked = write_synced(&temporary, content).and_then(|()| fs::hard_link(&temporary, path));
    // Best effort: after a success it is a second name of the same file, after a failure it is rubbish.
    let _ = fs::remove_file(&temporary);
    linked?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn temporary_beside(path: &Path, entropy: &dyn Entropy) -> io::Result<PathBuf> {
    let mut name: OsString = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{:032x}.tmp", u128::from_le_bytes(random(entropy))));
    Ok(path.with_file_name(name))
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::ambient::OsEntropy;

    #[test]
    fn a_file_is_made_once_for_its_owner_alone_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        create(&path, b"first", &OsEntropy).unwrap();
        assert_eq!(create(&path, b"second", &OsEntropy).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(create(&folder.path().join("missing/secret"), b"x", &OsEntropy).is_err());
        assert!(create(Path::new("/"), b"x", &OsEntropy).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
