//! Waiting: a place belongs to a browser and is lost only through the visitor.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use sha2::{Digest, Sha256};

use crate::steps::{id_claims, sub, text_of};
use crate::support::{Browser, Page, TestApp, json};

/// The expiry period of a served position (`queue_position_expiry_period`), and the lifetime of a flow, s.
const TURN: u64 = 900;
const FLOW: u64 = 24 * 3600;

/// The flow that a waiting page carries.
fn flow(page: &Page) -> String {
    page.resume_url().split_once("flow=").unwrap().1.to_owned()
}

#[actix_web::test]
async fn reloads_second_tabs_and_closed_lids_keep_the_place() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let page = browser.authorize(&app, &[]).await;
    let kept = |browser: &Browser| {
        ["browser", "place-Sample"].map(|name| browser.cookies[&format!("anteroom-{name}")].clone())
    };
    let before = kept(&browser);
    assert_eq!(browser.authorize(&app, &[]).await.position(), 1, "reload");
    assert_eq!(browser.authorize(&app, &[("state", "tab2"), ("nonce", "2")]).await.position(), 1, "second tab");
    app.pass(600);
    assert_eq!(browser.resume(&app, &page).await.position(), 1, "closed lid");
    app.pass(TURN * 2);
    assert_eq!(browser.authorize(&app, &[]).await.position(), 1, "the time to enter runs from one's turn on");
    assert_eq!(before, kept(&browser));
    assert_eq!(app.counters().queue, 1);
    app.stop().await;
}

#[actix_web::test]
async fn each_tab_of_an_admitted_visitor_is_answered_with_its_own_state() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let first = browser.authorize(&app, &[("state", "one"), ("nonce", "1")]).await;
    let second = browser.authorize(&app, &[("state", "two"), ("nonce", "2")]).await;
    app.serve("Sample", 1).await;
    let mut subs = BTreeSet::new();
    for (page, state, nonce) in [(&second, "two", "2"), (&first, "one", "1")] {
        let answer = browser.resume(&app, page).await.answer();
        assert_eq!(answer["state"], state);
        let tokens = json(app.redeem(&answer["code"], &[]).await).await;
        assert_eq!(id_claims(&tokens)["nonce"], nonce);
        subs.insert(sub(&tokens));
    }
    assert_eq!(subs.len(), 1, "one visitor, one session");
    app.stop().await;
}

#[actix_web::test]
async fn with_a_button_the_visitor_enters_by_pressing_it() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    app.serve("Door", 1).await;
    let door = browser.authorize(&app, &[("client_id", "door")]).await;
    assert!(door.is_door(), "even who is served at once: {door:?}");
    assert!(browser.authorize(&app, &[("client_id", "door")]).await.is_door(), "reload");
    let fields = door.hidden_fields();
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["enter", "flow"]);
    let by_link = browser.send(app.get(&format!("/authorize/resume?flow={}&enter=1", fields["flow"]))).await;
    assert!(by_link.is_door(), "a link does not press the button");
    let unpressed = app.post_form("/authorize/resume", &[("flow", &fields["flow"])]);
    assert!(browser.send(unpressed).await.is_door());
    assert_eq!(app.lobby().room("Door").unwrap().cache.counters().sessions_opened, 0);

    let entered = browser.enter(&app, &door).await;
    assert_eq!((entered.status, entered.answer()["state"].as_str()), (StatusCode::SEE_OTHER, "st&te ü"));
    let silent = browser.authorize(&app, &[("client_id", "door")]).await;
    assert!(!silent.code().is_empty(), "who is in need not press again");
    app.stop().await;
}

#[actix_web::test]
async fn the_button_pages_policy_allows_the_redirects_of_its_form() {
    let app = TestApp::with(
        r#"
        [[client]]
        client_id = "phone"
        event = "Door"
        application_type = "native"
        token_endpoint_auth_method = "none"
        redirect_uris = ["com.example.app:/callback"]
        "#,
    )
    .await;
    app.serve("Door", 2).await;
    let hash = crate::support::challenge("x");
    let pkce = [("code_challenge", hash.as_str()), ("code_challenge_method", "S256")];
    let phone = [[("client_id", "phone"), ("redirect_uri", "com.example.app:/callback")], pkce].concat();
    for (asked, source) in [(&phone[..], "com.example.app:"), (&[("client_id", "door")], "https:")] {
        let door = Browser::default().authorize(&app, asked).await;
        assert!(door.is_door());
        // Browsers apply form-action to every redirect that follows a form (CSP 3 §6.4.2).
        let policy = door.header("content-security-policy");
        let (_, forms) = policy.split_once("form-action ").unwrap();
        let sources: Vec<_> = forms.split_once(';').unwrap().0.split(' ').collect();
        assert!(sources.contains(&source), "{sources:?}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_button_does_not_admit_an_unserved_visitor() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let page = browser.authorize(&app, &[("client_id", "door")]).await;
    assert!(page.waits());
    let pressed = app.post_form("/authorize/resume", &[("flow", &flow(&page)), ("enter", "1")]);
    assert!(browser.send(pressed).await.waits());
    app.stop().await;
}

#[actix_web::test]
async fn an_expired_place_is_replaced_with_an_explanation() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let page = browser.authorize(&app, &[]).await;
    app.serve("Sample", 1).await;
    app.pass(TURN + 1);
    let again = browser.resume(&app, &page).await;
    assert_eq!(again.position(), 2);
    assert!(again.body.contains("Your turn had passed before you came back, so we gave you a new place."));
    let reloaded = browser.resume(&app, &again).await;
    assert_eq!(reloaded.position(), 2, "the new place is kept");
    assert!(!reloaded.body.contains("Your turn had passed"), "it is said once");
    app.stop().await;
}

#[actix_web::test]
async fn a_served_position_is_valid_to_its_last_second() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    browser.authorize(&app, &[]).await;
    app.pass(5000);
    app.serve("Sample", 1).await;
    app.pass(TURN - 1);
    browser.authorize(&app, &[("state", "fresh")]).await.code();
    app.stop().await;
}

#[actix_web::test]
async fn a_reset_gives_a_new_place_with_an_explanation() {
    let app = TestApp::start().await;
    let (mut browser, mut other) = (Browser::default(), Browser::default());
    other.authorize(&app, &[]).await;
    let page = browser.authorize(&app, &[]).await;
    app.lobby().store().reset(&"Sample".parse().unwrap()).await.unwrap();
    // The cache is updated by the feed, and by the result of a join at once.
    Browser::default().authorize(&app, &[]).await;
    let again = browser.resume(&app, &page).await;
    assert_eq!(again.position(), 2);
    assert!(again.body.contains("The line has begun anew, and you have a new place in it."), "{}", again.body);
    app.stop().await;
}

#[actix_web::test]
async fn a_flow_of_another_browser_is_refused() {
    let app = TestApp::start().await;
    let (mut victim, mut attacker) = (Browser::default(), Browser::default());
    let page = victim.authorize(&app, &[]).await;
    attacker.authorize(&app, &[]).await;
    let foreign = attacker.resume(&app, &page).await;
    assert!(foreign.is_error_page() && foreign.body.contains("another browser"), "{foreign:?}");
    let bare = Browser::default().resume(&app, &page).await;
    assert!(bare.is_error_page() && bare.body.contains("keeps no cookies"), "{bare:?}");
    assert!(victim.resume(&app, &page).await.waits());
    app.stop().await;
}

#[actix_web::test]
async fn a_tampered_truncated_or_expired_flow_is_refused_and_the_place_is_kept() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let page = browser.authorize(&app, &[]).await;
    let good = flow(&page);
    let mut tampered = good.clone();
    let middle = good.len() / 2;
    tampered.replace_range(middle..=middle, if good.as_bytes()[middle] == b'A' { "B" } else { "A" });
    let swapped = format!("{}{}", &good[..good.rfind('.').unwrap()], ".AAAAAAAAAAAAAAAAAAAAAA");
    let long = "A".repeat(9000);
    for bad in [tampered.as_str(), &good[..good.len() - 1], &good[1..], &swapped, "x", "", &long] {
        let refused = browser.send(app.get(&format!("/authorize/resume?flow={bad}"))).await;
        assert!(refused.is_error_page(), "{bad}: {refused:?}");
        let posted = browser.send(app.post_form("/authorize/resume", &[("flow", bad), ("enter", "1")])).await;
        assert!(posted.is_error_page(), "{bad}");
    }
    let twice = browser.send(app.get(&format!("/authorize/resume?flow={good}&flow={good}"))).await;
    assert!(twice.is_error_page());

    app.pass(FLOW);
    assert!(browser.resume(&app, &page).await.waits());
    app.pass(1);
    let expired = browser.resume(&app, &page).await;
    assert!(expired.location.unwrap().starts_with("/authorize?client_id=Sample&"), "its request is sent again");
    assert_eq!(browser.authorize(&app, &[]).await.position(), 1);
    app.stop().await;
}

#[actix_web::test]
async fn cookies_are_host_only_secure_and_invisible_to_scripts() {
    for (public_url, prefix, secure) in
        [("https://queue.example", "__Host-", "; Secure"), ("http://127.0.0.1:0", "", "")]
    {
        let app = TestApp::at(public_url).await;
        let mut browser = Browser::default();
        let page = browser.authorize(&app, &[]).await;
        let check = format!("check-{}", &browser.cookies[&format!("{prefix}anteroom-browser")][..8]);
        let names: Vec<_> = browser.cookies.keys().cloned().collect();
        let expected = ["arrivals", "browser", &check, "place-Sample"].map(|name| format!("{prefix}anteroom-{name}"));
        assert_eq!(names, expected);
        for cookie in page.headers.get_all("set-cookie") {
            let (value, flags) = cookie.to_str().unwrap().split_once("; ").unwrap();
            let (name, value) = value.split_once('=').unwrap();
            assert!(value.len() == 22 || name.ends_with("-arrivals"), "128 bits and nothing else: {name}");
            let expected = format!("HttpOnly; SameSite=Lax{secure}; Path=/; Max-Age=604800");
            assert_eq!(flags, expected);
        }
        app.serve("Sample", 1).await;
        let admitted = browser.resume(&app, &page).await;
        assert_eq!(browser.cookies.len(), names.len(), "{admitted:?}");
        app.stop().await;
    }
}

#[actix_web::test]
async fn knowing_a_sub_does_not_log_in_as_its_visitor() {
    let app = TestApp::start().await;
    let (owner, tokens) = app.tokens(&[]).await;
    let subject = sub(&tokens);
    let ticket: [u8; 16] = *subject.parse::<anteroom::room::RequestId>().unwrap().as_bytes();
    let spelled = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, ticket);
    let place = owner.cookies["anteroom-place-Sample"].clone();
    let mut altered = place.clone();
    altered.replace_range(0..1, if place.starts_with('A') { "B" } else { "A" });
    for forged in [subject.as_str(), &spelled, &altered, "", "x", &"A".repeat(22), &"A".repeat(4000)] {
        let mut thief = Browser::default();
        thief.cookies.insert("anteroom-place-Sample".into(), forged.into());
        assert_eq!(thief.clone().authorize(&app, &[("prompt", "none")]).await.error(), "login_required", "{forged}");
        assert!(thief.authorize(&app, &[]).await.position() > 1, "{forged}: a place at the end of the line");
    }
    let mut elsewhere = Browser::default();
    elsewhere.cookies.insert("anteroom-place-Door".into(), place);
    let door = elsewhere.authorize(&app, &[("client_id", "door"), ("prompt", "none")]).await;
    assert_eq!(door.error(), "login_required", "a place is good in its own line alone");
    app.stop().await;
}

#[actix_web::test]
async fn a_rest_ticket_is_no_login() {
    let app = TestApp::start().await;
    let joined = app.post_json("/api/assign_queue_num", &serde_json::json!({ "event_id": "Sample" })).send().await;
    let ticket = json(joined.unwrap()).await["api_request_id"].as_str().unwrap().parse().unwrap();
    app.serve("Sample", 1).await;
    let lobby = app.lobby();
    let room = lobby.room("Sample").unwrap();
    // Sealed with the cookie's own key, which is secret.
    let cookie = lobby.cookie(room, &lobby.recognise(room, ticket).await.unwrap().unwrap());
    let mut browser = Browser::default();
    browser.cookies.insert("anteroom-place-Sample".into(), cookie);
    assert_eq!(browser.authorize(&app, &[]).await.position(), 2);
    app.stop().await;
}

#[actix_web::test]
async fn the_page_has_one_inline_script_that_its_policy_names_and_works_without_any() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let page = browser.authorize(&app, &[]).await;
    let (_, watchdog) = page.body.split_once("<script id=\"watchdog\"").unwrap();
    let watchdog = watchdog.split_once('>').unwrap().1.split_once("</script>").unwrap().0;
    let hash = STANDARD.encode(Sha256::digest(watchdog));
    assert_eq!(
        page.header("content-security-policy"),
        format!(
            "default-src 'none'; script-src 'self' 'sha256-{hash}'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
    );
    let security = [
        ("cache-control", "no-store"),
        ("referrer-policy", "strict-origin"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("content-type", "text/html; charset=utf-8"),
    ];
    for (name, value) in security {
        assert_eq!(page.header(name), value, "{name}");
    }
    for (at, _) in page.body.match_indices("<script").skip(1) {
        assert!(page.body[at..].starts_with("<script defer src=\"/assets/"), "{}", page.body);
        assert!(page.body[at..].split_once('>').unwrap().1.starts_with("</script>"));
    }
    for inline in [" style=", " onclick=", " onload=", "javascript:", "<style"] {
        assert!(!page.body.contains(inline), "{inline}");
    }
    let (_, refresh) = page.body.split_once("<noscript><meta http-equiv=\"refresh\" content=\"").unwrap();
    let (seconds, url) = refresh.split_once('"').unwrap().0.split_once(";url=").unwrap();
    assert!((5..=60).contains(&seconds.parse::<u64>().unwrap()));
    assert_eq!(url.replace("&#38;", "&"), page.resume_url());
    app.serve("Sample", 1).await;
    assert!(!browser.send(app.get(url)).await.code().is_empty(), "by refreshing alone");
    app.stop().await;
}

#[actix_web::test]
async fn a_browser_without_cookies_is_admitted_at_once_or_gets_an_explanation() {
    let app = TestApp::start().await;
    let page = Browser::default().authorize(&app, &[]).await;
    assert!(page.waits());
    let refused = Browser::default().resume(&app, &page).await;
    assert!(refused.is_error_page() && refused.body.contains("Allow cookies"), "{refused:?}");
    app.serve("Sample", 2).await;
    let code = Browser::default().authorize(&app, &[]).await.code();
    let answer = app.redeem(&code, &[]).await;
    assert_eq!((answer.status(), text_of(answer.headers(), "set-cookie")), (StatusCode::OK, ""));
    app.stop().await;
}
