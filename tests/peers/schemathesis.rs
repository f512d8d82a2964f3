//! Schemathesis, which makes up requests from the OpenAPI document, good ones and bad ones.

use std::path::Path;
use std::process::Command;

use crate::support::file;
use crate::support::program::{ADMIN_KEY, Anteroom};

#[tokio::test]
async fn nothing_is_answered_that_the_openapi_document_does_not_describe() {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/schemathesis/venv/bin/schemathesis");
    let Some(program) = file(venv) else { return };
    let anteroom = Anteroom::for_client_with("https://shop.example/", &[("ANTEROOM_NOTICES__STREAM", "true")]).await;
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.current_dir(directory.path()).arg("run").arg(format!("{}/openapi.json", anteroom.issuer));
    command.args(["--header", &format!("Authorization: Bearer {ADMIN_KEY}")]);
    command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--continue-on-failure"]);
    command.args(["--generation-deterministic", "--no-color"]);
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    command.args(["--checks", checks]);
    // The stream does not end; each rotation makes keys, which is slow.
    command.args(["--exclude-path", "/private/events", "--exclude-path", "/private/rotate_keys"]);
    let run = command.output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
}
