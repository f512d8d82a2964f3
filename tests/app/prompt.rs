//! `prompt`, `max_age`, `id_token_hint` and the `sub` of `claims` (OIDC Core §3.1.2.1, §3.1.2.3, §5.5.1).

use anteroom::room::SessionStatus;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::steps::{id_claims, sub, token};
use crate::support::{Browser, Page, TestApp, json as body};

/// Redeems the code of `page`.
async fn tokens(app: &TestApp, page: &Page) -> Value {
    body(app.redeem(&page.code(), &[]).await).await
}

/// Admits the visitor who waits at `page`, ten seconds later; the tokens.
async fn admitted(app: &TestApp, browser: &mut Browser, page: &Page) -> Value {
    assert!(page.waits(), "{page:?}");
    app.pass(10);
    app.serve("Sample", 1).await;
    tokens(app, &browser.resume(app, page).await).await
}

fn auth_time(tokens: &Value) -> u64 {
    id_claims(tokens)["auth_time"].as_u64().unwrap()
}

/// A `claims` parameter that requests the visitor `sub`.
fn claims_for(place: &str, sub: &str) -> String {
    json!({ place: { "sub": { "value": sub } } }).to_string()
}

#[actix_web::test]
async fn prompt_none_never_shows_a_page_nor_takes_a_place() {
    let app = TestApp::start().await;
    let mut stranger = Browser::default();
    assert_eq!(stranger.authorize(&app, &[("prompt", "none")]).await.error(), "login_required");
    assert!(stranger.cookies.is_empty());

    let mut waiting = Browser::default();
    let page = waiting.authorize(&app, &[]).await;
    assert_eq!(waiting.authorize(&app, &[("prompt", "none")]).await.error(), "login_required");
    app.serve("Sample", 1).await;
    assert_eq!(waiting.authorize(&app, &[("prompt", "none")]).await.error(), "login_required", "served is not in");
    let in_now = waiting.resume(&app, &page).await;
    let (first, silent) = (tokens(&app, &in_now).await, waiting.authorize(&app, &[("prompt", "none")]).await);
    assert_eq!(sub(&tokens(&app, &silent).await), sub(&first));
    assert_eq!(app.counters().queue, 1);
    app.stop().await;
}

#[actix_web::test]
async fn prompt_login_joins_again_with_a_new_sub_and_a_later_auth_time() {
    let app = TestApp::start().await;
    let (mut browser, before) = app.tokens(&[]).await;
    let page = browser.authorize(&app, &[("prompt", "login")]).await;
    assert_eq!(page.position(), 2);
    assert!(browser.resume(&app, &page).await.waits(), "the old login does not answer it");
    let after = admitted(&app, &mut browser, &page).await;
    assert_ne!(sub(&before), sub(&after));
    assert_eq!(auth_time(&after), auth_time(&before) + 10);
    app.stop().await;
}

#[actix_web::test]
async fn prompt_login_keeps_the_ticket_of_a_visitor_who_waits() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let first = browser.authorize(&app, &[]).await;
    let page = browser.authorize(&app, &[("prompt", "login")]).await;
    assert_eq!((first.position(), page.position()), (1, 1));
    admitted(&app, &mut browser, &page).await;
    app.stop().await;
}

#[actix_web::test]
async fn a_login_older_than_max_age_joins_again() {
    let app = TestApp::start().await;
    let (mut browser, before) = app.tokens(&[("max_age", "60")]).await;
    app.pass(59);
    for age in ["60", "18446744073709551615"] {
        let same = browser.authorize(&app, &[("max_age", age)]).await;
        assert_eq!(auth_time(&tokens(&app, &same).await), auth_time(&before), "auth_time is there, and the old one");
    }
    app.pass(2);
    assert_eq!(browser.authorize(&app, &[("max_age", "60"), ("prompt", "none")]).await.error(), "login_required");
    let page = browser.authorize(&app, &[("max_age", "60")]).await;
    let after = admitted(&app, &mut browser, &page).await;
    assert_eq!(auth_time(&after), auth_time(&before) + 71);
    assert_ne!(sub(&before), sub(&after));
    app.stop().await;
}

#[actix_web::test]
async fn max_age_zero_is_prompt_login_and_ends_in_a_login() {
    let app = TestApp::start().await;
    let (mut browser, before) = app.tokens(&[]).await;
    let page = browser.authorize(&app, &[("max_age", "0")]).await;
    assert_ne!(sub(&admitted(&app, &mut browser, &page).await), sub(&before));
    app.stop().await;
}

#[actix_web::test]
async fn only_the_hinted_visitor_is_accepted() {
    let app = TestApp::start().await;
    let (_, somebody) = app.tokens(&[]).await;
    let (mut browser, own) = app.tokens(&[]).await;
    let (theirs, mine) = (token(&somebody, "id_token"), token(&own, "id_token"));
    let cases = [
        ("id_token_hint", mine.to_owned(), true),
        ("id_token_hint", theirs.to_owned(), false),
        ("claims", claims_for("id_token", &sub(&own)), true),
        ("claims", claims_for("id_token", &sub(&somebody)), false),
        ("claims", claims_for("userinfo", &sub(&somebody)), false),
    ];
    for (name, value, good) in &cases {
        for prompt in ["", "none"] {
            let page = browser.authorize(&app, &[(name, value), ("prompt", prompt)]).await;
            if *good {
                assert_eq!(sub(&tokens(&app, &page).await), sub(&own));
            } else {
                assert_eq!(page.error(), "login_required", "{name} {prompt}");
            }
        }
        let stranger = Browser::default().authorize(&app, &[(name, value)]).await;
        assert_eq!(stranger.error(), "login_required", "a new place is never the visitor asked for");
    }
    app.stop().await;
}

#[actix_web::test]
async fn no_visitor_joins_to_become_the_hinted_one() {
    let app = TestApp::start().await;
    let (mut browser, own) = app.tokens(&[]).await;
    // From here on, a visitor who joins is served at once.
    app.serve("Sample", 5).await;
    app.pass(120);
    let by_claims = claims_for("id_token", &sub(&own));
    for again in [("prompt", "login"), ("max_age", "60")] {
        for wanted in [("id_token_hint", token(&own, "id_token")), ("claims", by_claims.as_str())] {
            let page = browser.authorize(&app, &[again, wanted]).await;
            assert_eq!(page.error(), "login_required", "{again:?} {wanted:?}");
        }
    }
    assert_eq!(app.counters().queue, 1, "no place was lost");
    app.stop().await;
}

#[actix_web::test]
async fn a_foreign_id_token_hint_is_ignored() {
    let app = TestApp::start().await;
    let (mut browser, own) = app.tokens(&[]).await;
    let (_, rest) = token(&own, "id_token").split_once('.').unwrap();
    let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), rest.split('.').next().unwrap());
    for hint in ["garbage", token(&own, "access_token"), &unsigned] {
        let none = browser.authorize(&app, &[("id_token_hint", hint), ("prompt", "none")]).await;
        assert_eq!(none.error(), "login_required", "{hint}");
        let any = browser.authorize(&app, &[("id_token_hint", hint)]).await;
        assert_eq!(sub(&tokens(&app, &any).await), sub(&own), "{hint}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_completed_abandoned_or_expired_session_joins_again() {
    let app = TestApp::start().await;
    for ending in [Some(SessionStatus::Completed), Some(SessionStatus::Abandoned), None] {
        let (mut browser, before) = app.tokens(&[]).await;
        match ending {
            Some(status) => app.close_session(&sub(&before), status).await,
            None => app.pass(3600),
        }
        assert_eq!(browser.authorize(&app, &[("prompt", "none")]).await.error(), "login_required", "{ending:?}");
        let page = browser.authorize(&app, &[]).await;
        assert_eq!(page.position(), app.counters().queue, "at the end of the line");
        assert_ne!(sub(&admitted(&app, &mut browser, &page).await), sub(&before));
    }
    app.stop().await;
}
