//! Several tabs of one browser.

use fantoccini::wd::WindowHandle;
use url::form_urlencoded;

use super::chromium::{Browser, Chromium, Scripts};
use super::looks::look;
use super::{COUNT, GREETING, NUMBER, join};
use crate::support::eventually;
use crate::support::program::Anteroom;

/// The button of the waiting page.
const CHECK: &str = "#check";

/// The tabs, each with a waiting login.
async fn open_tabs(browser: &Browser, anteroom: &Anteroom, count: usize) -> Vec<WindowHandle> {
    let mut tabs = browser.tabs().await;
    for number in 0..count {
        if number > 0 {
            tabs.push(browser.open_tab().await);
        }
        join(browser, anteroom).await;
        browser.sees(COUNT, "You are next").await;
    }
    tabs
}

#[tokio::test]
async fn seven_tabs_all_load_and_the_newest_continues_by_itself() {
    let Some(chromium) = Chromium::start().await else { return };
    let anteroom = Anteroom::demonstration(&[]).await;
    let browser = chromium.visitor("visitor", Scripts::On).await;
    let tabs = open_tabs(&browser, &anteroom, 7).await;
    let (newest, older) = tabs.split_last().unwrap();
    anteroom.serve(1).await;
    browser.switch_to(newest).await;
    browser.sees(GREETING, "You are in, visitor-1").await;
    for tab in older {
        browser.switch_to(tab).await;
        browser.sees(COUNT, "You go on in the tab in which you last opened the site").await;
        browser.sees(CHECK, "Go on in this tab").await;
    }
    look(&browser, "waiting-older-tab").await;
    browser.click(CHECK).await;
    browser.sees(GREETING, "You are in, visitor-1").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}

#[tokio::test]
async fn closing_the_tab_with_the_stream_hands_it_to_another() {
    let Some(chromium) = Chromium::start().await else { return };
    let anteroom = Anteroom::demonstration(&[]).await;
    anteroom.join_many(3).await;
    let browser = chromium.visitor("visitor", Scripts::On).await;
    let first = browser.tabs().await.remove(0);
    join(&browser, &anteroom).await;
    browser.sees(COUNT, "3\npeople ahead of you").await;
    let second = browser.open_tab().await;
    join(&browser, &anteroom).await;
    browser.sees(COUNT, "3\npeople ahead of you").await;
    anteroom.serve(1).await;
    browser.sees(COUNT, "2\npeople ahead of you").await;
    browser.switch_to(&first).await;
    browser.close_tab().await;
    browser.switch_to(&second).await;
    anteroom.serve(1).await;
    browser.sees(COUNT, "1\nperson ahead of you").await;
    anteroom.serve(2).await;
    browser.sees(GREETING, "You are in, visitor-4").await;
    browser.close().await;
}

#[tokio::test]
async fn two_tabs_opened_at_once_by_a_new_browser_share_a_place() {
    let Some(chromium) = Chromium::start().await else { return };
    let (callback, shop) = super::leading_on::site();
    let anteroom = Anteroom::for_client(&callback).await;
    for (name, position) in [("first", 1), ("second", 2), ("third", 3)] {
        let browser = chromium.visitor(name, Scripts::On).await;
        browser.open(&shop).await;
        let opener = browser.tabs().await.remove(0);
        let addresses = ["one", "two"].map(|state| login(&anteroom, &callback, state));
        browser.run(&format!("for (const address of {addresses:?}) window.open(address)")).await;
        let tabs = eventually("both tabs are there", async || {
            let mut tabs = browser.tabs().await;
            tabs.retain(|tab| *tab != opener);
            (tabs.len() == 2).then_some(tabs)
        })
        .await;
        for tab in &tabs {
            browser.switch_to(tab).await;
            browser.sees(NUMBER, &position.to_string()).await;
        }
        anteroom.serve(1).await;
        // One of them is newer, and continues by itself.
        let mut arrived = Vec::new();
        eventually("one tab arrives", async || {
            for tab in &tabs {
                browser.switch_to(tab).await;
                if browser.address().await == shop {
                    arrived.push(tab.clone());
                }
            }
            (!arrived.is_empty()).then_some(())
        })
        .await;
        let other = tabs.iter().find(|tab| !arrived.contains(tab)).unwrap();
        browser.switch_to(other).await;
        browser.sees(CHECK, "Go on in this tab").await;
        browser.click(CHECK).await;
        browser.sees("h1", "Arrived").await;
        browser.close().await;
    }
}

fn login(anteroom: &Anteroom, callback: &str, state: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("client_id", "Sample"), ("redirect_uri", callback), ("response_type", "code")])
        .extend_pairs([("scope", "openid"), ("state", state)])
        .finish();
    format!("{}/authorize?{query}", anteroom.issuer)
}
