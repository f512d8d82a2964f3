//! The headers of every response, for any request.

use super::routes::ROUTES;
use crate::support::{ADMIN_KEY, CONFIG, TestApp, config_from};
use crate::wire::{Answer, exchange};

const HSTS: &str = "strict-transport-security";

async fn request(app: &TestApp, method: &str, target: &str, headers: &str) -> Answer {
    let request = format!("{method} {target} HTTP/1.1\r\nhost: anteroom\r\nconnection: close\r\n{headers}\r\n");
    exchange(app.address(), request.as_bytes()).await.unwrap_or_else(|| panic!("no answer: {method} {target}"))
}

/// Every route with every method, pages, assets, redirects, unknown paths, the path of RFC 8414 before the public
/// URL's.
async fn answers(app: &TestApp, base_path: &str) -> Vec<(String, Answer)> {
    let mut answers = Vec::new();
    let key = format!("authorization: Bearer {ADMIN_KEY}\r\ncontent-length: 0\r\n");
    let elsewhere = ["/nothing", "/private/nothing", "/%6detrics", "/assets/none", "/verify/Sample/x", "/line/none"];
    let form = "content-type: application/x-www-form-urlencoded\r\ncontent-length: 5\r\n\r\nscope";
    for path in ROUTES.iter().map(|route| route.path).chain(elsewhere) {
        for method in ["GET", "HEAD", "POST", "OPTIONS", "DELETE"] {
            let target = format!("{base_path}{path}");
            answers.push((format!("{method} {target}"), request(app, method, &target, &key).await));
            answers.push((format!("{method} {target} without a key"), request(app, method, &target, "").await));
        }
        answers.push((format!("a form to {path}"), request(app, "POST", &format!("{base_path}{path}"), form).await));
    }
    let page = request(app, "GET", &format!("{base_path}/"), "accept: text/html\r\n").await;
    let (_, asset) = page.body.split_once("/assets/").unwrap();
    let asset = format!("{base_path}/assets/{}", asset.split('"').next().unwrap());
    let file = request(app, "GET", &asset, "").await;
    let tag = format!("if-none-match: {}\r\n", file.header("etag").unwrap());
    let unchanged = request(app, "GET", &asset, &tag).await;
    assert_eq!((file.status, unchanged.status), (200, 304));
    answers.extend([("a page".to_owned(), page), (asset.clone(), file), (asset, unchanged)]);
    let (broken, long) = ("x : y\r\n", format!("x: {}\r\n", "y".repeat(100_000)));
    for (what, headers) in [("no request", broken), ("a long head", &long), ("a line feed alone", "x: y\n")] {
        let refused = request(app, "GET", "/", headers).await;
        let error: serde_json::Value = serde_json::from_str(&refused.body).unwrap();
        assert!(error["error"].is_string() && refused.header("x-request-id").is_some(), "{what}: {refused:?}");
        assert_eq!(refused.header("content-type"), Some("application/json"), "{what}");
        assert_eq!((refused.header("cache-control"), refused.header("connection")), (Some("no-store"), Some("close")));
        answers.push((what.to_owned(), refused));
    }
    for method in ["GET", "OPTIONS", "PUT"] {
        let target = format!("/.well-known/oauth-authorization-server{base_path}");
        answers.push((format!("{method} {target}"), request(app, method, &target, "").await));
        answers.push((format!("{method} outside"), request(app, method, "/outside", "").await));
    }
    answers
}

async fn deployed(public_url: &str, more: &str) -> TestApp {
    let directory = crate::seeded::directory().await;
    let text = CONFIG.replace("http://127.0.0.1:0", public_url);
    let config = config_from(directory.path(), &format!("{more}\n{text}"));
    TestApp::configured(directory, config).await
}

#[actix_web::test]
async fn every_response_has_nosniff_and_hsts_headers() {
    for (public_url, base_path, more, remembered) in [
        ("http://127.0.0.1:0", "", "", None),
        ("https://queue.example", "", "", Some("max-age=31536000")),
        ("https://queue.example/in/line", "/in/line", "", Some("max-age=31536000")),
        ("https://queue.example", "", "hsts = true", Some("max-age=31536000")),
        ("https://queue.example", "", "hsts = false", None),
        ("http://127.0.0.1:0", "", "hsts = true", None),
    ] {
        let app = deployed(public_url, more).await;
        let answers = answers(&app, base_path).await;
        let seen: std::collections::BTreeSet<u16> = answers.iter().map(|(_, answer)| answer.status).collect();
        assert!(
            [200, 204, 303, 304, 400, 401, 403, 404, 405, 431].iter().all(|status| seen.contains(status)),
            "{seen:?}"
        );
        for (what, answer) in answers {
            let what = format!("{what} at {public_url} with {more:?}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{what}");
            assert_eq!(answer.header(HSTS), remembered, "{what}");
            let once = answer.headers.iter().filter(|(name, _)| name == "x-content-type-options").count();
            assert_eq!(once, 1, "{what}");
        }
        app.stop().await;
    }
}

#[actix_web::test]
async fn a_stream_has_the_headers_too() {
    let app = deployed("https://queue.example", "").await;
    let stream = app.http.get(format!("http://{}/line/Sample/events", app.address())).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert_eq!(stream.headers()["x-content-type-options"], "nosniff");
    assert_eq!(stream.headers()[HSTS], "max-age=31536000");
    app.stop().await;
}

#[actix_web::test]
async fn the_private_address_sends_no_hsts_header() {
    let app = deployed("https://queue.example", "private_listen = \"127.0.0.1:0\"").await;
    let private = format!("http://{}", app.private_address().unwrap());
    for path in ["/metrics", "/health/ready", "/private/keys", "/nothing"] {
        let answer = app.http.get(format!("{private}{path}")).send().await.unwrap();
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
        assert!(!answer.headers().contains_key(HSTS), "{path}");
    }
    app.stop().await;
}
