//! Only a navigation gets a place in line or opens a session.

use reqwest::{Method, RequestBuilder, StatusCode};

use crate::support::{Browser, REDIRECT, TestApp, encode};

const GOOGLEBOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
const FACEBOOK_APP: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 [FBAN/FBIOS;FBAV/467.0.0.39.108]";

fn query(other: &[(&str, &str)]) -> String {
    let usual = [("client_id", "Sample"), ("redirect_uri", REDIRECT), ("response_type", "code"), ("scope", "openid")];
    encode(&crate::support::merged(&usual, other))
}

fn authorize(app: &TestApp) -> RequestBuilder {
    app.get(&format!("/authorize?{}", query(&[])))
}

/// Headers of requests that are no navigation, and the status of the answer.
const OTHERS: [(&str, &str, StatusCode); 9] = [
    ("sec-purpose", "prefetch", StatusCode::SERVICE_UNAVAILABLE),
    ("sec-purpose", "prefetch;prerender", StatusCode::SERVICE_UNAVAILABLE),
    ("purpose", "prefetch", StatusCode::SERVICE_UNAVAILABLE),
    ("x-moz", "prefetch", StatusCode::SERVICE_UNAVAILABLE),
    ("x-purpose", "preview", StatusCode::SERVICE_UNAVAILABLE),
    ("sec-fetch-dest", "empty", StatusCode::FORBIDDEN),
    ("sec-fetch-dest", "image", StatusCode::FORBIDDEN),
    ("sec-fetch-dest", "script", StatusCode::FORBIDDEN),
    ("user-agent", GOOGLEBOT, StatusCode::SERVICE_UNAVAILABLE),
];

#[actix_web::test]
async fn a_request_that_is_no_navigation_gets_neither_place_nor_session() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let page = browser.authorize(&app, &[]).await;
    app.serve("Sample", 5).await;
    let (before, cookies) = (app.all_counters(), browser.cookies.clone());
    let flow = page.resume_url().split_once("flow=").unwrap().1.to_owned();
    for (name, value, status) in OTHERS {
        let newcomer = Browser::default().send(authorize(&app).header(name, value)).await;
        let place = browser.send(authorize(&app).header(name, value)).await;
        let resumed = browser.send(app.get(&page.resume_url()).header(name, value)).await;
        let posted = app.post_form("/authorize", &[("client_id", "Sample")]).header(name, value);
        let posted = browser.send(posted).await;
        let entered = app.post_form("/authorize/resume", &[("flow", &flow), ("enter", "1")]).header(name, value);
        let entered = browser.send(entered).await;
        for answer in [newcomer, place, resumed, posted, entered] {
            assert_eq!(answer.status, status, "{name}: {value}");
            assert_eq!(answer.headers["cache-control"], "no-store");
            assert!(answer.location.is_none() && !answer.headers.contains_key("set-cookie"));
            assert!(!answer.headers.contains_key("access-control-allow-origin"));
        }
    }
    assert_eq!(app.all_counters(), before);
    assert_eq!(browser.cookies, cookies);
    browser.resume(&app, &page).await.code();
    app.stop().await;
}

#[actix_web::test]
async fn head_gets_no_place() {
    let app = TestApp::start().await;
    let before = app.all_counters();
    for path in ["/authorize".to_owned(), "/authorize/resume".to_owned(), format!("/authorize?{}", query(&[]))] {
        let answer = app.request(Method::HEAD, &path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert!(!answer.headers().contains_key("set-cookie"));
    }
    assert_eq!(app.all_counters(), before);
    app.stop().await;
}

#[actix_web::test]
async fn a_crawler_gets_retry_after_and_a_page_that_is_not_indexed() {
    let app = TestApp::start().await;
    let page = Browser::default().send(authorize(&app).header("user-agent", GOOGLEBOT)).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(page.headers["retry-after"], "3600");
    assert_eq!(page.headers["x-robots-tag"], "noindex");
    assert!(page.body.contains("<meta name=\"robots\" content=\"noindex\">"), "{}", page.body);
    app.stop().await;
}

#[actix_web::test]
async fn pages_in_frames_and_browsers_inside_apps_are_visitors() {
    let app = TestApp::start().await;
    for (name, value) in [
        ("sec-fetch-dest", "document"),
        ("sec-fetch-dest", "iframe"),
        ("sec-fetch-dest", "frame"),
        ("user-agent", FACEBOOK_APP),
        ("user-agent", "Mozilla/5.0 (Linux; Android 11; CUBOT NOTE 20) AppleWebKit/537.36"),
    ] {
        let mut browser = Browser::default();
        browser.authorize(&app, &[("prompt", "none")]).await;
        let page = browser.send(authorize(&app).header(name, value)).await;
        assert!(page.waits() || page.status == StatusCode::SEE_OTHER, "{value}: {page:?}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn an_active_session_logs_in_silently_in_a_frame_but_not_for_a_script() {
    let app = TestApp::start().await;
    let (mut browser, _) = app.tokens(&[]).await;
    let silent = || app.get(&format!("/authorize?{}", query(&[("prompt", "none")])));
    let frame = browser.send(silent().header("sec-fetch-dest", "iframe").header("sec-fetch-mode", "navigate")).await;
    frame.code();
    let script = browser.send(silent().header("sec-fetch-dest", "empty").header("sec-fetch-mode", "cors")).await;
    assert_eq!(script.status, StatusCode::FORBIDDEN);
    app.stop().await;
}

/// `fetch(event.request)` makes a new request, whose destination is empty and whose mode is still that of a navigation
/// (w3c/ServiceWorker issue 1803). It happens where a site and its queue share an origin.
#[actix_web::test]
async fn a_navigation_forwarded_by_a_service_worker_gets_a_place() {
    let app = TestApp::start().await;
    let passed_on = |mode: &str| authorize(&app).header("sec-fetch-dest", "empty").header("sec-fetch-mode", mode);
    assert!(Browser::default().send(passed_on("navigate")).await.waits());
    assert_eq!(app.all_counters()["Sample"].queue, 1);
    for by_script in ["cors", "no-cors", "same-origin", "websocket"] {
        let refused = Browser::default().send(passed_on(by_script)).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{by_script}");
    }
    assert_eq!(app.all_counters()["Sample"].queue, 1);
    app.stop().await;
}
