//! The cookie check: a browser gets a place only after it has sent a cookie back.

use std::collections::BTreeMap;

use reqwest::{RequestBuilder, StatusCode};
use url::Url;

use crate::support::{Browser, COOKIE_CHECK, Page, REDIRECT, TestApp, encode, merged};

const USUAL: [(&str, &str); 6] = [
    ("client_id", "Sample"),
    ("redirect_uri", REDIRECT),
    ("response_type", "code"),
    ("scope", "openid"),
    ("state", "st&te ü+%"),
    ("nonce", "n0nce"),
];

fn authorize(app: &TestApp, other: &[(&str, &str)]) -> RequestBuilder {
    app.get(&format!("/authorize?{}", encode(&merged(&USUAL, other))))
}

fn parameters(location: &str) -> BTreeMap<String, String> {
    let (_, query) = location.split_once('?').unwrap();
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

fn place(browser: &Browser) -> Option<&String> {
    browser.cookies.get("anteroom-place-Sample")
}

fn blocked(page: &Page) -> bool {
    page.status == StatusCode::BAD_REQUEST && page.body.contains("We can’t keep your place")
}

#[actix_web::test]
async fn a_new_browser_gets_a_cookie_and_one_redirect_before_a_place() {
    let app = TestApp::start().await;
    let (mut browser, before) = (Browser::default(), app.all_counters());
    let sent = browser.send_once(authorize(&app, &[("unknown", "x"), ("claims", "{}")])).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER);
    assert_eq!(sent.headers["cache-control"], "no-store");
    let check = format!("anteroom-check-{}", &browser.cookies["anteroom-browser"][..8]);
    assert_eq!(browser.cookies.keys().collect::<Vec<_>>(), ["anteroom-browser", &check]);
    assert_eq!(app.all_counters(), before, "no place is given yet");
    let location = sent.location.unwrap();
    let mut again = parameters(&location);
    assert_eq!(again.remove("anteroom_cookie_check").as_deref(), Some("1"));
    let same = merged(&USUAL, &[("claims", "{}")]);
    assert_eq!(again, same.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
    let page = browser.send_once(app.get(&location)).await;
    assert!(page.waits() && page.position() == 1, "{page:?}");
    app.serve("Sample", 1).await;
    let answer = browser.resume(&app, &page).await.answer();
    assert_eq!(answer["state"], "st&te ü+%");
    app.stop().await;
}

#[actix_web::test]
async fn a_browser_without_cookies_gets_an_explanation_and_no_place() {
    let app = TestApp::start().await;
    let before = app.all_counters();
    let sent = Browser::default().send_once(authorize(&app, &[])).await;
    let page = Browser::default().send_once(app.get(&sent.location.unwrap())).await;
    assert!(blocked(&page), "{page:?}");
    assert!(page.location.is_none() && !page.body.contains("http-equiv"), "it ends there: {}", page.body);
    assert_eq!(app.all_counters(), before);
    let link = page.body.split_once("class=\"button\" href=\"").unwrap().1.split('"').next().unwrap();
    let link = link.replace("&#38;", "&").replace("&amp;", "&");
    assert!(!link.contains(COOKIE_CHECK), "{link}");
    assert_eq!(parameters(&link)["state"], "st&te ü+%");
    // The visitor has allowed cookies meanwhile.
    let mut browser = Browser::default();
    assert!(browser.send(app.get(&link)).await.waits());
    app.stop().await;
}

#[actix_web::test]
async fn a_browser_with_an_earlier_cookie_is_not_redirected() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    browser.authorize(&app, &[]).await;
    for name in ["anteroom-browser", "anteroom-place-Sample"] {
        let mut one = Browser::default();
        one.cookies.insert(name.to_owned(), browser.cookies[name].clone());
        assert!(one.send_once(authorize(&app, &[])).await.waits(), "{name}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_mark_of_another_browser_does_no_harm() {
    let app = TestApp::start().await;
    // The address of the second request is passed to another browser, or the mark is added by hand.
    for mark in ["1", "0", "x", ""] {
        let address = format!("/authorize?{}&anteroom_cookie_check={mark}", encode(&USUAL));
        let mut known = Browser::default();
        known.authorize(&app, &[]).await;
        assert!(known.send_once(app.get(&address)).await.waits(), "{mark}");
        assert!(blocked(&Browser::default().send_once(app.get(&address)).await), "{mark}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn an_answer_that_needs_no_place_is_given_at_once() {
    let app = TestApp::start().await;
    let mut stranger = Browser::default();
    assert_eq!(stranger.send_once(authorize(&app, &[("prompt", "none")])).await.error(), "login_required");
    assert_eq!(stranger.send_once(authorize(&app, &[("scope", "profile")])).await.error(), "invalid_scope");
    assert_eq!(stranger.send_once(authorize(&app, &[("client_id", "nobody")])).await.status, StatusCode::BAD_REQUEST);
    assert!(stranger.cookies.is_empty());
    app.stop().await;
}

#[actix_web::test]
async fn a_posted_request_goes_through_the_check_with_all_its_parameters() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let fields = merged(&USUAL, &[("response_mode", "form_post")]);
    let posted = browser.send_once(app.post_form("/authorize", &fields)).await;
    assert_eq!(posted.status, StatusCode::SEE_OTHER);
    assert!(browser.cookies.is_empty());
    let page = browser.send(app.get(&posted.location.unwrap())).await;
    assert!(page.waits(), "{page:?}");
    app.serve("Sample", 1).await;
    let answer = browser.resume(&app, &page).await;
    assert!(answer.body.contains("name=\"state\" value=\"st&#38;te ü+%\""), "{}", answer.body);
    app.stop().await;
}

#[actix_web::test]
async fn the_check_works_below_a_base_path() {
    let app = TestApp::replacing("http://127.0.0.1:0\"", "http://127.0.0.1:0/queue\"").await;
    let mut browser = Browser::default();
    let sent = browser.send_once(authorize(&app, &[])).await;
    let location = sent.location.unwrap();
    assert!(location.starts_with("/queue/authorize?"), "{location}");
    let whole = Url::parse(&app.url("/")).unwrap().join(&location).unwrap();
    assert!(browser.send_once(app.http.get(whole)).await.waits());
    app.stop().await;
}

#[actix_web::test]
async fn waiting_visitors_without_their_cookies_get_an_explanation_and_no_second_place() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let page = browser.authorize(&app, &[]).await;
    let before = app.all_counters();
    assert!(place(&browser).is_some());
    let actual = Browser::default().resume(&app, &page).await;
    assert!(blocked(&actual), "{actual:?}");
    assert!(actual.body.contains("Try again"), "{}", actual.body);
    assert_eq!(app.all_counters(), before);
    app.stop().await;
}
