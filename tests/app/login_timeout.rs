//! A wait can be longer than the relying party's timeout (`login_timeout`, OIDC Core §4): no place is lost.

use reqwest::StatusCode;
use url::Url;

use crate::steps::id_claims;
use crate::support::{Browser, NOW, OTHER_SECRET, TestApp, json};

/// The default, ten minutes.
const TIMEOUT: u64 = 600;
const OTHER: [(&str, &str); 2] = [("client_id", "other"), ("redirect_uri", "https://other.example/callback")];

#[actix_web::test]
async fn a_visitor_admitted_in_time_is_answered() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let page = browser.authorize(&app, &[]).await;
    app.serve("Sample", 1).await;
    app.pass(TIMEOUT);
    browser.resume(&app, &page).await.code();
    app.stop().await;
}

#[actix_web::test]
async fn a_visitor_admitted_too_late_starts_a_new_login_that_is_answered_at_once() {
    let app = TestApp::start().await;
    // Sites start a login in different ways; some always request a new one.
    for way in [("prompt", ""), ("prompt", "login"), ("max_age", "0")] {
        let mut browser = Browser::default();
        let page = browser.authorize(&app, &[way]).await;
        app.pass(TIMEOUT + 1);
        app.serve("Sample", 1).await;
        let late = browser.resume(&app, &page).await;
        assert_eq!(late.status, StatusCode::SEE_OTHER);
        let start = Url::parse(late.location.as_ref().unwrap()).unwrap();
        assert_eq!(start.as_str().split_once("&iss=").unwrap().0, "https://shop.example/login?from=queue");
        assert_eq!(late.answer()["iss"], app.issuer);
        assert!(browser.resume(&app, &page).await.location.unwrap().contains("/login?"), "and again on a reload");

        app.pass(5);
        let code = browser.authorize(&app, &[way, ("state", "fresh")]).await.answer();
        assert_eq!(code["state"], "fresh", "{way:?}");
        let tokens = json(app.redeem(&code["code"], &[]).await).await;
        let claims = id_claims(&tokens);
        assert_eq!(claims["queue_position"], page.position(), "{way:?}: the place was kept");
        assert_eq!(claims["auth_time"], app.clock_seconds(), "{way:?}: the login begins with the session");
    }
    assert_eq!(app.counters().queue, 3);
    app.stop().await;
}

#[actix_web::test]
async fn with_a_button_the_new_login_ends_at_the_button_page() {
    let app = TestApp::with(
        r#"
        [[client]]
        client_id = "slow door"
        event = "Door"
        client_secret = "env:SECRET"
        redirect_uris = ["https://shop.example/callback?shop=1"]
        initiate_login_uri = "https://shop.example/"
        "#,
    )
    .await;
    let slow = [("client_id", "slow door")];
    let mut browser = Browser::default();
    app.serve("Door", 1).await;
    let door = browser.authorize(&app, &slow).await;
    app.pass(TIMEOUT + 1);
    let late = browser.enter(&app, &door).await;
    assert!(late.location.as_ref().unwrap().starts_with("https://shop.example/?iss="), "{late:?}");
    let door = browser.authorize(&app, &slow).await;
    assert!(door.is_door());
    browser.enter(&app, &door).await.code();
    app.stop().await;
}

#[actix_web::test]
async fn a_visitor_who_still_waits_stays_in_line_however_late() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let page = browser.authorize(&app, &[]).await;
    app.pass(TIMEOUT * 10);
    assert_eq!(browser.resume(&app, &page).await.position(), 1);
    app.stop().await;
}

#[actix_web::test]
async fn a_client_without_a_login_address_gets_a_page_and_the_place_is_kept() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let page = browser.authorize(&app, &OTHER).await;
    app.pass(TIMEOUT + 1);
    app.serve("Sample", 1).await;
    let late = browser.resume(&app, &page).await;
    assert_eq!((late.status, late.location.as_deref()), (StatusCode::OK, None));
    assert!(late.body.contains("You will not have to wait a second time"), "{}", late.body);

    let code = browser.authorize(&app, &OTHER).await.code();
    let secret = [("client_id", "other"), ("client_secret", OTHER_SECRET), OTHER[1]];
    let answer = app.token_request(&crate::steps::code_fields(&code, &secret), None).await;
    assert_eq!(id_claims(&json(answer).await)["queue_position"], 1);
    app.stop().await;
}

#[actix_web::test]
async fn the_home_page_stands_in_for_a_login_address_and_a_timeout_can_be_configured() {
    let app = TestApp::with(
        r#"
        [[client]]
        client_id = "hasty"
        event = "Sample"
        client_secret = "env:SECRET"
        redirect_uris = ["https://hasty.example/callback"]
        client_uri = "https://hasty.example/"
        login_timeout = 30
        "#,
    )
    .await;
    let hasty = [("client_id", "hasty"), ("redirect_uri", "https://hasty.example/callback")];
    let mut browser = Browser::default();
    let page = browser.authorize(&app, &hasty).await;
    app.serve("Sample", 1).await;
    app.pass(31);
    let late = browser.resume(&app, &page).await;
    assert!(late.location.as_ref().unwrap().starts_with("https://hasty.example/?iss="), "{late:?}");
    assert_eq!(app.clock_seconds(), NOW.as_secs() + 31);
    app.stop().await;
}
