//! Information for operators alone, and the log of other callers.

use anteroom::ambient::Timestamp;
use futures_util::future::join_all;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::capture;
use crate::support::{ADMIN_KEY, SECRET, TestApp, json as body};

const ADMIN: &str = "keys = [{ name = \"ops\", key = \"env:ADMIN\" }]";
const WITH_PAIR: &str = "keys = [{ name = \"ops\", key = \"env:ADMIN\" }]\n\
                         sigv4 = [{ access_key_id = \"AKIDEXAMPLE\", secret_access_key = \"env:SECRET\" }]";
const WRONG_KEY: &str = "wrong-admin-key-0123456789-0123456789-012";

/// The number of health checks that reached the store.
async fn checks(app: &TestApp) -> u64 {
    let text = app.get("/metrics").send().await.unwrap().text().await.unwrap();
    let counts = text.lines().filter(|line| {
        line.starts_with("anteroom_store_duration_seconds_count{") && line.contains("operation=\"health\"")
    });
    counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

async fn ready(app: &TestApp) -> StatusCode {
    app.get("/health/ready").send().await.unwrap().status()
}

#[actix_web::test]
async fn readiness_is_checked_at_most_once_a_second() {
    let app = TestApp::start().await;
    let asked = join_all((0..40).map(|_| ready(&app))).await;
    assert!(asked.iter().all(|status| *status == StatusCode::OK), "{asked:?}");
    assert_eq!(checks(&app).await, 1);
    app.lobby().store().close().await;
    assert_eq!(ready(&app).await, StatusCode::OK, "the outcome of a moment ago");
    app.pass(1);
    let asked = join_all((0..40).map(|_| ready(&app))).await;
    assert!(asked.iter().all(|status| *status == StatusCode::SERVICE_UNAVAILABLE), "{asked:?}");
    assert_eq!(checks(&app).await, 2);
    app.stop().await;
}

#[actix_web::test]
async fn a_step_of_the_wall_clock_does_not_prolong_an_outcome() {
    let app = TestApp::start().await;
    assert_eq!(ready(&app).await, StatusCode::OK);
    app.lobby().store().close().await;
    app.clock.set(Timestamp::from_secs(1_700_000_000));
    app.pass(1);
    assert_eq!(ready(&app).await, StatusCode::SERVICE_UNAVAILABLE);
    app.stop().await;
}

#[actix_web::test]
async fn only_operators_get_the_reason() {
    capture::start();
    let app = TestApp::replacing(ADMIN, WITH_PAIR).await;
    app.lobby().store().close().await;
    let reason = "the store is unavailable: the store is closed";
    let open = json!({ "status": "not ready" });
    let ask = || app.get("/health/ready");
    let unsigned = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20270115/eu/execute-api/aws4_request, \
                    SignedHeaders=host, Signature=0";
    let cases = [
        (ask(), open.clone()),
        (ask().bearer_auth(WRONG_KEY), open.clone()),
        (ask().header("authorization", unsigned), open.clone()),
        (ask().basic_auth("ops", Some(ADMIN_KEY)), open),
        (ask().bearer_auth(ADMIN_KEY), json!({ "status": "not ready", "store": reason })),
    ];
    for (request, expected) in cases {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body(answer).await, expected);
    }
    let logged = |line: &String| line.contains("the service is not ready") && line.contains(reason);
    assert!(capture::lines().iter().any(logged), "the log has the reason");
    app.stop().await;
}

/// An application whose metrics `allow` makes readable.
async fn metered(allow: &str, more: &str) -> TestApp {
    let section = format!("[metrics]\nallow = {allow}\n[admin]");
    let directory = crate::seeded::directory().await;
    let text = crate::support::CONFIG.replace("[admin]", &section);
    let config = crate::support::config_from(directory.path(), &format!("{more}\n{text}"));
    TestApp::configured(directory, config).await
}

async fn refused(request: RequestBuilder) {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(!answer.text().await.unwrap().contains("anteroom_"));
}

async fn read(request: RequestBuilder) {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.text().await.unwrap().contains("anteroom_joins_total"));
}

#[actix_web::test]
async fn metrics_need_a_key_except_from_allowed_networks() {
    for (allow, allowed) in [
        ("[]", false),
        ("['203.0.113.0/24', '2001:db8::/32']", false),
        ("['203.0.113.0/24', '127.0.0.1']", true),
        ("['127.0.0.0/8']", true),
        ("['::ffff:127.0.0.0/104']", true),
    ] {
        let app = metered(allow, "").await;
        match allowed {
            true => read(app.get("/metrics")).await,
            false => refused(app.get("/metrics")).await,
        }
        read(app.get("/metrics").bearer_auth(ADMIN_KEY)).await;
        app.stop().await;
    }
}

#[actix_web::test]
async fn a_proxied_request_for_metrics_needs_a_key_whatever_its_peer() {
    let app = TestApp::start().await;
    read(app.get("/metrics")).await;
    let passed_on = [
        ("Forwarded", "for=127.0.0.1"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("x-forwarded-for", ""),
        ("X-Forwarded-Host", "anteroom"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Anything", "x"),
        ("X-Forwarded", "x"),
        ("X-Real-IP", "127.0.0.1"),
        ("Via", "1.1 proxy"),
        ("CDN-Loop", "cdn"),
        ("CF-Connecting-IP", "127.0.0.1"),
        ("True-Client-IP", "127.0.0.1"),
        ("X-Client-IP", "127.0.0.1"),
        ("X-Cluster-Client-IP", "127.0.0.1"),
        ("X-Original-Forwarded-For", "127.0.0.1"),
        ("X-Envoy-External-Address", "127.0.0.1"),
        ("X-Amzn-Trace-Id", "Root=1-67891233-abcdef012345678912345678"),
        ("X-Cloud-Trace-Context", "105445aa7843bc8bf206b12000100000/1"),
        ("Proxy-Client-IP", "127.0.0.1"),
        ("WL-Proxy-Client-IP", "127.0.0.1"),
        ("DO-Connecting-IP", "127.0.0.1"),
        ("X-Forward-For", "127.0.0.1"),
        ("Forwarded-For", "127.0.0.1"),
    ];
    for (name, value) in passed_on {
        refused(app.get("/metrics").header(name, value)).await;
        refused(app.get("/metrics").header(name, value).bearer_auth(WRONG_KEY)).await;
        read(app.get("/metrics").header(name, value).bearer_auth(ADMIN_KEY)).await;
    }
    // Headers that scrapers add themselves are not proxy headers.
    read(app.get("/metrics").header("x-prometheus-scrape-timeout-seconds", "10").header("user-agent", "via")).await;
    app.stop().await;
}

#[actix_web::test]
async fn metrics_on_the_private_address_need_no_key() {
    let app = metered("[]", "private_listen = \"127.0.0.1:0\"").await;
    let private = format!("http://{}/metrics", app.private_address().unwrap());
    read(app.http.get(&private)).await;
    read(app.http.get(&private).header("via", "1.1 proxy")).await;
    assert_eq!(app.get("/metrics").bearer_auth(ADMIN_KEY).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    app.stop().await;
}

/// The log of refused calls from this address.
fn refusals(client: &str) -> Vec<Value> {
    let lines = capture::lines().into_iter().filter(|line| line.contains("an operator's call was refused"));
    let fields = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap()["fields"].take());
    fields.filter(|fields| fields["client"] == client).collect()
}

#[actix_web::test]
async fn a_refused_key_is_logged_with_client_and_reason_and_without_the_key() {
    capture::start();
    let app = TestApp::replacing(ADMIN, WITH_PAIR).await;
    let client = "198.51.100.41";
    let ask = |authorization: &str| {
        let request = app.get("/private/keys").header("x-forwarded-for", client);
        if authorization.is_empty() { request } else { request.header("authorization", authorization) }
    };
    let signed = |credential: &str, signature: &str| {
        format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host;x-amz-date, Signature={signature}")
    };
    let scope = "20270115/eu-west-1/execute-api/aws4_request";
    let forged = "f00dfacef00dfacef00dfacef00dfacef00dfacef00dfacef00dfacef00dface";
    let good = signed(&format!("AKIDEXAMPLE/{scope}"), forged);
    let cases = [
        (ask(""), "no bearer key and no signature"),
        (ask(&format!("Bearer {WRONG_KEY}")), "unknown bearer key"),
        (ask(&signed(&format!("AKIDOTHER/{scope}"), forged)), "The security token included in the request is invalid."),
        (ask(&good).header("x-amz-date", "20270115T080000Z"), "The request signature we calculated does not match"),
        (ask(&good).header("x-amz-date", "20270115T070000Z"), "Signature expired"),
        (ask(&good).header("x-amz-date", "20270115T090000Z"), "Signature not yet current"),
        (ask(&good), "Authorization header requires existence"),
        (ask("AWS4-HMAC-SHA256 Credential=x"), "Authorization header requires 'Signature' parameter."),
    ];
    let reasons: Vec<&str> = cases.iter().map(|(_, reason)| *reason).collect();
    for (request, _) in cases {
        assert_eq!(request.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    }
    let logged = refusals(client);
    assert_eq!(logged.len(), reasons.len(), "{logged:?}");
    for (fields, reason) in logged.iter().zip(reasons) {
        assert!(fields["reason"].as_str().unwrap().starts_with(reason), "{fields}");
    }
    for secret in [WRONG_KEY, forged, SECRET] {
        assert!(!capture::lines().iter().any(|line| line.contains(secret)), "{secret}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_flood_of_wrong_keys_is_logged_in_bounded_lines() {
    capture::start();
    let app = TestApp::start().await;
    let (one, other) = ("198.51.100.42", "198.51.100.43");
    let ask = |client: &str| app.get("/metrics").header("x-forwarded-for", client.to_owned()).bearer_auth(WRONG_KEY);
    for _ in 0..30 {
        refused(ask(one)).await;
    }
    assert_eq!(refusals(one).len(), 1);
    refused(ask(other)).await;
    assert_eq!(refusals(other)[0]["left_out"], 29, "and another address is not hidden by it");
    app.pass(60);
    refused(ask(one)).await;
    assert_eq!(refusals(one).len(), 2);
    app.stop().await;
}

/// The log of closed sessions of this event.
fn closings(event: &str) -> Vec<Value> {
    let lines = capture::lines().into_iter().filter(|line| line.contains("a session was closed"));
    let fields = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap()["fields"].take());
    fields.filter(|fields| fields["event"] == event).collect()
}

#[actix_web::test]
async fn a_closed_session_is_logged_by_position_and_without_its_request_id() {
    capture::start();
    let event = "closed-by-whom";
    let section = format!("[[event]]\nid = \"{event}\"\ninlet = {{ strategy = \"max_size\", max_size = 10 }}");
    let app = TestApp::with(&section).await;
    app.serve(event, 4).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        let id = app.join(event).await;
        let redeem = json!({ "event_id": event, "request_id": id });
        let redeemed = app.post_json("/api/generate_token", &redeem).send().await.unwrap();
        assert_eq!(redeemed.status(), StatusCode::OK);
        ids.push(id);
    }
    let post = |path: &str, body: Value| app.post_json(path, &body).bearer_auth(ADMIN_KEY).send();
    for status in [1, -1] {
        // The second call closes nothing, and only its caller is informed.
        let update = json!({ "event_id": event, "request_id": ids[0], "status": status });
        post("/private/update_session", update).await.unwrap();
    }
    let exits = json!({ "event_id": event, "completed": [ids[1], ids[0]], "abandoned": [ids[3]] });
    assert_eq!(post("/private/inlet", exits).await.unwrap().status(), StatusCode::OK);
    let logged: Vec<(Value, Value)> =
        closings(event).into_iter().map(|mut line| (line["position"].take(), line["status"].take())).collect();
    let expected = [("1", "Completed"), ("2", "Completed"), ("4", "Abandoned")];
    assert_eq!(logged, expected.map(|(position, status)| (json!(position), json!(status))));
    assert!(closings(event).iter().all(|line| line["by"] == "ops"));
    for id in ids {
        assert!(!capture::lines().iter().any(|line| line.contains(&id)), "a request ID is in the log");
    }
    app.stop().await;
}
