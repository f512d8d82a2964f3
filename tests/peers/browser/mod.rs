//! Chromium with the demonstration: the pages that a visitor sees, with and without scripts.

mod chromium;
mod leading_on;
mod looks;
mod no_script;
mod tabs;

use chromium::{Browser, Chromium, Scripts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::openid_client::Site;
use crate::support::eventually;
use crate::support::program::Anteroom;

/// "Your number" on the waiting page.
const NUMBER: &str = "dl div:nth-child(2) dd";
/// The number of visitors ahead.
const COUNT: &str = ".count";
/// The subject that the shop shows.
const GREETING: &str = ".ticket h2";

async fn join(browser: &Browser, anteroom: &Anteroom) {
    browser.open(&anteroom.shop).await;
    browser.click("a[href='/login']").await;
}

/// The visitor is logged in to the shop, and Anteroom knows the displayed `sub` as this position.
async fn assert_inside(browser: &Browser, anteroom: &Anteroom, position: u64) {
    browser.sees(GREETING, &format!("You are in, visitor-{position}")).await;
    browser.sees(".ticket .place", &position.to_string()).await;
    assert_eq!(browser.address().await, format!("{}/", anteroom.shop));
    let sub = browser.text(".ticket .wide dd code").await.unwrap();
    assert_eq!(anteroom.position_of(&sub).await, position);
}

async fn two_visitors_in_line(scripts: Scripts) {
    let Some(chromium) = Chromium::start().await else { return };
    let anteroom = Anteroom::demonstration(&[]).await;
    let (first, second) = (chromium.visitor("first", scripts).await, chromium.visitor("second", scripts).await);
    join(&first, &anteroom).await;
    first.sees(NUMBER, "1").await;
    first.sees(COUNT, "You are next").await;
    join(&second, &anteroom).await;
    second.sees(NUMBER, "2").await;
    second.sees(COUNT, "1\nperson ahead of you").await;
    // Only without scripts is this an element rather than skipped text.
    assert_eq!(second.has("noscript meta[http-equiv=refresh]").await, scripts == Scripts::Off);

    anteroom.serve(1).await;
    assert_inside(&first, &anteroom, 1).await;
    second.sees(COUNT, "You are next").await;
    second.sees(NUMBER, "2").await;
    assert!(second.address().await.starts_with(&anteroom.issuer));

    anteroom.serve(1).await;
    assert_inside(&second, &anteroom, 2).await;
    for browser in [first, second] {
        assert_eq!(browser.complaints().await, Vec::<String>::new());
        browser.close().await;
    }
}

#[tokio::test]
async fn two_visitors_wait_and_are_admitted_one_after_the_other() {
    two_visitors_in_line(Scripts::On).await;
}

#[tokio::test]
async fn without_scripts_two_visitors_wait_and_are_admitted_one_after_the_other() {
    two_visitors_in_line(Scripts::Off).await;
}

#[tokio::test]
async fn at_an_event_with_a_button_the_visitor_enters_by_pressing_it() {
    let Some(chromium) = Chromium::start().await else { return };
    let anteroom = Anteroom::demonstration(&[("ANTEROOM_EVENT__0__ENTRY", "button")]).await;
    let visitor = chromium.visitor("visitor", Scripts::On).await;
    join(&visitor, &anteroom).await;
    visitor.sees(COUNT, "You are next").await;
    anteroom.serve(1).await;
    visitor.sees("h1", "It’s your turn").await;
    visitor.sees("main .button", "Enter now").await;
    assert!(visitor.address().await.starts_with(&anteroom.issuer));
    visitor.click("main .button").await;
    assert_inside(&visitor, &anteroom, 1).await;
    assert_eq!(visitor.complaints().await, Vec::<String>::new());
    visitor.close().await;
}

#[tokio::test]
async fn a_form_post_answer_submits_itself_or_without_scripts_by_a_button() {
    let Some(chromium) = Chromium::start().await else { return };
    let Some(site) = Site::open().await else { return };
    site.anteroom.serve(2).await;
    let login = format!("{}/login?mode=form_post", site.address);
    let with = chromium.visitor("with", Scripts::On).await;
    with.open(&login).await;
    with.sees("body", "\"method\":\"POST\"").await;
    assert_eq!(with.complaints().await, Vec::<String>::new());
    with.close().await;

    let without = chromium.visitor("without", Scripts::Off).await;
    without.open(&login).await;
    without.sees("h1", "Taking you to Sample shop").await;
    without.click("main .button").await;
    without.sees("body", "\"method\":\"POST\"").await;
    without.close().await;
}

/// A limit on open files with which 272 connections are for visitors, and 68 for one address.
const FEW_FILES: &str = "ulimit -n 512";
const SHARE: usize = 68;

/// A reader of the event's stream, and the status of its answer.
async fn listener(anteroom: &Anteroom) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(anteroom.issuer.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(b"GET /line/Sample/events HTTP/1.1\r\nhost: queue\r\n\r\n").await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    (stream, String::from_utf8(status.to_vec()).unwrap())
}

#[tokio::test]
async fn a_page_whose_stream_is_refused_polls_and_is_admitted() {
    let Some(chromium) = Chromium::start().await else { return };
    let anteroom = Anteroom::demonstration_after(FEW_FILES, &[("ANTEROOM_LIMITS__EXEMPT", "[]")]).await;
    let mut others = Vec::new();
    while others.len() < SHARE {
        let (stream, status) = listener(&anteroom).await;
        if status != "HTTP/1.1 200" {
            break;
        }
        others.push(stream);
    }
    assert_eq!(listener(&anteroom).await.1, "HTTP/1.1 204", "after {} streams", others.len());
    let visitor = chromium.visitor("visitor", Scripts::On).await;
    join(&visitor, &anteroom).await;
    visitor.sees(COUNT, "You are next").await;
    // With a working stream, a page makes no other request.
    eventually("the page asks", async || visitor.has_requested("/line/Sample").await.then_some(())).await;
    anteroom.serve(1).await;
    assert_inside(&visitor, &anteroom, 1).await;
    drop(others);
    visitor.close().await;
}
