//! The limits per address in the running program, and the warning where addresses are unknown.

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{ADMIN_KEY, Api, Browser, Deployment};

const VISITOR: &str = "203.0.113.7";

#[tokio::test]
async fn a_flood_of_joins_from_one_address_does_not_block_others() {
    let deployment = Deployment::new();
    let launch = deployment.serve().with("ANTEROOM_TRUSTED_PROXIES", "[\"127.0.0.1\"]");
    // The refill is so slow that the duration of the test does not matter.
    let launch = launch.with("ANTEROOM_LIMITS__JOINS_PER_SECOND", "1").with("ANTEROOM_LIMITS__JOINS_BURST", "500");
    let program = launch.start();
    let api = Api::of(&program);
    let mut given = 0;
    let mut refused = None;
    while refused.is_none() && given < 5_000 {
        let answer = api.join().header("x-forwarded-for", VISITOR).send().await.unwrap();
        match answer.status() {
            StatusCode::OK => given += 1,
            _ => refused = Some(answer),
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    assert!(given >= 500, "{given}");
    // Others join, log in and operate; this machine's own addresses are not limited.
    let other = api.join().header("x-forwarded-for", "198.51.100.1").send().await.unwrap();
    assert_eq!(other.status(), StatusCode::OK);
    api.let_in(ADMIN_KEY, given + 10).await;
    Browser::default().log_in(&api).await.unwrap();
    for _ in 0..20 {
        api.ticket().await;
    }
    let log = program.stop();
    assert!(!log.contains("trusted_proxies"), "{log}");
}

#[tokio::test]
async fn unknown_addresses_are_not_limited_and_logged_as_a_warning() {
    let deployment = Deployment::new();
    let launch = deployment.serve().with("ANTEROOM_LIMITS__JOINS_BURST", "1");
    let launch = launch.with("ANTEROOM_LIMITS__JOINS_PER_SECOND", "1").with("ANTEROOM_LIMITS__EXEMPT", "[]");
    let program = launch.start();
    let api = Api::of(&program);
    for _ in 0..20 {
        let body = json!({ "event_id": "Sample" });
        let joined = api.post("/api/assign_queue_num", &body).header("x-forwarded-for", VISITOR).send().await.unwrap();
        assert_eq!(joined.status(), StatusCode::OK, "any client can write that header");
    }
    let log = program.stop();
    let warned = |text: &str| text.lines().filter(|line| line.contains("trusted_proxies names no proxy")).count();
    assert_eq!(warned(&log), 1, "{log}");
    assert!(log.contains("WARN"), "{log}");
    let checked = deployment.command(&["check-config"]).run();
    assert_eq!(checked.status.code(), Some(0));
    assert_eq!(warned(&String::from_utf8_lossy(&checked.stdout)), 1);
    let named = deployment.command(&["check-config"]).with("ANTEROOM_TRUSTED_PROXIES", "[\"127.0.0.1\"]").run();
    assert_eq!(warned(&String::from_utf8_lossy(&named.stdout)), 0);
}
