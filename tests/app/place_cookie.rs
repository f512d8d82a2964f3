//! A place admits one browser: at admission its cookie is replaced by a session cookie, and copies of the earlier one
//! become worthless.

use std::collections::HashMap;

use anteroom::room::{CookieKind, RequestId, Session, SessionStatus};
use futures_util::future::join_all;
use reqwest::StatusCode;

use crate::sessions::{SAMPLE, tokens};
use crate::steps::{id_claims, sub};
use crate::support::{Browser, Page, TestApp, json};

const PLACE: &str = "anteroom-place-Sample";

impl Page {
    /// Whether it says that the place was used in another browser, and admits no one.
    fn says_place_used(&self) -> bool {
        let says = self.body.contains("Your place was used in another browser");
        assert!(!says || (self.status == StatusCode::CONFLICT && self.location.is_none()), "{self:?}");
        says
    }

    /// Where the page goes by itself.
    fn retry_url(&self) -> Option<String> {
        let (_, rest) = self.body.split_once("http-equiv=\"refresh\"")?;
        Some(rest.split_once(";url=")?.1.split('"').next()?.replace("&#38;", "&"))
    }

    /// The link to a new place.
    fn link(&self) -> String {
        let (_, rest) = self.body.split_once("<a class=\"button\" href=\"").unwrap();
        rest.split('"').next().unwrap().replace("&#38;", "&")
    }
}

/// A browser that waits for Sample, and its page.
async fn waiting(app: &TestApp, state: &str) -> (Browser, Page) {
    let mut browser = Browser::default();
    let page = browser.authorize(app, &[("state", state)]).await;
    assert!(page.waits());
    (browser, page)
}

/// The ticket in the browser's cookie, and what the cookie proves.
async fn held(app: &TestApp, browser: &Browser) -> (RequestId, CookieKind) {
    let room = app.lobby().room("Sample").unwrap();
    let (visitor, kind) = app.lobby().recognise_cookie(room, &browser.cookies[PLACE]).await.unwrap().unwrap();
    (visitor.request_id, kind)
}

#[actix_web::test]
async fn of_ten_browsers_with_copies_of_a_place_one_enters_and_nine_get_the_reason() {
    let app = TestApp::replacing(SAMPLE, "id = \"Sample\"\ninlet = { strategy = \"max_size\", max_size = 2 }\n#").await;
    app.lobby().step_inlets(&mut HashMap::new()).await;
    let before = [app.join("Sample").await, app.join("Sample").await];
    for id in &before {
        tokens(&app, id).await;
    }
    let (owner, _) = waiting(&app, "owner").await;
    for id in &before {
        app.close_session(id, SessionStatus::Completed).await;
    }
    app.lobby().step_inlets(&mut HashMap::new()).await;
    let with_browser_cookie = (0..5).map(|_| owner.clone());
    let place_alone = (0..5).map(|_| {
        let mut browser = owner.clone();
        browser.cookies.retain(|name, _| name == PLACE);
        browser
    });
    let copies = with_browser_cookie.chain(place_alone).enumerate();
    let outcomes = join_all(copies.map(async |(number, mut browser)| {
        let page = browser.authorize(&app, &[("state", &format!("shop {number}"))]).await;
        (browser, page)
    }))
    .await;
    let mut entered = outcomes.iter().filter(|(_, page)| page.location.is_some());
    let (inside, page) = entered.next().unwrap();
    assert_eq!(app.redeem(&page.code(), &[]).await.status(), StatusCode::OK);
    assert!(entered.next().is_none());
    assert_eq!(held(&app, inside).await.1, CookieKind::Session);
    for (mut browser, refused) in outcomes.into_iter().filter(|(_, page)| page.location.is_none()) {
        assert!(refused.says_place_used());
        // The page retries once by itself, with the same result.
        let again = browser.send(app.get(&refused.retry_url().unwrap())).await;
        assert!(again.says_place_used() && again.retry_url().is_none(), "{again:?}");
        assert!(browser.authorize(&app, &[("state", "later")]).await.says_place_used());
        let silent = browser.authorize(&app, &[("prompt", "none"), ("state", "silent")]).await;
        assert_eq!(silent.error(), "login_required");
    }
    let counters = app.counters();
    assert_eq!((counters.queue, counters.sessions_opened), (3, 3));
    app.stop().await;
}

#[actix_web::test]
async fn the_request_that_opened_the_session_is_answered_again_for_a_minute() {
    let app = TestApp::start().await;
    // By the link of the waiting page, by the first address again, and without a unique state.
    for (way, asked) in [("resume", ("state", "s")), ("authorize", ("state", "s")), ("resume", ("state", ""))] {
        let asked = [asked, ("nonce", if asked.1.is_empty() { "" } else { "n" })];
        let mut browser = Browser::default();
        let page = browser.authorize(&app, &asked).await;
        assert!(page.waits());
        app.serve("Sample", 1).await;
        let mut other_tab = browser.clone();
        let lost = browser.clone().resume(&app, &page).await.code();
        app.pass(60);
        let mut late = browser.clone();
        let again = match way {
            "resume" => browser.resume(&app, &page).await,
            _ => browser.authorize(&app, &asked).await,
        };
        assert_ne!(again.code(), lost);
        assert_eq!(held(&app, &browser).await.1, CookieKind::Session, "the cookie is replaced by then");
        assert!(other_tab.authorize(&app, &[("state", "another")]).await.says_place_used(), "no other request");
        app.pass(1);
        assert!(late.resume(&app, &page).await.says_place_used(), "{way}: the minute is over");
        assert!(late.authorize(&app, &asked).await.says_place_used());
        assert_eq!(browser.resume(&app, &page).await.code().len(), lost.len(), "the session's own browser goes on");
    }
    app.stop().await;
}

#[actix_web::test]
async fn after_the_code_is_redeemed_no_copy_enters_with_the_opening_request() {
    let app = TestApp::start().await;
    let asked = [("state", "s"), ("nonce", "n")];
    let (mut owner, page) = waiting(&app, "s").await;
    app.serve("Sample", 1).await;
    let mut lost = owner.clone();
    let copies: Vec<_> = (0..5).map(|_| owner.clone()).collect();
    lost.resume(&app, &page).await.code();
    let code = owner.resume(&app, &page).await.code();
    assert_eq!(app.redeem(&code, &[]).await.status(), StatusCode::OK);
    for mut copy in copies {
        assert!(copy.resume(&app, &page).await.says_place_used());
        assert!(copy.authorize(&app, &asked).await.says_place_used());
    }
    owner.resume(&app, &page).await.code();
    app.stop().await;
}

#[actix_web::test]
async fn a_request_without_a_name_is_new_each_time() {
    let app = TestApp::start().await;
    let nameless = [("state", ""), ("nonce", "")];
    let mut browser = Browser::default();
    assert!(browser.authorize(&app, &nameless).await.waits());
    app.serve("Sample", 1).await;
    let mut copy = browser.clone();
    assert!(browser.authorize(&app, &nameless).await.location.is_some());
    assert!(copy.authorize(&app, &nameless).await.says_place_used());
    assert!(browser.authorize(&app, &nameless).await.location.is_some(), "the session's cookie needs none");
    app.stop().await;
}

#[actix_web::test]
async fn a_second_tab_with_the_earlier_cookie_enters_by_its_retry() {
    let app = TestApp::start().await;
    // Two tabs of one browser, at one place; sites may always request a new login.
    for prompt in ["", "login"] {
        let (mut browser, first) = waiting(&app, "tab 1").await;
        let second = browser.authorize(&app, &[("state", "tab 2"), ("prompt", prompt)]).await;
        assert_eq!(first.position(), second.position());
        app.serve("Sample", 1).await;
        let mut earlier = browser.clone();
        assert!(browser.resume(&app, &first).await.location.is_some());
        let refused = earlier.resume(&app, &second).await;
        assert!(refused.says_place_used());
        // The browser now has the cookie from the first tab's answer.
        let answered = browser.send(app.get(&refused.retry_url().unwrap())).await.answer();
        assert_eq!(answered["state"], "tab 2");
        assert_eq!(app.redeem(&answered["code"], &[]).await.status(), StatusCode::OK);
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_visitor_whose_place_was_used_can_join_again() {
    let app = TestApp::start().await;
    let (mut browser, page) = waiting(&app, "owner").await;
    app.serve("Sample", 1).await;
    let mut copy = browser.clone();
    assert!(browser.resume(&app, &page).await.location.is_some());
    let refused = copy.authorize(&app, &[("state", "copy")]).await;
    let actual = copy.send(app.get(&refused.retry_url().unwrap())).await;
    let rejoined = copy.send(app.get(&actual.link())).await;
    assert!(rejoined.waits());
    assert_eq!(rejoined.position(), 2);
    assert!(copy.authorize(&app, &[("state", "copy")]).await.waits(), "and has a place of its own from then on");
    app.serve("Sample", 1).await;
    assert!(copy.resume(&app, &rejoined).await.location.is_some());
    // In the admitted browser, the link logs in.
    assert!(browser.send(app.get(&actual.link())).await.location.is_some());
    assert_eq!(app.counters().sessions_opened, 2);
    app.stop().await;
}

#[actix_web::test]
async fn a_second_press_of_the_button_is_answered_and_a_copy_is_not() {
    let app = TestApp::start().await;
    let door = [("client_id", "door")];
    app.serve("Door", 1).await;
    let mut browser = Browser::default();
    let page = browser.authorize(&app, &door).await;
    assert!(page.is_door());
    let (mut pressed_twice, mut copy) = (browser.clone(), browser.clone());
    let other_page = copy.authorize(&app, &[("client_id", "door"), ("state", "copy")]).await;
    assert!(other_page.is_door());
    assert!(browser.enter(&app, &page).await.location.unwrap().contains("code="));
    assert!(pressed_twice.enter(&app, &page).await.location.unwrap().contains("code="));
    assert!(copy.enter(&app, &other_page).await.says_place_used());
    app.stop().await;
}

#[actix_web::test]
async fn a_session_that_no_request_opened_is_entered_with_the_place() {
    let app = TestApp::start().await;
    let (mut browser, _) = waiting(&app, "owner").await;
    app.serve("Sample", 1).await;
    // As opened by an earlier version that had one cookie only, or by an operator's call.
    let (request_id, kind) = held(&app, &browser).await;
    assert_eq!(kind, CookieKind::Place);
    let room = app.lobby().room("Sample").unwrap();
    let session = Session {
        event: room.settings.id.clone(),
        generation: app.counters().generation,
        request_id,
        position: anteroom::room::Position::FIRST,
        opened_at: app.lobby().now(),
        expires_at: app.lobby().now() + room.settings.validity,
        status: SessionStatus::Active,
        issuer: None,
        opener: None,
    };
    app.lobby().store().open_session(&session).await.unwrap();
    app.pass(1800);
    let code = browser.authorize(&app, &[("prompt", "none")]).await.code();
    let tokens = json(app.redeem(&code, &[]).await).await;
    assert_eq!((sub(&tokens), id_claims(&tokens)["auth_time"].as_u64()), (request_id.to_string(), Some(1_800_000_000)));
    assert_eq!(held(&app, &browser).await, (request_id, CookieKind::Session));
    app.stop().await;
}

#[actix_web::test]
async fn after_the_session_or_a_reset_either_cookie_joins_again() {
    let app = TestApp::start().await;
    for ends in ["completed", "expired", "reset"] {
        let (mut browser, page) = waiting(&app, "owner").await;
        app.serve("Sample", 1).await;
        let mut copy = browser.clone();
        let code = browser.resume(&app, &page).await.code();
        let tokens = json(app.redeem(&code, &[]).await).await;
        match ends {
            "completed" => app.close_session(&sub(&tokens), SessionStatus::Completed).await,
            "expired" => app.pass(3600),
            _ => drop(app.lobby().reset(app.lobby().room("Sample").unwrap()).await.unwrap()),
        }
        for joins in [&mut browser, &mut copy] {
            let page = joins.authorize(&app, &[("state", "anew")]).await;
            assert!(page.waits(), "{ends}: {page:?}");
            assert_eq!(page.body.contains("begun anew"), ends == "reset");
            assert_eq!(held(&app, joins).await.1, CookieKind::Place);
            // The copy has the browser's name too, so it would share the place for some seconds.
            app.pass(11);
        }
        app.serve("Sample", 2).await;
    }
    app.stop().await;
}
