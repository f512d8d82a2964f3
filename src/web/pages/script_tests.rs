//! Runs the waiting page's script in node: it must show the server's wording, and survive failures.
//!
//! Without node, `cargo test` skips these tests and reports it; with `ANTEROOM_TEST_ALL` set, as in the full test run,
//! a missing node is a failure.

use crate::room;
use std::io::{Seek, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::assets::{FORM_POST_SCRIPT, WAITING_SCRIPT, WATCHDOG};
use super::views::{WaitingPage, nearness, size};
use super::wording::{ENGLISH, Estimate};

/// The output of node; `None` if node is missing and not required.
fn node(arguments: &[&str], input: Stdio) -> Option<Output> {
    match Command::new("node").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(input).output() {
        Ok(output) => Some(output),
        Err(missing) => {
            assert!(std::env::var_os("ANTEROOM_TEST_ALL").is_none(), "node is needed: {missing}");
            eprintln!("left out: the waiting page's script was not run, for want of node ({missing})");
            None
        }
    }
}

#[test]
fn the_script_follows_the_line_through_failures_and_sleep() {
    let Some(output) = node(&["tests/pages/waiting.test.mjs"], Stdio::null()) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_tabs_of_a_browser_share_a_stream_and_know_the_newest_login() {
    let Some(output) = node(&["tests/pages/tabs.test.mjs"], Stdio::null()) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// A tool of `tests/pages/package.json`; `None` if these are not installed and not required.
fn tool(path: &str) -> Option<String> {
    let path = format!("tests/pages/node_modules/{path}");
    let there = Path::new(env!("CARGO_MANIFEST_DIR")).join(&path).exists();
    if !there {
        assert!(std::env::var_os("ANTEROOM_TEST_ALL").is_none(), "{path} is needed: scripts/test installs it");
        eprintln!("left out: the scripts were not checked, for want of {path}: scripts/test installs it");
    }
    there.then_some(path)
}

/// The syntax level of the scripts: ES2017 for the script, ES3 for the code that must run where the script does not.
#[test]
fn browsers_of_2017_can_read_the_scripts() {
    let Some(acorn) = tool("acorn/bin/acorn") else { return };
    let scripts = [
        ("--ecma2017", WAITING_SCRIPT.bytes()),
        ("--ecma2017", FORM_POST_SCRIPT.bytes()),
        ("--ecma3", WATCHDOG.as_bytes()),
    ];
    for (syntax, script) in scripts {
        let mut file = tempfile::NamedTempFile::with_suffix(".js").expect("a scratch file");
        file.write_all(script).expect("written");
        let path = file.path().to_str().expect("text");
        let Some(output) = node(&[&acorn, syntax, "--silent", path], Stdio::null()) else { return };
        assert!(output.status.success(), "{syntax}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The interfaces: the compiler's library of 2017 knows those of that year's browsers.
#[test]
fn browsers_of_2017_have_what_the_scripts_use() {
    let Some(compiler) = tool("typescript/bin/tsc") else { return };
    let Some(output) = node(&[&compiler, "--project", "tests/pages"], Stdio::null()) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Everything that the script computes by its own rules, for one visitor and one pace.
fn case(ahead: u64, pace: Option<[f64; 3]>) -> serde_json::Value {
    let estimate = pace.map(|pace| Estimate::from(room::Estimate::of(ahead, pace)));
    serde_json::json!({
        "ahead": ahead,
        "pace": pace,
        "start": ahead.saturating_mul(3) / 2,
        "said": [
            ENGLISH.number(ahead),
            ENGLISH.count(ahead).big,
            ENGLISH.count(ahead).small,
            ENGLISH.title(ahead),
            ENGLISH.wait(estimate),
            size(ahead),
            nearness(ahead.saturating_mul(3) / 2, ahead).to_string(),
        ],
    })
}

fn cases() -> Vec<serde_json::Value> {
    let aheads = (0..40).chain((0..40).map(|power| (1_u64 << power) + power)).chain([999, 1_000, 9_999, 10_000]);
    let paces = [
        None,
        Some([0.0, 0.0, 0.0]),
        Some([0.013, 0.021, 1.0]),
        Some([0.4, 0.7, 3.0]),
        Some([1.0, 1.0, 60.0]),
        Some([60.0, 90.5, 0.5]),
    ];
    aheads.flat_map(|ahead| paces.map(|pace| case(ahead, pace))).collect()
}

const COMPARISON: &str = r"
const [script, words, cases] = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const page = { document: { querySelector: () => null } };
require('vm').runInNewContext(Buffer.from(script, 'base64').toString(), page);
for (const { ahead, pace, start, said } of cases) {
  const { big, small } = page.count(words, ahead);
  const wait = page.wait(words, page.estimate(ahead, pace));
  const near = String(page.nearness(start, ahead));
  const here = [page.number(words, ahead), big, small, page.title(words, ahead), wait, page.size(ahead), near];
  require('assert').deepStrictEqual(here, said, JSON.stringify({ ahead, pace }));
}
console.log(cases.length);
";

#[test]
fn the_script_and_the_server_use_the_same_wording() {
    let cases = cases();
    let script = STANDARD.encode(WAITING_SCRIPT.bytes());
    let mut input = tempfile::tempfile().expect("a scratch file");
    input.write_all(&serde_json::to_vec(&(script, &ENGLISH, &cases)).expect("serialises")).expect("written");
    input.rewind().expect("rewound");
    let Some(output) = node(&["--eval", COMPARISON], input.into()) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), cases.len().to_string());
}

#[test]
fn every_element_that_the_script_uses_is_on_the_page() {
    let page = WaitingPage {
        base_path: "",
        event: "Sample",
        site: "Shop",
        position: 7,
        ahead: 3,
        start_ahead: 6,
        estimate: None,
        resume_url: "/authorize/resume?flow=f",
        stream_url: "/stream",
        state_url: "/state",
        reach_url: "/authorize",
        client: "Shop",
        login: "00",
        began: 0,
        refresh_seconds: 30,
        watchdog_seconds: 30,
        generation: 1,
        place_change: None,
        paused: false,
    };
    let page = page.render().expect("renders");
    let script = std::str::from_utf8(WAITING_SCRIPT.bytes()).expect("text");
    let ids: Vec<_> = script.split("at(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let words =
        script.split("main.dataset.").skip(1).filter_map(|rest| rest.split(|c: char| !c.is_alphabetic()).next());
    let data: Vec<_> = words.chain(["event", "resume", "stream", "state", "reach", "client", "login"]).collect();
    assert!(ids.len() > 6 && data.len() > 8, "{ids:?} {data:?}");
    for id in ids {
        assert_eq!(page.matches(&format!(" id=\"{id}\"")).count(), 1, "{id}");
    }
    for name in data {
        assert_eq!(page.matches(&format!(" data-{name}=\"")).count(), 1, "{name}");
    }
}
