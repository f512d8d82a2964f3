//! The measured servers: processes of their own, ended with their handle.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::http::{Connection, get, post};
use super::{Outcome, ensure};

/// The operator's key in [`CONFIG`].
const ADMIN_KEY: &str = "admin-key-0123456789-0123456789-01234567";
/// The secret of every client in [`CONFIG`].
pub const CLIENT_SECRET: &str = "client-secret-0123456789-0123456789-01234";
/// The redirect URI of every client.
pub const REDIRECT: &str = "https://shop.example/callback";

/// The event in [`CONFIG`] whose inlet admits a crowd.
pub const CROWD: &str = "Crowd";

/// The event `Sample` is moved by hand alone, so that all figures are of the same state.
const CONFIG: &str = r#"
public_url = "http://127.0.0.1:0"
listen = "127.0.0.1:0"

[admin]
keys = [{ name = "bench", key = "ADMIN_KEY" }]

[[event]]
id = "Sample"
inlet = { strategy = "manual" }

[[event]]
id = "Crowd"
inlet = { strategy = "periodic", increment_by = 36000, every = 60 }

[[client]]
client_id = "RS256"
event = "Sample"
client_secret = "CLIENT_SECRET"
redirect_uris = ["REDIRECT"]

[[client]]
client_id = "ES256"
event = "Sample"
client_secret = "CLIENT_SECRET"
redirect_uris = ["REDIRECT"]
id_token_signed_response_alg = "ES256"
"#;

/// A running server.
pub struct Server {
    process: Child,
    /// Host and port.
    pub address: String,
}

impl Server {
    /// Starts the yardstick: this program again.
    pub fn bare() -> Outcome<Self> {
        Self::spawn(Command::new(std::env::current_exe()?).arg("bare"))
    }

    /// Starts Anteroom on the data in `directory`, prepared by [`prepare`].
    pub fn anteroom(directory: &Path) -> Outcome<Self> {
        let log = fs::File::create(directory.join("log"))?;
        let config = directory.join("anteroom.toml");
        let mut command = Command::new(BINARY);
        // DynamoDB Local requires credentials and ignores them.
        command.env("AWS_ACCESS_KEY_ID", "bench").env("AWS_SECRET_ACCESS_KEY", "bench");
        Self::spawn(command.arg("serve").arg("--config").arg(config).stderr(log))
    }

    /// Both servers print their address at the end of their first line.
    fn spawn(command: &mut Command) -> Outcome<Self> {
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(output) = process.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let address = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        let server = Self { process, address };
        ensure(server.address.contains(':'), || format!("the server does not start: {line}"))?;
        Ok(server)
    }

    /// The answer to a GET, and its length.
    pub async fn get(&self, target: &str) -> Outcome<(String, u64)> {
        let mut connection = Connection::open(&self.address).await?;
        let answer = connection.ask(&get(target, "")).await?;
        ensure(answer.status == 200, || format!("{target}: {answer:?}"))?;
        Ok((answer.body.to_owned(), answer.length() as u64))
    }

    /// The answer to an operator's GET, and its length.
    pub async fn get_as_operator(&self, target: &str) -> Outcome<(String, u64)> {
        let mut connection = Connection::open(&self.address).await?;
        let answer = connection.ask(&get(target, &format!("Authorization: Bearer {ADMIN_KEY}\r\n"))).await?;
        ensure(answer.status == 200, || format!("{target}: {answer:?}"))?;
        Ok((answer.body.to_owned(), answer.length() as u64))
    }

    /// The answer to a POST, and its length.
    pub async fn post(&self, target: &str, body: &str) -> Outcome<(String, u64)> {
        let mut connection = Connection::open(&self.address).await?;
        let headers = format!("Content-Type: application/json\r\nAuthorization: Bearer {ADMIN_KEY}\r\n");
        let answer = connection.ask(&post(target, &headers, body)).await?;
        ensure(answer.status == 200, || format!("{target}: {answer:?}"))?;
        Ok((answer.body.to_owned(), answer.length() as u64))
    }

    /// Its resident memory in bytes (`VmRSS`).
    pub fn resident(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// Stops it gracefully.
    pub fn stop(mut self) -> Outcome<()> {
        let asked = Command::new("kill").arg(self.process.id().to_string()).status()?;
        ensure(asked.success(), || "the server cannot be stopped".to_owned())?;
        let patience = Instant::now() + Duration::from_secs(10);
        while Instant::now() < patience {
            if let Some(status) = self.process.try_wait()? {
                return ensure(status.success(), || format!("the server ended with {status}"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err("the server does not stop".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The measured program.
pub const BINARY: &str = env!("CARGO_BIN_EXE_anteroom");

/// Creates a directory for one Anteroom, with its configuration; returns its data directory.
pub fn prepare(directory: &Path) -> Outcome<PathBuf> {
    fs::create_dir_all(directory)?;
    let config = CONFIG.replace("ADMIN_KEY", ADMIN_KEY).replace("CLIENT_SECRET", CLIENT_SECRET);
    fs::write(directory.join("anteroom.toml"), config.replace("REDIRECT", REDIRECT))?;
    Ok(directory.join("data"))
}
