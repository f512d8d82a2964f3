//! A full disk: no wrong answer is given, every caller that needs no space is served, and a restart recovers.
//!
//! A limit on the size of files simulates the disk, with its signal ignored: writes fail then, for every user.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};

use crate::process::Launch;
use crate::support::{ADMIN_KEY, Api, Browser, Deployment, object, text};

/// Blocks of 512 bytes: enough to start with, too few for a crowd.
const LIMIT: u32 = 700;

/// More joins than the disk has room for, however they share commits.
const CROWD: usize = 20_000;

fn limited(launch: &Launch) -> Launch {
    launch.clone().after(&format!("trap '' XFSZ; ulimit -f {LIMIT}"))
}

/// This many consecutive refusals mean that there is no room for a single join. One alone may come from larger work in
/// the same commit (new signing keys), and leave room for joins.
const REFUSALS: usize = 10;

/// Joins until there is no room left. The given tickets, and the last refusal.
async fn join_until_full(api: &Api) -> (Vec<String>, reqwest::Response) {
    let mut tickets = Vec::new();
    let mut refusals = 0;
    for _ in 0..CROWD {
        let answer = api.join().send().await.unwrap();
        if answer.status() == StatusCode::OK {
            tickets.push(text(&object(answer).await, "api_request_id"));
            refusals = 0;
            continue;
        }
        refusals += 1;
        if refusals == REFUSALS {
            return (tickets, answer);
        }
    }
    panic!("the disk is never full");
}

#[tokio::test]
async fn a_full_disk_refuses_joins_and_keeps_existing_visitors() {
    let deployment = Deployment::new();
    let program = limited(&deployment.serve()).start();
    let api = Api::of(&program);
    let (_, tokens) = api.log_in().await;
    let mut waiting = Browser::default();
    let page = waiting.authorize(&api).await.unwrap();
    assert!(page.waits());
    assert_eq!(api.health().await.0, StatusCode::OK);

    let (tickets, refusal) = join_until_full(&api).await;
    assert_eq!(refusal.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refusal.headers().contains_key(RETRY_AFTER));
    assert_eq!(text(&object(refusal).await, "error"), "The service is temporarily unavailable");
    let (status, health) = api.health().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(health.contains("not ready") && health.contains("disk"), "it says what is wrong: {health}");

    let check = deployment.command(&["healthcheck"]).with("ANTEROOM_LISTEN", &program.address.to_string()).run();
    assert_eq!(check.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&check.stderr).contains("answers 503"), "{check:?}");

    // Reading needs no space.
    assert!(waiting.send(api.get(&page.refresh().unwrap())).await.unwrap().waits());
    assert_eq!(api.user_info(&tokens.access).await, StatusCode::OK);
    for ticket in tickets.iter().take(3).chain(tickets.last()) {
        api.position(ticket).await;
    }
    let turned_away = Browser::default().authorize(&api).await.unwrap();
    assert_eq!(turned_away.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(turned_away.headers.contains_key(RETRY_AFTER));
    assert!(turned_away.body.contains("right back"), "{}", turned_away.body);
    assert!(turned_away.refresh().unwrap().starts_with("/authorize?"), "the page tries again by itself");
    program.stop();

    let program = deployment.serve().start();
    let api = Api::of(&program);
    assert_eq!(api.health().await.0, StatusCode::OK);
    let mut positions = BTreeSet::new();
    for ticket in &tickets {
        assert!(positions.insert(api.position(ticket).await), "a position was given to two");
    }
    assert!(positions.insert(api.position(&api.ticket().await).await));
    assert_eq!(api.user_info(&tokens.access).await, StatusCode::OK);
    api.let_in(ADMIN_KEY, 1).await;
    let code = waiting.send(api.get(&page.refresh().unwrap())).await.unwrap().code();
    assert_eq!(api.redeem(&code).send().await.unwrap().status(), StatusCode::OK);
    program.stop();
}

/// An operator's call.
async fn operate(api: &Api, path: &str, body: &Value) -> StatusCode {
    api.post(&format!("/private/{path}"), body).bearer_auth(ADMIN_KEY).send().await.unwrap().status()
}

async fn moves_the_line(api: &Api, times: usize) {
    for _ in 0..times {
        api.let_in(ADMIN_KEY, 1).await;
    }
}

#[tokio::test]
async fn operators_calls_work_on_a_full_disk() {
    let deployment = Deployment::new();
    let program = limited(&deployment.serve()).start();
    let api = Api::of(&program);
    let (_, tokens) = api.log_in().await;
    let (sub, _) = tokens.who();
    let (tickets, _) = join_until_full(&api).await;
    moves_the_line(&api, 300).await;
    let entering = json!({ "event_id": "Sample", "request_id": tickets[0] });
    assert_eq!(operate(&api, "generate_token", &entering).await, StatusCode::OK);
    let visitor = api.post("/api/generate_token", &json!({ "event_id": "Sample", "request_id": tickets[1] }));
    assert_eq!(visitor.send().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    let done = json!({ "event_id": "Sample", "request_id": sub, "status": 1 });
    assert_eq!(operate(&api, "update_session", &done).await, StatusCode::OK);
    assert_eq!(api.user_info(&tokens.access).await, StatusCode::UNAUTHORIZED);
    let keys = api.key_ids().await;
    assert_eq!(operate(&api, "rotate_keys", &json!({ "how": "at_once" })).await, StatusCode::OK);
    assert_ne!(api.key_ids().await, keys);
    assert_eq!(api.join().send().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    let (status, health) = api.health().await;
    assert!(status == StatusCode::SERVICE_UNAVAILABLE && health.contains("the disk is full"), "{health}");
    let log = program.stop();
    assert_eq!(log.matches("the disk is full: joins and logins are refused").count(), 1, "{log}");

    // The disk is as full as before, after either kind of end.
    let program = limited(&deployment.serve()).start();
    let api = Api::of(&program);
    moves_the_line(&api, 100).await;
    join_until_full(&api).await;
    moves_the_line(&api, 100).await;
    program.kill();
    let program = limited(&deployment.serve()).start();
    let api = Api::of(&program);
    join_until_full(&api).await;
    moves_the_line(&api, 100).await;
    assert_eq!(operate(&api, "reset_initial_state", &json!({ "event_id": "Sample" })).await, StatusCode::OK);
    moves_the_line(&api, 1).await;
    program.stop();

    let program = deployment.serve().start();
    let api = Api::of(&program);
    assert_eq!(api.position(&api.ticket().await).await, 1);
    assert_eq!(api.health().await.0, StatusCode::OK);
    program.stop();
}

#[tokio::test]
async fn a_full_disk_under_data_and_log_does_not_end_the_program() {
    let deployment = Deployment::new();
    let launch = deployment.serve().after(&format!("trap '' XFSZ; ulimit -f {LIMIT}; exec 2>/dev/full"));
    let program = launch.start();
    let api = Api::of(&program);
    let (tickets, refusal) = join_until_full(&api).await;
    assert_eq!(refusal.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(api.join().send().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(api.position(&tickets[0]).await, 1);
    program.stop();
    let program = deployment.serve().start();
    assert_eq!(Api::of(&program).position(tickets.last().unwrap()).await, tickets.len() as u64);
    program.stop();
}

/// From nothing to more than a start needs: the disk fills up in every step of a first start.
#[test]
fn a_first_start_that_fails_on_a_full_disk_is_reported_and_completed_by_the_next() {
    for limit in [0, 1, 7, 8, 24, 40, 64, 96, 128, 144, 200] {
        let deployment = Deployment::new();
        let mut program = deployment.serve().after(&format!("trap '' XFSZ; ulimit -f {limit}")).begin();
        if program.serves() {
            program.stop();
        } else {
            assert_eq!(program.wait().code(), Some(1), "{limit}: {}", program.log());
            assert!(
                program.log().contains("data") && !program.log().contains("panicked"),
                "{limit}: {}",
                program.log()
            );
        }
        deployment.serve().start().stop();
    }
}

#[test]
fn the_exit_code_of_a_command_is_right_even_if_nothing_can_be_written() {
    let deployment = Deployment::new();
    let mute = |launch: Launch| launch.after("exec 1>/dev/full 2>/dev/full").run().status.code();
    assert_eq!(mute(deployment.command(&["check-config"])), Some(0));
    assert_eq!(mute(deployment.serve().with("ANTEROOM_LISTNE", "1")), Some(2));
    assert_eq!(mute(deployment.serve().with("ANTEROOM_DATA_DIR", "/proc/anteroom")), Some(1));
}
