//! The REST contract of the retired Virtual Waiting Room, name for name.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, Browser, NOW, TestApp, claims, json as body};

const PUBLIC: [(&str, &str); 4] = [
    ("POST", "/api/assign_queue_num"),
    ("GET", "/api/queue_num"),
    ("GET", "/api/serving_num"),
    ("GET", "/api/waiting_num"),
];

const MAX: i64 = i64::MAX;

async fn get(app: &TestApp, path: &str) -> Response {
    app.get(path).send().await.unwrap()
}

async fn increment(app: &TestApp, body: &Value) -> Response {
    app.post_json("/private/increment_serving_counter", body).bearer_auth(ADMIN_KEY).send().await.unwrap()
}

/// The sentence of an error, whose form is checked here.
async fn refusal(answer: Response) -> (u16, String) {
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert!(answer.headers().contains_key("x-request-id"));
    let status = answer.status().as_u16();
    let error = body(answer).await;
    assert_eq!(error.as_object().unwrap().len(), 1, "{error}");
    (status, error["error"].as_str().unwrap().to_owned())
}

#[actix_web::test]
async fn joining_gives_a_request_id_with_position_and_entry_time() {
    let app = TestApp::start().await;
    app.pass(5);
    let body_of_join = json!({ "event_id": "Sample", "extra": { "ignored": [1, null] } });
    let joined = app.post_json("/api/assign_queue_num", &body_of_join).send().await.unwrap();
    assert_eq!(joined.status(), StatusCode::OK);
    assert_eq!(joined.headers()["access-control-allow-origin"], "*");
    assert_eq!(joined.headers()["cache-control"], "no-store");
    let id = body(joined).await["api_request_id"].as_str().unwrap().to_owned();

    let asked = get(&app, &format!("/api/queue_num?event_id=Sample&request_id={id}&extra=1")).await;
    assert_eq!(asked.status(), StatusCode::OK);
    assert_eq!(asked.headers()["access-control-allow-origin"], "*");
    // Caches must revalidate, because a reset voids it.
    assert_eq!(asked.headers()["cache-control"], "private, no-cache");
    let expected = json!({ "queue_number": 1, "entry_time": NOW.as_secs() + 5, "event_id": "Sample", "status": 1 });
    assert_eq!(body(asked).await, expected);
    app.stop().await;
}

/// The requirements of `uuid.validate`, `isUUID` and zod: version and variant of RFC 9562 §5.4, in its canonical form.
fn assert_is_uuid_of_version_4(id: &str) {
    let groups: Vec<&str> = id.split('-').collect();
    assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
    assert!(id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')), "{id}");
    assert!(groups[2].starts_with('4'), "version: {id}");
    assert!(groups[3].starts_with(['8', '9', 'a', 'b']), "variant: {id}");
}

#[actix_web::test]
async fn every_new_request_id_is_a_uuid_of_version_4() {
    let app = TestApp::start().await;
    for _ in 0..100 {
        assert_is_uuid_of_version_4(&app.join("Sample").await);
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_content_type_of_a_join_is_ignored() {
    let app = TestApp::start().await;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "nonsense"] {
        let request = app.request(Method::POST, "/api/assign_queue_num").header("content-type", content_type);
        let joined = request.body(r#"{"event_id":"Sample"}"#).send().await.unwrap();
        assert_eq!(joined.status(), StatusCode::OK, "{content_type}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn joins_at_once_take_distinct_positions_without_a_gap() {
    const CROWD: u64 = 200;
    let app = TestApp::start().await;
    let ids = join_all((0..CROWD).map(|_| app.join("Sample"))).await;
    let ask =
        async |id: &String| body(get(&app, &format!("/api/queue_num?event_id=Sample&request_id={id}")).await).await;
    let positions = join_all(ids.iter().map(ask)).await;
    let positions: BTreeSet<u64> = positions.iter().map(|answer| answer["queue_number"].as_u64().unwrap()).collect();
    assert_eq!(positions, (1..=CROWD).collect());
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    app.stop().await;
}

#[actix_web::test]
async fn a_refusal_names_the_mistake() {
    let app = TestApp::start().await;
    let id = app.join("Sample").await;
    let upper = id.to_uppercase();
    let mut queries = vec![
        ("/api/serving_num".to_owned(), 400, "Invalid event ID"),
        ("/api/serving_num?event_id=".to_owned(), 400, "Invalid event ID"),
        ("/api/serving_num?event_id=Nowhere".to_owned(), 400, "Invalid event ID"),
        ("/api/serving_num?event_id=Sample&event_id=Sample".to_owned(), 400, "Invalid event ID"),
        ("/api/waiting_num".to_owned(), 400, "Invalid event ID"),
        ("/api/waiting_num?event_id=sample".to_owned(), 400, "Invalid event ID"),
        ("/api/queue_num".to_owned(), 400, "Invalid event or request ID"),
        ("/api/queue_num?event_id=Sample".to_owned(), 400, "Invalid event or request ID"),
        (format!("/api/queue_num?request_id={id}"), 400, "Invalid event or request ID"),
        (format!("/api/queue_num?event_id=Nowhere&request_id={id}"), 400, "Invalid event ID"),
        // A ticket of another event is invalid here, whichever deployment sealed it.
        (format!("/api/queue_num?event_id=Door&request_id={id}"), 202, "Request ID not found"),
        (format!("/api/queue_num?event_id=Sample&request_id={}", id.replace('-', "0")), 400, "Invalid request ID"),
    ];
    for malformed in ["", "1", &upper, &id[1..], &format!("{id}0"), "zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz", "%00"] {
        let query = format!("/api/queue_num?event_id=Sample&request_id={malformed}");
        queries.push((query, 400, "Invalid request ID"));
    }
    for forged in ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"] {
        let query = format!("/api/queue_num?event_id=Sample&request_id={forged}");
        queries.push((query, 202, "Request ID not found"));
    }
    for (query, status, sentence) in queries {
        assert_eq!(refusal(get(&app, &query).await).await, (status, sentence.to_owned()), "{query}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_malformed_join_is_refused_and_takes_no_position() {
    let app = TestApp::start().await;
    let malformed = "The body is not the JSON object that this call takes";
    let bodies = [
        (r#"{"event_id":"Nowhere"}"#, "Invalid event ID"),
        (r#"{"event_id":""}"#, "Invalid event ID"),
        (r#"{"event_id":7}"#, malformed),
        (r#"{"event_id":null}"#, malformed),
        (r#"{"event":"Sample"}"#, malformed),
        (r#"{"event_id":"Sample""#, malformed),
        (r#"{"event_id":"Sample"}}"#, malformed),
        (r#"{"event_id":"Sample","event_id":"Sample"}"#, malformed),
        (r#""Sample""#, malformed),
        (r#"["Sample"]"#, malformed),
        ("event_id=Sample", malformed),
        ("", malformed),
    ];
    for (sent, sentence) in bodies {
        let answer = app.request(Method::POST, "/api/assign_queue_num").body(sent).send().await.unwrap();
        assert_eq!(refusal(answer).await, (400, sentence.to_owned()), "{sent}");
    }
    assert_eq!(app.all_counters()["Sample"].queue, 0);
    app.stop().await;
}

#[actix_web::test]
async fn a_ticket_of_another_deployment_is_unknown() {
    let (app, directory) = (TestApp::start().await, tempfile::tempdir().unwrap());
    std::fs::create_dir_all(directory.path().join("data")).unwrap();
    std::fs::write(directory.path().join("data/master-secret"), "ab".repeat(32)).unwrap();
    let other = TestApp::in_directory(directory, "").await;
    let (ours, theirs) = (app.join("Sample").await, other.join("Sample").await);
    assert_ne!(ours, theirs, "the same visitor under two master secrets");
    let answer = get(&app, &format!("/api/queue_num?event_id=Sample&request_id={theirs}")).await;
    assert_eq!(refusal(answer).await, (202, "Request ID not found".to_owned()));
    app.stop().await;
    other.stop().await;
}

/// The answer of `queue_num` for a `sub` is the `queue_position` that relying parties have already.
#[actix_web::test]
async fn a_subject_reveals_its_position_and_opens_no_session() {
    let app = TestApp::start().await;
    let (_, tokens) = app.tokens(&[]).await;
    let claims = claims(tokens["id_token"].as_str().unwrap());
    let before = app.all_counters();
    let sub = claims["sub"].as_str().unwrap();
    let answer = body(get(&app, &format!("/api/queue_num?event_id=Sample&request_id={sub}")).await).await;
    assert_eq!(answer["queue_number"], claims["queue_position"]);
    assert_eq!(app.all_counters(), before);
    app.stop().await;
}

#[actix_web::test]
async fn an_operator_moves_the_serving_counter() {
    let app = TestApp::start().await;
    let steps = [
        ("/private/increment_serving_counter", json!(5), 5),
        ("/private/increment_serving_num", json!("7"), 12),
        ("/private/increment_serving_counter", json!(" -2 "), 10),
        ("/private/increment_serving_counter", json!(1e2), 110),
        ("/private/increment_serving_counter", json!(-100.0), 10),
        ("/private/increment_serving_counter", json!(0), 10),
        ("/private/increment_serving_counter", json!(-10), 0),
    ];
    for (path, by, serving) in steps {
        let sent = json!({ "event_id": "Sample", "increment_by": by, "extra": true });
        let answer = app.post_json(path, &sent).bearer_auth(ADMIN_KEY).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{sent}");
        assert_eq!(body(answer).await, json!({ "serving_num": serving }));
        let actual = get(&app, "/api/serving_num?event_id=Sample").await;
        assert_eq!(actual.headers()["cache-control"], "public, max-age=1, stale-while-revalidate=4");
        assert_eq!(actual.headers()["access-control-allow-origin"], "*");
        assert_eq!(body(actual).await, json!({ "serving_counter": serving }));
    }
    assert_eq!(body(get(&app, "/api/serving_num?event_id=Door").await).await["serving_counter"], 0);
    app.stop().await;
}

#[actix_web::test]
async fn an_impossible_or_malformed_step_changes_nothing() {
    let app = TestApp::start().await;
    app.serve("Sample", MAX - 1).await;
    let before = app.all_counters();
    let range = "The serving counter would fall below 0 or rise above 9223372036854775807";
    let malformed = "The body is not the JSON object that this call takes";
    let bodies = [
        (json!({ "event_id": "Sample", "increment_by": 2 }), range),
        (json!({ "event_id": "Sample", "increment_by": MAX }), range),
        (json!({ "event_id": "Sample", "increment_by": i64::MIN }), range),
        (json!({ "event_id": "Sample", "increment_by": -MAX }), range),
        (json!({ "event_id": "Nowhere", "increment_by": 1 }), "Invalid event ID"),
        (json!({ "event_id": "Sample", "increment_by": u64::MAX }), malformed),
        (json!({ "event_id": "Sample", "increment_by": "9223372036854775808" }), malformed),
        (json!({ "event_id": "Sample", "increment_by": "one" }), malformed),
        (json!({ "event_id": "Sample", "increment_by": 1.5 }), malformed),
        (json!({ "event_id": "Sample", "increment_by": 1e18 }), malformed),
        (json!({ "event_id": "Sample", "increment_by": null }), malformed),
        (json!({ "event_id": "Sample" }), malformed),
        (json!({ "increment_by": 1 }), malformed),
        (json!([]), malformed),
        (json!(["Sample", 1]), malformed),
    ];
    for (sent, sentence) in bodies {
        assert_eq!(refusal(increment(&app, &sent).await).await, (400, sentence.to_owned()), "{sent}");
    }
    assert_eq!(app.all_counters(), before);
    assert_eq!(app.serve("Sample", 1).await, MAX.unsigned_abs());
    app.stop().await;
}

#[actix_web::test]
async fn the_private_api_needs_an_admin_key() {
    let app = TestApp::start().await;
    let before = app.all_counters();
    let (none, wrong) = ("Missing Authentication Token", "Forbidden");
    let headers = [
        (None, none),
        (Some(String::new()), none),
        (Some("Bearer".to_owned()), none),
        (Some(format!("Basic {ADMIN_KEY}")), none),
        (Some(ADMIN_KEY.to_owned()), none),
        (Some("Bearer ".to_owned()), none),
        (Some("Bearer x".to_owned()), wrong),
        (Some(format!("Bearer {}", &ADMIN_KEY[1..])), wrong),
        (Some(format!("Bearer {ADMIN_KEY}x")), wrong),
        (Some(format!("Bearer {ADMIN_KEY},{ADMIN_KEY}")), wrong),
    ];
    for path in ["/private/increment_serving_counter", "/private/increment_serving_num"] {
        for (header, message) in &headers {
            // A caller without permission does not learn whether the body is valid.
            for sent in [json!({ "event_id": "Sample", "increment_by": 1 }), json!("nonsense")] {
                let request = app.post_json(path, &sent);
                let request = header.iter().fold(request, |request, value| request.header("authorization", value));
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{header:?}");
                assert_eq!(body(answer).await, json!({ "message": message }), "{header:?}");
            }
        }
    }
    assert_eq!(app.all_counters(), before);
    app.stop().await;
}

#[actix_web::test]
async fn waiting_num_counts_visitors_without_tokens() {
    let app = TestApp::start().await;
    let waiting = async || body(get(&app, "/api/waiting_num?event_id=Sample").await).await["waiting_num"].clone();
    assert_eq!(waiting().await, 0);
    for _ in 0..3 {
        app.join("Sample").await;
    }
    let (mut first, mut second) = (Browser::default(), Browser::default());
    assert!(first.authorize(&app, &[]).await.waits());
    let page = second.authorize(&app, &[]).await;
    assert_eq!(waiting().await, 5);
    app.serve("Sample", 100).await;
    assert_eq!(waiting().await, 5, "to be served is not to have a token");
    second.resume(&app, &page).await.code();
    assert_eq!(waiting().await, 4);
    second.authorize(&app, &[]).await.code();
    assert_eq!(waiting().await, 4, "one visitor, however often they log in");
    app.stop().await;
}

#[actix_web::test]
async fn a_page_of_any_origin_may_call_the_public_api() {
    let app = TestApp::start().await;
    for (method, path) in PUBLIC {
        let preflight = app.request(Method::OPTIONS, path).header("origin", "https://shop.example");
        let preflight = preflight.header("access-control-request-method", method);
        let answer = preflight.header("access-control-request-headers", "content-type").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("access-control-allow-origin"), "*");
        assert!(header("access-control-allow-methods").contains(method));
        assert!(header("access-control-allow-headers").to_lowercase().contains("content-type"));
        assert!(answer.headers().get("access-control-allow-credentials").is_none());
    }
    app.stop().await;
}

#[actix_web::test]
async fn an_unsupported_method_is_refused_with_the_supported_ones() {
    let app = TestApp::start().await;
    for (method, path) in PUBLIC {
        for wrong in [Method::PUT, Method::DELETE, Method::PATCH] {
            let answer = app.request(wrong, path).send().await.unwrap();
            let asking = if method == "GET" { "GET, HEAD" } else { method };
            assert_eq!(answer.headers()["allow"], format!("{asking}, OPTIONS"), "{path}");
            assert_eq!(refusal(answer).await, (405, "This path does not answer this method".to_owned()));
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn below_private_only_operators_get_404() {
    for app in [TestApp::start().await, TestApp::at("https://queue.example/line").await] {
        refuses_all_but_operators(&app).await;
        app.stop().await;
    }
}

/// An unknown path or method is forbidden like all others below `/private`.
async fn refuses_all_but_operators(app: &TestApp) {
    let calls = [
        (Method::GET, "/private", 404),
        (Method::POST, "/private/", 404),
        (Method::GET, "/private/nothing?a=b", 404),
        (Method::PUT, "/private/nothing", 404),
        (Method::GET, "/private/increment_serving_counter", 405),
        (Method::DELETE, "/private/keys", 405),
        (Method::OPTIONS, "/private/keys", 405),
    ];
    for (method, path, status) in calls {
        let ask = || app.request(method.clone(), path).header("accept", "text/html").body("{}");
        for (request, message) in
            [(ask(), "Missing Authentication Token"), (ask().bearer_auth(format!("{ADMIN_KEY}x")), "Forbidden")]
        {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{method} {path}");
            assert!(!answer.headers().contains_key("allow"), "{method} {path}");
            assert_eq!(body(answer).await, json!({ "message": message }), "{method} {path}");
        }
        let actual = ask().bearer_auth(ADMIN_KEY).header("accept", "*/*").send().await.unwrap();
        assert_eq!(actual.status().as_u16(), status, "{method} {path}");
    }
}

#[actix_web::test]
async fn unknown_paths_are_not_found() {
    let app = TestApp::start().await;
    for path in ["/api", "/api/", "/api/serving_num/", "/api/nothing", "/privately", "/nothing", "//"] {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            let answer = app.request(method, path).send().await.unwrap();
            assert_eq!(refusal(answer).await, (404, "There is nothing at this path".to_owned()), "{path}");
        }
    }
    // A browser gets a page.
    let page = app.get("/nothing").header("accept", "text/html,*/*;q=0.8").send().await.unwrap();
    assert_eq!(page.status(), StatusCode::NOT_FOUND);
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert!(page.text().await.unwrap().contains("There is nothing here"));
    app.stop().await;
}
