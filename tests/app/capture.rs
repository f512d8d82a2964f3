//! Captures the log of this process at its most verbose level.
//!
//! The application logs from threads of its own, so all tests of the binary share one log: a test searches for entries
//! that only it causes.

use std::io;
use std::sync::{Mutex, Once, PoisonError};

use anteroom::config::LogLevel;
use anteroom::telemetry::log_filter;
use tracing_subscriber::EnvFilter;

static CAUGHT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Starts the capture once. Library logs are captured as far as the program itself would write them.
pub fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let filter = EnvFilter::new(log_filter(LogLevel::Trace));
        tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(|| Catcher).init();
    });
}

/// Every line so far.
pub fn lines() -> Vec<String> {
    let caught = CAUGHT.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&caught).lines().map(str::to_owned).collect()
}

struct Catcher;

impl io::Write for Catcher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        CAUGHT.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
