//! Limits per address: joins and failed authentications; valid credentials always pass.

use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, Browser, REDIRECT, SECRET, TestApp, basic, encode, json as body};

const PROXY: &str = "trusted_proxies = [\"127.0.0.1/32\"]";
const FEW: &str = "joins_per_second = 2, joins_burst = 4, joins_per_second_ipv6 = 1, joins_burst_ipv6 = 2, \
                   client_failures_per_minute = 3, operator_failures_per_minute = 3";
const VISITOR: &str = "203.0.113.7";
const OTHER: &str = "203.0.113.8";

/// Behind a proxy that names its visitors.
async fn limited() -> TestApp {
    TestApp::replacing(PROXY, &format!("{PROXY}\nlimits = {{ {FEW}, exempt = [] }}")).await
}

fn join(app: &TestApp, from: &str) -> RequestBuilder {
    let request = app.post_json("/api/assign_queue_num", &json!({ "event_id": "Sample" }));
    request.header("x-forwarded-for", from)
}

/// How many of `tries` get a place.
async fn joined(app: &TestApp, from: &str, tries: usize) -> usize {
    let mut given = 0;
    for _ in 0..tries {
        let status = join(app, from).send().await.unwrap().status();
        assert!(matches!(status, StatusCode::OK | StatusCode::TOO_MANY_REQUESTS), "{status}");
        given += usize::from(status == StatusCode::OK);
    }
    given
}

fn authorize(app: &TestApp, from: &str) -> RequestBuilder {
    let query = encode(&[
        ("client_id", "Sample"),
        ("redirect_uri", REDIRECT),
        ("response_type", "code"),
        ("scope", "openid"),
        ("state", "state"),
    ]);
    app.get(&format!("/authorize?{query}")).header("x-forwarded-for", from)
}

#[actix_web::test]
async fn each_address_joins_within_its_own_budget() {
    let app = limited().await;
    assert_eq!(joined(&app, VISITOR, 10).await, 4);
    let before = app.all_counters();
    let refused = join(&app, VISITOR).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["access-control-allow-origin"], "*");
    assert_eq!(refused.headers()["cache-control"], "no-store");
    assert_eq!(body(refused).await, json!({ "error": "Too many joined from this address: try again later" }));
    assert_eq!(app.all_counters(), before, "no place is used up");
    assert_eq!(joined(&app, OTHER, 10).await, 4);
    app.pass(1);
    assert_eq!(joined(&app, VISITOR, 10).await, 2);
    app.stop().await;
}

#[actix_web::test]
async fn an_ipv6_network_of_64_bits_counts_as_one_address_and_ipv4_in_ipv6_form_as_ipv4() {
    let app = limited().await;
    assert_eq!(joined(&app, "2001:db8:0:1::1", 1).await, 1);
    assert_eq!(joined(&app, "[2001:db8:0:1:ffff::2]:4711", 3).await, 1);
    assert_eq!(joined(&app, "2001:db8:0:2::1", 3).await, 2);
    assert_eq!(joined(&app, "::ffff:203.0.113.7", 3).await, 3);
    assert_eq!(joined(&app, "203.0.113.7:1234", 3).await, 1);
    app.stop().await;
}

#[actix_web::test]
async fn both_channels_and_all_events_share_one_budget() {
    let app = limited().await;
    assert_eq!(joined(&app, VISITOR, 2).await, 2);
    let other_event = app.post_json("/api/assign_queue_num", &json!({ "event_id": "Door" }));
    let other_event = other_event.header("x-forwarded-for", VISITOR).send().await.unwrap();
    assert_eq!(other_event.status(), StatusCode::OK);
    assert!(Browser::default().send(authorize(&app, VISITOR)).await.waits());
    assert_eq!(Browser::default().send(authorize(&app, VISITOR)).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(joined(&app, VISITOR, 2).await, 0);
    app.stop().await;
}

#[actix_web::test]
async fn a_limited_visitor_gets_a_page_that_retries_and_then_joins() {
    let app = limited().await;
    joined(&app, VISITOR, 4).await;
    let mut browser = Browser::default();
    let page = browser.send(authorize(&app, VISITOR)).await;
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(page.headers["retry-after"], "1");
    assert_eq!(page.headers["cache-control"], "no-store");
    assert!(!browser.cookies.contains_key("anteroom-place-Sample"));
    let refresh = page.body.split_once("http-equiv=\"refresh\" content=\"").unwrap().1.split('"').next().unwrap();
    let (seconds, url) = refresh.split_once(";url=").unwrap();
    assert!((5..=20).contains(&seconds.parse::<u32>().unwrap()), "{seconds}");
    let url = url.replace("&#38;", "&").replace("&amp;", "&");
    app.pass(5);
    assert!(browser.send(app.get(&url).header("x-forwarded-for", VISITOR)).await.waits(), "{url}");
    app.stop().await;
}

#[actix_web::test]
async fn a_visitor_who_has_a_place_is_never_limited() {
    let app = limited().await;
    let mut browser = Browser::default();
    let page = browser.send(authorize(&app, VISITOR)).await;
    assert!(page.waits());
    assert_eq!(joined(&app, VISITOR, 10).await, 3);
    for _ in 0..5 {
        assert!(browser.send(authorize(&app, VISITOR)).await.waits());
        assert!(browser.send(app.get(&page.resume_url()).header("x-forwarded-for", VISITOR)).await.waits());
    }
    app.serve("Sample", 1).await;
    browser.send(authorize(&app, VISITOR)).await.code();
    app.stop().await;
}

#[actix_web::test]
async fn a_limited_visitor_at_the_button_keeps_the_flow() {
    let app = limited().await;
    let mut browser = Browser::default();
    let query =
        encode(&[("client_id", "door"), ("redirect_uri", REDIRECT), ("response_type", "code"), ("scope", "openid")]);
    app.serve("Door", 1).await;
    let door = browser.send(app.get(&format!("/authorize?{query}")).header("x-forwarded-for", VISITOR)).await;
    let flow = door.body.split_once("name=\"flow\" value=\"").unwrap().1.split('"').next().unwrap().to_owned();
    app.pass(901);
    joined(&app, VISITOR, 4).await;
    let pressed = app.post_form("/authorize/resume", &[("flow", &flow), ("enter", "1")]);
    let pressed = browser.send(pressed.header("x-forwarded-for", VISITOR)).await;
    assert_eq!(pressed.status, StatusCode::SEE_OTHER);
    let location = pressed.location.unwrap();
    let page = browser.send(app.get(&location).header("x-forwarded-for", VISITOR)).await;
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS);
    app.pass(5);
    assert!(browser.send(app.get(&location).header("x-forwarded-for", VISITOR)).await.waits());
    app.stop().await;
}

#[actix_web::test]
async fn unknown_and_exempt_addresses_are_not_limited() {
    let app = limited().await;
    for from in ["", "unknown", "127.0.0.1"] {
        assert_eq!(joined(&app, from, 10).await, 10, "{from:?}");
    }
    app.stop().await;
    // No proxy is trusted: the header is ignored, and the peer is not the visitor.
    let app = TestApp::replacing(PROXY, &format!("limits = {{ {FEW}, exempt = [] }}")).await;
    assert_eq!(joined(&app, VISITOR, 10).await, 10);
    app.stop().await;
    let exempt = format!("{PROXY}\nlimits = {{ {FEW}, exempt = [\"203.0.113.0/29\"] }}");
    let app = TestApp::replacing(PROXY, &exempt).await;
    assert_eq!((joined(&app, VISITOR, 10).await, joined(&app, OTHER, 10).await), (10, 4));
    app.stop().await;
    let app = TestApp::replacing(PROXY, &format!("{PROXY}\nlimits = {{ {FEW} }}")).await;
    for internal in ["10.1.2.3", "192.168.1.1", "100.64.0.9", "fd00::1"] {
        assert_eq!(joined(&app, internal, 10).await, 10, "{internal}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn by_default_a_crowd_behind_one_address_joins_at_once() {
    let app = TestApp::start().await;
    for _ in 0..3 {
        assert_eq!(joined(&app, VISITOR, 100).await, 100);
    }
    // An IPv6 network has a smaller budget.
    assert_eq!(joined(&app, "2001:db8::1", 310).await, 300);
    app.stop().await;
}

/// The answer of `/token` to an invalid code from a client that authenticates with `secret`.
async fn token(app: &TestApp, from: &str, (id, secret): (&str, &str)) -> (u16, Value) {
    let fields = [("grant_type", "authorization_code"), ("code", "none"), ("redirect_uri", REDIRECT)];
    let request = app.post_form("/token", &fields).header("authorization", basic(id, secret));
    let answer = request.header("x-forwarded-for", from).send().await.unwrap();
    let (status, limited) = (answer.status(), answer.headers().contains_key("retry-after"));
    assert_eq!(limited, status == StatusCode::TOO_MANY_REQUESTS);
    (status.as_u16(), body(answer).await)
}

const WRONG: &str = "wrong-secret-0123456789-0123456789-0123456";

#[actix_web::test]
async fn a_client_that_fails_to_authenticate_too_often_is_answered_429_and_the_right_secret_still_passes() {
    let app = limited().await;
    for (wrong, expected) in [(401, 3), (429, 4)] {
        for _ in 0..expected {
            let (status, actual) = token(&app, VISITOR, ("Sample", WRONG)).await;
            assert_eq!((status, &actual["error"]), (wrong, &json!("invalid_client")));
        }
    }
    for _ in 0..10 {
        let (status, actual) = token(&app, VISITOR, ("Sample", SECRET)).await;
        assert_eq!((status, &actual["error"]), (400, &json!("invalid_grant")), "authenticated, and never limited");
    }
    assert_eq!(token(&app, VISITOR, ("Sample", WRONG)).await.0, 429);
    // Other clients and other addresses have budgets of their own. Unknown clients share one.
    assert_eq!(token(&app, VISITOR, ("door", WRONG)).await.0, 401);
    assert_eq!(token(&app, OTHER, ("Sample", WRONG)).await.0, 401);
    let mut unknown = Vec::new();
    for number in 0..5 {
        unknown.push(token(&app, VISITOR, (&format!("nobody-{number}"), WRONG)).await.0);
    }
    assert_eq!(unknown, [401, 401, 401, 429, 429]);
    app.pass(20);
    assert_eq!(token(&app, VISITOR, ("Sample", WRONG)).await.0, 401);
    app.stop().await;
}

#[actix_web::test]
async fn a_whole_login_works_after_any_number_of_failures_from_its_address() {
    let app = limited().await;
    for _ in 0..6 {
        token(&app, VISITOR, ("Sample", WRONG)).await;
    }
    app.serve("Sample", 1).await;
    let code = Browser::default().send(authorize(&app, VISITOR)).await.code();
    let fields = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", REDIRECT)];
    let redeemed = app.post_form("/token", &fields).header("authorization", basic("Sample", SECRET));
    assert_eq!(redeemed.header("x-forwarded-for", VISITOR).send().await.unwrap().status(), StatusCode::OK);
    app.stop().await;
}

/// The number of refused requests of a limit.
async fn counted(app: &TestApp, limit: &str) -> u64 {
    let metrics = app.get("/metrics").bearer_auth(ADMIN_KEY).send().await.unwrap().text().await.unwrap();
    let name = format!("anteroom_limited_requests_total{{limit=\"{limit}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

/// The answer of the private API to `authorization`.
async fn operate(app: &TestApp, from: &str, path: &str, authorization: Option<&str>) -> (u16, Value) {
    let request = app.get(path).header("x-forwarded-for", from);
    let request = authorization.iter().fold(request, |request, value| request.header("authorization", *value));
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

#[actix_web::test]
async fn an_operator_who_fails_too_often_is_answered_429_and_a_right_key_still_passes() {
    let app = limited().await;
    let path = "/private/num_active_tokens?event_id=Sample";
    let signed = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20270115/eu/execute-api/aws4_request, \
                  SignedHeaders=host, Signature=00";
    let bearer = format!("Bearer {WRONG}");
    for wrong in [None, Some(bearer.as_str()), Some(signed)] {
        assert_eq!(operate(&app, VISITOR, path, wrong).await.0, 403, "{wrong:?}");
    }
    let limited = json!({ "message": "Too Many Requests" });
    for path in [path, "/private/keys", "/private/nowhere"] {
        for wrong in [None, Some(bearer.as_str()), Some(signed)] {
            assert_eq!(operate(&app, VISITOR, path, wrong).await, (429, limited.clone()), "{path} {wrong:?}");
        }
    }
    let right = format!("Bearer {ADMIN_KEY}");
    for _ in 0..10 {
        assert_eq!(operate(&app, VISITOR, path, Some(&right)).await.0, 200);
    }
    assert_eq!(operate(&app, VISITOR, path, None).await.0, 429);
    assert_eq!(operate(&app, OTHER, path, None).await.0, 403);
    assert_eq!(counted(&app, "operator_failures").await, 10);
    app.stop().await;
}
