//! `/userInfo` (OIDC Core §5.3 and §5.4, RFC 6750), and cross-origin calls of browser applications (Fetch standard,
//! CORS).

use anteroom::room::SessionStatus;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json as value};

use crate::steps::{assert_golden, oauth_error, sub, text_of, token};
use crate::support::{Browser, TestApp, header, json};

const USER_INFO: &str = "/userInfo";

async fn assert_invalid_token(answer: Response, case: &str) {
    let challenge = text_of(answer.headers(), "www-authenticate").to_owned();
    assert!(challenge.starts_with("Bearer error=\"invalid_token\", error_description=\""), "{case}: {challenge}");
    assert_eq!(text_of(answer.headers(), "access-control-allow-origin"), "*", "{case}");
    assert_eq!(oauth_error(answer).await, (401, "invalid_token".to_owned()), "{case}");
}

async fn claims_of(app: &TestApp, tokens: &Value) -> Value {
    json(app.user_info(token(tokens, "access_token")).await).await
}

#[actix_web::test]
async fn get_post_and_form_body_give_the_same_claims_and_the_id_tokens_sub() {
    let app = TestApp::start().await;
    let (_, tokens) = app.tokens(&[("scope", "openid profile email")]).await;
    let access = token(&tokens, "access_token");
    let requests = [
        app.get(USER_INFO).bearer_auth(access),
        app.get(USER_INFO).header("authorization", format!("bearer {access}")),
        app.request(Method::POST, USER_INFO).bearer_auth(access),
        app.post_form(USER_INFO, &[]).bearer_auth(access),
        app.post_form(USER_INFO, &[("access_token", access)]),
    ];
    for request in requests {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(text_of(answer.headers(), "content-type"), "application/json");
        assert_eq!(text_of(answer.headers(), "cache-control"), "no-store");
        assert_eq!(text_of(answer.headers(), "access-control-allow-origin"), "*");
        assert_golden("user_info", &json(answer).await, &[("sub", &sub(&tokens))]);
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_token_sent_twice_is_an_invalid_request_and_none_gets_a_bare_challenge() {
    let app = TestApp::start().await;
    let (_, tokens) = app.tokens(&[]).await;
    let access = token(&tokens, "access_token");
    let both = app.post_form(USER_INFO, &[("access_token", access)]).bearer_auth(access);
    let twice = app.post_form(USER_INFO, &[("access_token", access), ("access_token", access)]);
    for request in [both, twice] {
        let answer = request.send().await.unwrap();
        assert!(text_of(answer.headers(), "www-authenticate").starts_with("Bearer error=\"invalid_request\""));
        assert_eq!(oauth_error(answer).await, (400, "invalid_request".to_owned()));
    }
    let none = [
        app.get(USER_INFO),
        app.request(Method::POST, USER_INFO),
        app.post_form(USER_INFO, &[("token", access)]),
        app.get(&format!("{USER_INFO}?access_token={access}")),
        app.get(USER_INFO).header("authorization", "Basic dTpw"),
    ];
    for request in none {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        let challenge = text_of(answer.headers(), "www-authenticate");
        assert_eq!(challenge, "Bearer realm=\"anteroom\"", "RFC 6750 §3.1: no error without a token");
        assert!(text_of(answer.headers(), "access-control-expose-headers").contains("WWW-Authenticate"));
        assert_eq!(answer.text().await.unwrap(), "");
    }
    app.stop().await;
}

#[actix_web::test]
async fn every_other_token_is_an_invalid_token() {
    let (app, elsewhere) = (TestApp::start().await, tempfile::tempdir().unwrap());
    // A directory of its own, and so keys of its own.
    let foreign = TestApp::in_directory(elsewhere, "").await;
    let (_, tokens) = app.tokens(&[]).await;
    let (_, strangers) = foreign.tokens(&[]).await;
    let access = token(&tokens, "access_token");
    let [head, payload, signature] = access.split('.').collect::<Vec<_>>()[..] else { panic!("{access}") };
    let (_, foreign_signature) = token(&strangers, "access_token").rsplit_once('.').unwrap();
    let forged = format!("{head}.{payload}.{foreign_signature}");
    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#);
    let mut rs256 = header(access);
    rs256["alg"] = "RS256".into();
    let rs256 = URL_SAFE_NO_PAD.encode(rs256.to_string());
    let mut claims = crate::support::claims(access);
    claims["exp"] = 1_900_000_000.into();
    let longer = URL_SAFE_NO_PAD.encode(claims.to_string());
    let cases = [
        ("a foreign provider's", token(&strangers, "access_token").to_owned()),
        ("an ID token", token(&tokens, "id_token").to_owned()),
        ("alg none", format!("{unsigned}.{payload}.")),
        ("alg none with a signature", format!("{unsigned}.{payload}.{signature}")),
        ("another alg", format!("{rs256}.{payload}.{signature}")),
        ("our key's name over a foreign signature", forged),
        ("changed claims", format!("{head}.{longer}.{signature}")),
        ("no signature", format!("{head}.{payload}.")),
        ("two parts", format!("{head}.{payload}")),
        ("the code's form", "A".repeat(43)),
        ("garbage", "garbage".to_owned()),
        ("far too long", "A".repeat(20_000)),
    ];
    for (case, bad) in cases {
        assert_invalid_token(app.user_info(&bad).await, case).await;
        assert_invalid_token(app.post_form(USER_INFO, &[("access_token", &bad)]).send().await.unwrap(), case).await;
    }
    assert_eq!(app.user_info(access).await.status(), StatusCode::OK);
    app.pass(3600);
    assert_invalid_token(app.user_info(access).await, "expired").await;
    app.stop().await;
    foreign.stop().await;
}

#[actix_web::test]
async fn a_closed_session_or_a_reset_event_ends_its_tokens() {
    let app = TestApp::start().await;
    for status in [SessionStatus::Completed, SessionStatus::Abandoned] {
        let (_, tokens) = app.tokens(&[]).await;
        app.close_session(&sub(&tokens), status).await;
        assert_invalid_token(app.user_info(token(&tokens, "access_token")).await, "closed").await;
    }
    let (_, tokens) = app.tokens(&[]).await;
    app.lobby().store().reset(&"Sample".parse().unwrap()).await.unwrap();
    assert_invalid_token(app.user_info(token(&tokens, "access_token")).await, "reset").await;
    app.stop().await;
}

#[actix_web::test]
async fn claims_are_released_by_scope_and_by_the_claims_parameter() {
    let app = TestApp::start().await;
    let one = value!({ "userinfo": { "email": null, "picture": { "essential": true } } }).to_string();
    let other_place = value!({ "id_token": { "email": null } }).to_string();
    let always = ["event_id", "queue_position", "sub"];
    let cases = [
        (&[("scope", "openid")][..], &[][..]),
        (&[("scope", "openid profile")], &["preferred_username"]),
        (&[("scope", "openid email")], &["email", "email_verified"]),
        (&[("scope", "openid email profile")], &["email", "email_verified", "preferred_username"]),
        (&[("claims", &one)], &["email"]),
        (&[("claims", &one), ("scope", "openid profile")], &["email", "preferred_username"]),
        (&[("claims", &other_place)], &[]),
    ];
    for (asked, released) in cases {
        let (_, tokens) = app.tokens(asked).await;
        let claims = claims_of(&app, &tokens).await;
        let mut expected = [&always[..], released].concat();
        expected.sort_unstable();
        let mut names: Vec<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, expected, "{asked:?}");
        assert_eq!(claims["sub"], sub(&tokens));
    }
    app.stop().await;
}

#[actix_web::test]
async fn browser_applications_may_call_the_endpoints_of_the_protocol_and_never_authorize() {
    let app = TestApp::start().await;
    let open = [
        ("/.well-known/openid-configuration", Method::GET),
        ("/.well-known/oauth-authorization-server", Method::GET),
        ("/.well-known/jwks.json", Method::GET),
        ("/token", Method::POST),
        (USER_INFO, Method::GET),
        (USER_INFO, Method::POST),
    ];
    let ask = |method: Method, path: &str| app.request(method, path).header("origin", "https://spa.example");
    for (path, method) in open {
        let preflight = ask(Method::OPTIONS, path)
            .header("access-control-request-method", method.as_str())
            .header("access-control-request-headers", "authorization,content-type,x-requested-with");
        let answer = preflight.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}");
        let header = |name| text_of(answer.headers(), name).to_ascii_lowercase();
        assert_eq!(header("access-control-allow-origin"), "*", "{path}");
        assert!(header("access-control-allow-methods").contains(&method.as_str().to_ascii_lowercase()), "{path}");
        assert!(header("access-control-allow-headers").contains("authorization"), "{path}");
        assert!(header("access-control-allow-headers").contains("content-type"), "{path}");
        assert!(header("access-control-allow-headers").contains("x-requested-with"), "{path}");
        assert_eq!(header("access-control-allow-credentials"), "", "{path}");
        let answer = ask(method, path).send().await.unwrap();
        assert_eq!(text_of(answer.headers(), "access-control-allow-origin"), "*", "{path}: errors too");
        let actual = answer.headers().contains_key("www-authenticate");
        let exposed = text_of(answer.headers(), "access-control-expose-headers").contains("WWW-Authenticate");
        assert!(exposed || !actual, "{path}: the page may read why");
    }
    for path in ["/authorize", "/authorize/resume", "/authorize?client_id=Sample&prompt=none"] {
        for method in [Method::GET, Method::POST, Method::OPTIONS, Method::PUT] {
            let answer = ask(method.clone(), path).send().await.unwrap();
            let allowed = answer.headers().keys().find(|name| name.as_str().starts_with("access-control"));
            assert_eq!(allowed, None, "{method} {path}");
            let wrong = [Method::OPTIONS, Method::PUT].contains(&method);
            assert_eq!(text_of(answer.headers(), "allow"), if wrong { "GET, POST" } else { "" }, "{method} {path}");
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_single_page_application_logs_in_with_pkce_alone() {
    let app = TestApp::start().await;
    let hash = crate::support::challenge(crate::support::VERIFIER);
    let asked = [("client_id", "spa"), ("code_challenge", hash.as_str()), ("code_challenge_method", "S256")];
    app.serve("Sample", 1).await;
    let code = Browser::default().authorize(&app, &asked).await.code();
    let fields = [("client_id", "spa"), ("code_verifier", crate::support::VERIFIER)];
    let request = app.post_form("/token", &crate::steps::code_fields(&code, &fields));
    let answer = request.header("origin", "https://spa.example").send().await.unwrap();
    assert_eq!(text_of(answer.headers(), "access-control-allow-origin"), "*");
    let tokens = json(answer).await;
    assert_eq!(claims_of(&app, &tokens).await["sub"], sub(&tokens));
    app.stop().await;
}
