//! Operators' scripts with AWS signatures, by botocore, aws-requests-auth and aws4fetch.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::program::{Anteroom, PAIR_ID, SECRET};
use crate::support::{file, program};

fn sources(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

/// The output of the script's two calls.
async fn calls(command: &mut Command) -> String {
    let anteroom = Anteroom::for_client("https://shop.example/callback").await;
    let run = command.args([&anteroom.issuer, PAIR_ID, SECRET]).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

const ANSWERED: &str = "200 {\"serving_num\":1}\n200 {\"active_tokens\":0}\n";

async fn python(library: &str) {
    let Some(python) = file(sources("signers/venv/bin/python")) else { return };
    let script = sources("signers/call.py");
    assert_eq!(calls(Command::new(python).arg(script).arg(library)).await, ANSWERED);
}

#[tokio::test]
async fn botocore_signs_for_the_private_api() {
    python("botocore").await;
}

#[tokio::test]
async fn aws_requests_auth_signs_for_the_private_api() {
    python("aws-requests-auth").await;
}

#[tokio::test]
async fn aws4fetch_signs_for_the_private_api() {
    let (Some(node), Some(_)) = (program("node"), file(sources("aws4fetch/node_modules/aws4fetch"))) else { return };
    assert_eq!(calls(Command::new(node).arg(sources("aws4fetch/call.mjs"))).await, ANSWERED);
}
