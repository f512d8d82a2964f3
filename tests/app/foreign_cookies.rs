//! Foreign cookies on the same host: our cookies are found beside any bytes.

use reqwest::RequestBuilder;
use reqwest::header::{COOKIE, HeaderValue};

use crate::steps::token;
use crate::support::{Browser, TestApp, login_query};

/// Cookies that browsers may send: invalid UTF-8, no pair, or wrong escapes.
const FOREIGN: [&[u8]; 8] =
    [b"name=M\xfcller", b"M\xfcller=1", b"\xff=\xfe", b"name=%FC", b"%FC=1", b"name", b"=name", b"a=\"b"];

/// The request with `ours` after `foreign`, before it, and in another header line.
fn beside(request: &RequestBuilder, foreign: &[u8], ours: &str) -> [RequestBuilder; 4] {
    let ours = ours.as_bytes();
    let lines: [&[&[u8]]; 4] =
        [&[&[foreign, b"; ", ours].concat()], &[&[ours, b"; ", foreign].concat()], &[foreign, ours], &[ours, foreign]];
    lines.map(|lines| {
        let request = request.try_clone().unwrap();
        lines.iter().fold(request, |request, line| request.header(COOKIE, HeaderValue::from_bytes(line).unwrap()))
    })
}

/// A browser's cookies, as it sends them.
fn sent_by(browser: &Browser) -> String {
    let cookies = browser.cookies.iter().map(|(name, value)| format!("{name}={value}"));
    cookies.collect::<Vec<_>>().join("; ")
}

#[actix_web::test]
async fn a_place_is_kept_and_admitted_beside_foreign_cookies_of_any_bytes() {
    let app = TestApp::start().await;
    let mut owner = Browser::default();
    let page = owner.authorize(&app, &[]).await;
    assert!(page.waits());
    let ours = sent_by(&owner);
    let (authorize, resume) = (format!("/authorize?{}", login_query(&[])), page.resume_url());
    for foreign in FOREIGN {
        let actual = String::from_utf8_lossy(foreign);
        for path in [&authorize, &resume] {
            for request in beside(&app.get(path), foreign, &ours) {
                let again = Browser::default().send_once(request).await;
                assert!(again.waits(), "{actual}: {again:?}");
                assert_eq!(again.attribute("data-position"), page.attribute("data-position"), "{actual}");
            }
        }
    }
    assert_eq!(app.counters().queue, 1, "no load of the page took another number");
    app.serve("Sample", 1).await;
    let [request, ..] = beside(&app.get(&resume), b"name=M\xfcller", &ours);
    let admitted = Browser::default().send_once(request).await;
    assert!(!admitted.code().is_empty(), "{admitted:?}");
    app.stop().await;
}

#[actix_web::test]
async fn verify_finds_its_token_beside_foreign_cookies_of_any_bytes() {
    let app = TestApp::start().await;
    let (_, tokens) = app.tokens(&[]).await;
    let ours = format!("anteroom_token={}", token(&tokens, "access_token"));
    for foreign in FOREIGN {
        for path in ["/verify?event_id=Sample", "/verify/Sample/shop"] {
            for request in beside(&app.get(path), foreign, &ours) {
                let actual = request.send().await.unwrap().status();
                assert!(actual.is_success(), "{}: {actual}", String::from_utf8_lossy(foreign));
            }
        }
    }
    app.stop().await;
}
