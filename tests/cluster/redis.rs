//! The Redis of one cluster, and its failures.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::servers::Server;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module's documentation.
pub struct Redis {
    server: Server,
    directory: TempDir,
    /// Its process, while it is paused.
    paused: Option<String>,
}

impl Redis {
    pub fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::redis(directory.path())?;
        Some(Self { server, directory, paused: None })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// The rest of the first line that begins with `wanted` in its answer to a command.
    fn ask(&self, command: &str, wanted: &str) -> String {
        let mut connection = TcpStream::connect(self.server.address).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(connection, "{command}\r\n").unwrap();
        let mut lines = BufReader::new(connection).lines().map(Result::unwrap);
        lines.find_map(|line| line.strip_prefix(wanted).map(str::to_owned)).unwrap()
    }

    fn process(&self) -> String {
        self.ask("INFO server", "process_id:")
    }

    /// The number of connections subscribed to the channel.
    pub fn listeners(&self, channel: &str) -> usize {
        self.ask(&format!("PUBSUB NUMSUB {channel}"), ":").parse().unwrap()
    }

    /// `kill -9`.
    pub fn kill(&self) {
        signal("KILL", &self.process());
    }

    /// A new, empty server takes its place.
    pub fn replace(&mut self) {
        self.server = Server::redis(self.directory.path()).unwrap();
    }

    /// Deletes all data.
    pub fn flush(&self) {
        self.ask("FLUSHALL", "+OK");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Saves its data, as for a replica.
    pub fn save(&self) {
        self.ask("SAVE", "+OK");
        fs::rename(self.file("dump.rdb"), self.file("replica.rdb")).unwrap();
    }

    /// A new server takes its place, with the [saved](Redis::save) data.
    pub fn fail_over(&mut self) {
        fs::rename(self.file("replica.rdb"), self.file("dump.rdb")).unwrap();
        self.replace();
    }

    pub fn pause(&mut self) {
        let process = self.process();
        signal("STOP", &process);
        self.paused = Some(process);
    }

    pub fn go_on(&mut self) {
        if let Some(process) = self.paused.take() {
            signal("CONT", &process);
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.go_on();
    }
}

fn signal(name: &str, process: &str) {
    let done = Command::new("/bin/sh").args(["-c", &format!("kill -{name} {process}")]).status().unwrap();
    assert!(done.success(), "kill -{name} {process}");
}
