//! `keys list` and `keys rotate`, with a stopped service and with a running one.

use std::process::Output;

use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;

use crate::process::{ATTEMPTS, Launch, PAUSE, Program};
use crate::support::{ADMIN_KEY, Api, Deployment, Tokens, object, part, text};

/// The output of `keys`, line by line: algorithm, key ID, state. The channels that follow are those of the algorithm.
fn lines(output: &Output) -> Vec<[String; 3]> {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let words = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let key = [(); 3].map(|()| words.next().unwrap());
        let channels = match (key[0].as_str(), key[2].as_str()) {
            (_, "retired") => None,
            ("RS256", _) => Some("login,rest"),
            _ => Some("login"),
        };
        assert_eq!(words.next().as_deref(), channels, "{line}");
        assert_eq!(words.next(), None, "{line}");
        key
    };
    text.lines().map(words).collect()
}

fn ids(keys: &[[String; 3]], wanted: &str) -> Vec<String> {
    keys.iter().filter(|[_, _, state]| state == wanted).map(|[_, kid, _]| kid.clone()).collect()
}

fn complaint(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.lines().count(), 1, "one sentence: {said}");
    said
}

/// A `keys` command of `deployment`, which calls `program` if that runs.
fn keys(deployment: &Deployment, program: Option<&Program>, arguments: &[&str]) -> Output {
    let command = deployment.command(&[&["keys"], arguments].concat());
    match program {
        None => command.run(),
        Some(program) => command.with("ANTEROOM_LISTEN", &program.address.to_string()).run(),
    }
}

/// A running program with published next keys, which it generates right after its first start.
async fn settled(deployment: &Deployment) -> (Program, Api) {
    let program = deployment.serve().start();
    let api = Api::of(&program);
    for _ in 0..ATTEMPTS {
        if api.key_ids().await.len() >= 4 {
            return (program, api);
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("the next keys are never published");
}

/// The key IDs that signed these tokens.
fn signed_by(tokens: &Tokens) -> [String; 2] {
    [&tokens.id, &tokens.access].map(|token| text(&part(token, 0), "kid"))
}

#[tokio::test]
async fn keys_of_a_running_service_are_rotated_and_its_old_tokens_stay_valid() {
    let deployment = Deployment::new();
    let (program, api) = settled(&deployment).await;
    let (_, old) = api.log_in().await;
    let before = lines(&keys(&deployment, Some(&program), &["list"]));
    let algorithms: Vec<&str> = before.iter().map(|[alg, _, _]| alg.as_str()).collect();
    assert_eq!(algorithms, ["RS256", "RS256", "ES256", "ES256"], "no client uses EdDSA");
    assert!(signed_by(&old).iter().all(|kid| ids(&before, "signing").contains(kid)));

    let after = lines(&keys(&deployment, Some(&program), &["rotate", "--at-once"]));
    assert_eq!(ids(&after, "signing"), ids(&before, "next"), "what was announced signs now");
    assert_eq!(ids(&after, "retired"), ids(&before, "signing"));
    assert_eq!(ids(&after, "next").len(), 2);
    assert_eq!(lines(&keys(&deployment, Some(&program), &["list"])), after);
    let published = api.key_ids().await;
    assert_eq!(published, after.iter().map(|[_, kid, _]| kid.clone()).collect::<Vec<_>>(), "the JWK Set has them all");

    assert_eq!(api.user_info(&old.access).await, StatusCode::OK);
    let (_, new) = api.log_in().await;
    assert!(signed_by(&new).iter().all(|kid| ids(&after, "signing").contains(kid)), "{new:?}");
    assert_eq!(api.user_info(&new.access).await, StatusCode::OK);
    program.kill();

    let (program, api) = settled(&deployment).await;
    assert_eq!(api.key_ids().await, published, "a rotation outlives a crash");
    assert_eq!(api.user_info(&old.access).await, StatusCode::OK);
    program.stop();
}

#[tokio::test]
async fn keys_of_a_stopped_service_are_rotated_in_its_data() {
    let deployment = Deployment::new();
    let (program, api) = settled(&deployment).await;
    let (_, old) = api.log_in().await;
    program.stop();

    let before = lines(&keys(&deployment, None, &["list"]));
    let after = lines(&keys(&deployment, None, &["rotate", "--at-once"]));
    assert_eq!(ids(&after, "signing"), ids(&before, "next"));
    assert_eq!(ids(&after, "retired"), ids(&before, "signing"));

    let (program, api) = settled(&deployment).await;
    assert_eq!(api.user_info(&old.access).await, StatusCode::OK);
    let (_, new) = api.log_in().await;
    assert!(signed_by(&new).iter().all(|kid| ids(&after, "signing").contains(kid)), "{new:?}");
    program.stop();
}

#[tokio::test]
async fn compromised_keys_and_their_tokens_are_invalid_at_once() {
    for running in [true, false] {
        let deployment = Deployment::new();
        let (program, api) = settled(&deployment).await;
        let (mut browser, old) = api.log_in().await;
        let before = api.key_ids().await;
        let (program, api, after) = if running {
            let after = lines(&keys(&deployment, Some(&program), &["rotate", "--compromised"]));
            (program, api, after)
        } else {
            program.stop();
            let after = lines(&keys(&deployment, None, &["rotate", "--compromised"]));
            let (program, api) = settled(&deployment).await;
            (program, api, after)
        };
        assert_eq!(after.len(), 4);
        assert!(after.iter().all(|[_, kid, _]| !before.contains(kid)), "{before:?} {after:?}");
        assert_eq!(api.user_info(&old.access).await, StatusCode::UNAUTHORIZED);
        // The place depends on other keys: an admitted visitor stays admitted.
        let new = browser.log_in(&api).await.unwrap();
        assert_eq!(new.who(), old.who());
        assert_eq!(api.user_info(&new.access).await, StatusCode::OK);
        program.stop();
    }
}

#[tokio::test]
async fn a_premature_rotation_is_refused_with_the_earliest_time() {
    let deployment = Deployment::new();
    let (program, api) = settled(&deployment).await;
    let before = api.key_ids().await;
    let said = complaint(&keys(&deployment, Some(&program), &["rotate"]), 1);
    assert!(said.starts_with("the next RS256 key may sign from 2") && said.contains(" UTC on"), "{said}");

    let rotate = |body| api.post("/private/rotate_keys", &body).bearer_auth(ADMIN_KEY).send();
    let refused = rotate(json!({ "how": "patient" })).await.unwrap();
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    assert_eq!(text(&object(refused).await, "error"), said.trim_end());
    for nonsense in [json!({ "how": "somehow" }), json!({}), json!([])] {
        assert_eq!(rotate(nonsense).await.unwrap().status(), StatusCode::BAD_REQUEST);
    }
    for path in ["/private/rotate_keys", "/private/keys"] {
        let stranger = api.post(path, &json!({ "how": "compromised" })).bearer_auth("somebody else").send().await;
        let stranger = stranger.unwrap().status();
        assert!(stranger == StatusCode::FORBIDDEN || stranger == StatusCode::METHOD_NOT_ALLOWED, "{path}: {stranger}");
    }
    assert_eq!(api.key_ids().await, before, "nothing changed");
    program.stop();
    assert_eq!(complaint(&keys(&deployment, None, &["rotate"]), 1), said);
}

#[tokio::test]
async fn a_command_that_cannot_reach_the_keys_reports_the_reason() {
    let deployment = Deployment::new();
    let said = complaint(&keys(&deployment, None, &["list"]), 1);
    assert!(said.contains("there is nothing in the data directory"), "{said}");
    assert!(!deployment.path("data").exists(), "a look leaves no trace");

    let program = deployment.serve().start();
    let held = format!("in use by process {}, and ", program.id());
    let nobody = deployment.command(&["keys", "list"]).with("ANTEROOM_LISTEN", "127.0.0.1:1").run();
    let said = complaint(&nobody, 1);
    assert!(said.contains(&held) && said.contains("http://127.0.0.1:1/private/keys does not answer"), "{said}");

    let address = program.address.to_string();
    let here = || deployment.command(&["keys", "list"]).with("ANTEROOM_LISTEN", &address);
    let said = complaint(&here().with("ANTEROOM_ADMIN__KEYS", "[]").run(), 1);
    assert!(said.contains(&held) && said.contains("[admin] has no key"), "{said}");
    let said = complaint(&here().with("ADMIN", "another-key-0123456789-0123456789-012345").run(), 1);
    assert!(said.contains("/private/keys answers 403 Forbidden"), "{said}");
    let both = deployment.command(&["keys", "rotate", "--at-once", "--compromised"]).run();
    assert_eq!(both.status.code(), Some(2));
    program.stop();
}

#[tokio::test]
async fn a_demonstrations_keys_are_found_without_naming_its_configuration() {
    let directory = TempDir::new().unwrap();
    let shop = |launch: Launch| {
        launch
            .with("ANTEROOM_DEMO__SHOP_LISTEN", "127.0.0.1:0")
            .with("ANTEROOM_CLIENT__0__REDIRECT_URIS", r#"["http://127.0.0.1:0/callback"]"#)
    };
    let program = shop(Launch::serve(directory.path())).start();
    let address = program.address.to_string();
    let command = shop(Launch::command(directory.path(), &["keys", "rotate", "--compromised"]));
    let rotated = lines(&command.with("ANTEROOM_LISTEN", &address).run());
    assert_eq!(ids(&rotated, "signing").len(), 2);
    let published = Api::of(&program).key_ids().await;
    assert_eq!(published, rotated.into_iter().map(|[_, kid, _]| kid).collect::<Vec<_>>());
    program.stop();
}
