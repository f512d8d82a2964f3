//! Operations: health, metrics, the private address, request IDs.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::capture;
use crate::support::{ADMIN_KEY, Browser, TestApp, json as body};
use crate::wire::exchange;

#[actix_web::test]
async fn a_healthy_service_is_live_and_ready() {
    let app = TestApp::start().await;
    for (path, expected) in
        [("/health/live", json!({"status": "live"})), ("/health/ready", json!({"status": "ready", "store": "ok"}))]
    {
        let answer = app.get(path).send().await.unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()["cache-control"]),
            (StatusCode::OK, &"no-store".parse().unwrap())
        );
        assert_eq!(body(answer).await, expected);
    }
    app.stop().await;
}

#[actix_web::test]
async fn without_its_store_the_service_is_live_and_operators_get_the_reason() {
    let app = TestApp::start().await;
    app.lobby().store().close().await;
    assert_eq!(app.get("/health/live").send().await.unwrap().status(), StatusCode::OK);
    let ready = app.get("/health/ready").bearer_auth(ADMIN_KEY).send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    let health = body(ready).await;
    assert_eq!(health, json!({ "status": "not ready", "store": "the store is unavailable: the store is closed" }));
    app.stop().await;
}

#[actix_web::test]
async fn callers_get_retry_after_while_the_store_is_away() {
    let app = TestApp::start().await;
    let (mut browser, tokens) = app.tokens(&[]).await;
    let code = browser.authorize(&app, &[]).await.code();
    let id = app.join("Sample").await;
    app.lobby().store().close().await;
    let rest = json!({ "error": "The service is temporarily unavailable" });
    let client = json!({ "error": "temporarily_unavailable", "error_description": "try again in a few seconds" });
    let join = app.post_json("/api/assign_queue_num", &json!({ "event_id": "Sample" }));
    let step = app.post_json("/private/increment_serving_num", &json!({ "event_id": "Sample", "increment_by": 1 }));
    let info = app.get("/userInfo").bearer_auth(tokens["access_token"].as_str().unwrap());
    for (request, expected) in [(join, &rest), (step.bearer_auth(ADMIN_KEY), &rest), (info, &client)] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()["retry-after"], "5");
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        assert_eq!(&body(answer).await, expected);
    }
    let redeemed = app.redeem(&code, &[]).await;
    assert_eq!(redeemed.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body(redeemed).await, client);
    // Waiting visitors are not affected: they are answered from memory.
    for path in
        [&format!("/api/queue_num?event_id=Sample&request_id={id}"), "/api/serving_num?event_id=Sample", "/line/Sample"]
    {
        assert_eq!(app.get(path).send().await.unwrap().status(), StatusCode::OK, "{path}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_page_says_that_the_place_is_kept_while_the_store_is_away() {
    let app = TestApp::start().await;
    let (mut waiting, mut new) = (Browser::default(), Browser::default());
    let page = waiting.authorize(&app, &[]).await;
    let door = Browser::default().authorize(&app, &[("client_id", "door")]).await;
    assert!(page.waits() && door.waits());
    let cookies = waiting.cookies.clone();
    app.lobby().store().close().await;
    for page in [waiting.resume(&app, &page).await, new.authorize(&app, &[]).await] {
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(page.headers["retry-after"], "5");
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
        assert!(page.body.contains("Your place is kept"), "{}", page.body);
        assert!(page.body.contains(page.headers["x-request-id"].to_str().unwrap()), "the page names the request");
    }
    assert_eq!(waiting.cookies, cookies, "no place is lost");
    assert!(!new.cookies.contains_key("anteroom-place-Sample"));
    app.stop().await;
}

#[actix_web::test]
async fn pressing_the_button_while_the_store_is_away_keeps_the_flow() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    app.serve("Door", 1).await;
    let door = browser.authorize(&app, &[("client_id", "door")]).await;
    let flow = door.body.split("name=\"flow\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    app.lobby().store().close().await;
    let pressed = browser.send(app.post_form("/authorize/resume", &[("flow", flow), ("enter", "1")])).await;
    assert_eq!(pressed.status, StatusCode::SEE_OTHER);
    let location = pressed.location.unwrap();
    assert_eq!(location, format!("/authorize/resume?flow={flow}"));
    let page = browser.send(app.get(&location)).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.body.contains(&format!("5;url={location}")) || page.body.contains(&location), "{}", page.body);
    app.stop().await;
}

/// The samples of `/metrics` by name and labels; every line is checked for its form.
async fn metrics(app: &TestApp) -> BTreeMap<String, f64> {
    let answer = app.get("/metrics").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = answer.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"), "OpenMetrics ends so");
    let mut samples = BTreeMap::new();
    let mut described = String::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.split(' ');
            let kind = words.next().unwrap();
            assert!(["HELP", "TYPE", "UNIT", "EOF"].contains(&kind), "{line}");
            described = words.next().unwrap_or_default().to_owned();
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        assert!(name.starts_with("anteroom_") && name.starts_with(&described), "{line}");
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        assert!(samples.insert(name.to_owned(), value).is_none(), "twice: {line}");
    }
    samples
}

#[actix_web::test]
async fn metrics_change_with_requests_and_events() {
    let app = TestApp::start().await;
    let before = metrics(&app).await;
    for _ in 0..3 {
        app.join("Sample").await;
    }
    app.serve("Sample", 4).await;
    Browser::default().authorize(&app, &[]).await.code();
    app.get("/api/serving_num").send().await.unwrap();
    app.get("/nothing").send().await.unwrap();
    let after = metrics(&app).await;
    let moved = |name: &str| after[name] - before.get(name).copied().unwrap_or_default();
    let http = |route: &str, status: &str| {
        moved(&format!("anteroom_http_request_duration_seconds_count{{route=\"{route}\",status=\"{status}\"}}"))
    };
    let store = |operation: &str| {
        moved(&format!("anteroom_store_duration_seconds_count{{operation=\"{operation}\",outcome=\"ok\"}}"))
    };
    let room = |name: &str| moved(&format!("anteroom_{name}{{event=\"Sample\"}}"));
    let numbers = [
        ("joins answered", http("/api/assign_queue_num", "2xx"), 3.0),
        ("refusals answered", http("/api/serving_num", "4xx"), 1.0),
        ("redirects answered, one of them of the cookie check", http("/authorize", "3xx"), 2.0),
        ("what is nowhere", http("nowhere", "4xx"), 1.0),
        ("positions taken", store("take_positions"), 4.0),
        ("sessions opened in the store", store("open_session"), 1.0),
        ("joins", room("joins_total"), 4.0),
        ("serving counter", room("serving_counter"), 4.0),
        ("admissions", room("admissions_total"), 1.0),
        ("waiting", room("waiting"), 3.0),
    ];
    for (what, found, expected) in numbers {
        assert_eq!(found, expected, "{what}");
    }
    app.lobby().store().close().await;
    app.post_json("/api/assign_queue_num", &json!({ "event_id": "Sample" })).send().await.unwrap();
    let broken = metrics(&app).await;
    let failed = "anteroom_store_duration_seconds_count{operation=\"take_positions\",outcome=\"error\"}";
    assert_eq!(broken[failed], 1.0);
    app.stop().await;
}

#[actix_web::test]
async fn requests_cannot_add_metric_series() {
    let app = TestApp::start().await;
    app.get("/nothing").send().await.unwrap();
    let before = metrics(&app).await;
    for index in 0..20 {
        app.get(&format!("/line/none-{index}")).send().await.unwrap();
        app.get(&format!("/nothing-{index}?client_id={index}")).send().await.unwrap();
    }
    // Background tasks add the store's operations, each under its own name.
    let names = |samples: BTreeMap<String, f64>| {
        samples.into_keys().filter(|name| !name.starts_with("anteroom_store")).collect::<Vec<_>>()
    };
    assert_eq!(names(metrics(&app).await), names(before));
    app.stop().await;
}

#[actix_web::test]
async fn the_private_address_serves_operators_paths_alone() {
    let app = TestApp::replacing(
        "listen = \"127.0.0.1:0\"\n",
        "listen = \"127.0.0.1:0\"\nprivate_listen = \"127.0.0.1:0\"\n",
    )
    .await;
    let private = format!("http://{}", app.private_address().unwrap());
    let operators = ["/health/live", "/health/ready", "/metrics"];
    let visitors =
        ["/", "/authorize", "/.well-known/openid-configuration", "/line/Sample", "/api/serving_num?event_id=Sample"];
    for (paths, here) in [(&operators[..], false), (&visitors[..], true)] {
        for path in paths {
            let (public, private) = (app.get(path), app.http.get(format!("{private}{path}")));
            let (public, private) = (public.send().await.unwrap(), private.send().await.unwrap());
            assert_eq!(public.status() == StatusCode::NOT_FOUND, !here, "{path}");
            assert_eq!(private.status() == StatusCode::NOT_FOUND, here, "{path}");
        }
    }
    let step = json!({ "event_id": "Sample", "increment_by": 1 }).to_string();
    let path = "/private/increment_serving_counter";
    let asked = app.request(Method::POST, path).bearer_auth(ADMIN_KEY).body(step.clone()).send().await.unwrap();
    assert_eq!(asked.status(), StatusCode::NOT_FOUND);
    // The public address does not reveal whether a key is valid.
    let bare = [app.get("/private/nothing"), app.get(path), app.get(path).bearer_auth("wrong")];
    for status in join_all(bare.map(|request| request.send())).await {
        assert_eq!(status.unwrap().status(), StatusCode::NOT_FOUND);
    }
    let asked = app.http.post(format!("{private}{path}")).bearer_auth(ADMIN_KEY).body(step).send().await.unwrap();
    assert_eq!(body(asked).await, json!({ "serving_num": 1 }));
    app.stop().await;
}

#[actix_web::test]
async fn every_error_has_its_own_request_id() {
    let app = TestApp::start().await;
    let mut names = Vec::new();
    for path in ["/api/serving_num", "/authorize", "/userInfo", "/token", "/line/none", "/nothing", "/assets/none"] {
        let answer = app.get(path).send().await.unwrap();
        assert!(answer.status().is_client_error(), "{path}");
        let name = answer.headers().get("x-request-id").unwrap_or_else(|| panic!("no name: {path}"));
        names.push(name.to_str().unwrap().to_owned());
    }
    assert!(names.iter().all(|name| name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())));
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "no two requests share a name");
    app.stop().await;
}

/// The client address in the access log for a request with these header lines.
async fn logged_client(app: &TestApp, header: &str, lines: &[&[u8]]) -> String {
    let before = capture::lines().len();
    let mut request = b"POST /token HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n".to_vec();
    for line in lines {
        request.extend_from_slice(&[header.as_bytes(), b": ", line, b"\r\n"].concat());
    }
    request.extend_from_slice(b"\r\n");
    let answer = exchange(app.address(), &request).await.unwrap();
    let name = answer.header("x-request-id").unwrap().to_owned();
    let lines = capture::lines().split_off(before);
    let named = lines.iter().filter(|line| line.contains(&name));
    let client = |line: &String| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["fields"]["client"].as_str().map(str::to_owned)
    };
    let clients: Vec<String> = named.filter_map(client).collect();
    // Other tests log as well, with equal IDs because their randomness has the same seed, but only from this machine.
    let elsewhere = clients.iter().find(|client| *client != "127.0.0.1");
    elsewhere.or(clients.first()).expect("a line in the access log").clone()
}

#[actix_web::test]
async fn behind_trusted_proxies_the_log_names_the_visitor() {
    capture::start();
    let app = TestApp::start().await;
    let cases: [(&[&[u8]], &str); 8] = [
        (&[], "127.0.0.1"),
        (&[b"203.0.113.7"], "203.0.113.7"),
        (&[b"198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        (&[b"198.51.100.1", b"203.0.113.7"], "203.0.113.7"),
        (&[b"203.0.113.7, 127.0.0.1"], "203.0.113.7"),
        (&[b"2001:db8::7"], "2001:db8::7"),
        // Text that a visitor wrote before the proxy's entry hides no address.
        (&[b"nonsense, 203.0.113.7"], "203.0.113.7"),
        (&[b"\xff\xfe, 203.0.113.7", b"127.0.0.1"], "203.0.113.7"),
    ];
    for (lines, expected) in cases {
        assert_eq!(logged_client(&app, "x-forwarded-for", lines).await, expected, "{lines:?}");
    }
    let chain: &[&[u8]] = &[b"for=198.51.100.1, for=\"[2001:db8::7]:4711\"", b"for=127.0.0.1;by=_proxy"];
    assert_eq!(logged_client(&app, "forwarded", chain).await, "2001:db8::7");
    app.stop().await;
    let app = TestApp::replacing("trusted_proxies = [\"127.0.0.1/32\"]", "").await;
    for (header, line) in [("x-forwarded-for", b"203.0.113.7".as_slice()), ("forwarded", b"for=203.0.113.7")] {
        assert_eq!(logged_client(&app, header, &[line]).await, "127.0.0.1", "any client can write that header");
    }
    app.stop().await;
}
