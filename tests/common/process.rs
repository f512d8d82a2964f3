//! The built program as a process: started on ports that the system chooses, its output read, signalled, and ended with
//! its test.
//!
//! Owns the process and its output. Must not know what is tested.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How often an expected event is polled, and the interval: a minute in all, far more than a busy machine needs, so
/// that only a missing event fails.
pub const ATTEMPTS: u32 = 1200;
pub const PAUSE: Duration = Duration::from_millis(50);

/// A command of the program.
#[derive(Clone)]
pub struct Launch {
    directory: PathBuf,
    arguments: Vec<String>,
    variables: BTreeMap<String, String>,
    before: Option<String>,
}

impl Launch {
    /// `anteroom serve` in `directory`, without a configuration, on a port that the system chooses.
    pub fn serve(directory: &Path) -> Self {
        Self::command(directory, &["serve"]).with("ANTEROOM_LISTEN", "127.0.0.1:0")
    }

    /// Any other command in `directory`.
    pub fn command(directory: &Path, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { directory: directory.to_owned(), arguments, variables: BTreeMap::new(), before: None }
    }

    /// With this variable.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With these arguments as well.
    pub fn and(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// In a shell that runs `command` first: limits, redirections.
    pub fn after(mut self, command: &str) -> Self {
        self.before = Some(command.to_owned());
        self
    }

    /// Runs it to its end.
    pub fn run(&self) -> Output {
        let mut process = self.begin();
        let status = process.wait();
        Output { status, stdout: process.stdout().into_bytes(), stderr: process.log().into_bytes() }
    }

    /// Starts it without waiting.
    pub fn begin(&self) -> Program {
        Program::spawn(self)
    }

    /// Starts it and waits until it serves.
    pub fn start(&self) -> Program {
        let mut program = self.begin();
        program.is_serving();
        program
    }

    fn process(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_anteroom");
        let mut command = match &self.before {
            None => Command::new(program),
            Some(before) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &format!("{before}; exec \"$0\" \"$@\""), program]);
                shell
            }
        };
        command.args(&self.arguments).current_dir(&self.directory).env_clear().envs(&self.variables);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A running program. It is killed when it is dropped.
pub struct Program {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<thread::JoinHandle<()>>,
    /// Its issuer.
    pub issuer: String,
    /// Its listening address.
    pub address: SocketAddr,
}

impl Program {
    fn spawn(launch: &Launch) -> Self {
        let mut child = launch.process().spawn().unwrap();
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let readers = vec![
            collect(child.stdout.take().unwrap(), Arc::clone(&stdout)),
            collect(child.stderr.take().unwrap(), Arc::clone(&stderr)),
        ];
        Self { child, stdout, stderr, readers, issuer: String::new(), address: SocketAddr::from(([0, 0, 0, 0], 0)) }
    }

    /// Waits until it serves.
    pub fn is_serving(&mut self) {
        let line = self.announced("Anteroom serves ");
        let (issuer, address) = line.split_once(" at ").unwrap_or_else(|| panic!("no address: {line}"));
        self.issuer = issuer.to_owned();
        self.address = address.parse().unwrap();
    }

    /// The rest of the line of standard output that begins with `beginning`, once it is there.
    pub fn announced(&mut self, beginning: &str) -> String {
        self.said(beginning, |program| program.stdout(), |line| line.strip_prefix(beginning))
    }

    /// The rest of the log line after `words`, once it is there.
    pub fn logged(&mut self, words: &str) -> String {
        self.said(words, Self::log, |line| line.split_once(words).map(|(_, rest)| rest))
    }

    fn said(&mut self, words: &str, text: fn(&Self) -> String, find: impl Fn(&str) -> Option<&str>) -> String {
        for _ in 0..ATTEMPTS {
            // An ended process writes nothing more, so check for the end first.
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() {
                self.wait();
            }
            if let Some(rest) = text(self).lines().find_map(&find) {
                return rest.trim().to_owned();
            }
            if let Some(status) = ended {
                panic!("the program ended with {status} and never said {words:?}:\n{}", self.log());
            }
            thread::sleep(PAUSE);
        }
        panic!("the program never said {words:?}:\n{}\n{}", self.stdout(), self.log());
    }

    /// Whether it serves, once it does or has ended.
    pub fn serves(&mut self) -> bool {
        for _ in 0..ATTEMPTS {
            if self.stdout().contains("Anteroom serves ") {
                return true;
            }
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            thread::sleep(PAUSE);
        }
        panic!("the program neither serves nor ends:\n{}", self.log());
    }

    /// Its process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The address of a path on this machine, whatever the issuer is.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Its standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Sends it a signal by its name: `TERM`.
    pub fn signal(&self, name: &str) {
        self.signaller(name)();
    }

    /// A handle that sends it a signal, also from another thread.
    pub fn signaller(&self, name: &str) -> impl FnOnce() + Send + use<> {
        let kill = format!("kill -{name} {}", self.child.id());
        move || assert!(Command::new("/bin/sh").args(["-c", &kill]).status().unwrap().success(), "{kill}")
    }

    /// `kill -9`, immediately.
    pub fn strike(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits for its exit, which must have been requested.
    pub fn wait(&mut self) -> ExitStatus {
        for _ in 0..ATTEMPTS {
            if let Some(status) = self.child.try_wait().unwrap() {
                // The pipes end with the process; its last output is read before it is asked for.
                self.readers.drain(..).for_each(|reader| reader.join().unwrap());
                return status;
            }
            thread::sleep(PAUSE);
        }
        panic!("the program does not end:\n{}", self.log());
    }

    /// Requests its exit, and checks that it succeeds.
    pub fn stop(mut self) -> String {
        self.signal("TERM");
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.log());
        self.log()
    }

    /// `kill -9`, and waits for the exit.
    pub fn kill(mut self) {
        self.strike();
        self.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the program's log\n{}", self.stderr.lock().map(|log| log.clone()).unwrap_or_default());
        }
    }
}

/// Reads a pipe to its end, line by line, so that the process never waits for a reader.
fn collect(pipe: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut line), Ok(length) if length > 0) {
            into.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}
