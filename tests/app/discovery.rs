//! Discovery (OIDC Discovery §3 and §4, RFC 8414).

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use url::Url;

use crate::steps::{assert_golden, id_claims, sub, text_of, token};
use crate::support::{Browser, TestApp, json};

const DISCOVERY: &str = "/.well-known/openid-configuration";
const METADATA: &str = "/.well-known/oauth-authorization-server";

/// Members of provider metadata in the IANA registry "OAuth Authorization Server Metadata" that a provider of the
/// authorization code flow may list.
const REGISTERED: [&str; 24] = [
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "userinfo_endpoint",
    "jwks_uri",
    "end_session_endpoint",
    "scopes_supported",
    "response_types_supported",
    "response_modes_supported",
    "grant_types_supported",
    "acr_values_supported",
    "subject_types_supported",
    "id_token_signing_alg_values_supported",
    "token_endpoint_auth_methods_supported",
    "display_values_supported",
    "claim_types_supported",
    "claims_supported",
    "claims_parameter_supported",
    "request_parameter_supported",
    "request_uri_parameter_supported",
    "require_request_uri_registration",
    "code_challenge_methods_supported",
    "prompt_values_supported",
    "authorization_response_iss_parameter_supported",
];

async fn document(app: &TestApp) -> Value {
    json(app.get(DISCOVERY).send().await.unwrap()).await
}

fn listed(document: &Value, member: &str) -> BTreeSet<String> {
    document[member].as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn the_document_is_the_golden_one_and_names_the_public_url_byte_for_byte() {
    let app = TestApp::at("https://queue.example").await;
    let answer = app.get(DISCOVERY).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(text_of(answer.headers(), "content-type"), "application/json");
    let document = json(answer).await;
    assert_golden("discovery", &document, &[]);
    let unknown = document.as_object().unwrap().keys().find(|name| !REGISTERED.contains(&name.as_str()));
    assert_eq!(unknown, None, "only registered members");
    assert_eq!(json(app.get(METADATA).send().await.unwrap()).await, document, "RFC 8414 and OIDC agree");
    app.stop().await;
}

#[actix_web::test]
async fn an_issuer_with_a_path_has_everything_below_it() {
    let app = TestApp::at("https://queue.example:8443/shop/queue").await;
    let document = document(&app).await;
    assert_eq!(document["issuer"], "https://queue.example:8443/shop/queue");
    let origin = app.url("").replace("/shop/queue", "");
    let at = |path: String| app.http.get(format!("{origin}{path}")).send();
    // RFC 8414 §3.1 puts the issuer's path last, OIDC Discovery §4 first; clients use both.
    for path in [format!("{METADATA}/shop/queue"), format!("/shop/queue{METADATA}")] {
        let preflight = app.http.request(Method::OPTIONS, format!("{origin}{path}")).send().await.unwrap();
        assert_eq!(text_of(preflight.headers(), "access-control-allow-origin"), "*");
        let answer = at(path).await.unwrap();
        assert_eq!(text_of(answer.headers(), "access-control-allow-origin"), "*");
        assert_eq!(json(answer).await, document);
    }
    for outside in [DISCOVERY, "/authorize", "/token", "/.well-known/jwks.json"] {
        assert_eq!(at(outside.to_owned()).await.unwrap().status(), StatusCode::NOT_FOUND, "{outside}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_login_works_under_a_path() {
    let app = TestApp::at("http://127.0.0.1:0/queue").await;
    let mut browser = Browser::default();
    let page = browser.authorize(&app, &[]).await;
    let resume = page.resume_url();
    assert!(resume.starts_with("/queue/authorize/resume?flow="), "{resume}");
    assert!(page.body.contains("src=\"/queue/assets/") && !page.body.contains("\"/assets/"), "{}", page.body);
    app.serve("Sample", 1).await;
    let admitted = browser.send(app.get(resume.strip_prefix("/queue").unwrap())).await;
    assert_eq!(admitted.answer()["iss"], app.issuer);
    let tokens = json(app.redeem(&admitted.code(), &[]).await).await;
    assert_eq!(id_claims(&tokens)["iss"], app.issuer);
    assert_eq!(app.user_info(token(&tokens, "access_token")).await.status(), StatusCode::OK);
    app.stop().await;
}

#[actix_web::test]
async fn every_endpoint_is_absolute_and_answers() {
    let app = TestApp::start().await;
    let document = document(&app).await;
    assert_eq!(document["issuer"], app.issuer);
    let endpoints = document.as_object().unwrap().iter();
    let endpoints = endpoints.filter(|(name, _)| name.ends_with("_endpoint") || name.ends_with("_uri"));
    let endpoints: Vec<_> = endpoints.map(|(name, url)| (name, url.as_str().unwrap())).collect();
    assert!(endpoints.len() >= 4);
    for (name, url) in endpoints {
        assert!(Url::parse(url).is_ok() && url.starts_with(&format!("{}/", app.issuer)), "{name}: {url}");
        assert_ne!(app.http.get(url).send().await.unwrap().status(), StatusCode::NOT_FOUND, "{name}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn listed_claims_are_exactly_those_that_visitors_get() {
    let app = TestApp::start().await;
    let asked = [("scope", "openid profile email"), ("acr_values", "queue:fair")];
    let (_, tokens) = app.tokens(&asked).await;
    let info = json(app.user_info(token(&tokens, "access_token")).await).await;
    let names = |claims: &Value| claims.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let given: BTreeSet<_> = names(&id_claims(&tokens)).union(&names(&info)).cloned().collect();
    assert_eq!(listed(&document(&app).await, "claims_supported"), given);
    assert_eq!(info["sub"], sub(&tokens));
    app.stop().await;
}

#[actix_web::test]
async fn unlisted_values_are_refused() {
    let app = TestApp::start().await;
    let document = document(&app).await;
    let cases = [
        ("response_types_supported", "response_type", ["token", "id_token", "code id_token", "none"]),
        ("response_modes_supported", "response_mode", ["fragment", "jwt", "web_message", "query.jwt"]),
        ("prompt_values_supported", "prompt", ["create", "never", "NONE", "login,none"]),
        ("code_challenge_methods_supported", "code_challenge_method", ["plain", "s256", "S512", "none"]),
    ];
    for (member, parameter, values) in cases {
        for value in values {
            assert!(!listed(&document, member).contains(value));
            let challenge = if parameter == "code_challenge_method" { "code_challenge" } else { "ignored" };
            let asked = [(parameter, value), (challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")];
            let error = Browser::default().authorize(&app, &asked).await.error();
            assert!(["invalid_request", "unsupported_response_type"].contains(&error.as_str()), "{value}: {error}");
        }
    }
    app.stop().await;
}
