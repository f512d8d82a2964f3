//! Places that are not used in time: the answers, the counts, and the next visitors.

use std::collections::HashMap;

use serde_json::json;

use crate::sessions::{NOBODY, SAMPLE, get, post, said, served, ticket, tokens};
use crate::support::{TestApp, json as body};

async fn waiting(app: &TestApp) -> u64 {
    body(get(app, "/api/waiting_num?event_id=Sample").await).await["waiting_num"].as_u64().unwrap()
}

#[actix_web::test]
async fn the_remaining_time_is_returned() {
    let app = TestApp::start().await;
    let id = app.join("Sample").await;
    let path = |id: &str| format!("/api/queue_pos_expiry?event_id=Sample&request_id={id}");
    assert_eq!(said(get(&app, &path(&id)).await).await, (202, "Request ID not being served yet".to_owned()));
    app.serve("Sample", 2).await;
    app.pass(100);
    assert_eq!(body(get(&app, &path(&id)).await).await, json!({ "expires_in": 800 }));
    let other = app.join("Sample").await;
    assert_eq!(body(get(&app, &path(&other)).await).await, json!({ "expires_in": 900 }));
    tokens(&app, &other).await;
    assert_eq!(said(get(&app, &path(&other)).await).await.0, 202);
    app.pass(800);
    assert_eq!(said(get(&app, &path(&id)).await).await, (410, "Queue position has expired".to_owned()));
    assert_eq!(said(get(&app, &path(NOBODY)).await).await, (404, "Request ID not found".to_owned()));
    assert_eq!(said(get(&app, &path("nonsense")).await).await.0, 400);
    assert_eq!(said(get(&app, "/api/queue_pos_expiry?event_id=Sample").await).await.0, 400);
    app.stop().await;
    let app = TestApp::replacing(SAMPLE, "id = \"Sample\"\nqueue_position_expiry = false\ninlet").await;
    let id = served(&app).await;
    assert_eq!(said(get(&app, &path(&id)).await).await, (202, "Queue position expiry not enabled".to_owned()));
    app.stop().await;
}

#[actix_web::test]
async fn expired_visitors_are_not_counted_as_waiting() {
    let app = TestApp::start().await;
    let ids = [app.join("Sample").await, app.join("Sample").await, app.join("Sample").await];
    app.serve("Sample", 2).await;
    tokens(&app, &ids[0]).await;
    assert_eq!(waiting(&app).await, 2);
    app.pass(899);
    app.lobby().expire_positions().await;
    assert_eq!(waiting(&app).await, 2);
    app.pass(1);
    app.lobby().expire_positions().await;
    // The second was served and did not enter; the third still waits.
    assert_eq!(waiting(&app).await, 1);
    let counters = app.all_counters()["Sample"];
    assert_eq!((counters.expired_positions, counters.max_expired, counters.serving), (1, 2, 2));
    app.lobby().expire_positions().await;
    assert_eq!(app.all_counters()["Sample"], counters);
    app.stop().await;
}

#[actix_web::test]
async fn the_next_visitors_replace_expired_ones() {
    let more = "id = \"Sample\"\nincrement_serving_on_expiry = true\ninlet";
    let app = TestApp::replacing(SAMPLE, more).await;
    let mut ids = HashMap::new();
    for number in 1..=6 {
        ids.insert(number, app.join("Sample").await);
    }
    app.serve("Sample", 3).await;
    tokens(&app, &ids[&1]).await;
    app.pass(900);
    app.lobby().expire_positions().await;
    // Two of the three left: the next two are served, with the whole expiry period.
    assert_eq!(app.all_counters()["Sample"].serving, 5);
    app.pass(899);
    app.lobby().expire_positions().await;
    tokens(&app, &ids[&5]).await;
    assert_eq!(said(post(&app, "/api/generate_token", &ticket(&ids[&2])).await).await.0, 410);
    assert_eq!(said(post(&app, "/api/generate_token", &ticket(&ids[&6])).await).await.0, 202);
    app.stop().await;
}

#[actix_web::test]
async fn an_admitted_visitor_never_expires() {
    let app = TestApp::start().await;
    let id = served(&app).await;
    tokens(&app, &id).await;
    app.pass(2_000);
    app.lobby().expire_positions().await;
    let counters = app.all_counters()["Sample"];
    assert_eq!((counters.max_expired, counters.expired_positions), (1, 0));
    tokens(&app, &id).await;
    app.stop().await;
}
