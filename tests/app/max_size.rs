//! The max_size inlet: capacity, departures and expiry.

use std::collections::HashMap;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sessions::{NOBODY, SAMPLE, post, said, ticket, tokens};
use crate::support::{ADMIN_KEY, Browser, TestApp, json as body};

/// An application whose event `Sample` has a capacity of ten.
async fn room_for_ten() -> TestApp {
    let small = "id = \"Sample\"\ninlet = { strategy = \"max_size\", max_size = 10 }\n#";
    let app = TestApp::replacing(SAMPLE, small).await;
    app.lobby().step_inlets(&mut HashMap::new()).await;
    app
}

/// The background work of one second.
async fn a_second_passes(app: &TestApp) {
    app.pass(1);
    app.lobby().expire_positions().await;
    app.lobby().step_inlets(&mut HashMap::new()).await;
}

/// The visitors among `ids` who get tokens.
async fn come_in(app: &TestApp, ids: &[String]) -> Vec<String> {
    let mut inside = Vec::new();
    for id in ids {
        if post(app, "/api/generate_token", &ticket(id)).await.status() == StatusCode::OK {
            inside.push(id.clone());
        }
    }
    inside
}

async fn exits(app: &TestApp, message: Value) -> Value {
    let answer = post(app, "/private/inlet", &message).await;
    assert_eq!(answer.status(), StatusCode::OK, "{message}");
    body(answer).await
}

fn inside(app: &TestApp) -> u64 {
    let counters = app.all_counters()["Sample"];
    counters.sessions_opened - counters.completed - counters.abandoned
}

#[actix_web::test]
async fn of_concurrent_logins_as_many_are_admitted_as_there_is_capacity() {
    let app = room_for_ten().await;
    let pages = join_all((0..50).map(async |_| {
        let mut browser = Browser::default();
        browser.authorize(&app, &[]).await
    }))
    .await;
    assert_eq!(pages.iter().filter(|page| page.waits()).count(), 40);
    assert_eq!((inside(&app), app.all_counters()["Sample"].serving), (10, 10));
    a_second_passes(&app).await;
    assert_eq!(app.all_counters()["Sample"].serving, 10);
    app.stop().await;
}

#[actix_web::test]
async fn a_session_that_ends_frees_its_capacity_at_once() {
    let app = room_for_ten().await;
    let ids = join_all((0..30).map(|_| app.join("Sample"))).await;
    let served = come_in(&app, &ids).await;
    assert_eq!(served.len(), 10);
    let closings = served.iter().take(4).map(async |id| {
        let sent = json!({ "event_id": "Sample", "request_id": id, "status": 1 });
        assert_eq!(post(&app, "/private/update_session", &sent).await.status(), StatusCode::OK);
    });
    join_all(closings).await;
    assert_eq!(app.all_counters()["Sample"].serving, 14);
    // The other sessions last for their validity period.
    app.pass(3601);
    a_second_passes(&app).await;
    let counters = app.all_counters()["Sample"];
    assert_eq!(counters.serving - counters.max_expired, 10, "{counters:?}");
    app.stop().await;
}

#[actix_web::test]
async fn a_visitor_who_never_enters_is_passed_over() {
    let app = room_for_ten().await;
    // Four of five visitors leave after they joined.
    let ids = join_all((0..60).map(|_| app.join("Sample"))).await;
    let (mut came, mut rounds) = (0, 0);
    while came < 12 {
        for id in ids.iter().skip(4).step_by(5) {
            let answer = post(&app, "/api/generate_token", &ticket(id)).await;
            if answer.status() == StatusCode::OK {
                came += 1;
                let done = json!({ "event_id": "Sample", "request_id": id, "status": -1 });
                assert_eq!(post(&app, "/private/update_session", &done).await.status(), StatusCode::OK);
            }
        }
        assert!(inside(&app) <= 10);
        // A visitor who stays polls often enough.
        app.pass(400);
        a_second_passes(&app).await;
        rounds += 1;
        assert!(rounds < 50, "the room is stuck: {:?}", app.all_counters());
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_departures_message_closes_sessions_and_serves_the_next() {
    let app = room_for_ten().await;
    let ids = join_all((0..30).map(|_| app.join("Sample"))).await;
    let served = come_in(&app, &ids).await;
    let message = json!({
        "event_id": "Sample", "completed": [served[0], served[1]], "abandoned": [served[2], NOBODY, served[0]],
    });
    let actual = exits(&app, message.clone()).await;
    assert_eq!(actual, json!({ "serving_num": 13, "updated": 3, "skipped": [NOBODY, served[0]], "admitted": 3 }));
    let again = exits(&app, message).await;
    assert_eq!((&again["updated"], &again["admitted"]), (&json!(0), &json!(0)));
    let few = json!({ "event_id": "Sample", "exited": "1", "completed": [served[3], served[4]] });
    assert_eq!(exits(&app, few).await["admitted"], json!(1));
    let nobody = json!({ "event_id": "Sample", "exited": 5.0 });
    assert!(exits(&app, nobody).await["serving_num"].as_u64().unwrap() <= 15);
    a_second_passes(&app).await;
    assert_eq!(app.all_counters()["Sample"].serving, 15);
    let late: Vec<_> = app.all_counters().into_values().collect();
    for bad in [
        json!({ "event_id": "Sample", "exited": -1 }),
        json!({ "event_id": "Sample", "completed": served[5] }),
        json!({ "event_id": "Nowhere" }),
    ] {
        assert_eq!(said(post(&app, "/private/inlet", &bad).await).await.0, 400, "{bad}");
    }
    let refused = said(post(&app, "/private/inlet", &json!({ "event_id": "Door" })).await).await;
    assert_eq!(refused, (400, "The inlet of this event takes no messages".to_owned()));
    assert_eq!(app.all_counters().into_values().collect::<Vec<_>>(), late);
    tokens(&app, &served[5]).await;
    app.stop().await;
}

#[actix_web::test]
async fn malformed_ids_of_a_message_are_skipped_and_reported() {
    let app = room_for_ten().await;
    let ids = join_all((0..30).map(|_| app.join("Sample"))).await;
    let served = come_in(&app, &ids).await;
    let long = "x".repeat(1000);
    let message = json!({
        "event_id": "Sample", "exited": 3,
        "completed": [served[0], "nonsense", served[1].to_uppercase(), null, served[2]],
        "abandoned": [7, "", served[3], NOBODY, { "id": served[4] }, long],
    });
    let actual = exits(&app, message).await;
    let named = json!([
        "nonsense",
        served[1].to_uppercase(),
        "null",
        "7",
        "",
        format!("{{\"id\":\"{}\"}}", served[4]),
        &long[..64]
    ]);
    let expected = json!({
        "serving_num": 13, "updated": 3, "skipped": [NOBODY], "invalid_count": 7, "invalid": named, "admitted": 3,
    });
    assert_eq!(actual, expected);
    let many: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    let actual = exits(&app, json!({ "event_id": "Sample", "completed": many, "abandoned": [served[5]] })).await;
    assert_eq!(
        (&actual["updated"], &actual["admitted"], &actual["invalid_count"]),
        (&json!(1), &json!(1), &json!(500))
    );
    assert_eq!(actual["invalid"].as_array().unwrap().len(), 100);
    let alone = exits(&app, json!({ "event_id": "Sample", "exited": 0, "completed": ["nonsense"] })).await;
    assert_eq!((&alone["updated"], &alone["admitted"]), (&json!(0), &json!(0)));
    app.stop().await;
}

#[actix_web::test]
async fn json_that_no_text_or_number_can_hold_is_a_malformed_id() {
    let app = room_for_ten().await;
    let ids = join_all((0..3).map(|_| app.join("Sample"))).await;
    let served = come_in(&app, &ids).await;
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let strange = [r#""\ud800""#, "1e400", "-0", "{ \"a\": \"\\udfff\" }", &deep];
    let list = format!("{}, \"{}\"", strange.join(", "), served[0]);
    let message = format!(r#"{{ "event_id": "Sample", "completed": [{list}], "unknown": [{list}] }}"#);
    let request = app.request(Method::POST, "/private/inlet").bearer_auth(ADMIN_KEY).body(message);
    let actual = body(request.send().await.unwrap()).await;
    let mut named = strange;
    named[4] = &deep[..64];
    assert_eq!(
        (&actual["updated"], &actual["invalid_count"], &actual["invalid"]),
        (&json!(1), &json!(5), &json!(named))
    );
    app.stop().await;
}

#[actix_web::test]
async fn no_visitor_is_admitted_above_capacity() {
    // Not even to replace an expired position.
    let small =
        "id = \"Sample\"\nincrement_serving_on_expiry = true\ninlet = { strategy = \"max_size\", max_size = 10 }\n#";
    let app = TestApp::replacing(SAMPLE, small).await;
    a_second_passes(&app).await;
    let ids = join_all((0..30).map(|_| app.join("Sample"))).await;
    assert_eq!(app.serve("Sample", 20).await, 30);
    let served = come_in(&app, &ids[..15]).await;
    assert_eq!(served.len(), 15, "what an operator lets in comes in");
    join_all((0..30).map(|_| app.join("Sample"))).await;
    app.pass(1000);
    a_second_passes(&app).await;
    let counters = app.all_counters()["Sample"];
    assert_eq!((counters.serving, counters.expired_positions), (30, 15), "15 are inside, and no other may enter");
    let leave = json!({ "event_id": "Sample", "completed": served[..6] });
    assert_eq!(exits(&app, leave).await, json!({ "serving_num": 31, "updated": 6, "skipped": [], "admitted": 1 }));
    app.stop().await;
}
