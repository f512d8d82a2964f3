//! Screenshots of every page in every window size.

use super::chromium::{Browser, Chromium, Screen, Scripts};
use super::{COUNT, GREETING, join};
use crate::support::eventually;
use crate::support::program::Anteroom;

const SCREENS: [Screen; 4] = [
    Screen { name: "1280", width: 1280, height: 800, scale: 1, dark: false },
    Screen { name: "1280-dark", width: 1280, height: 800, scale: 1, dark: true },
    Screen { name: "390", width: 390, height: 844, scale: 2, dark: false },
    Screen { name: "390-dark", width: 390, height: 844, scale: 2, dark: true },
];

/// Saves a screenshot of the page in each window size.
pub async fn look(browser: &Browser, page: &str) {
    for screen in SCREENS {
        browser.resize(screen).await;
        let overhang = browser.overhang().await;
        assert!(overhang <= 0, "{page} at {}: {overhang} px too wide", screen.name);
        browser.photograph(&format!("{page}-{}", screen.name)).await;
    }
}

#[tokio::test]
async fn every_page_fits_a_phone_and_a_desktop() {
    let Some(chromium) = Chromium::start().await else { return };
    let anteroom = Anteroom::demonstration(&[("ANTEROOM_EVENT__0__ENTRY", "button")]).await;
    let visitor = chromium.visitor("visitor", Scripts::On).await;
    visitor.open(&anteroom.shop).await;
    look(&visitor, "shop").await;
    visitor.open(&format!("{}/authorize?client_id=nobody", anteroom.issuer)).await;
    look(&visitor, "error").await;
    // The browser logs an error page as an error.
    assert_eq!(visitor.complaints().await.len(), 1);

    // A long queue, somewhat moved, at a known pace.
    anteroom.join_many(1_900).await;
    join(&visitor, &anteroom).await;
    visitor.sees(COUNT, "1,900\npeople ahead of you").await;
    anteroom.serve(700).await;
    eventually("the wait is estimated", async || {
        anteroom.serve(1).await;
        visitor.text("#wait").await.filter(|wait| wait.starts_with("about"))
    })
    .await;
    look(&visitor, "waiting").await;

    let served = anteroom.serve(1).await;
    anteroom.serve(1_901 - i64::try_from(served).unwrap()).await;
    visitor.sees("h1", "It’s your turn").await;
    look(&visitor, "door").await;
    visitor.click("main .button").await;
    visitor.sees(GREETING, "You are in").await;
    look(&visitor, "inside").await;
    assert_eq!(visitor.complaints().await, Vec::<String>::new());
    visitor.close().await;
}
