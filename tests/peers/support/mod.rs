//! Shared by all peers: the program as a process, a visitor, polling, and skipping of missing peers.

pub mod process;
pub mod program;
pub mod visitor;

use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a condition is polled, and the interval: a minute in all, for a busy machine.
const ATTEMPTS: u32 = 600;
const PAUSE: Duration = Duration::from_millis(100);

/// Polls `look` until it returns a value.
pub async fn eventually<T>(what: impl Display, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..ATTEMPTS {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{what}: it did not come about")
}

/// The path of a required program. Without it the test is skipped, or fails where all tests are required.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian installs servers outside an ordinary user's PATH.
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
        // Not eprintln!, whose output is hidden when a test passes.
        drop(writeln!(io::stderr(), "left out, for want of {what}: scripts/test installs it"));
    }
    found
}

/// A currently free port, for a server that cannot report its port, or whose port has to be configured before it
/// starts.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
