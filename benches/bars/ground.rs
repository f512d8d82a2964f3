//! The servers of several nodes: one local Redis and DynamoDB Local, on the same cores as everything else.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::time::sleep;

use super::process::{BINARY, Server, prepare};
use super::{Outcome, ensure};

/// An external server, ended with its handle.
struct Stranger(Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The servers.
pub struct Ground {
    directory: TempDir,
    redis: u16,
    dynamodb: u16,
    _dynamodb: Stranger,
    /// `None` after it was killed.
    feed: Option<Stranger>,
}

impl Ground {
    pub async fn open() -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let (redis, dynamodb) = (free_port()?, free_port()?);
        let place = dynamodb_local()?;
        let start = |command: &mut Command| {
            let quiet = command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
            quiet.stderr(Stdio::null()).spawn().map(Stranger)
        };
        let mut java = Command::new("java");
        java.arg("-classpath").arg(place.join("*")).arg("software.amazon.dynamodb.services.local.main.ServerRunner");
        java.args(["-inMemory", "-sharedDb", "-disableTelemetry", "-port", &dynamodb.to_string()]);
        let mut server = Command::new("redis-server");
        server.args(["--bind", "127.0.0.1", "--save", "", "--port", &redis.to_string()]);
        let (authority, feed) = (start(&mut java)?, start(&mut server)?);
        for port in [redis, dynamodb] {
            let patience = Instant::now() + Duration::from_secs(60);
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                ensure(Instant::now() < patience, || format!("nothing answers at port {port}"))?;
                sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(Self { directory, redis, dynamodb, _dynamodb: authority, feed: Some(feed) })
    }

    /// Kills Redis.
    pub fn take_redis_away(&mut self) {
        self.feed = None;
    }

    /// Nodes that share fresh tables.
    pub fn nodes(&self, name: &str, count: usize) -> Outcome<Vec<Server>> {
        self.nodes_at(name, &vec![self.dynamodb; count], "")
    }

    /// The port of DynamoDB.
    pub const fn dynamodb(&self) -> u16 {
        self.dynamodb
    }

    /// The same, where each finds DynamoDB at its port, with `more` configuration.
    pub fn nodes_at(&self, name: &str, ports: &[u16], more: &str) -> Outcome<Vec<Server>> {
        let directories: Vec<PathBuf> =
            (0..ports.len()).map(|index| self.directory.path().join(format!("{name}-{index}"))).collect();
        for (directory, dynamodb) in directories.iter().zip(ports) {
            prepare(directory)?;
            let file = directory.join("anteroom.toml");
            let redis = self.redis;
            let store = format!(
                "\n[store]\nengine = \"distributed\"\nredis_url = \"redis://127.0.0.1:{redis}\"\n\
                 dynamodb_endpoint = \"http://127.0.0.1:{dynamodb}\"\ntable_prefix = \"{name}-\"\n"
            );
            fs::write(&file, fs::read_to_string(&file)? + &store + more)?;
        }
        let first = directories.first().ok_or("no node")?.join("anteroom.toml");
        let mut init = Command::new(BINARY);
        let made = init.args(["store", "init", "--config"]).arg(first);
        let made = made.env("AWS_ACCESS_KEY_ID", "bench").env("AWS_SECRET_ACCESS_KEY", "bench").output()?;
        let complaint = String::from_utf8_lossy(&made.stderr);
        ensure(made.status.success(), || format!("the tables cannot be created: {complaint}"))?;
        directories.iter().map(|directory| Server::anteroom(directory)).collect()
    }
}

fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// DynamoDB Local, installed by `scripts/bench` beside the profile's directory of this program.
fn dynamodb_local() -> Outcome<PathBuf> {
    let program = std::env::current_exe()?;
    let found = program.ancestors().map(|place| place.join("dynamodb-local")).find(|place| place.is_dir());
    Ok(found.ok_or("DynamoDB Local is missing: run scripts/bench")?)
}
