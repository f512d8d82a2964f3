//! Webhooks: notices are signed, in order, and delivered despite failures.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use actix_web::dev::ServerHandle;
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, NOW, TestApp, json as body};
use crate::wire::eventually;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// A received call.
#[derive(Clone, Debug)]
struct Call {
    id: String,
    timestamp: String,
    signature: String,
    body: String,
}

impl Call {
    fn notice(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn kind(&self) -> String {
        self.notice()["type"].as_str().unwrap().to_owned()
    }

    /// Checks the signature as a receiver does, with a library that the program does not use.
    fn verify(&self) {
        let key = PKey::hmac(&STANDARD.decode(KEY).unwrap()).unwrap();
        let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
        signer.update(format!("{}.{}.{}", self.id, self.timestamp, self.body).as_bytes()).unwrap();
        assert_eq!(self.signature, format!("v1,{}", STANDARD.encode(signer.sign_to_vec().unwrap())));
    }
}

/// The received calls, and the status of the answers.
type Inbox = (Arc<Mutex<Vec<Call>>>, Arc<Mutex<u16>>);

/// A receiver of webhooks.
#[derive(Clone)]
struct Receiver {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    answer: Arc<Mutex<u16>>,
    handle: ServerHandle,
}

impl Receiver {
    fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap())
    }

    fn at(address: SocketAddr) -> Self {
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let answer = Arc::new(Mutex::new(200));
        let state = web::Data::new((Arc::clone(&calls), Arc::clone(&answer)));
        let server = HttpServer::new(move || {
            App::new().app_data(web::Data::clone(&state)).route("/hook", web::post().to(receive))
        });
        let server = server.workers(1).disable_signals().bind(address).unwrap();
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { address, calls, answer, handle }
    }

    fn toml(&self, more: &str) -> String {
        format!(
            "[[webhook]]\nname = \"hook\"\nurl = \"http://{}/hook\"\nsecret = \"whsec_{KEY}\"\n{more}",
            self.address
        )
    }

    fn answers(&self, status: u16) {
        *self.answer.lock().unwrap() = status;
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// Waits for `count` calls.
    async fn wait_for(&self, count: usize) -> Vec<Call> {
        eventually(async || Some(self.calls()).filter(|calls| calls.len() >= count)).await
    }
}

async fn receive(request: HttpRequest, body: Bytes, state: web::Data<Inbox>) -> HttpResponse {
    let header = |name: &str| request.headers().get(name).unwrap().to_str().unwrap().to_owned();
    let call = Call {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    state.0.lock().unwrap().push(call);
    let status = *state.1.lock().unwrap();
    let mut answer = HttpResponse::build(actix_web::http::StatusCode::from_u16(status).unwrap());
    if status == 429 {
        answer.insert_header(("retry-after", "3600"));
    }
    answer.finish()
}

async fn dead_letters(app: &TestApp) -> Vec<Value> {
    let answer = app.get("/private/dead_letters").bearer_auth(ADMIN_KEY).send().await.unwrap();
    body(answer).await["dead_letters"].as_array().unwrap().clone()
}

fn servings(calls: &[Call]) -> Vec<u64> {
    calls.iter().map(|call| call.notice()["data"]["current"].as_u64().unwrap()).collect()
}

#[actix_web::test]
async fn notices_of_a_login_are_signed_and_in_order() {
    let receiver = Receiver::start();
    let app = TestApp::with(&receiver.toml("kinds = [\"serving_counter_changed\", \"token_generated\"]")).await;
    let (_, tokens) = app.tokens(&[]).await;
    let calls = receiver.wait_for(2).await;
    calls.iter().for_each(Call::verify);
    assert_eq!(calls.iter().map(Call::kind).collect::<Vec<_>>(), ["serving_counter_changed", "token_generated"]);
    let notice = calls[1].notice();
    let subject = crate::support::claims(tokens["id_token"].as_str().unwrap())["sub"].clone();
    assert_eq!(notice["data"], json!({ "event_id": "Sample", "request_id": subject }));
    assert_eq!(notice["timestamp"], NOW.rfc3339());
    assert_eq!(calls[1].timestamp, NOW.as_secs().to_string());
    assert_ne!(calls[0].id, calls[1].id);
    app.stop().await;
}

#[actix_web::test]
async fn operator_actions_are_delivered_as_notices() {
    let receiver = Receiver::start();
    let app = TestApp::with(&receiver.toml("kinds = [\"session_updated\", \"room_reset\"]")).await;
    let (_, tokens) = app.tokens(&[]).await;
    let subject = crate::support::claims(tokens["id_token"].as_str().unwrap())["sub"].clone();
    let ended = json!({ "event_id": "Sample", "request_id": subject, "status": -1 });
    for (path, sent) in [("update_session", ended), ("reset_initial_state", json!({ "event_id": "Sample" }))] {
        let answer = app.post_json(&format!("/private/{path}"), &sent).bearer_auth(ADMIN_KEY).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
    let calls = receiver.wait_for(2).await;
    let actual: Vec<Value> = calls.iter().map(|call| call.notice()["data"].clone()).collect();
    let closed = json!({ "event_id": "Sample", "request_id": subject, "status": "abandoned" });
    assert_eq!(actual, [closed, json!({ "event_id": "Sample", "generation": 1 })]);
    app.stop().await;
}

#[actix_web::test]
async fn a_webhook_gets_only_its_events_and_kinds() {
    let receiver = Receiver::start();
    let filter = "events = [\"Door\"]\nkinds = [\"serving_counter_changed\"]";
    let app = TestApp::with(&receiver.toml(filter)).await;
    app.join("Door").await;
    app.serve("Sample", 1).await;
    app.serve("Door", 7).await;
    let calls = receiver.wait_for(1).await;
    assert_eq!(calls[0].notice()["data"], json!({ "event_id": "Door", "previous": 0, "current": 7 }));
    app.stop().await;
    assert_eq!(receiver.calls().len(), 1);
}

#[actix_web::test]
async fn joins_and_metrics_are_delivered_on_schedule() {
    let receiver = Receiver::start();
    let kinds = "kinds = [\"visitor_joined\", \"waiting_room_metrics\"]\n";
    let event = "[[event]]\nid = \"Counted\"\nmetrics_events = true\n";
    let app = TestApp::with(&format!("{}{event}", receiver.toml(kinds))).await;
    let first = receiver.wait_for(1).await.remove(0);
    let zero = json!({ "event_id": "Counted", "num_active_tokens": 0, "total_num_tokens": 0, "queue_counter": 0,
        "serving_number": 0, "completed_sessions": 0, "abandoned_sessions": 0 });
    assert_eq!((first.kind().as_str(), &first.notice()["data"]), ("waiting_room_metrics", &zero));
    app.join("Counted").await;
    let joined = receiver.wait_for(2).await.remove(1);
    let one = json!({ "event_id": "Counted", "count": 1, "queue_counter": 1 });
    assert_eq!((joined.kind().as_str(), &joined.notice()["data"]), ("visitor_joined", &one));
    app.serve("Counted", 5).await;
    app.pass(60);
    let figures = receiver.wait_for(3).await.remove(2).notice();
    assert_eq!((&figures["data"]["queue_counter"], &figures["data"]["serving_number"]), (&json!(1), &json!(5)));
    app.stop().await;
}

#[actix_web::test]
async fn delivery_to_a_failing_receiver_is_retried_in_order() {
    let receiver = Receiver::start();
    receiver.answers(500);
    let app = TestApp::with(&receiver.toml("kinds = [\"serving_counter_changed\"]")).await;
    for _ in 0..3 {
        app.serve("Sample", 1).await;
    }
    receiver.wait_for(1).await;
    app.pass(600);
    let failed = receiver.wait_for(2).await;
    assert_eq!((&failed[0].id, servings(&failed)), (&failed[1].id, vec![1, 1]), "the same message once more");
    receiver.answers(204);
    let actual = eventually(async || {
        app.pass(600);
        Some(receiver.calls()).filter(|calls| servings(calls).contains(&3))
    });
    let mut actual = servings(&actual.await);
    actual.dedup();
    assert_eq!(actual, [1, 2, 3]);
    assert!(dead_letters(&app).await.is_empty());
    app.stop().await;
}

#[actix_web::test]
async fn retry_after_of_a_receiver_is_kept_by_the_clock() {
    let (busy, broken) = (Receiver::start(), Receiver::start());
    busy.answers(429);
    broken.answers(500);
    let kinds = "kinds = [\"serving_counter_changed\"]\n";
    let other = broken.toml(kinds).replace("\"hook\"", "\"other\"");
    let app = TestApp::with(&format!("{}{other}", busy.toml(kinds))).await;
    app.serve("Sample", 1).await;
    busy.wait_for(1).await;
    // The other receiver sends no Retry-After and is retried although the clock is frozen.
    broken.wait_for(3).await;
    assert_eq!(busy.calls().len(), 1);
    busy.answers(204);
    let calls = eventually(async || {
        app.pass(300);
        Some(busy.calls()).filter(|calls| calls.len() >= 2)
    });
    assert_eq!(servings(&calls.await), [1, 1]);
    app.stop().await;
}

#[actix_web::test]
async fn a_receiver_that_was_down_gets_everything_when_it_is_back() {
    let receiver = Receiver::start();
    let app = TestApp::with(&receiver.toml("kinds = [\"serving_counter_changed\"]")).await;
    app.serve("Sample", 1).await;
    receiver.wait_for(1).await;
    receiver.handle.stop(false).await;
    for _ in 0..2 {
        app.serve("Sample", 1).await;
    }
    let back = eventually(async || {
        std::net::TcpListener::bind(receiver.address).ok().map(drop).map(|()| Receiver::at(receiver.address))
    });
    let back = back.await;
    let calls = eventually(async || {
        app.pass(600);
        Some(back.calls()).filter(|calls| calls.len() >= 2)
    });
    assert_eq!(servings(&calls.await), [2, 3]);
    app.stop().await;
}

#[actix_web::test]
async fn a_restart_delivers_only_what_was_not_delivered_before() {
    let receiver = Receiver::start();
    let toml = receiver.toml("kinds = [\"serving_counter_changed\"]");
    let app = TestApp::with(&toml).await;
    app.serve("Sample", 1).await;
    receiver.wait_for(1).await;
    // The delivery is recorded soon after it: only a crash in between would repeat it.
    let store = app.lobby().store();
    let newest = store.newest_letter().await.unwrap();
    eventually(async || (store.claim_delivery("hook").await.unwrap() == Some(newest)).then_some(())).await;
    receiver.answers(500);
    app.serve("Sample", 1).await;
    receiver.wait_for(2).await;
    let directory = app.stop().await;
    receiver.answers(200);
    let before = receiver.calls().len();
    let app = TestApp::in_directory(directory, &toml).await;
    let calls = receiver.wait_for(before + 1).await;
    assert_eq!(servings(&calls[before..]), [2]);
    app.stop().await;
}

#[actix_web::test]
async fn a_dead_letter_is_kept_and_redelivered_on_request() {
    let receiver = Receiver::start();
    receiver.answers(400);
    let app = TestApp::with(&receiver.toml("kinds = [\"serving_counter_changed\"]")).await;
    app.serve("Sample", 1).await;
    let dead = eventually(async || {
        app.pass(301);
        dead_letters(&app).await.into_iter().next()
    });
    let dead = dead.await;
    assert_eq!((&dead["sink"], &dead["reason"]), (&json!("hook"), &json!("it answered 400")));
    assert_eq!(dead["notice"]["data"]["current"], 1);
    receiver.answers(200);
    let refused = receiver.calls().len();
    app.serve("Sample", 1).await;
    assert_eq!(servings(&receiver.wait_for(refused + 1).await[refused..]), [2], "the next is not held up");
    let asked = app.post_json("/private/dead_letters/redeliver", &json!({ "sink": "hook" }));
    assert_eq!(body(asked.bearer_auth(ADMIN_KEY).send().await.unwrap()).await, json!({ "redelivering": 1 }));
    let again = receiver.wait_for(refused + 2).await.remove(refused + 1);
    again.verify();
    assert_eq!(again.id, receiver.calls()[0].id);
    eventually(async || dead_letters(&app).await.is_empty().then_some(())).await;
    app.stop().await;
}

#[actix_web::test]
async fn an_unavailable_receiver_loses_only_old_notices() {
    let receiver = Receiver::start();
    receiver.answers(503);
    let app = TestApp::with(&receiver.toml("kinds = [\"serving_counter_changed\"]")).await;
    for _ in 0..3 {
        app.serve("Sample", 1).await;
    }
    let dead = eventually(async || {
        app.pass(601);
        Some(dead_letters(&app).await).filter(|dead| dead.len() == 3)
    });
    assert_eq!(dead.await.iter().map(|dead| dead["notice"]["data"]["current"].clone()).collect::<Vec<_>>(), [1, 2, 3]);
    app.stop().await;
}
