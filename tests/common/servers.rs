//! Servers that tests start: Redis and DynamoDB Local, in memory only, on free ports.
//!
//! They end with the process that started them, however it ends. Must not know what is tested.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// How often a starting server is polled, and the interval: a minute in all, for a busy machine.
const ATTEMPTS: u32 = 1200;
const PAUSE: Duration = Duration::from_millis(50);

/// The timeout of one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a server gets another port if its free port was taken meanwhile.
const PORTS: u32 = 5;

/// Runs a command in a process group of its own until its own input ends, which ends with the process that holds the
/// other end. So nothing is left behind, however the tests end, and whether or not the server is stopped at that
/// moment.
const KEEPER: &str = r#"
exec 3<&0
trap : TERM
"$@" 3<&- </dev/null &
child=$!
(trap '' TERM; cat <&3 >/dev/null; kill 0; sleep 5; kill -KILL 0) &
wait "$child"
wait "$child"
kill -KILL 0
"#;

/// The main class of DynamoDB Local.
const DYNAMODB_LOCAL: &str = "software.amazon.dynamodb.services.local.main.ServerRunner";

/// A supervised server: it ends with the process that started it, and when it is dropped.
pub struct Server {
    /// Its address.
    pub address: SocketAddr,
    /// The pipe whose end stops the server.
    keeper: Child,
}

impl Server {
    /// A running Redis with its files, if any, in `directory`. `None`: Redis is missing, and the test is skipped, or
    /// fails where all tests are required.
    pub fn redis(directory: &Path) -> Option<Self> {
        Self::redis_with(directory, Vec::new)
    }

    /// The same with further `options`, computed for each try.
    pub fn redis_with(directory: &Path, options: impl Fn() -> Vec<String>) -> Option<Self> {
        let redis = program("redis-server")?;
        let command = |port| {
            let mut command = redis_command(&redis, directory, port);
            command.args(options());
            command
        };
        Some(Self::serving("redis-server", redis_answers, command))
    }

    /// A running DynamoDB Local. Its tables are the same for every region and credential. `None`: as above.
    pub fn dynamodb() -> Option<Self> {
        let java = program("java")?;
        let dynamodb = needed("DynamoDB Local", dynamodb_local())?;
        Some(Self::serving("DynamoDB Local", dynamodb_answers, |port| dynamodb_command(&java, &dynamodb, port)))
    }

    fn serving(name: &str, answers: impl Fn(SocketAddr) -> io::Result<bool>, command: impl Fn(u16) -> Command) -> Self {
        for _ in 0..PORTS {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let mut keeper = command(address.port()).spawn().unwrap();
            for _ in 0..ATTEMPTS {
                let there = answers(address).unwrap_or(false);
                // An ended process cannot have been the one that answered.
                if keeper.try_wait().unwrap().is_some() {
                    break;
                }
                if there {
                    return Self { address, keeper };
                }
                thread::sleep(PAUSE);
            }
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
        }
        panic!("{name} does not start")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its supervisor ends it now.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn redis_command(program: &Path, directory: &Path, port: u16) -> Command {
    let mut command = kept(program);
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string(), "--dir"]);
    command.arg(directory);
    command
}

fn dynamodb_command(java: &Path, place: &Path, port: u16) -> Command {
    let unpack_in = [OsString::from("-Djava.io.tmpdir="), env::temp_dir().into()].into_iter().collect::<OsString>();
    let mut command = kept(java);
    // It starts in half the time without long-run optimisation.
    command.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]).arg(unpack_in);
    command.arg("-classpath").arg(place.join("*")).arg(DYNAMODB_LOCAL);
    command.args(["-inMemory", "-sharedDb", "-disableTelemetry", "-port", &port.to_string()]);
    command
}

/// `program` under the supervisor.
fn kept(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", KEEPER, "keeper"]).arg(program).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn redis_answers(address: SocketAddr) -> io::Result<bool> {
    let mut connection = connect(address)?;
    connection.write_all(b"PING\r\n")?;
    let mut answer = String::new();
    BufReader::new(connection).read_line(&mut answer)?;
    Ok(answer == "+PONG\r\n")
}

fn dynamodb_answers(address: SocketAddr) -> io::Result<bool> {
    let mut connection = connect(address)?;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/x-amz-json-1.0\r\n\
         X-Amz-Target: DynamoDB_20120810.ListTables\r\nContent-Length: 2\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, \
         SignedHeaders=host, Signature=0\r\n\r\n{{}}"
    );
    connection.write_all(request.as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200") && answer.contains("TableNames"))
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let connection = TcpStream::connect_timeout(&address, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    Ok(connection)
}

/// The directory of DynamoDB Local: in cargo's target directory of this test, or in the default one.
fn dynamodb_local() -> Option<PathBuf> {
    let test = env::current_exe().unwrap();
    let by_default = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let mut places = test.ancestors().chain([by_default.as_path()]).map(|target| target.join("dynamodb-local"));
    places.find(|place| place.join("pom.xml").is_file())
}

fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    needed(name, env::split_paths(&path).map(|place| place.join(name)).find(|candidate| candidate.is_file()))
}

pub fn needed<T>(what: impl Display, found: Option<T>) -> Option<T> {
    if found.is_none() {
        assert!(env::var_os("ANTEROOM_TEST_ALL").is_none(), "{what} is needed: scripts/test installs it");
        // Not eprintln!, whose output is hidden when a test passes.
        drop(writeln!(io::stderr(), "left out, for want of {what}: scripts/test installs it"));
    }
    found
}

#[test]
fn the_keeper_ends_what_it_keeps_when_its_input_ends() {
    // `cat` shows by its answer that it runs, and by the end of its output that it has ended.
    let mut keeper =
        kept(Path::new("sh")).args(["-c", "echo there; exec sleep 3600"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(keeper.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "there");
    drop(keeper.stdin.take());
    keeper.wait().unwrap();
    assert!(said.next().is_none());
}
