//! A process that lives as long as its test, and whose last output is printed when the test fails.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

use super::eventually;

/// Runs a command in a process group of its own and ends the whole group when its own input ends: so nothing is left
/// behind, however the test ends, and a peer that signals its group (Apache does) does not hit the test.
const KEEPER: &str = r#"
exec 3<&0
trap : TERM
"$@" 3<&- &
child=$!
(cat <&3 >/dev/null; kill 0) &
wait "$child"
wait "$child"
kill 0
"#;

/// A running process, and the directory that is its own.
pub struct Process {
    name: &'static str,
    child: Child,
    output: PathBuf,
    errors: PathBuf,
    // Dropped last: dropping a process reads its output from there.
    _directory: TempDir,
}

impl Process {
    /// Starts `command`; its output goes to two files in `directory`.
    pub fn start(name: &'static str, command: &Command, directory: TempDir) -> Self {
        let (output, errors) = (directory.path().join("output"), directory.path().join("errors"));
        let to = |path| Stdio::from(File::create(path).unwrap());
        let started = kept(command).stdin(Stdio::piped()).stdout(to(&output)).stderr(to(&errors)).spawn();
        let child = started.unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name, child, output, errors, _directory: directory }
    }

    /// The rest of the first line of its output that contains `beginning`, once it is there.
    pub async fn says(&mut self, beginning: &str) -> String {
        let what = format!("{} says {beginning:?}", self.name);
        eventually(what, async || {
            let ended = self.child.try_wait().unwrap();
            let said = fs::read_to_string(&self.output).unwrap();
            // The last line may be incomplete.
            let lines = said.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            let found = lines.filter_map(|line| line.split_once(beginning)).map(|(_, rest)| rest.to_owned()).next();
            assert!(found.is_some() || ended.is_none(), "{} ended: {}", self.name, ended.unwrap());
            found
        })
        .await
    }

    fn logs(&self) -> String {
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        format!("---- {}\n{}{}", self.name, read(&self.output), read(&self.errors))
    }
}

/// `command` under the supervisor.
fn kept(command: &Command) -> Command {
    let mut kept = Command::new("sh");
    kept.args(["-c", KEEPER, "keeper"]).arg(command.get_program()).args(command.get_args()).process_group(0);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => kept.env(name, value),
            None => kept.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        kept.current_dir(directory);
    }
    kept
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let ended = (0..100).any(|_| {
            thread::sleep(super::PAUSE);
            !matches!(self.child.try_wait(), Ok(None))
        });
        if !ended {
            let group = format!("-{}", self.child.id());
            drop(Command::new("kill").args(["-KILL", "--", &group]).status());
            drop(self.child.wait());
        }
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}
