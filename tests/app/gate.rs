//! The gate of an inlet: while the site is unhealthy, the inlet admits no visitors.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer};
use anteroom::room::GateState;
use futures_util::future::join_all;

use crate::capture;
use crate::inlet::Line;
use crate::sessions::{SAMPLE, post, ticket};
use crate::support::{Browser, TestApp, json};
use crate::wire::eventually;

/// A site with a health address.
struct Site {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    handle: ServerHandle,
}

impl Site {
    fn start(status: u16) -> Self {
        let status = Arc::new(AtomicU16::new(status));
        let state = Data::new(Arc::clone(&status));
        let server =
            HttpServer::new(move || App::new().app_data(Data::clone(&state)).route("/health", web::get().to(health)));
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { address, status, handle }
    }

    fn set_status(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// An application that probes the site each second before `inlet` moves.
    async fn guards(&self, inlet: &str) -> TestApp {
        let address = self.address;
        let gate = format!("health_url = \"http://{address}/health\", check_every = 1");
        let guarded = format!(
            "id = \"Sample\"\nincrement_serving_on_expiry = true\ninlet = {{ {inlet}, {gate} }}\n[notices]\nstream = true\n\
             [[event]]\nid = \"Ungated\"\ninlet"
        );
        TestApp::replacing(SAMPLE, &guarded).await
    }
}

async fn health(status: Data<Arc<AtomicU16>>) -> HttpResponse {
    HttpResponse::new(StatusCode::from_u16(status.load(Ordering::SeqCst)).unwrap())
}

/// Waits until the application has the site's current state.
async fn until_open(app: &TestApp, open: bool) {
    eventually(async || (app.lobby().room("Sample").unwrap().is_open() == open).then_some(())).await;
}

/// The background work of one second.
async fn a_second_passes(app: &TestApp) {
    app.pass(1);
    app.lobby().expire_positions().await;
    app.lobby().step_inlets(&mut HashMap::new()).await;
}

fn serving(app: &TestApp) -> u64 {
    app.all_counters()["Sample"].serving
}

/// The recorded notices about the gate.
async fn recorded_notices(app: &TestApp) -> Vec<(&'static str, String)> {
    let letters = app.lobby().store().letters(0, 1000).await.unwrap();
    let gate = letters.into_iter().filter(|letter| letter.kind.name().starts_with("inlet_"));
    gate.map(|letter| (letter.kind.name(), letter.body)).collect()
}

/// Sets the gate of a lobby that runs no probe.
async fn note(line: &Line, found: GateState) {
    line.lobby.set_gate_state(line.lobby.room("Sample").unwrap(), found).await.unwrap();
}

#[tokio::test]
async fn the_counter_moves_only_while_the_gate_is_open_and_catches_nothing_up() {
    let closed = || GateState::Closed("the site is not well".to_owned());
    for inlet in ["increment_by = 60, every = 60", "increment_by = 1, every = 1, smooth = false"] {
        let mut line = Line::with(&format!("{inlet}, health_url = \"http://127.0.0.1:1/\""), 50).await;
        assert_eq!(line.after_ticks([1, 1]).await, [0, 0], "no probe has run yet");
        note(&line, GateState::Open).await;
        assert_eq!(line.after_ticks([1, 1]).await, [1, 2]);
        note(&line, closed()).await;
        assert_eq!(line.after_ticks([1; 100]).await.last(), Some(&2));
        note(&line, GateState::Open).await;
        assert_eq!(line.after_ticks([1, 1]).await, [3, 4], "what was held back is not owed");
    }
}

#[actix_web::test]
async fn a_2xx_answer_opens_the_gate() {
    let site = Site::start(200);
    let app = site.guards("strategy = \"periodic\", increment_by = 60, every = 60").await;
    until_open(&app, true).await;
    for sick in [503, 302, 404] {
        site.set_status(sick);
        until_open(&app, false).await;
        site.set_status(204);
        until_open(&app, true).await;
    }
    app.stop().await;
}

#[actix_web::test]
async fn while_the_site_does_not_answer_only_operators_admit_visitors() {
    let site = Site::start(200);
    let app = site.guards("strategy = \"max_size\", max_size = 3").await;
    join_all((0..5).map(|_| app.join("Sample"))).await;
    until_open(&app, true).await;
    // The room is full, so that no pending step can move it.
    a_second_passes(&app).await;
    site.handle.stop(false).await;
    until_open(&app, false).await;
    assert_eq!((serving(&app), app.serve("Sample", 2).await), (3, 5));
    app.stop().await;
}

#[actix_web::test]
async fn a_room_refills_when_the_gate_opens_again() {
    let site = Site::start(200);
    let app = site.guards("strategy = \"max_size\", max_size = 3").await;
    let first = app.join("Sample").await;
    join_all((0..10).map(|_| app.join("Sample"))).await;
    until_open(&app, true).await;
    a_second_passes(&app).await;
    assert_eq!(serving(&app), 3);
    assert_eq!(post(&app, "/api/generate_token", &ticket(&first)).await.status(), 200);
    site.set_status(500);
    until_open(&app, false).await;
    let left = serde_json::json!({ "event_id": "Sample", "completed": [first] });
    assert_eq!(post(&app, "/private/inlet", &left).await.status(), 200);
    app.pass(1000);
    a_second_passes(&app).await;
    assert_eq!(serving(&app), 3, "neither who left nor who did not come is replaced");
    site.set_status(200);
    until_open(&app, true).await;
    a_second_passes(&app).await;
    assert_eq!(serving(&app), 6);
    app.stop().await;
}

#[actix_web::test]
async fn positions_that_expire_while_the_gate_is_closed_admit_no_one() {
    let site = Site::start(500);
    let app = site.guards("strategy = \"periodic\", increment_by = 1, every = 86400").await;
    join_all((0..10).map(|_| app.join("Sample"))).await;
    app.serve("Sample", 4).await;
    app.pass(1000);
    app.lobby().expire_positions().await;
    let counters = app.all_counters()["Sample"];
    assert_eq!((counters.serving, counters.expired_positions), (4, 4));
    app.stop().await;
}

#[actix_web::test]
async fn a_change_of_the_gate_is_recorded_once_even_across_a_restart() {
    let site = Site::start(200);
    let inlet = "strategy = \"periodic\", increment_by = 60, every = 60";
    let app = site.guards(inlet).await;
    until_open(&app, true).await;
    assert!(recorded_notices(&app).await.is_empty(), "a gate that is open from the start is no news");
    site.set_status(503);
    let paused = eventually(async || recorded_notices(&app).await.pop()).await;
    let reason = "the health address is not well: it answered 503";
    assert_eq!(paused, ("inlet_paused", format!(r#"{{"event_id":"Sample","reason":"{reason}"}}"#)));
    let mut browser = Browser::default();
    let waiting = browser.authorize(&app, &[]).await;
    assert!(waiting.body.contains(r#"id="paused">The line is paused"#), "{}", waiting.body);
    let state = json(app.get("/line/Sample").send().await.unwrap()).await;
    assert_eq!(state["paused"], true);
    let metrics = app.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(
        metrics.contains(r#"anteroom_inlet_open{event="Sample"} 0"#) && !metrics.contains(r#"inlet_open{event="Door"#)
    );
    // Another node, or this one after a restart, finds the recorded state.
    let room = app.lobby().room("Sample").unwrap();
    let closed = GateState::Closed("another reason".to_owned());
    app.lobby().set_gate_state(room, closed).await.unwrap();
    assert_eq!(recorded_notices(&app).await.len(), 1);
    site.set_status(200);
    let resumed = eventually(async || recorded_notices(&app).await.into_iter().nth(1)).await;
    assert_eq!(resumed, ("inlet_resumed", r#"{"event_id":"Sample"}"#.to_owned()));
    assert!(browser.resume(&app, &waiting).await.body.contains(r#"id="paused" hidden>The line is paused"#));
    app.stop().await;
}

#[tokio::test]
async fn the_gates_first_state_and_each_change_are_logged_with_the_reason() {
    capture::start();
    let line = Line::with("increment_by = 1, every = 1, health_url = \"http://127.0.0.1:1/\"", 1).await;
    for reason in ["the alarm is red", "the alarm is red", "the alarm is blue", "the alarm is red"] {
        note(&line, GateState::Closed(reason.to_owned())).await;
    }
    let lines = capture::lines();
    let logged = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!((logged("the alarm is red"), logged("the alarm is blue")), (2, 1));
}
