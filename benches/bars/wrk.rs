//! Runs `wrk` against a server, and verifies what it received.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Outcome, ensure};

/// The number of open connections.
pub const CONNECTIONS: u64 = 64;

/// The requests of a round.
pub struct Load {
    /// Host and port.
    pub address: String,
    /// `METHOD target body`, sent in turn.
    pub requests: Vec<String>,
    /// The bytes of every answer, head and body.
    pub answer_length: u64,
}

/// The result of a round.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Answers per second.
    pub rate: f64,
    /// The 99th percentile of the latency, in milliseconds.
    pub p99_ms: f64,
    /// All answers.
    pub requests: u64,
}

/// Runs for `seconds`.
///
/// # Errors
/// When wrk cannot run, or an answer was not a success or not of the required length.
pub fn run(load: &Load, seconds: u64, scratch: &Path) -> Outcome<Round> {
    let list = scratch.join("requests");
    fs::write(&list, load.requests.join("\n") + "\n")?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/bars/wrk.lua");
    let threads = std::thread::available_parallelism()?.get().to_string();
    let output = Command::new("wrk")
        .args(["-t", &threads, "-c", &CONNECTIONS.to_string(), "-d", &format!("{seconds}s"), "--latency"])
        .args(["-s", script, &format!("http://{}/", load.address)])
        .env("REQUESTS", list)
        .output()
        .map_err(|error| format!("wrk cannot be run: {error}"))?;
    let text = String::from_utf8(output.stdout)?;
    let outcome = text.lines().find_map(|line| line.strip_prefix("OUTCOME "));
    let numbers: Vec<u64> = match outcome {
        Some(numbers) => numbers.split(' ').map(str::parse).collect::<Result<_, _>>()?,
        None => return Err(format!("wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr)).into()),
    };
    let [requests, micros, bytes, errors, p99] = numbers[..] else { return Err("wrk's report is incomplete".into()) };
    ensure(errors == 0 && requests > 0, || format!("{errors} of {requests} answers were no success: {text}"))?;
    // The last answer on each connection may be incomplete.
    let (exact, slack) = (requests * load.answer_length, CONNECTIONS * load.answer_length);
    ensure(bytes.abs_diff(exact) <= slack, || {
        format!("{requests} answers of {} bytes each cannot have {bytes} bytes", load.answer_length)
    })?;
    Ok(Round { rate: requests as f64 * 1e6 / micros as f64, p99_ms: p99 as f64 / 1e3, requests })
}
