//! The retired system's control panel, which takes every answer that it can read for a success.

use reqwest::{Method, StatusCode};

use crate::hostile::routes::ROUTES;
use crate::support::{ADMIN_KEY, TestApp};

const WRONG_KEY: &str = "Bearer 0123456789abcdef0123456789abcdef";
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20270115/eu/execute-api/aws4_request, \
                      SignedHeaders=host;x-amz-date, Signature=00";
const BODY: &str = "{\"event_id\":\"Sample\"}";

#[actix_web::test]
async fn refused_credentials_below_private_are_unreadable_to_other_origins() {
    let few = "trusted_proxies = [\"127.0.0.1/32\"]\nlimits = { operator_failures_per_minute = 100, exempt = [] }";
    let app = TestApp::replacing("trusted_proxies = [\"127.0.0.1/32\"]", few).await;
    let served = ROUTES.iter().map(|route| route.path).filter(|path| path.starts_with("/private"));
    let paths: Vec<_> = served.chain(["/private", "/private/", "/private/nowhere"]).collect();
    let mut refused = Vec::new();
    for path in &paths {
        for method in [Method::GET, Method::POST, Method::PUT] {
            for credentials in ["", "Basic eDp5", WRONG_KEY, SIGNED] {
                let asked = app.request(method.clone(), path).header("origin", "https://panel.example").body(BODY);
                let asked = asked.header("x-forwarded-for", "203.0.113.7").header("authorization", credentials);
                let answer = asked.send().await.unwrap();
                let what = format!("{method} {path} {credentials}");
                let readable = answer.headers().keys().find(|name| name.as_str().starts_with("access-control"));
                assert_eq!(readable, None, "{what}");
                assert_eq!(answer.headers()["cache-control"], "no-store", "{what}");
                refused.push(answer.status());
            }
        }
    }
    let count = |status| refused.iter().filter(|refused| **refused == status).count();
    assert_eq!(count(StatusCode::FORBIDDEN), 100);
    assert_eq!(count(StatusCode::TOO_MANY_REQUESTS), refused.len() - 100);
    // Errors of an authenticated operator stay readable.
    let mistake = app.request(Method::POST, "/private/update_session").bearer_auth(ADMIN_KEY).body(BODY);
    let answer = mistake.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    app.stop().await;
}

#[actix_web::test]
async fn a_public_address_without_the_private_api_is_no_success_for_the_panel() {
    let listening = "listen = \"127.0.0.1:0\"";
    let app = TestApp::replacing(listening, &format!("{listening}\nprivate_listen = \"127.0.0.1:0\"")).await;
    for path in ["/private/increment_serving_counter", "/private/nowhere", "/private"] {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            let answer = app.request(method, path).bearer_auth(ADMIN_KEY).body(BODY).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
            assert!(!answer.headers().contains_key("access-control-allow-origin"), "{path}");
        }
    }
    app.stop().await;
}
