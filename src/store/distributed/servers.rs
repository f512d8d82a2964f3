//! What the engine's tests stand on: a Redis and a DynamoDB Local, in memory only, one of each for the test process.
//!
//! They are started by who asks first, on ports that are free, and end with the process, however it ends. Tests share
//! them, so each takes a table prefix of its own. Must not know the engine.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

/// How often a server is asked whether it is there, and the pause between: a minute in all, for a machine that is busy.
const ATTEMPTS: u32 = 1200;
const PAUSE: Duration = Duration::from_millis(50);

/// How long a server may take over one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a server gets another port, when somebody took the one that was free a moment ago.
const PORTS: u32 = 5;

/// Runs a command in a process group of its own until its own input ends, which it does with the process that holds the
/// other end: so nothing is left behind, however the tests end, and whether or not the server is stopped just then.
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

/// The servers of this test process.
pub(super) struct Servers {
    /// Where DynamoDB Local is: `http://127.0.0.1:PORT`. Its tables are the same for every region and credential.
    pub(super) dynamodb: String,
    /// Where Redis is: `redis://127.0.0.1:PORT`.
    pub(super) redis: String,
    /// Each holds the end of the pipe that its server lives by.
    _keepers: [Child; 2],
}

/// The servers, which answer. Without them a test is left out, or fails where all have to run.
pub(super) fn servers() -> Option<&'static Servers> {
    static SERVERS: OnceLock<Option<Servers>> = OnceLock::new();
    SERVERS.get_or_init(start).as_ref()
}

fn start() -> Option<Servers> {
    let redis = program("redis-server")?;
    let java = program("java")?;
    let dynamodb = needed("DynamoDB Local", dynamodb_local())?;
    let (dynamodb_keeper, dynamodb) =
        serving("DynamoDB Local", dynamodb_answers, |port| dynamodb_command(&java, &dynamodb, port));
    let (redis_keeper, redis) = serving("redis-server", redis_answers, |port| redis_command(&redis, port));
    Some(Servers {
        dynamodb: format!("http://{dynamodb}"),
        redis: format!("redis://{redis}"),
        _keepers: [dynamodb_keeper, redis_keeper],
    })
}

fn redis_command(program: &Path, port: u16) -> Command {
    let mut command = kept(program);
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string(), "--dir"]);
    command.arg(env::temp_dir());
    command
}

fn dynamodb_command(java: &Path, place: &Path, port: u16) -> Command {
    let unpack_in = [OsString::from("-Djava.io.tmpdir="), env::temp_dir().into()].into_iter().collect::<OsString>();
    let mut command = kept(java);
    // It starts in half the time when it is not made to be fast for long.
    command.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]).arg(unpack_in);
    command.arg("-classpath").arg(place.join("*")).arg(DYNAMODB_LOCAL);
    command.args(["-inMemory", "-sharedDb", "-disableTelemetry", "-port", &port.to_string()]);
    command
}

/// `program` in the hands of the keeper.
fn kept(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", KEEPER, "keeper"]).arg(program).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The keeper of a server that answers, and the server's address.
fn serving(
    name: &str,
    answers: impl Fn(SocketAddr) -> io::Result<bool>,
    command: impl Fn(u16) -> Command,
) -> (Child, SocketAddr) {
    for _ in 0..PORTS {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut keeper = command(address.port()).spawn().unwrap();
        for _ in 0..ATTEMPTS {
            let there = answers(address).unwrap_or(false);
            // An ended one cannot have been who answered.
            if keeper.try_wait().unwrap().is_some() {
                break;
            }
            if there {
                return (keeper, address);
            }
            thread::sleep(PAUSE);
        }
        drop(keeper.stdin.take());
        keeper.wait().unwrap();
    }
    panic!("{name} does not start")
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

/// The directory of DynamoDB Local: beside what cargo made of this test, or where it goes by default.
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

fn needed<T>(what: impl Display, found: Option<T>) -> Option<T> {
    if found.is_none() {
        assert!(env::var_os("ANTEROOM_TEST_ALL").is_none(), "{what} is needed: scripts/test installs it");
        // Not eprintln!, whose words are kept from the terminal when a test passes.
        drop(writeln!(io::stderr(), "left out, for want of {what}: scripts/test installs it"));
    }
    found
}

#[test]
fn the_servers_answer_and_are_the_same_for_every_test_of_the_process() {
    let Some(servers) = servers() else { return };
    assert!(std::ptr::eq(servers, self::servers().unwrap()));
    let address = |url: &str| url.split_once("://").unwrap().1.parse().unwrap();
    assert!(dynamodb_answers(address(&servers.dynamodb)).unwrap());
    assert!(redis_answers(address(&servers.redis)).unwrap());
}

#[test]
fn the_keeper_ends_what_it_keeps_when_its_input_ends() {
    // `cat` says it is there by its answer, and that it is gone by the end of its output.
    let mut keeper =
        kept(Path::new("sh")).args(["-c", "echo there; exec sleep 3600"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(keeper.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "there");
    drop(keeper.stdin.take());
    keeper.wait().unwrap();
    assert!(said.next().is_none());
}
