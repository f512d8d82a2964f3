//! A clock that is far ahead for a while and is corrected: no visitor is delayed by more than a minute, and no place is
//! lost.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::sessions::{SAMPLE, get, post, said, ticket, tokens};
use crate::steps::sub;
use crate::support::{Browser, NOW, TestApp, config_replacing, json as body};

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);
const TEN_MINUTES: Duration = Duration::from_secs(600);
const ROOM_FOR_TWO: &str = "id = \"Sample\"\ninlet = { strategy = \"max_size\", max_size = 2 }\n#";

async fn seconds_left(app: &TestApp, id: &str) -> Value {
    body(get(app, &format!("/api/queue_pos_expiry?event_id=Sample&request_id={id}")).await).await
}

/// The background work of one second.
async fn a_second_passes(app: &TestApp) {
    app.pass(1);
    app.lobby().expire_positions().await;
    app.lobby().step_inlets(&mut HashMap::new()).await;
}

#[actix_web::test]
async fn places_that_were_served_while_the_clock_was_ahead_expire_on_time() {
    // Ahead by more than the expiry period, and by less; corrected in one step, and in two.
    for (ahead, between) in [(DAY, None), (TEN_MINUTES, None), (DAY, Some(HOUR))] {
        let app = TestApp::start().await;
        app.clock.set(NOW + ahead);
        let ids = [app.join("Sample").await, app.join("Sample").await];
        app.serve("Sample", 2).await;
        for still in between.into_iter().chain([Duration::ZERO]) {
            app.clock.set(NOW + still);
            app.lobby().expire_positions().await;
        }
        for id in &ids {
            assert_eq!(seconds_left(&app, id).await, json!({ "expires_in": 900 }));
        }
        app.pass(899);
        app.lobby().expire_positions().await;
        tokens(&app, &ids[0]).await;
        assert_eq!(app.counters().max_expired, 0);
        app.pass(1);
        app.lobby().expire_positions().await;
        assert_eq!((app.counters().max_expired, app.counters().expired_positions), (2, 1), "{ahead:?}");
        assert_eq!(said(post(&app, "/api/generate_token", &ticket(&ids[1])).await).await.0, 410);
        app.stop().await;
    }
}

#[actix_web::test]
async fn places_that_are_served_after_the_step_back_expire_on_time() {
    let app = TestApp::start().await;
    app.clock.set(NOW + DAY);
    let early = app.join("Sample").await;
    app.clock.set(NOW);
    let late = app.join("Sample").await;
    app.pass(100);
    app.serve("Sample", 2).await;
    for id in [&early, &late] {
        assert_eq!(seconds_left(&app, id).await, json!({ "expires_in": 900 }));
    }
    app.pass(900);
    app.lobby().expire_positions().await;
    assert_eq!(app.counters().expired_positions, 2);
    app.stop().await;
}

#[actix_web::test]
async fn tickets_of_every_time_are_valid_and_new_ones_get_the_current_time() {
    let app = TestApp::start().await;
    let mut ids = Vec::new();
    for then in [NOW, NOW + DAY, NOW + HOUR, NOW, NOW + Duration::from_secs(1)] {
        app.clock.set(then);
        app.lobby().expire_positions().await;
        ids.push((app.join("Sample").await, then.as_secs()));
    }
    for (number, (id, entry)) in (1..).zip(&ids) {
        let actual = body(get(&app, &format!("/api/queue_num?event_id=Sample&request_id={id}")).await).await;
        assert_eq!((&actual["queue_number"], &actual["entry_time"]), (&json!(number), &json!(entry)));
    }
    // The same after a restart from the stored state.
    let app = TestApp::in_directory(app.stop().await, "").await;
    for (id, _) in &ids {
        let answer = get(&app, &format!("/api/queue_num?event_id=Sample&request_id={id}")).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    app.stop().await;
}

/// A room for two, filled while the clock was a day ahead: one visitor entered, one never enters, one waits.
async fn filled_ahead() -> (TestApp, Vec<String>) {
    let app = TestApp::replacing(SAMPLE, ROOM_FOR_TWO).await;
    app.clock.set(NOW + DAY);
    app.lobby().step_inlets(&mut HashMap::new()).await;
    let ids: Vec<String> = [app.join("Sample").await, app.join("Sample").await, app.join("Sample").await].into();
    tokens(&app, &ids[0]).await;
    (app, ids)
}

#[actix_web::test]
async fn a_room_refills_when_its_sessions_expire() {
    let (app, ids) = filled_ahead().await;
    app.clock.set(NOW);
    a_second_passes(&app).await;
    app.lobby().run_housekeeping().await;
    is_refilled(app, &ids).await;
}

#[actix_web::test]
async fn a_room_refills_in_time_even_after_a_restart_with_the_clock_set_back() {
    let (app, ids) = filled_ahead().await;
    let config = config_replacing(app.directory.path(), SAMPLE, ROOM_FOR_TWO);
    let app = TestApp::configured(app.stop().await, config).await;
    a_second_passes(&app).await;
    is_refilled(app, &ids).await;
}

/// The state of [`filled_ahead`] one second after the clock was corrected.
async fn is_refilled(app: TestApp, ids: &[String]) {
    assert_eq!(app.counters().serving, 2);
    app.pass(900);
    a_second_passes(&app).await;
    assert_eq!(app.counters().serving, 3, "the place of the visitor who did not enter");
    tokens(&app, &ids[2]).await;
    app.pass(3_600 - 900);
    a_second_passes(&app).await;
    assert_eq!(app.counters().serving, 4, "the place of whose session is over");
    assert_eq!(said(post(&app, "/api/generate_token", &ticket(&ids[0])).await).await.0, 410);
    app.stop().await;
}

#[actix_web::test]
async fn a_short_session_that_was_opened_ahead_ends_after_its_own_time() {
    for restarts in [false, true] {
        let app = TestApp::replacing(SAMPLE, ROOM_FOR_TWO).await;
        app.clock.set(NOW + TEN_MINUTES);
        app.lobby().step_inlets(&mut HashMap::new()).await;
        let id = app.join("Sample").await;
        let short = json!({ "event_id": "Sample", "request_id": id, "validity_period": 60 });
        assert_eq!(said(post(&app, "/private/generate_token", &short).await).await.0, 200);
        app.join("Sample").await;
        let app = if restarts {
            let config = config_replacing(app.directory.path(), SAMPLE, ROOM_FOR_TWO);
            TestApp::configured(app.stop().await, config).await
        } else {
            app.clock.set(NOW);
            app
        };
        a_second_passes(&app).await;
        assert_eq!(app.counters().serving, 2);
        app.pass(60);
        a_second_passes(&app).await;
        assert_eq!(app.counters().serving, 3, "restarts: {restarts}");
        app.stop().await;
    }
}

#[actix_web::test]
async fn a_clock_that_is_days_ahead_sweeps_no_session() {
    let app = TestApp::start().await;
    let (_, set) = app.tokens(&[]).await;
    let late = app.join("Sample").await;
    app.lobby().run_housekeeping().await;
    for _ in 0..3 {
        app.clock.set(app.lobby().now() + 3 * DAY);
        app.lobby().run_housekeeping().await;
    }
    app.clock.set(NOW);
    app.lobby().run_housekeeping().await;
    assert_eq!(app.user_info(set["access_token"].as_str().unwrap()).await.status(), StatusCode::OK);
    let place = body(get(&app, &format!("/api/queue_num?event_id=Sample&request_id={late}")).await).await;
    assert_eq!(place["queue_number"], json!(2));
    app.stop().await;
}

#[actix_web::test]
async fn a_session_opened_a_day_ahead_lasts_its_usual_time() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let page = browser.authorize(&app, &[]).await;
    app.clock.set(NOW + DAY);
    app.lobby().expire_positions().await;
    app.serve("Sample", 1).await;
    let fresh = browser.authorize(&app, &[("state", "fresh")]).await;
    let set = body(app.redeem(&fresh.code(), &[]).await).await;
    app.clock.set(NOW);
    app.lobby().expire_positions().await;
    let again = browser.authorize(&app, &[("prompt", "none")]).await.code();
    assert_eq!(sub(&body(app.redeem(&again, &[]).await).await), sub(&set));
    app.pass(3_599);
    assert!(browser.authorize(&app, &[("prompt", "none")]).await.answer().contains_key("code"));
    app.pass(1);
    assert_eq!(browser.authorize(&app, &[("prompt", "none")]).await.error(), "login_required");
    assert!(page.waits());
    app.stop().await;
}

#[actix_web::test]
async fn a_clock_that_fell_behind_and_is_corrected_expires_no_place_early() {
    let app = TestApp::start().await;
    let id = app.join("Sample").await;
    app.serve("Sample", 1).await;
    app.clock.set(NOW - HOUR);
    app.lobby().expire_positions().await;
    app.pass(60);
    app.clock.set(NOW + Duration::from_secs(60));
    app.lobby().expire_positions().await;
    assert_eq!(seconds_left(&app, &id).await, json!({ "expires_in": 840 }));
    tokens(&app, &id).await;
    app.stop().await;
}

#[actix_web::test]
async fn the_inlet_continues_within_a_minute_after_any_clock_step() {
    let periodic = "id = \"Sample\"\ninlet = { strategy = \"periodic\", increment_by = 60, every = 60 }\n#";
    for back in [DAY, HOUR, Duration::from_secs(61), Duration::from_secs(60), Duration::from_secs(59)] {
        let app = TestApp::replacing(SAMPLE, periodic).await;
        for _ in 0..150 {
            app.join("Sample").await;
        }
        let mut ticks = HashMap::new();
        app.clock.set(NOW + back);
        app.lobby().step_inlets(&mut ticks).await;
        app.pass(1);
        app.lobby().step_inlets(&mut ticks).await;
        let before = app.counters().serving;
        app.clock.set(NOW);
        for _ in 0..62 {
            app.lobby().step_inlets(&mut ticks).await;
            app.pass(1);
        }
        let moved = app.counters().serving - before;
        assert!((1..=62).contains(&moved), "{back:?}: {moved}");
        app.stop().await;
    }
}

#[actix_web::test]
async fn the_estimate_uses_only_moves_after_the_clock_was_corrected() {
    let app = TestApp::start().await;
    for _ in 0..5 {
        app.serve("Sample", 10).await;
        app.pass(10);
    }
    app.clock.set(NOW + DAY);
    app.serve("Sample", 10).await;
    app.clock.set(NOW + Duration::from_secs(60));
    for _ in 0..5 {
        app.serve("Sample", 10).await;
        app.pass(10);
    }
    let pace = app.lobby().room("Sample").unwrap().cache.view().pace(app.lobby().now());
    let wait = pace.expect("the pace is known").wait(99);
    assert!(wait.at_least >= Duration::from_secs(40) && wait.at_most <= Duration::from_secs(160), "{wait:?}");
    app.stop().await;
}
