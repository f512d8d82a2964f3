//! The token endpoint and the authorization code (RFC 6749 §4.1.3 and §5, RFC 7636, RFC 9700).

use anteroom::room::SessionStatus;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::steps::{code_fields, oauth_error, sub, text_of, token};
use crate::support::{OTHER_SECRET, REDIRECT, SECRET, TestApp, VERIFIER, basic, challenge, json};

/// The lifetime of a code, s.
const CODE_LIFETIME: u64 = 60;
const INVALID_GRANT: (u16, &str) = (400, "invalid_grant");

/// Asserts that a token request was refused with this error.
async fn assert_refused(answer: Response, expected: (u16, &str), case: &str) {
    let (status, error) = oauth_error(answer).await;
    assert_eq!((status, error.as_str()), expected, "{case}");
}

fn pkce(hash: &str) -> [(&str, &str); 2] {
    [("code_challenge", hash), ("code_challenge_method", "S256")]
}

#[actix_web::test]
async fn of_twenty_concurrent_redemptions_exactly_one_wins_and_the_others_revoke_it() {
    let app = TestApp::start().await;
    let code = app.code(&[]).await;
    let answers = join_all((0..20).map(|_| app.redeem(&code, &[]))).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status() == StatusCode::OK);
    assert_eq!((won.len(), lost.len()), (1, 19));
    for answer in lost {
        assert_refused(answer, INVALID_GRANT, "used").await;
    }
    let tokens = json(won.into_iter().next().unwrap()).await;
    assert_eq!(app.user_info(token(&tokens, "access_token")).await.status(), StatusCode::UNAUTHORIZED);
    app.stop().await;
}

#[actix_web::test]
async fn a_reused_code_revokes_its_tokens_even_ten_minutes_later() {
    let app = TestApp::start().await;
    for later in [0, 600] {
        let (code, bystander) = (app.code(&[]).await, app.code(&[]).await);
        let tokens = json(app.redeem(&code, &[]).await).await;
        let others = json(app.redeem(&bystander, &[]).await).await;
        app.pass(later);
        assert_eq!(app.user_info(token(&tokens, "access_token")).await.status(), StatusCode::OK);
        assert_refused(app.redeem(&code, &[]).await, INVALID_GRANT, "reuse").await;
        let revoked = app.user_info(token(&tokens, "access_token")).await;
        assert_eq!(revoked.status(), StatusCode::UNAUTHORIZED);
        assert!(text_of(revoked.headers(), "www-authenticate").starts_with("Bearer error=\"invalid_token\""));
        assert_eq!(app.user_info(token(&others, "access_token")).await.status(), StatusCode::OK);
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_code_lives_for_sixty_seconds() {
    let app = TestApp::start().await;
    let (early, late) = (app.code(&[]).await, app.code(&[]).await);
    app.pass(CODE_LIFETIME - 1);
    assert_eq!(app.redeem(&early, &[]).await.status(), StatusCode::OK);
    app.pass(1);
    assert_refused(app.redeem(&late, &[]).await, INVALID_GRANT, "expired").await;
    app.stop().await;
}

#[actix_web::test]
async fn a_code_of_another_client_is_refused_and_stays_unused() {
    let app = TestApp::start().await;
    let other = [("client_id", "other"), ("client_secret", OTHER_SECRET)];
    let code = app.code(&[]).await;
    let stolen = code_fields(&code, &other);
    assert_refused(app.token_request(&stolen, None).await, INVALID_GRANT, "before its client").await;
    let tokens = json(app.redeem(&code, &[]).await).await;
    assert_refused(app.token_request(&stolen, None).await, INVALID_GRANT, "after its client").await;
    assert_eq!(app.user_info(token(&tokens, "access_token")).await.status(), StatusCode::OK);
    app.stop().await;
}

#[actix_web::test]
async fn a_code_is_bound_to_its_redirect_uri_and_is_used_up_by_a_wrong_try() {
    let app = TestApp::start().await;
    for (uri, expected) in [
        ("https://shop.example/second", "invalid_grant"),
        ("https://shop.example/callback?shop=1&", "invalid_grant"),
        ("https://evil.example/", "invalid_grant"),
        ("", "invalid_request"),
    ] {
        let code = app.code(&[]).await;
        let fields = code_fields(&code, &[("redirect_uri", uri)]);
        let answer = app.token_request(&fields, Some(&basic("Sample", SECRET))).await;
        assert_refused(answer, (400, expected), uri).await;
        let again = app.redeem(&code, &[]).await;
        assert_eq!(again.status(), if uri.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST }, "{uri}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_wrong_missing_or_surplus_verifier_fails() {
    let app = TestApp::start().await;
    let hash = challenge(VERIFIER);
    let (other, padded) = ("x".repeat(43), format!("{VERIFIER}="));
    let cases = [
        (&pkce(&hash)[..], VERIFIER, true),
        (&pkce(&hash), "", false),
        (&pkce(&hash), &other, false),
        (&pkce(&hash), &padded, false),
        (&pkce(&hash), &hash, false),
        (&[], VERIFIER, false),
        (&[], "", true),
    ];
    for (asked, verifier, good) in cases {
        let code = app.code(asked).await;
        let answer = app.redeem(&code, &[("code_verifier", verifier)]).await;
        if good {
            assert_eq!(answer.status(), StatusCode::OK, "{asked:?} {verifier}");
        } else {
            assert_refused(answer, INVALID_GRANT, verifier).await;
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_public_client_redeems_with_its_id_and_verifier_alone() {
    let app = TestApp::start().await;
    let hash = challenge(VERIFIER);
    let asked = [[("client_id", "spa"), ("prompt", "")], pkce(&hash)].concat();
    let public = [("client_id", "spa"), ("code_verifier", VERIFIER)];
    let code = app.code(&asked).await;
    let answer = app.token_request(&code_fields(&code, &public), None).await;
    assert_eq!(answer.status(), StatusCode::OK);
    for secret in ["", SECRET] {
        let code = app.code(&asked).await;
        let answer = app.token_request(&code_fields(&code, &public[1..]), Some(&basic("spa", secret))).await;
        assert_refused(answer, (401, "invalid_client"), "a public client has no secret").await;
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_client_authenticates_in_the_ways_it_registered() {
    let app = TestApp::with(
        r#"
        [[client]]
        client_id = "a shop: 100%"
        event = "Sample"
        client_secret = "env:SECRET"
        token_endpoint_auth_method = "client_secret_basic"
        redirect_uris = ["https://shop.example/callback?shop=1"]
        "#,
    )
    .await;
    let encoded = basic("a+shop%3A+100%25", SECRET);
    let post = |id, secret| vec![("client_id", id), ("client_secret", secret)];
    let (sample, other, odd) = ("Sample", "other", "a shop: 100%");
    let cases = [
        (sample, Some(basic(sample, SECRET)), vec![], true),
        (sample, Some(basic(sample, SECRET)), vec![("client_id", sample)], true),
        (sample, Some(basic(sample, SECRET).replace("Basic", "bAsIc")), vec![], true),
        (sample, None, post(sample, SECRET), true),
        (sample, None, post(sample, OTHER_SECRET), false),
        (sample, None, vec![("client_id", sample)], false),
        (sample, None, vec![], false),
        (sample, Some(basic(sample, OTHER_SECRET)), vec![], false),
        (sample, Some(basic("nobody", SECRET)), vec![], false),
        (other, None, post(other, OTHER_SECRET), true),
        (other, Some(basic(other, OTHER_SECRET)), vec![], false),
        (odd, Some(encoded), vec![], true),
        (odd, None, post(odd, SECRET), false),
    ];
    for (client, header, fields, good) in cases {
        let redirect = if client == other { "https://other.example/callback" } else { REDIRECT };
        let code = app.code(&[("client_id", client), ("redirect_uri", redirect)]).await;
        let fields = [code_fields(&code, &[("redirect_uri", redirect)]), fields].concat();
        let answer = app.token_request(&fields, header.as_deref()).await;
        let case = format!("{client} {header:?} {fields:?}");
        if good {
            assert_eq!(answer.status(), StatusCode::OK, "{case}");
            continue;
        }
        let challenge = text_of(answer.headers(), "www-authenticate").to_owned();
        assert_eq!(challenge.starts_with("Basic realm="), header.is_some(), "{case}");
        assert_refused(answer, (401, "invalid_client"), &case).await;
        let with_good = if client == other { post(other, OTHER_SECRET) } else { post(sample, SECRET) };
        let fields = [code_fields(&code, &[("redirect_uri", redirect)]), with_good].concat();
        let untouched = app.token_request(&fields, None).await.status() == StatusCode::OK;
        assert!(untouched || client == odd, "{case}: only a client uses a code up");
    }
    app.stop().await;
}

#[actix_web::test]
async fn more_than_one_way_at_once_is_an_invalid_request() {
    let app = TestApp::start().await;
    let good = basic("Sample", SECRET);
    for more in [
        &[("client_secret", SECRET)][..],
        &[("client_id", "Sample"), ("client_secret", SECRET)],
        &[("client_id", "other")],
        &[("client_secret", "wrong")],
    ] {
        let answer = app.token_request(&code_fields("x", more), Some(&good)).await;
        assert_refused(answer, (400, "invalid_request"), &format!("{more:?}")).await;
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_bad_authorization_header_is_an_invalid_client_with_a_challenge() {
    let app = TestApp::start().await;
    let no_colon = format!("Basic {}", STANDARD.encode("Sample"));
    let no_id = basic("", SECRET);
    let not_text = format!("Basic {}", STANDARD.encode(b"Sample:\xff"));
    for header in ["Basic", "Basic ", "Basic !!!", "Bearer abc", "Negotiate", &no_colon, &no_id, &not_text] {
        let answer = app.token_request(&code_fields("x", &[]), Some(header)).await;
        assert!(text_of(answer.headers(), "www-authenticate").starts_with("Basic realm="), "{header}");
        assert_refused(answer, (401, "invalid_client"), header).await;
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_malformed_token_request_is_an_invalid_request() {
    let app = TestApp::start().await;
    let good = basic("Sample", SECRET);
    for (grant, error) in [
        ("", "invalid_request"),
        ("password", "unsupported_grant_type"),
        ("implicit", "unsupported_grant_type"),
        ("urn:ietf:params:oauth:grant-type:device_code", "unsupported_grant_type"),
    ] {
        let answer = app.token_request(&code_fields("x", &[("grant_type", grant)]), Some(&good)).await;
        assert_refused(answer, (400, error), grant).await;
    }
    for name in ["grant_type", "code", "redirect_uri", "code_verifier", "client_id"] {
        let twice = [code_fields("x", &[]), vec![(name, "y"), (name, "y")]].concat();
        assert_refused(app.token_request(&twice, Some(&good)).await, (400, "invalid_request"), name).await;
    }
    let fields = serde_json::json!({ "grant_type": "authorization_code", "code": "x", "redirect_uri": REDIRECT });
    let answer = app.post_json("/token", &fields).header("authorization", &good).send().await.unwrap();
    assert_refused(answer, (400, "invalid_request"), "JSON").await;
    let in_query = app.request(reqwest::Method::POST, "/token?grant_type=authorization_code&code=x");
    let answer = in_query.header("authorization", &good).send().await.unwrap();
    assert_refused(answer, (400, "invalid_request"), "RFC 6749 §3.2: not in the query").await;
    app.stop().await;
}

#[actix_web::test]
async fn the_answer_is_not_stored_and_expires_with_the_session() {
    let app = TestApp::start().await;
    let mut lives = Vec::new();
    let (mut browser, first) = app.tokens(&[]).await;
    lives.push(first);
    for wait in [100, 3000, 499] {
        app.pass(wait);
        let code = browser.authorize(&app, &[("scope", "openid email")]).await.code();
        let answer = app.redeem(&code, &[("scope", "openid profile"), ("unknown", "ignored")]).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(text_of(answer.headers(), "cache-control"), "no-store");
        assert_eq!(text_of(answer.headers(), "pragma"), "no-cache");
        assert_eq!(text_of(answer.headers(), "content-type"), "application/json");
        lives.push(json(answer).await);
    }
    let of_each = |name: &str| lives.iter().map(|tokens| tokens[name].clone()).collect::<Vec<Value>>();
    assert_eq!(of_each("expires_in"), [3600, 3500, 500, 1].map(Value::from));
    assert_eq!(of_each("token_type"), ["Bearer"; 4].map(Value::from));
    assert_eq!(of_each("scope")[1..], ["openid email"; 3].map(Value::from), "the code's scope, not the request's");
    app.stop().await;
}

#[actix_web::test]
async fn a_code_whose_session_has_ended_is_an_invalid_grant() {
    let app = TestApp::start().await;
    for status in [SessionStatus::Completed, SessionStatus::Abandoned] {
        let (mut browser, tokens) = app.tokens(&[]).await;
        let code = browser.authorize(&app, &[]).await.code();
        app.close_session(&sub(&tokens), status).await;
        assert_refused(app.redeem(&code, &[]).await, INVALID_GRANT, "closed").await;
    }
    let (mut browser, _) = app.tokens(&[]).await;
    app.pass(3590);
    let code = browser.authorize(&app, &[]).await.code();
    app.pass(10);
    assert_refused(app.redeem(&code, &[]).await, INVALID_GRANT, "expired").await;
    app.stop().await;
}
