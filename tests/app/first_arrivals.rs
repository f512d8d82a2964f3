//! A login request is as old as its first arrival in a browser, however often its page is loaded.

use reqwest::StatusCode;

use crate::support::{Browser, Page, REDIRECT, TestApp, encode, merged};

/// How long a relying party waits for an answer (`login_timeout`), s.
const TIMEOUT: u64 = 600;
const DAY: u64 = 24 * 3600;
/// The cookie with a browser's first arrivals.
const COOKIE: &str = "anteroom-arrivals";

impl Page {
    /// Whether the browser is redirected to start a new login at the site.
    fn starts_new_login(&self) -> bool {
        let start = "https://shop.example/login?from=queue&iss=";
        self.status == StatusCode::SEE_OTHER
            && self.location.as_ref().is_some_and(|location| location.starts_with(start))
    }
}

#[actix_web::test]
async fn a_reload_a_bookmark_and_a_tab_restored_the_next_day_do_not_make_a_request_younger() {
    for (pause, state, nonce) in [(TIMEOUT + 1, "s", ""), (DAY + 60, "", "n"), (6 * DAY, "s", "n")] {
        let asked = [("state", state), ("nonce", nonce)];
        let app = TestApp::start().await;
        let mut browser = Browser::default();
        assert!(browser.authorize(&app, &asked).await.waits());
        app.pass(pause);
        let reloaded = browser.authorize(&app, &asked).await;
        assert!(reloaded.waits() && reloaded.position() == 1, "the place is kept: {reloaded:?}");
        let by_link = browser.resume(&app, &reloaded).await;
        assert!(by_link.waits(), "the reloaded page can be gone on from: {by_link:?}");
        app.serve("Sample", 1).await;
        assert!(browser.resume(&app, &by_link).await.starts_new_login());
        let fresh = browser.authorize(&app, &[("state", "fresh")]).await.answer();
        assert!(fresh.contains_key("code") && fresh["state"] == "fresh");
        app.stop().await;
    }
}

#[actix_web::test]
async fn a_page_that_waited_for_days_leads_to_a_new_login() {
    for (pause, asked) in [(DAY + 60, [("state", "s")]), (6 * DAY, [("nonce", "n")])] {
        let app = TestApp::start().await;
        let mut browser = Browser::default();
        let mut page = browser.authorize(&app, &asked).await;
        for served in [0, 1] {
            app.pass(pause / 2);
            app.serve("Sample", served).await;
            let mut posting = browser.clone();
            let flow = page.resume_url().split_once("flow=").unwrap().1.to_owned();
            let entered = posting.send(app.post_form("/authorize/resume", &[("flow", &flow), ("enter", "1")])).await;
            let resumed = browser.resume(&app, &page).await;
            if pause / 2 > DAY || served == 1 {
                assert!(entered.location.as_ref().is_some_and(|location| location.starts_with("/authorize?")));
                page = browser.send(app.get(&resumed.location.unwrap())).await;
            } else {
                page = resumed;
            }
        }
        assert!(page.starts_new_login(), "{page:?}");
        app.stop().await;
    }
}

#[actix_web::test]
async fn the_same_address_opened_after_being_served_starts_a_new_login() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    browser.authorize(&app, &[]).await;
    app.pass(TIMEOUT + 1);
    app.serve("Sample", 1).await;
    assert!(browser.authorize(&app, &[]).await.starts_new_login());
    app.stop().await;
}

#[actix_web::test]
async fn a_request_that_is_reloaded_in_time_is_answered() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    browser.authorize(&app, &[]).await;
    app.pass(TIMEOUT / 2);
    browser.authorize(&app, &[]).await;
    app.serve("Sample", 1).await;
    app.pass(TIMEOUT / 2);
    browser.authorize(&app, &[]).await.code();
    app.stop().await;
}

#[actix_web::test]
async fn the_same_request_in_another_order_by_post_or_with_unknown_parameters_is_the_same() {
    let usual = [("client_id", "Sample"), ("redirect_uri", REDIRECT), ("response_type", "code"), ("scope", "openid")];
    let asked = [&usual[..], &[("state", "s"), ("nonce", "n")]].concat();
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    assert!(browser.send(app.get(&format!("/authorize?{}", encode(&asked)))).await.waits());
    app.pass(TIMEOUT + 1);
    app.serve("Sample", 1).await;
    let mut turned = asked.clone();
    turned.reverse();
    let marked = [&asked[..], &[("utm_source", "mail"), ("anteroom_cookie_check", "1")]].concat();
    for fields in [&turned, &marked] {
        let mut browser = browser.clone();
        assert!(
            browser.send(app.get(&format!("/authorize?{}", encode(fields)))).await.starts_new_login(),
            "{fields:?}"
        );
    }
    let mut posting = browser.clone();
    let posted = posting.send(app.post_form("/authorize", &turned)).await;
    assert!(posting.send(app.get(&posted.location.unwrap())).await.starts_new_login());
    for other in
        [("state", "t"), ("nonce", "o"), ("scope", "openid email"), ("redirect_uri", "https://shop.example/second")]
    {
        let answered = browser.authorize(&app, &merged(&asked, &[other])).await;
        assert!(answered.answer().contains_key("code"), "{other:?} makes another request");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_request_without_unique_parameters_is_always_new() {
    let app = TestApp::start().await;
    let nameless = [("state", ""), ("nonce", "")];
    let mut browser = Browser::default();
    assert!(browser.authorize(&app, &nameless).await.waits());
    assert!(!browser.cookies.contains_key(COOKIE));
    app.pass(TIMEOUT + 1);
    let page = browser.authorize(&app, &nameless).await;
    app.serve("Sample", 1).await;
    browser.resume(&app, &page).await.code();
    app.stop().await;
}

#[actix_web::test]
async fn only_a_request_that_had_to_wait_is_remembered() {
    let app = TestApp::start().await;
    app.serve("Sample", 1).await;
    let mut browser = Browser::default();
    browser.authorize(&app, &[]).await.code();
    browser.authorize(&app, &[]).await.code();
    assert!(!browser.cookies.contains_key(COOKIE));
    app.stop().await;
}

#[actix_web::test]
async fn a_site_with_identical_requests_is_logged_in_to_by_its_second_one() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let mut page = browser.authorize(&app, &[]).await;
    for round in 1..4 {
        app.pass(TIMEOUT + 1);
        app.serve("Sample", 1).await;
        assert!(browser.resume(&app, &page).await.starts_new_login(), "{round}");
        let tokens = browser.authorize(&app, &[]).await.code();
        let subject = crate::steps::sub(&crate::support::json(app.redeem(&tokens, &[]).await).await);
        app.close_session(&subject, anteroom::room::SessionStatus::Completed).await;
        // The next login is the same request, which has to wait again, and is new from its return on.
        page = browser.authorize(&app, &[]).await;
        assert!(page.waits() && page.position() == round + 1, "{page:?}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_request_stays_given_up_after_the_site_has_sent_a_new_one() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let page = browser.authorize(&app, &[("state", "old")]).await;
    app.pass(TIMEOUT + 1);
    app.serve("Sample", 1).await;
    assert!(browser.resume(&app, &page).await.starts_new_login());
    browser.authorize(&app, &[("state", "fresh")]).await.code();
    for _ in 0..2 {
        let again = browser.authorize(&app, &[("state", "old")]).await;
        assert!(again.starts_new_login(), "{again:?}");
        browser.authorize(&app, &[("state", "fresher")]).await.code();
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_reload_of_the_button_page_does_not_make_a_request_younger() {
    let app = TestApp::with(
        r#"
        [[client]]
        client_id = "slow door"
        event = "Door"
        client_secret = "env:SECRET"
        redirect_uris = ["https://shop.example/callback?shop=1"]
        initiate_login_uri = "https://shop.example/login?from=queue"
        login_timeout = 3
        "#,
    )
    .await;
    let slow = [("client_id", "slow door")];
    app.serve("Door", 1).await;
    let mut browser = Browser::default();
    assert!(browser.authorize(&app, &slow).await.is_door());
    app.pass(3);
    let door = browser.authorize(&app, &slow).await;
    assert!(door.is_door());
    app.pass(1);
    assert!(browser.enter(&app, &door).await.starts_new_login());
    app.stop().await;
}

#[actix_web::test]
async fn a_page_that_asks_for_patience_does_not_make_a_request_younger() {
    let proxy = "trusted_proxies = [\"127.0.0.1/32\"]";
    let few = "joins_per_second = 1, joins_burst = 1, joins_per_second_ipv6 = 1, joins_burst_ipv6 = 1";
    let app = TestApp::replacing(proxy, &format!("{proxy}\nlimits = {{ {few}, exempt = [] }}")).await;
    let query = encode(&[
        ("client_id", "Sample"),
        ("redirect_uri", REDIRECT),
        ("response_type", "code"),
        ("scope", "openid"),
        ("state", "state"),
    ]);
    let ask = || app.get(&format!("/authorize?{query}")).header("x-forwarded-for", "203.0.113.7");
    let (mut first, mut second) = (Browser::default(), Browser::default());
    assert!(first.send(ask()).await.waits());
    assert_eq!(second.send(ask()).await.status, StatusCode::TOO_MANY_REQUESTS);
    app.pass(TIMEOUT + 1);
    app.serve("Sample", 2).await;
    assert!(second.send(ask()).await.starts_new_login());
    app.stop().await;
}

#[actix_web::test]
async fn first_arrivals_of_another_browser_or_without_a_seal_are_ignored() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    browser.authorize(&app, &[]).await;
    let remembered = browser.cookies[COOKIE].clone();
    assert!(remembered.len() < 600, "{}", remembered.len());
    let mut changed = remembered.clone();
    let middle = remembered.len() / 2;
    changed.replace_range(middle..=middle, if remembered.as_bytes()[middle] == b'A' { "B" } else { "A" });
    let long = "A".repeat(9000);
    app.pass(TIMEOUT + 1);
    for value in ["", "x", changed.as_str(), &remembered[..remembered.len() - 1], &long] {
        let mut forger = browser.clone();
        forger.cookies.insert(COOKIE.into(), value.to_owned());
        assert!(forger.authorize(&app, &[]).await.waits(), "{value}");
    }
    let mut other = Browser::default();
    assert!(other.authorize(&app, &[("state", "x")]).await.waits());
    other.cookies.insert(COOKIE.into(), remembered);
    app.serve("Sample", 2).await;
    assert!(other.authorize(&app, &[]).await.location.unwrap().contains("code="), "the list is another browser's");
    app.stop().await;
}

#[actix_web::test]
async fn the_newest_sixteen_requests_are_remembered() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let states: Vec<String> = (0..18).map(|number| format!("state {number}")).collect();
    for state in &states {
        assert!(browser.authorize(&app, &[("state", state)]).await.waits());
    }
    app.pass(TIMEOUT + 1);
    app.serve("Sample", 1).await;
    for (number, state) in states.iter().enumerate().rev() {
        let page = browser.clone().authorize(&app, &[("state", state)]).await;
        assert_eq!(page.starts_new_login(), number >= 2, "{number}: {page:?}");
    }
    app.stop().await;
}
