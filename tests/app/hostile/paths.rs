//! Other spellings of the operators' paths: a proxy in front refuses these paths by their text, so no other text may
//! reach them.

use std::collections::BTreeSet;

use super::routes::{ROUTES, assert_clean};
use crate::support::{ADMIN_KEY, TestApp};
use crate::wire::{Answer, exchange};

const OPERATORS: [&str; 3] = ["/private", "/health", "/metrics"];

/// All operators' routes except `/private/events`, which does not end.
fn operators_paths() -> BTreeSet<&'static str> {
    let paths = ROUTES.iter().map(|route| route.path);
    paths.filter(|path| OPERATORS.iter().any(|prefix| path.starts_with(prefix))).collect()
}

/// Other spellings of `path` that some server or proxy treats as equal.
fn spellings(path: &str) -> Vec<String> {
    let escaped = |at: usize| format!("{}%{:02x}{}", &path[..at], path.as_bytes()[at], &path[at + 1..]);
    let mut spellings: Vec<String> = (1..path.len()).map(escaped).collect();
    let all: String = path[1..].bytes().map(|byte| format!("%{byte:02X}")).collect();
    let (start, last) = path.rsplit_once('/').unwrap();
    spellings.extend([
        format!("/{all}"),
        escaped(1).replacen("%", "%25", 1),
        format!("/{path}"),
        format!("/.{path}"),
        format!("/%2e{path}"),
        format!("/x/..{path}"),
        format!("/assets/%2e%2e{path}"),
        format!("{path}/"),
        format!("{path}/."),
        format!("{path}%00"),
        format!("{path}%20"),
        format!("{path}%3f"),
        format!("{path}%23"),
        format!("{path};x=1"),
        format!("{start};x=1/{last}"),
        format!("{start}//{last}"),
        format!("{start}/./{last}"),
        format!("{start}/x/../{last}"),
        format!("{start}\\{last}"),
        path.to_uppercase(),
    ]);
    // For a path with one segment, some of these are not paths.
    spellings.retain(|spelling| spelling.starts_with('/'));
    spellings
}

async fn request(app: &TestApp, method: &str, target: &str, headers: &str) -> Answer {
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: anteroom\r\nconnection: close\r\ncontent-length: 0\r\n{headers}\r\n"
    );
    exchange(app.address(), request.as_bytes()).await.unwrap_or_else(|| panic!("no answer: {method} {target}"))
}

/// Whether the text of a path, below the base path, is below `/private`, where all requests without a key are refused
/// alike.
fn is_below_private(path: &str) -> bool {
    path.starts_with("/private/")
}

async fn nothing_else_reaches_them(app: &TestApp, base_path: &str) {
    let key = format!("authorization: Bearer {ADMIN_KEY}\r\n");
    let preflight = "origin: https://elsewhere.example\r\naccess-control-request-method: POST\r\n";
    for path in operators_paths() {
        for spelling in spellings(path) {
            let target = format!("{base_path}{spelling}");
            for method in ["GET", "POST", "OPTIONS", "PUT"] {
                let what = format!("{method} {target}");
                let bare = request(app, method, &target, if method == "OPTIONS" { preflight } else { "" }).await;
                assert_clean(app, &bare, &what);
                assert_eq!(bare.status, if is_below_private(&spelling) { 403 } else { 404 }, "{what}");
                let keyed = request(app, method, &target, &key).await;
                let nowhere = request(app, method, &format!("{base_path}/nothing-at-all"), &key).await;
                assert_eq!((keyed.status, keyed.body), (404, nowhere.body), "{what}");
            }
        }
    }
}

#[actix_web::test]
async fn another_spelling_of_an_operators_path_is_not_found() {
    let app = TestApp::start().await;
    let before = app.all_counters();
    nothing_else_reaches_them(&app, "").await;
    assert_eq!(app.all_counters(), before);
    app.stop().await;
}

#[actix_web::test]
async fn another_spelling_below_the_base_path_is_not_found() {
    let app = TestApp::replacing("http://127.0.0.1:0\"\nlisten", "http://127.0.0.1:0/in/line\"\nlisten").await;
    nothing_else_reaches_them(&app, "/in/line").await;
    for target in ["/in/%6cine/metrics", "/in%2fline/metrics", "/in//line/metrics", "/in/line//metrics", "/metrics"] {
        assert_eq!(request(&app, "GET", target, "").await.status, 404, "{target}");
    }
    assert_eq!(request(&app, "GET", "/in/line/metrics", "").await.status, 200);
    app.stop().await;
}

#[actix_web::test]
async fn exact_operators_paths_answer_with_any_query() {
    let app = TestApp::start().await;
    for path in ["/health/live", "/health/ready", "/metrics"] {
        for target in [path.to_owned(), format!("{path}?%6detrics"), format!("{path}?")] {
            assert_eq!(request(&app, "GET", &target, "").await.status, 200, "{target}");
        }
        // The absolute form (RFC 9112 §3.2.2) is another text, which a proxy rule for `/metrics` does not match.
        for host in ["http://anteroom", "https://anteroom:443", "http://elsewhere.example"] {
            assert_eq!(request(&app, "GET", &format!("{host}{path}"), "").await.status, 404, "{host}{path}");
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_public_path_may_be_in_absolute_form_and_a_non_path_is_not_found() {
    let app = TestApp::start().await;
    assert_eq!(request(&app, "GET", "http://anteroom/line/Sample", "").await.status, 200);
    for method in ["OPTIONS", "GET", "POST"] {
        let answer = request(&app, method, "*", "").await;
        assert_clean(&app, &answer, method);
        assert_eq!((answer.status, answer.body.contains("error")), (404, true), "{method}: {answer:?}");
    }
    app.stop().await;
}

/// Public paths may be escaped (RFC 3986 §6.2.2.2).
#[actix_web::test]
async fn an_escaped_public_path_is_the_same_path() {
    let app = TestApp::start().await;
    assert_eq!(request(&app, "GET", "/l%69ne/Sample", "").await.status, 200);
    assert_eq!(request(&app, "GET", "/.well-known/openid%2dconfiguration", "").await.status, 200);
    app.stop().await;
}
