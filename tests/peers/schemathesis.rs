//! Schemathesis, which generates valid and invalid requests from the OpenAPI document. Its hooks insert real tickets,
//! and record the answers.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::file;
use crate::support::program::{ADMIN_KEY, Anteroom};

/// The stream does not end; each rotation generates keys, which is slow.
const NOT_CALLED: [&str; 2] = ["/private/events", "/private/rotate_keys"];

/// Its valid requests need the keys of Amazon.
const NEVER_GOOD: &str = "/inlet/sns";

#[tokio::test]
async fn every_answer_is_described_by_the_openapi_document() {
    let peer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/schemathesis");
    let Some(program) = file(peer.join("venv/bin/schemathesis")) else { return };
    // A max_size inlet, because only that one accepts messages.
    let inlet = ("ANTEROOM_EVENT__0__INLET", "{ strategy = \"max_size\", max_size = 1000000 }");
    let variables = [("ANTEROOM_NOTICES__STREAM", "true"), inlet];
    let anteroom = Anteroom::for_client_with("https://shop.example/", &variables).await;
    let directory = tempfile::tempdir().unwrap();
    let answered = directory.path().join("answered");
    let mut command = Command::new(program);
    command.current_dir(directory.path()).arg("run").arg(format!("{}/openapi.json", anteroom.issuer));
    command.env("SCHEMATHESIS_HOOKS", "hooks").env("PYTHONPATH", &peer).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("ANTEROOM_ISSUER", &anteroom.issuer).env("ANTEROOM_KEY", ADMIN_KEY).env("ANTEROOM_ANSWERED", &answered);
    command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--continue-on-failure"]);
    command.args(["--generation-deterministic", "--no-color"]);
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    command.args(["--checks", checks]);
    for path in NOT_CALLED {
        command.args(["--exclude-path", path]);
    }
    let run = command.output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    let answered = fs::read_to_string(answered).unwrap();
    let answered: BTreeSet<&str> = answered.lines().collect();
    let missing: Vec<String> = good_answers().into_iter().filter(|good| !answered.contains(good.as_str())).collect();
    assert!(missing.is_empty(), "never reached: {missing:?}; reached: {answered:?}");
}

/// The successful answer of each call, as recorded by the hooks: at least those of the examples.
fn good_answers() -> BTreeSet<String> {
    let document: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let called = paths.iter().filter(|(path, _)| *path != NEVER_GOOD && !NOT_CALLED.contains(&path.as_str()));
    let operations = called.flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |entry| (path, entry)));
    let answers = operations.flat_map(|(path, (method, operation))| {
        let statuses = operation["responses"].as_object().unwrap().keys();
        let good = statuses.filter(|status| ["200", "204"].contains(&status.as_str()));
        good.map(move |status| format!("{} {path} {status}", method.to_uppercase()))
    });
    answers.collect()
}
