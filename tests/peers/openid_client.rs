//! npm's `openid-client`: `openid-client/shop.mjs` is a small site written with it.

use std::path::Path;
use std::process::Command;

use reqwest::StatusCode;
use serde_json::Value;

use crate::support::process::Process;
use crate::support::program::{Anteroom, SECRET};
use crate::support::visitor::{Page, Visitor};
use crate::support::{file, program};

/// The site, with Anteroom as its provider.
pub struct Site {
    pub anteroom: Anteroom,
    pub address: String,
    _process: Process,
}

impl Site {
    pub async fn open() -> Option<Self> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/openid-client");
        let node = program("node")?;
        file(sources.join("node_modules/openid-client"))?;
        let mut command = Command::new(node);
        command.arg(sources.join("shop.mjs")).args(["Sample", SECRET]);
        let mut process = Process::start("openid-client", &command, tempfile::tempdir().unwrap());
        let address = process.says("listening at ").await;
        let anteroom = Anteroom::for_client(&format!("{address}/callback")).await;
        let discovered = Visitor::new().open(&format!("{address}/discover?issuer={}", anteroom.issuer)).await;
        assert_eq!(discovered.body, anteroom.issuer);
        Some(Self { anteroom, address, _process: process })
    }

    /// The subject that the site shows.
    async fn assert_let_in(&self, page: &Page, method: &str, position: u64) {
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        let said: Value = serde_json::from_str(&page.body).unwrap();
        assert_eq!(said["method"], method);
        assert_eq!(said["claims"]["iss"], self.anteroom.issuer);
        assert_eq!(said["person"]["sub"], said["claims"]["sub"]);
        assert_eq!(said["person"]["preferred_username"], format!("visitor-{position}"));
        assert_eq!(self.anteroom.position_of(said["person"]["sub"].as_str().unwrap()).await, position);
    }
}

#[tokio::test]
async fn openid_client_logs_a_visitor_in_by_query() {
    let Some(site) = Site::open().await else { return };
    let mut visitor = Visitor::new();
    let page = visitor.open(&format!("{}/login", site.address)).await;
    assert_eq!(page.position(), Some(1));
    site.anteroom.serve(1).await;
    let page = visitor.refresh(&page).await;
    site.assert_let_in(&page, "GET", 1).await;
}

#[tokio::test]
async fn openid_client_logs_a_visitor_in_by_form_post() {
    let Some(site) = Site::open().await else { return };
    assert_eq!(site.anteroom.join().await, 1);
    let mut visitor = Visitor::new();
    let page = visitor.open(&format!("{}/login?mode=form_post", site.address)).await;
    assert_eq!(page.position(), Some(2));
    site.anteroom.serve(1).await;
    let page = visitor.refresh(&page).await;
    assert_eq!(page.position(), Some(2));
    site.anteroom.serve(1).await;
    let form = visitor.refresh(&page).await;
    let page = visitor.submit(&form).await;
    site.assert_let_in(&page, "POST", 2).await;
}

#[tokio::test]
async fn openid_client_detects_an_answer_of_another_issuer() {
    let Some(site) = Site::open().await else { return };
    site.anteroom.serve(1).await;
    let mut visitor = Visitor::stopping_before(&format!("{}/callback", site.address));
    let answer = visitor.open(&format!("{}/login", site.address)).await;
    let forged = answer.url.query_pairs().map(|(name, value)| {
        let value = if name == "iss" { "https://elsewhere.example".into() } else { value };
        (name, value)
    });
    let mut url = answer.url.clone();
    url.query_pairs_mut().clear().extend_pairs(forged);
    let page = Visitor::new().open(url.as_str()).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.body.contains("iss"), "{page:?}");
}
