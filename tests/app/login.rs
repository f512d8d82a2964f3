//! A login: a visitor joins, waits, is served, and gets an ID token.

use reqwest::StatusCode;

use crate::support::{Browser, REDIRECT, TestApp, claims, header, json};

#[actix_web::test]
async fn an_id_token_exists_only_once_the_visitor_is_served() {
    let app = TestApp::start().await;
    let (mut first, mut second) = (Browser::default(), Browser::default());
    let (page_of_first, page_of_second) = (first.authorize(&app, &[]).await, second.authorize(&app, &[]).await);
    assert!(page_of_first.waits() && page_of_second.waits());
    assert_eq!((page_of_first.position(), page_of_second.position()), (1, 2));

    app.pass(30);
    app.serve("Sample", 1).await;
    let admitted = first.resume(&app, &page_of_first).await;
    assert!(second.resume(&app, &page_of_second).await.waits());

    assert_eq!(admitted.status, StatusCode::SEE_OTHER);
    assert!(admitted.location.as_ref().unwrap().starts_with(&format!("{REDIRECT}&code=")));
    let answer = admitted.answer();
    assert_eq!((answer["state"].as_str(), &answer["iss"]), ("st&te ü", &app.issuer));

    let tokens = json(app.redeem(&answer["code"], &[]).await).await;
    let id = claims(tokens["id_token"].as_str().unwrap());
    assert_eq!((&id["nonce"], &id["queue_position"]), (&"n0nce".into(), &1.into()));
    assert_eq!(id["auth_time"], 1_800_000_030);
    assert_eq!(header(tokens["access_token"].as_str().unwrap())["typ"], "at+jwt");
    let info = json(app.user_info(tokens["access_token"].as_str().unwrap()).await).await;
    assert_eq!(info["sub"], id["sub"]);
    app.stop().await;
}

#[actix_web::test]
async fn a_visitor_with_a_session_logs_in_silently() {
    let app = TestApp::start().await;
    let (mut browser, tokens) = app.tokens(&[]).await;
    app.pass(60);
    let again = browser.authorize(&app, &[("prompt", "none")]).await;
    let second = json(app.redeem(&again.code(), &[]).await).await;
    let (before, after) = (claims(tokens["id_token"].as_str().unwrap()), claims(second["id_token"].as_str().unwrap()));
    assert_eq!((&before["sub"], &before["auth_time"]), (&after["sub"], &after["auth_time"]));
    app.stop().await;
}
