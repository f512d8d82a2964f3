//! `serve` without a configuration in an empty directory: the first start, and a second one.

use std::path::Path;

use tempfile::TempDir;

use crate::process::{Launch, Program};
use crate::support::{Api, Browser, Page};

/// A text of the shop's page for visitors with a session.
const INSIDE: &str = "You are in, ";

fn launch(directory: &Path) -> Launch {
    Launch::serve(directory)
        .with("ANTEROOM_DEMO__SHOP_LISTEN", "127.0.0.1:0")
        .with("ANTEROOM_CLIENT__0__REDIRECT_URIS", r#"["http://127.0.0.1:0/callback"]"#)
        .with("ANTEROOM_CLIENT__0__POST_LOGOUT_REDIRECT_URIS", r#"["http://127.0.0.1:0/"]"#)
        .with("ANTEROOM_CLIENT__0__INITIATE_LOGIN_URI", "http://127.0.0.1:0/login")
        .with("ANTEROOM_EVENT__0__INLET", r#"{ strategy = "manual" }"#)
}

fn shop(program: &mut Program) -> String {
    program.announced("Sample shop:").split_whitespace().next().unwrap().to_owned()
}

fn subject(page: &Page) -> String {
    let (_, rest) = page.body.split_once("(<code>sub</code>)</dt><dd><code>").unwrap();
    rest.split('<').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_demonstration_prints_its_addresses_and_admits_a_visitor_to_the_shop() {
    let directory = TempDir::new().unwrap();
    let mut program = launch(directory.path()).start();
    let (shop, key) = (shop(&mut program), program.announced("Admin key:"));
    assert_eq!(program.issuer, format!("http://{}", program.address), "on loopback the issuer is the address");
    assert!(program.announced("Configuration:").starts_with("data/anteroom.toml"));
    let api = Api::of(&program);
    let mut browser = Browser::default();

    let login = browser.follow(&api.http, &format!("{shop}/login"), "You are in line for Sample shop").await;
    assert!(login.waits());
    let resume = format!("{}{}", program.issuer, login.refresh().unwrap());
    assert!(browser.send(api.http.get(&resume)).await.unwrap().waits(), "no visitor is admitted before one is served");

    api.let_in(&key, 1).await;
    let inside = browser.follow(&api.http, &resume, INSIDE).await;
    assert!(inside.body.contains("You are in, <span class=\"name\">visitor-1</span>"), "{}", inside.body);
    program.stop();
}

#[tokio::test]
async fn a_second_start_keeps_everything() {
    let directory = TempDir::new().unwrap();
    let mut first = launch(directory.path()).start();
    let (first_shop, key) = (shop(&mut first), first.announced("Admin key:"));
    let api = Api::of(&first);
    let mut browser = Browser::default();
    api.let_in(&key, 1).await;
    let before = browser.follow(&api.http, &format!("{first_shop}/login"), INSIDE).await;
    let ticket = api.ticket().await;
    let position = api.position(&ticket).await;
    let signing = api.key_ids().await;
    let secret = std::fs::read(directory.path().join("data/client-secret")).unwrap();
    first.stop();

    let mut second = launch(directory.path()).start();
    assert_eq!(second.announced("Admin key:"), key);
    assert_eq!(std::fs::read(directory.path().join("data/client-secret")).unwrap(), secret);
    let second_shop = shop(&mut second);
    let api = Api::of(&second);
    let now = api.key_ids().await;
    assert!(signing.iter().all(|kid| now.contains(kid)), "{signing:?} are not all in {now:?}");
    assert_eq!(api.position(&ticket).await, position);
    assert_eq!(api.position(&api.ticket().await).await, position + 1, "the line goes on where it was");

    // The shop lost its sessions, which are in memory; the provider did not: no waiting page appears.
    let window = browser.send(api.http.get(&second_shop)).await.unwrap();
    assert!(!window.body.contains(INSIDE));
    let silently = browser.send(api.http.get(format!("{second_shop}/login"))).await.unwrap();
    let answered = browser.send(api.http.get(silently.location().unwrap())).await.unwrap();
    assert!(answered.location().unwrap().starts_with(&format!("{second_shop}/callback?code=")), "{answered:?}");
    let after = browser.follow(&api.http, &answered.location().unwrap(), INSIDE).await;
    assert_eq!(subject(&after), subject(&before));
    second.stop();
}
