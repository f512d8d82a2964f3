//! The waiting page without a running script, or without answers to the script's requests: it continues by itself all
//! the same.

use super::chromium::{Chromium, Scripts};
use super::{COUNT, assert_inside, join};
use crate::support::program::Anteroom;

/// A cause that keeps the page from being updated.
struct Obstacle {
    name: &'static str,
    /// Blocked addresses.
    blocked: &'static [&'static str],
    /// A script that runs before the page's own.
    script: &'static str,
}

const OBSTACLES: [Obstacle; 6] = [
    Obstacle { name: "the script is blocked", blocked: &["*/assets/waiting.*"], script: "" },
    Obstacle { name: "stream and questions are blocked", blocked: &["*/line/*"], script: "" },
    Obstacle {
        name: "the script throws at its start",
        blocked: &[],
        script: "JSON.parse = () => { throw new Error('broken') }",
    },
    Obstacle {
        name: "the script throws at each message",
        blocked: &[],
        script: "Object.defineProperty(document, 'title', { set() { throw new Error('broken') }, get: () => '' })",
    },
    Obstacle {
        name: "the browser has neither streams nor questions",
        blocked: &[],
        script: "delete window.EventSource; window.XMLHttpRequest = function () { throw new Error('none') }",
    },
    Obstacle {
        name: "pages may keep nothing",
        blocked: &["*/line/*"],
        script: "Object.defineProperty(window, 'localStorage', { get() { throw new Error('forbidden') } })",
    },
];

#[tokio::test]
async fn the_page_continues_by_itself_whatever_stops_its_script() {
    let Some(chromium) = Chromium::start().await else { return };
    let anteroom = Anteroom::demonstration(&[]).await;
    let mut waiting = Vec::new();
    for obstacle in &OBSTACLES {
        let visitor = chromium.visitor(obstacle.name, Scripts::On).await;
        visitor.block(obstacle.blocked).await;
        visitor.before_each_page(obstacle.script).await;
        join(&visitor, &anteroom).await;
        visitor.sees("h1", "You are in line").await;
        waiting.push(visitor);
    }
    anteroom.serve(i64::try_from(OBSTACLES.len()).unwrap()).await;
    for (position, visitor) in (1..).zip(waiting) {
        assert_inside(&visitor, &anteroom, position).await;
        visitor.close().await;
    }
}

#[tokio::test]
async fn with_the_script_running_nothing_is_reloaded() {
    let Some(chromium) = Chromium::start().await else { return };
    let anteroom = Anteroom::demonstration(&[]).await;
    anteroom.join_many(30).await;
    let visitor = chromium.visitor("visitor", Scripts::On).await;
    join(&visitor, &anteroom).await;
    visitor.sees(COUNT, "30\npeople ahead of you").await;
    visitor.run("window.loaded = 'once'").await;
    // Longer than the watchdog waits for a script without progress.
    for ahead in (1..30).rev() {
        anteroom.serve(1).await;
        visitor.sees(COUNT, &ahead.to_string()).await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    assert_eq!(visitor.run("return window.loaded").await, "once");
    assert_eq!(visitor.complaints().await, Vec::<String>::new());
    visitor.close().await;
}
