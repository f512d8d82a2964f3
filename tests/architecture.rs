//! The architecture in `lib.rs`, checked against the source: which module may use which, and where a crate may be used.
//!
//! The compiler lets every module of a crate use every other; these tests do not.

#![expect(clippy::unwrap_used, reason = "in a test, a panic reports a failure")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules from the ground up. Each may use those in earlier rows, and none in its own.
const ROWS: &[&[&str]] = &[
    &["ambient", "text"],
    &["policy"],
    &["durable", "outbound"],
    &["room", "oauth"],
    &["aws"],
    &["keys", "store"],
    &["config"],
    &["telemetry"],
    &["lobby"],
    &["notices", "gates"],
    &["http"],
    &["web", "demo", "authorizer"],
    &["server"],
    &["cli"],
    &["main", "bin"],
];

/// Modules that may use less than their row allows.
const NARROW: &[(&str, &[&str])] = &[
    ("demo", &["ambient", "http"]),
    // A program of its own: modules that it does not use are not linked into it, nor it into `anteroom`.
    ("authorizer", &["ambient", "policy", "outbound", "oauth", "keys"]),
    ("bin", &["authorizer"]),
];

/// Crates, and the only places that may use them.
const OWNED: &[(&str, &[&str])] = &[
    ("josekit", &["src/keys/"]),
    ("rusqlite", &["src/store/embedded/"]),
    ("actix_http", &["src/http/", "src/web/terms.rs", "src/server/", "src/telemetry.rs"]),
    ("actix_server", &["src/http/"]),
    ("actix_web", &["src/http/", "src/web/", "src/server.rs", "src/server/", "src/demo/", "src/cli/"]),
    ("openidconnect", &["src/demo/"]),
    ("lambda_runtime", &["src/authorizer/"]),
    ("rustls_native_certs", &["src/outbound.rs"]),
    (
        "reqwest",
        &["src/outbound.rs", "src/demo/", "src/cli/", "src/authorizer/", "src/notices/", "src/gates.rs", "src/aws/"],
    ),
    ("aws_config", &["src/aws/"]),
    ("aws_sdk_cloudwatch", &["src/aws/"]),
    ("aws_sdk_eventbridge", &["src/aws/"]),
    ("aws_sdk_secretsmanager", &["src/aws/"]),
    ("aws_sdk_dynamodb", &["src/aws/", "src/store/distributed/"]),
    ("redis", &["src/store/distributed/"]),
    ("openssl", &["src/aws/", "src/http/tests/"]),
    ("askama", &["src/web/", "src/demo/"]),
    ("clap", &["src/cli/"]),
    ("toml", &["src/config/"]),
    ("prometheus_client", &["src/telemetry.rs", "src/telemetry/"]),
];

/// Items that pure rules must not use.
const IMPURE: &[&str] =
    &["tokio", "async fn", "async move", ".await", "std::fs", "std::net", "std::env", "std::process", "std::thread"];

/// A file of the crate.
struct Source {
    /// Its path in the repository.
    path: String,
    text: String,
}

impl Source {
    /// The top-level module of the file.
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap();
        inside.split('/').next().unwrap().trim_end_matches(".rs")
    }

    /// Its lines with their numbers, without comments and documentation.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The modules that it names, each with its line.
    fn arrows(&self) -> Vec<(usize, String)> {
        let root = if ["cli", "bin"].contains(&self.module()) { "anteroom::" } else { "crate::" };
        self.code().flat_map(|(number, line)| modules_in(line, root).map(move |name| (number, name))).collect()
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    fn at(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// The identifiers after each `prefix` in `line`, where it begins a path.
fn names_after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(prefix).filter(|(at, _)| !ends_in_a_word(&line[..*at])).map(|(at, _)| {
        let rest = &line[at + prefix.len()..];
        rest.split(|letter: char| !is_of_a_word(letter)).next().unwrap()
    })
}

/// The modules that `line` names below `root`, one by one or as `root{one, other::Thing}`.
fn modules_in<'a>(line: &'a str, root: &'a str) -> impl Iterator<Item = String> {
    let list = line.split_once(&format!("{root}{{")).map_or("", |(_, rest)| rest);
    let listed = list.split(['{', '}']).next().unwrap().split(',').map(|path| path.split("::").next().unwrap().trim());
    names_after(line, root).chain(listed).filter(|name| !name.is_empty()).map(str::to_owned)
}

fn is_of_a_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn ends_in_a_word(text: &str) -> bool {
    text.ends_with(|letter: char| is_of_a_word(letter) || letter == ':')
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_in(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources(directory: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    files_in(&repository().join(directory), &mut paths);
    paths.sort();
    let source = |path: PathBuf| Source {
        text: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned(),
    };
    paths.into_iter().map(source).collect()
}

/// All files but the crate's root, which names every module.
fn modules() -> Vec<Source> {
    sources("src").into_iter().filter(|source| source.path != "src/lib.rs").collect()
}

fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

fn may_use(from: &str, to: &str) -> bool {
    let narrow = NARROW.iter().find(|(module, _)| *module == from);
    let low_enough = matches!((row(from), row(to)), (Some(from), Some(to)) if to < from);
    from == to || (low_enough && narrow.is_none_or(|(_, allowed)| allowed.contains(&to)))
}

fn none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn no_module_uses_one_above_it() {
    let mut found = Vec::new();
    for source in modules() {
        for (line, to) in source.arrows() {
            if !may_use(source.module(), &to) {
                found.push(source.at(line, format!("{} uses {to}", source.module())));
            }
        }
    }
    none(&found, "a module uses only what stands before it in the map of lib.rs");
}

#[test]
fn a_path_to_another_module_begins_at_the_root() {
    // Otherwise the test above would not see it.
    let mut found = Vec::new();
    for source in modules() {
        let depth = source.path.matches('/').count() - usize::from(source.path.ends_with("/mod.rs"));
        let to_the_root = "super::".repeat(depth);
        for (number, line) in source.code() {
            let climbs = line.contains(&to_the_root) && line.starts_with(|letter: char| !letter.is_whitespace());
            // A list that is nested or broken over lines.
            let hidden = line.contains("crate::{") && (line.matches('{').count() > 1 || !line.contains('}'));
            if climbs || line.contains("super::super::super::") || hidden {
                found.push(source.at(number, line));
            }
        }
    }
    none(&found, "say `crate::module`, or a plain list of modules on one line");
}

#[test]
fn the_map_of_the_library_names_every_module_in_order() {
    let root = fs::read_to_string(repository().join("src/lib.rs")).unwrap();
    let map = || root.lines().filter(|line| line.starts_with("//! - ") || line.starts_with("//!   "));
    let named: Vec<&str> = map().flat_map(|line| names_after(line, "[`")).collect();
    let declared: BTreeSet<&str> = root.lines().flat_map(|line| names_after(line, "pub mod ")).collect();
    assert_eq!(named.iter().copied().collect::<BTreeSet<_>>(), declared);
    assert_eq!(named.len(), declared.len(), "each module stands once in the map");
    let rows: Vec<_> =
        named.iter().map(|module| row(module).unwrap_or_else(|| panic!("{module} has no row"))).collect();
    assert!(rows.is_sorted(), "the map and the rows of this test disagree: {named:?}");
    let present: BTreeSet<String> = modules().iter().map(|source| source.module().to_owned()).collect();
    let known: BTreeSet<String> = ROWS.concat().into_iter().map(str::to_owned).collect();
    assert_eq!(present, known, "every module has a row");
}

#[test]
fn a_crate_is_named_only_where_it_belongs() {
    let mut found = Vec::new();
    for source in modules() {
        for (owned, places) in OWNED.iter().filter(|(_, places)| !source.is_in(places)) {
            let path = format!("{owned}::");
            for (number, line) in source.code() {
                if names_after(line, &path).next().is_some() {
                    found.push(source.at(number, format!("{owned} belongs to {places:?}")));
                }
            }
        }
    }
    none(&found, "a library is known to one module");
}

#[test]
fn room_and_oauth_are_pure() {
    let mut found = Vec::new();
    for source in modules().iter().filter(|source| source.is_in(&["src/room", "src/oauth"])) {
        for (number, line) in source.code() {
            found.extend(IMPURE.iter().filter(|word| line.contains(**word)).map(|word| source.at(number, word)));
        }
    }
    none(&found, "rules do no I/O and wait for nothing");
}

#[test]
fn only_served_and_the_store_construct_a_session() {
    let mut found = Vec::new();
    // `oauth` has a login type of its own.
    for source in modules().iter().filter(|source| !source.is_in(&["src/room/", "src/store/", "src/oauth/"])) {
        for (number, line) in source.code() {
            let made = line.match_indices("Session {").map(|(at, _)| &line[..at]);
            let a_new_one = |before: &str| !ends_in_a_word(before) && !before.ends_with("-> ");
            if made.into_iter().any(a_new_one) || line.contains("room::Session {") {
                found.push(source.at(number, line.trim()));
            }
        }
    }
    none(&found, "only Served::session makes a session");
}

#[test]
fn every_file_is_short_or_states_a_reason() {
    let mut found = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        let lines = source.text.lines().count();
        let reasoned = source.text.lines().any(|line| {
            let comment = line.trim_start().trim_start_matches(['/', '!']).trim_start();
            line.trim_start().starts_with("//") && comment.starts_with("Long because")
        });
        if lines > 400 && !reasoned {
            found.push(source.at(lines, "more than 400 lines, and no comment \"Long because …\""));
        }
    }
    none(&found, "a file has at most 400 lines");
}

#[test]
fn a_lint_is_expected_with_a_reason_never_allowed() {
    let attribute = concat!("allow", "(");
    let mut found = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        for (number, line) in source.code() {
            if line.contains(&format!("[{attribute}")) {
                found.push(source.at(number, line.trim()));
            }
        }
    }
    none(&found, "#[expect(…, reason = \"…\")]");
}

#[test]
fn these_tests_can_fail() {
    let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let arrows = |source: Source| source.arrows().into_iter().map(|(_, to)| to).collect::<Vec<_>>();
    assert_eq!(arrows(source("src/room/a.rs", "use crate::web::App;\nfn f(x: crate::keys::Key) {}")), ["web", "keys"]);
    assert_eq!(arrows(source("src/room/a.rs", "use crate::{web::App, keys};")), ["web", "keys"]);
    assert!(arrows(source("src/room/a.rs", "// crate::web\nuse pub_crate::web;")).is_empty());
    assert_eq!(arrows(source("src/cli/a.rs", "use anteroom::server;")), ["server"]);
    for (from, to) in [("room", "oauth"), ("room", "store"), ("lobby", "web"), ("demo", "web"), ("demo", "config")] {
        assert!(!may_use(from, to), "{from} → {to}");
    }
    for (from, to) in
        [("room", "ambient"), ("lobby", "store"), ("web", "lobby"), ("demo", "ambient"), ("cli", "server")]
    {
        assert!(may_use(from, to), "{from} → {to}");
    }
}
