//! deploy/edge/verify.js, the check at the edge of a CDN, under Node.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::program::Anteroom;
use crate::support::visitor::Visitor;
use crate::support::{free_port, program};

fn node(script: &str, variables: &[(&str, &str)]) -> Option<Output> {
    let mut command = Command::new(program("node")?);
    command.arg(script).current_dir(env!("CARGO_MANIFEST_DIR")).envs(variables.iter().copied());
    Some(command.output().unwrap())
}

#[test]
fn the_check_at_the_edge_follows_its_rules() {
    let Some(output) = node("tests/edge/verify.test.mjs", &[]) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn the_check_at_the_edge_accepts_tokens_of_the_running_program_in_both_algorithms() {
    if program("node").is_none() {
        return;
    }
    let callback = format!("http://127.0.0.1:{}/callback", free_port());
    for alg in ["ES256", "RS256"] {
        let variables = [("ANTEROOM_CLIENT__0__ACCESS_TOKEN_SIGNING_ALG", alg)];
        let anteroom = Anteroom::for_client_with(&callback, &variables).await;
        anteroom.serve(1).await;
        let query =
            [("client_id", "Sample"), ("response_type", "code"), ("scope", "openid"), ("redirect_uri", &callback)];
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let back = Visitor::stopping_before(&callback).open(&format!("{}/authorize?{query}", anteroom.issuer)).await;
        let token = anteroom.redeem(&back.query()["code"], &callback).await;
        let variables = [("ISSUER", anteroom.issuer.as_str()), ("TOKEN", &token)];
        let output = node("tests/edge/running.mjs", &variables).unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let said: Value = serde_json::from_str(&said)
            .unwrap_or_else(|_| panic!("{said} {}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(said["good"]["queue_position"], 1, "{alg}: {said}");
        assert_eq!((&said["of another event"], &said["changed"]), (&Value::Null, &Value::Null), "{alg}");
    }
}
