//! Settings of a client: its claims and scopes, and PKCE.

use serde_json::Value;

use crate::steps::{id_claims, sub, token};
use crate::support::{Browser, SECRET, TestApp, VERIFIER, basic, challenge, json};

const CLAIMS: &str = r#"claims = { preferred_username = "visitor-{position}", email = "{sub}@visitors.invalid", email_verified = false }"#;
const ACR: &str = r#"acr_values = ["queue:fair"]"#;
const OF_THE_LINE: [&str; 3] = ["queue_position", "token_use", "event_id"];

async fn listed(app: &TestApp, member: &str) -> Vec<String> {
    let document = json(app.get("/.well-known/openid-configuration").send().await.unwrap()).await;
    serde_json::from_value(document[member].clone()).unwrap()
}

#[actix_web::test]
async fn scopes_and_claims_are_listed_where_a_client_has_them() {
    for (claims, scopes) in [
        ("", vec!["openid"]),
        ("claims = { preferred_username = 'visitor' }", vec!["openid", "profile"]),
        ("claims = { email = '{sub}@visitors.invalid' }", vec!["openid", "email"]),
        ("claims = { email_verified = false }", vec!["openid", "email"]),
        ("claims = { nickname = 'v', email = 'v@visitors.invalid' }", vec!["openid", "profile", "email"]),
        ("queue_claims = 'requested'", vec!["openid", "queue"]),
    ] {
        let app = TestApp::replacing(CLAIMS, claims).await;
        assert_eq!(listed(&app, "scopes_supported").await, scopes, "{claims}");
        let names = listed(&app, "claims_supported").await;
        for name in ["preferred_username", "nickname", "email", "email_verified"] {
            assert_eq!(
                names.iter().any(|listed| listed == name),
                claims.contains(&format!("{name} =")),
                "{claims}: {name}"
            );
        }
        for name in OF_THE_LINE {
            assert!(names.iter().any(|listed| listed == name), "{claims}: {name}");
        }
        app.stop().await;
    }
}

/// The queue claims in an ID token or a user info.
fn of_the_line(claims: &Value) -> Vec<&str> {
    OF_THE_LINE.into_iter().filter(|name| claims.get(name).is_some()).collect()
}

#[actix_web::test]
async fn a_client_with_requested_queue_claims_gets_them_on_request_alone() {
    let app = TestApp::replacing(ACR, &format!("{ACR}\nqueue_claims = \"requested\"")).await;
    let asked_in_token = r#"{"id_token":{"queue_position":null,"event_id":{"essential":true}}}"#;
    let asked_in_info = r#"{"userinfo":{"queue_position":null}}"#;
    for (asked, in_token, in_info) in [
        (vec![], &[][..], &[][..]),
        (vec![("scope", "openid profile email")], &[], &[]),
        (vec![("scope", "openid queue")], &OF_THE_LINE, &["queue_position", "event_id"]),
        (vec![("scope", "queue email openid")], &OF_THE_LINE, &["queue_position", "event_id"]),
        (vec![("claims", asked_in_token)], &["queue_position", "event_id"], &[]),
        (vec![("claims", asked_in_info)], &[], &["queue_position"]),
        (vec![("claims", asked_in_info), ("scope", "openid queue")], &OF_THE_LINE, &["queue_position", "event_id"]),
    ] {
        let (mut browser, tokens) = app.tokens(&asked).await;
        let info = json(app.user_info(token(&tokens, "access_token")).await).await;
        assert_eq!(of_the_line(&id_claims(&tokens)), in_token, "{asked:?}");
        assert_eq!(of_the_line(&info), in_info, "{asked:?}");
        assert_eq!(info["sub"], sub(&tokens));
        // The token works as a hint of the same login, whatever its claims, and `/verify` refuses it.
        let hint = token(&tokens, "id_token");
        let silent = browser.authorize(&app, &[("prompt", "none"), ("id_token_hint", hint)]).await;
        assert!(!silent.code().is_empty());
        let gate = app.get("/verify?event_id=Sample").bearer_auth(hint).send().await.unwrap();
        assert_eq!(gate.status(), 401, "{asked:?}");
        let passed =
            app.get("/verify?event_id=Sample").bearer_auth(token(&tokens, "access_token")).send().await.unwrap();
        assert_eq!(passed.status(), 204, "{asked:?}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn every_other_client_always_gets_the_queue_claims() {
    let app = TestApp::start().await;
    for asked in [&[][..], &[("scope", "openid queue")], &[("claims", r#"{"id_token":{"email":null}}"#)]] {
        let (_, tokens) = app.tokens(asked).await;
        let info = json(app.user_info(token(&tokens, "access_token")).await).await;
        assert_eq!(of_the_line(&id_claims(&tokens)), OF_THE_LINE);
        assert_eq!(of_the_line(&info), ["queue_position", "event_id"]);
    }
    app.stop().await;
}

#[actix_web::test]
async fn pkce_can_be_required_of_a_confidential_client() {
    let app = TestApp::replacing(ACR, &format!("{ACR}\nrequire_pkce = true")).await;
    app.serve("Sample", 1).await;
    let mut browser = Browser::default();
    assert_eq!(browser.authorize(&app, &[]).await.error(), "invalid_request");
    assert_eq!(app.counters().queue, 0, "no place was given");
    let hash = challenge(VERIFIER);
    let asked = [("code_challenge", hash.as_str()), ("code_challenge_method", "S256")];
    let code = browser.authorize(&app, &asked).await.code();
    let fields = crate::steps::code_fields(&code, &[]);
    let without = app.post_form("/token", &fields).header("authorization", basic("Sample", SECRET));
    assert_eq!(without.send().await.unwrap().status(), 400);
    let code = browser.authorize(&app, &asked).await.code();
    assert_eq!(app.redeem(&code, &[("code_verifier", VERIFIER)]).await.status(), 200);
    // Other clients may omit it.
    assert!(
        browser
            .authorize(&app, &[("client_id", "other"), ("redirect_uri", "https://other.example/callback")])
            .await
            .location
            .is_some()
    );
    app.stop().await;
}
