//! Complete requests with malformed queries, bodies and methods.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::routes::{ROUTES, Route, Takes};
use crate::support::{ADMIN_KEY, TestApp, json as body};
use crate::wire::{Answer, exchange};

/// Sends each request to its route, checks the refusal, and checks that the state of every event is unchanged.
async fn all_refused(app: &TestApp, requests: Vec<(Route, String, Vec<u8>)>) {
    app.join("Sample").await;
    let before = app.all_counters();
    for (route, what, request) in requests {
        let what = format!("{what} to {} {}", route.method, route.path);
        let mut answer = exchange(app.address(), &request).await.unwrap_or_else(|| panic!("no answer: {what}"));
        if (route.method, route.path, answer.status) == ("POST", "/authorize", 303) {
            // A readable form is redirected to GET, whatever it contains.
            let (_, query) = answer.header("location").unwrap().split_once('?').unwrap();
            let again = Route { method: "GET", ..route }.request(query.as_bytes(), "", None);
            answer = exchange(app.address(), &again).await.unwrap();
        }
        route.check(app, &answer, &what);
    }
    assert_eq!(app.all_counters(), before);
}

fn routes_that_take(takes: &[Takes]) -> impl Iterator<Item = Route> {
    ROUTES.into_iter().filter(|route| takes.contains(&route.takes))
}

#[actix_web::test]
async fn a_malformed_query_is_refused() {
    let app = TestApp::start().await;
    let long = format!("event_id={}&client_id={0}", "x".repeat(12 * 1024));
    let many = "a=1&".repeat(7_000);
    let queries: [(&str, &[u8]); 14] = [
        ("no query", b""),
        ("nothing but separators", b"&&&==&=&"),
        ("a lonely percent sign", b"event_id=%&client_id=%&flow=%"),
        ("half an escape", b"event_id=Sample%2&client_id=Sample%2&flow=a%2"),
        ("no hexadecimal escape", b"event_id=%zz&client_id=%zz&flow=%zz"),
        ("bytes that are no UTF-8", b"event_id=%FF%FE&client_id=%FF%FE&flow=%FF"),
        ("an overlong encoding", b"event_id=%C0%AF&client_id=%C0%AF&flow=%C0%AF"),
        ("a NUL", b"event_id=Sample%00&client_id=Sample%00&flow=%00"),
        ("a line break", b"event_id=Sample%0d%0aset-cookie:a=b&client_id=Sample%0d%0aset-cookie:a=b&flow=%0d%0a"),
        ("duplicates", b"event_id=Sample&event_id=Sample&client_id=Sample&client_id=Sample&flow=a&flow=a"),
        ("markup", b"event_id=%3Cscript%3E&client_id=%3Cscript%3E&flow=%22onload=%22"),
        ("another encoding", b"event_id=S%E4mple&client_id=S%E4mple&flow=%E4"),
        ("a long value", long.as_bytes()),
        ("many parameters", many.as_bytes()),
    ];
    let mut requests = Vec::new();
    for route in routes_that_take(&[Takes::Query]) {
        for (what, query) in queries {
            requests.push((route, what.to_owned(), route.request(query, "", None)));
        }
    }
    all_refused(&app, requests).await;
    app.stop().await;
}

#[actix_web::test]
async fn an_unexpected_query_is_ignored() {
    let app = TestApp::start().await;
    let before = app.all_counters();
    for route in routes_that_take(&[Takes::Nothing]) {
        for query in [&b"%"[..], b"%FF=%00", b"a=1&a=2"] {
            let answer = exchange(app.address(), &route.request(query, "", None)).await.unwrap();
            assert!(answer.status < 500, "{route:?}: {answer:?}");
        }
    }
    assert_eq!(app.all_counters(), before);
    app.stop().await;
}

#[actix_web::test]
async fn a_malformed_body_is_refused() {
    let app = TestApp::start().await;
    let (deep, large) = ("[".repeat(20_000), "x".repeat(1 << 20));
    let padded = format!("{{\"event_id\":\"Sample\",\"increment_by\":1,\"padding\":\"{}\"}}", "x".repeat(40_000));
    let form = format!("client_id={}&flow={0}&code={0}", "x".repeat(40_000));
    let many = "a=1&".repeat(20_000);
    let bodies: [(&str, &[u8]); 15] = [
        ("no body", b""),
        ("broken JSON", b"{\"event_id\":\"Sample\",\"increment_by\":1"),
        ("a JSON array", b"[\"Sample\",1]"),
        ("wrong types", b"{\"event_id\":{\"a\":1},\"increment_by\":[1]}"),
        (
            "duplicate members",
            b"{\"event_id\":\"Sample\",\"event_id\":\"Sample\",\"increment_by\":1,\"increment_by\":1}",
        ),
        ("a huge number", b"{\"event_id\":\"Sample \",\"increment_by\":1e999}"),
        ("a NUL", b"\0"),
        ("an escaped NUL", b"{\"event_id\":\"Sample\\u0000\",\"increment_by\":1}"),
        ("bytes that are no UTF-8", b"{\"event_id\":\"\xff\xfe\",\"increment_by\":1}\xff=%FF&client_id=\xff&flow=\xff"),
        ("two byte order marks", b"\xef\xbb\xbf\xef\xbb\xbf{\"event_id\":\"Sample\",\"increment_by\":1}"),
        ("deep nesting", deep.as_bytes()),
        ("a mebibyte", large.as_bytes()),
        ("good JSON that is too long", padded.as_bytes()),
        ("a form that is too long", form.as_bytes()),
        ("many parameters", many.as_bytes()),
    ];
    let mut requests = Vec::new();
    for route in routes_that_take(&[Takes::Form, Takes::Json]) {
        for (what, body) in bodies {
            requests.push((route, what.to_owned(), route.request(b"", route.content_type(), Some(body))));
        }
    }
    all_refused(&app, requests).await;
    app.stop().await;
}

#[actix_web::test]
async fn a_byte_order_mark_before_a_body_is_ignored() {
    let app = TestApp::start().await;
    let sent = |path: &str, body: &str| {
        app.request(Method::POST, path).bearer_auth(ADMIN_KEY).body(format!("\u{feff}{body}")).send()
    };
    for path in ["/api/assign_queue_num", "/private/reset_initial_state"] {
        let answer = sent(path, "{\"event_id\":\"Sample\"}").await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
    let stepped =
        sent("/private/increment_serving_counter", " {\"event_id\":\"Sample\",\"increment_by\":2}").await.unwrap();
    assert_eq!(body(stepped).await, json!({ "serving_num": 2 }));
    let twice = sent("/api/assign_queue_num", "\u{feff}{\"event_id\":\"Sample\"}").await.unwrap();
    assert_eq!(twice.status(), StatusCode::BAD_REQUEST);
    app.stop().await;
}

#[actix_web::test]
async fn a_form_of_another_content_type_is_refused() {
    let app = TestApp::start().await;
    let types = [
        "",
        "text/plain",
        "application/json",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencodedx",
        "\u{fc}",
    ];
    let body = b"client_id=Sample&grant_type=authorization_code&code=x&flow=x&access_token=x&redirect_uri=x";
    let mut requests = Vec::new();
    for route in routes_that_take(&[Takes::Form]) {
        for content_type in types {
            let header =
                if content_type.is_empty() { String::new() } else { format!("content-type: {content_type}\r\n") };
            requests.push((route, format!("the type {content_type:?}"), route.request(b"", &header, Some(body))));
        }
    }
    all_refused(&app, requests).await;
    app.stop().await;
}

#[actix_web::test]
async fn an_unsupported_method_is_refused_on_every_route_with_the_supported_ones() {
    let app = TestApp::start().await;
    let before = app.all_counters();
    for route in ROUTES {
        for method in ["PUT", "DELETE", "PATCH", "TRACE", "FROBNICATE", "get", "PROPFIND"] {
            let request = Route { method, ..route }.request(b"", "", None);
            let answer = exchange(app.address(), &request).await.unwrap();
            let what = format!("{method} {}", route.path);
            assert_eq!(answer.status, 405, "{what}");
            let allowed: Vec<_> = answer.header("allow").expect(&what).split(", ").collect();
            assert!(allowed.contains(&route.method) && !allowed.contains(&method), "{what}: {allowed:?}");
            assert_eq!(allowed.contains(&"OPTIONS"), route.cors, "{what}: {allowed:?}");
            route.check(&app, &answer, &what);
        }
    }
    assert_eq!(app.all_counters(), before);
    app.stop().await;
}

#[actix_web::test]
async fn head_is_supported_where_get_has_no_effect() {
    let app = TestApp::start().await;
    let before = app.all_counters();
    for route in ROUTES {
        let does_something = route.path.starts_with("/authorize") || route.path.ends_with("/events");
        let head = exchange(app.address(), &Route { method: "HEAD", ..route }.request(b"", "", None)).await.unwrap();
        assert_eq!(head.body, "", "{}", route.path);
        if does_something || (route.method == "POST" && route.path != "/userInfo") {
            assert_eq!(head.status, 405, "{}", route.path);
        } else {
            let get = exchange(app.address(), &Route { method: "GET", ..route }.request(b"", "", None)).await.unwrap();
            assert_eq!((head.status, head.header("content-type")), (get.status, get.header("content-type")));
        }
    }
    assert_eq!(app.all_counters(), before);
    app.stop().await;
}

#[actix_web::test]
async fn an_unusual_path_is_not_found() {
    let app = TestApp::start().await;
    let paths = [
        "/../etc/passwd",
        "/assets/../../Cargo.toml",
        "/assets/..%2f..%2fCargo.toml",
        "/assets/%2e%2e%2fmain.rs",
        "/assets/%00",
        "/%",
        "/%zz",
        "/%ff",
        "/api/serving_num%00",
        "/api/serving_num/",
        "//api/serving_num",
        "/authorize/",
        "/token/x",
        "/AUTHORIZE",
        "/line/",
        "/line/Sample/",
        "/line/Sample/events/x",
        "/privat",
        "/.well-known/",
        "/.git/config",
    ];
    for path in paths {
        let request = format!("GET {path} HTTP/1.1\r\nhost: anteroom\r\nconnection: close\r\n\r\n");
        let answer: Answer = exchange(app.address(), request.as_bytes()).await.unwrap();
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        super::routes::assert_clean(&app, &answer, path);
        let error: serde_json::Value =
            serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{path}: {answer:?}"));
        assert!(error["error"].as_str().unwrap().starts_with("There is no"), "{path}: {error}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn unusual_headers_have_no_effect() {
    let app = TestApp::start().await;
    let before = app.all_counters();
    let headers = [
        "authorization: \u{fc}\r\n".to_owned(),
        "authorization: Bearer\r\n".to_owned(),
        "authorization: Basic %%%\r\n".to_owned(),
        format!("authorization: Bearer {}\r\n", "x".repeat(60_000)),
        format!("cookie: anteroom-browser={}\r\n", "x".repeat(60_000)),
        "cookie: anteroom-browser=\u{fc}; =; ;;; anteroom-place-Sample\r\n".to_owned(),
        "cookie: anteroom-browser=a\r\ncookie: anteroom-browser=b\r\n".to_owned(),
        "x-forwarded-for: ,,,;\u{fc}\r\nforwarded: for=\"\r\n".to_owned(),
        "accept: \u{fc}\r\nif-none-match: \u{fc}\r\naccept-encoding: x\r\n".to_owned(),
        "x-http-method-override: POST\r\nx-original-url: /private/increment_serving_num\r\n".to_owned(),
        "expect: 100-continue\r\n".to_owned(),
        "connection: upgrade\r\nupgrade: websocket\r\n".to_owned(),
        "range: bytes=0-0,-1,5-\r\n".to_owned(),
    ];
    for route in ROUTES.iter().filter(|route| !route.path.starts_with("/private")) {
        for header in &headers {
            let answer = exchange(app.address(), &route.request(b"", header, None)).await.unwrap();
            assert!(answer.status < 500 && answer.status != 101, "{route:?} {header:.40}: {answer:?}");
        }
    }
    assert_eq!(app.all_counters(), before);
    app.stop().await;
}

/// A valid request is accepted, so the refusals above have no other cause.
#[actix_web::test]
async fn a_valid_request_on_the_same_connection_is_answered() {
    let app = TestApp::start().await;
    let step = br#"{"event_id":"Sample","increment_by":"1"}"#;
    let good = [
        ("/api/assign_queue_num", "", &br#"{"event_id":"Sample"}"#[..]),
        ("/api/serving_num", "event_id=Sample", b""),
        ("/private/increment_serving_counter", "", step),
        ("/metrics", "", b""),
    ];
    for (path, query, body) in good {
        let route = ROUTES.into_iter().find(|route| route.path == path).unwrap();
        let request = route.request(query.as_bytes(), route.content_type(), Some(body));
        let answer = exchange(app.address(), &request).await.unwrap();
        assert_eq!(answer.status, 200, "{route:?}: {answer:?}");
    }
    let counters = app.all_counters()["Sample"];
    assert_eq!((counters.queue, counters.serving), (1, 1));
    let wrong_key = app.post_json("/private/increment_serving_num", &json!({"event_id": "Sample", "increment_by": 1}));
    assert_eq!(wrong_key.bearer_auth(&ADMIN_KEY[1..]).send().await.unwrap().status(), 403);
    app.stop().await;
}
