//! `channels`: an event with the login channel alone, or with the REST channel alone.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, Browser, TestApp, json as body};

/// The calls of a visitor of the REST channel, with a well-formed ticket.
async fn calls(app: &TestApp, request_id: &str) -> Vec<(String, StatusCode, Value)> {
    let query = format!("event_id=Sample&request_id={request_id}");
    let ticket = json!({ "event_id": "Sample", "request_id": request_id });
    let mut answers = Vec::new();
    for (method, path) in [
        (Method::POST, "/api/assign_queue_num".to_owned()),
        (Method::POST, "/api/generate_token".to_owned()),
        (Method::GET, format!("/api/queue_num?{query}")),
        (Method::HEAD, format!("/api/queue_num?{query}")),
        (Method::GET, format!("/api/queue_pos_expiry?{query}")),
    ] {
        let request = app.request(method.clone(), &path);
        let request = if method == Method::POST { request.body(ticket.to_string()) } else { request };
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        answers.push((format!("{method} {path}"), status, serde_json::from_str(&text).unwrap_or_default()));
    }
    answers
}

async fn without_rest() -> TestApp {
    TestApp::replacing("id = \"Sample\"\ninlet", "id = \"Sample\"\nchannels = [\"login\"]\ninlet").await
}

#[actix_web::test]
async fn without_the_rest_channel_its_calls_answer_403_and_give_no_place() {
    let app = without_rest().await;
    let before = app.all_counters();
    let refusal = json!({ "error": "This event has no REST channel" });
    for request_id in ["8f14e45f-ceea-467f-a8c6-1d2e3f405162", "nonsense", ""] {
        for (call, status, actual) in calls(&app, request_id).await {
            assert_eq!(status, StatusCode::FORBIDDEN, "{call}");
            assert!(actual == refusal || call.starts_with("HEAD"), "{call}: {actual}");
        }
    }
    assert_eq!(app.all_counters(), before);
    app.stop().await;
}

#[actix_web::test]
async fn without_the_rest_channel_counters_key_and_logins_work() {
    let app = without_rest().await;
    let mut browser = Browser::default();
    assert!(browser.authorize(&app, &[]).await.waits());
    for path in ["serving_num", "waiting_num", "public_key"] {
        let answer = app.get(&format!("/api/{path}?event_id=Sample")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
    let state = app.get("/line/Sample").send().await.unwrap();
    assert_eq!(state.status(), StatusCode::OK);
    app.serve("Sample", 1).await;
    browser.authorize(&app, &[]).await.code();
    app.stop().await;
}

#[actix_web::test]
async fn operators_still_make_tokens_for_a_login_where_there_is_no_rest_channel() {
    let app = without_rest().await;
    let (_, tokens) = app.tokens(&[]).await;
    let sub = crate::support::claims(tokens["id_token"].as_str().unwrap())["sub"].clone();
    let call = app.post_json("/private/generate_token", &json!({ "event_id": "Sample", "request_id": sub }));
    assert_eq!(call.bearer_auth(ADMIN_KEY).send().await.unwrap().status(), StatusCode::OK);
    app.stop().await;
}

#[actix_web::test]
async fn the_rest_channel_of_another_event_is_its_own() {
    let app = without_rest().await;
    let joined = app.post_json("/api/assign_queue_num", &json!({ "event_id": "Door" })).send().await.unwrap();
    assert_eq!(joined.status(), StatusCode::OK);
    assert!(body(joined).await["api_request_id"].is_string());
    app.stop().await;
}

#[actix_web::test]
async fn an_event_of_the_rest_channel_alone_gives_places_and_tokens() {
    let more = "[[event]]\nid = \"Programs\"\nchannels = [\"rest\"]\n";
    let app = TestApp::with(more).await;
    let id = app.join("Programs").await;
    app.serve("Programs", 1).await;
    let redeem = json!({ "event_id": "Programs", "request_id": id });
    assert_eq!(app.post_json("/api/generate_token", &redeem).send().await.unwrap().status(), StatusCode::OK);
    app.stop().await;
}
