//! Invalid places: forged, truncated, moved, or made from public values.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::StatusCode;

use crate::support::{Browser, Page, TestApp, claims};

const PLACE: &str = "anteroom-place-Sample";

/// The 22 letters of a request ID: the form of a cookie, without its seal.
fn letters(request_id: &str) -> String {
    let digits = request_id.replace('-', "");
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    URL_SAFE_NO_PAD.encode((0..32).step_by(2).map(byte).collect::<Vec<_>>())
}

fn request_id_of(letters: &str) -> String {
    let digits: String = URL_SAFE_NO_PAD.decode(letters).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

/// A browser with `cookie` as its place, which then joins like any other.
async fn come_with(app: &TestApp, cookie: String) -> Page {
    let mut browser = Browser::default();
    browser.cookies.insert(PLACE.to_owned(), cookie);
    browser.authorize(app, &[]).await
}

#[actix_web::test]
async fn a_forged_place_is_ignored() {
    let app = TestApp::start().await;
    let (victim, tokens) = app.tokens(&[]).await;
    let claims = claims(tokens["id_token"].as_str().unwrap());
    let sub = claims["sub"].as_str().unwrap();
    let place = victim.cookies[PLACE].clone();
    let ticket = app.join("Sample").await;
    let mut other = Browser::default();
    other.authorize(&app, &[("client_id", "door")]).await;
    let of_another_line = other.cookies["anteroom-place-Door"].clone();
    let cookies = [
        ("a sub", sub.to_owned()),
        ("the bits of a sub", letters(sub)),
        ("a REST ticket", ticket.clone()),
        ("the bits of a REST ticket", letters(&ticket)),
        ("a place of another line", of_another_line),
        ("half a place", place[..11].to_owned()),
        ("a place cut short", place[..21].to_owned()),
        ("a longer place", format!("{place}A")),
        ("a changed place", format!("{}{}", if place.starts_with('A') { "B" } else { "A" }, &place[1..])),
        ("nothing", String::new()),
        ("zeros", "A".repeat(22)),
        ("a long text", "x".repeat(10_000)),
    ];
    let mut last = app.all_counters()["Sample"].queue;
    for (what, cookie) in cookies {
        let page = come_with(&app, cookie).await;
        last += 1;
        assert!(page.waits(), "{what}: {page:?}");
        assert_eq!(page.position(), last, "{what} is a new visitor at the end of the line");
    }
    // The victim is not affected.
    let mut victim = victim;
    victim.authorize(&app, &[("prompt", "none")]).await.code();
    app.stop().await;
}

#[actix_web::test]
async fn a_place_in_a_cookie_is_no_rest_ticket() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    browser.authorize(&app, &[]).await;
    let place = browser.cookies[PLACE].clone();
    for (presented, status) in [(request_id_of(&place), StatusCode::ACCEPTED), (place, StatusCode::BAD_REQUEST)] {
        let query = format!("/api/queue_num?event_id=Sample&request_id={presented}");
        assert_eq!(app.get(&query).send().await.unwrap().status(), status, "{presented}");
    }
    app.stop().await;
}

/// Every bit of a ticket is authenticated.
#[actix_web::test]
async fn a_ticket_with_one_digit_changed_or_removed_is_refused() {
    let app = TestApp::start().await;
    let ticket = app.join("Sample").await;
    let before = app.all_counters();
    for at in (0..36).filter(|&at| ticket.as_bytes()[at] != b'-') {
        let digit = if ticket.as_bytes()[at] == b'0' { "1" } else { "0" };
        let changed = format!("{}{digit}{}", &ticket[..at], &ticket[at + 1..]);
        let cut = &ticket[..at];
        for (presented, status) in [(changed.as_str(), StatusCode::ACCEPTED), (cut, StatusCode::BAD_REQUEST)] {
            let query = format!("/api/queue_num?event_id=Sample&request_id={presented}");
            assert_eq!(app.get(&query).send().await.unwrap().status(), status, "{presented}");
        }
    }
    assert_eq!(app.all_counters(), before);
    app.stop().await;
}

/// A page that refuses a flow, and changes nothing.
async fn flow_refused(app: &TestApp, browser: &mut Browser, flow: &str, words: &str) {
    let before = (app.all_counters(), browser.cookies.clone());
    let body = [("flow", flow), ("enter", "1")];
    let asked = [app.get(&format!("/authorize/resume?flow={flow}")), app.post_form("/authorize/resume", &body)];
    for request in asked {
        let page = browser.send(request).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{flow:.60}");
        assert!(page.body.contains(words), "{words}: {}", page.body);
        assert!(page.location.is_none());
    }
    assert_eq!((app.all_counters(), browser.cookies.clone()), before);
}

#[actix_web::test]
async fn a_tampered_flow_is_refused() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let page = browser.authorize(&app, &[]).await;
    app.serve("Sample", 1).await;
    let flow = page.resume_url().split_once("flow=").unwrap().1.to_owned();
    let parts: Vec<&str> = flow.split('.').collect();
    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","enc":"none"}"#);
    let swapped = |index: usize, part: &str| {
        let mut parts = parts.clone();
        parts[index] = part;
        parts.join(".")
    };
    let mut flows = vec![
        String::new(),
        ".".repeat(parts.len() - 1),
        flow[..flow.len() / 2].to_owned(),
        flow[..flow.len() - 1].to_owned(),
        format!("{flow}AAAA"),
        flow.to_uppercase(),
        swapped(0, &unsigned),
        swapped(parts.len() - 1, "AAAAAAAAAAAAAAAAAAAAAA"),
        "x".repeat(30_000),
    ];
    // One letter in the middle of every part.
    for (index, part) in parts.iter().enumerate().filter(|(_, part)| !part.is_empty()) {
        let middle = part.len() / 2;
        let letter = if part.as_bytes()[middle] == b'A' { "B" } else { "A" };
        flows.push(swapped(index, &format!("{}{letter}{}", &part[..middle], &part[middle + 1..])));
    }
    for tampered in flows {
        flow_refused(&app, &mut browser, &tampered, "This link is not complete").await;
    }
    browser.resume(&app, &page).await.code();
    app.stop().await;
}

#[actix_web::test]
async fn a_flow_is_valid_in_its_own_browser_for_a_limited_time() {
    let app = TestApp::start().await;
    let (mut owner, mut thief, mut blank) = (Browser::default(), Browser::default(), Browser::default());
    let page = owner.authorize(&app, &[]).await;
    thief.authorize(&app, &[]).await;
    app.serve("Sample", 2).await;
    let flow = page.resume_url().split_once("flow=").unwrap().1.to_owned();
    flow_refused(&app, &mut thief, &flow, "This place belongs to another browser").await;
    flow_refused(&app, &mut blank, &flow, "We can’t keep your place").await;
    app.pass(25 * 3600);
    flow_refused(&app, &mut thief, &flow, "This place belongs to another browser").await;
    let anew = owner.resume(&app, &page).await;
    assert!(anew.location.unwrap().starts_with("/authorize?client_id=Sample&"));
    app.stop().await;
}
