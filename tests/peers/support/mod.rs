//! What every peer needs: the program as a process, a visitor, patience, and a word for what is missing.

pub mod process;
pub mod program;
pub mod visitor;

use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often something is looked for, and the pause between: a minute in all, for a machine that is busy.
const ATTEMPTS: u32 = 600;
const PAUSE: Duration = Duration::from_millis(100);

/// What `look` finds, once it finds something.
pub async fn eventually<T>(what: impl Display, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..ATTEMPTS {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{what}: it did not come about")
}

/// The path of a program that a test needs. Without it the test is left out, or fails where all have to run.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where an ordinary user's PATH does not lead.
    let places = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    needed(name, places.map(|place| place.join(name)).find(|candidate| candidate.is_file()))
}

/// The same for a file.
pub fn file(path: impl AsRef<Path>) -> Option<PathBuf> {
    let path = path.as_ref();
    needed(path.display(), path.exists().then(|| path.to_owned()))
}

fn needed<T>(what: impl Display, found: Option<T>) -> Option<T> {
    if found.is_none() {
        assert!(env::var_os("ANTEROOM_TEST_ALL").is_none(), "{what} is needed: scripts/test installs it");
        // Not eprintln!, whose words are kept from the terminal when a test passes.
        drop(writeln!(io::stderr(), "left out, for want of {what}: scripts/test installs it"));
    }
    found
}

/// A port that was free a moment ago, for a server that cannot say which one it took, or that has to be named in a
/// configuration before it starts.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
