//! An application to test, and a relying party and browser to test it with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Once};
use std::time::Duration;

use anteroom::ambient::{FrozenClock, SeededEntropy, Timestamp};
use anteroom::config::{Config, Environment};
use anteroom::http::StopTimes;
use anteroom::lobby::Lobby;
use anteroom::room::Counters;
use anteroom::server::{self, Running, SystemDeps};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use url::Url;

use crate::seeded;

pub const SECRET: &str = "sample-secret-0123456789-0123456789-0123";
pub const OTHER_SECRET: &str = "other-secret-0123456789-0123456789-01234";
pub const ADMIN_KEY: &str = "admin-key-0123456789-0123456789-01234567";
pub const REDIRECT: &str = "https://shop.example/callback?shop=1";
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// The time at which every test begins.
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The configuration of the tests. Every event is moved by hand.
pub const CONFIG: &str = r#"
public_url = "http://127.0.0.1:0"
listen = "127.0.0.1:0"
trusted_proxies = ["127.0.0.1/32"]

[admin]
keys = [{ name = "ops", key = "env:ADMIN" }]

[[event]]
id = "Sample"
inlet = { strategy = "manual" }

[[event]]
id = "Door"
entry = "button"
inlet = { strategy = "manual" }

[[client]]
client_id = "Sample"
event = "Sample"
client_name = "Sample shop"
client_secret = "env:SECRET"
redirect_uris = ["https://shop.example/callback?shop=1", "https://shop.example/second"]
initiate_login_uri = "https://shop.example/login?from=queue"
acr_values = ["queue:fair"]
claims = { preferred_username = "visitor-{position}", email = "{sub}@visitors.invalid", email_verified = false }

[[client]]
client_id = "other"
event = "Sample"
client_secret = "env:OTHER"
token_endpoint_auth_method = "client_secret_post"
redirect_uris = ["https://other.example/callback"]

[[client]]
client_id = "spa"
event = "Sample"
token_endpoint_auth_method = "none"
redirect_uris = ["https://shop.example/callback?shop=1"]

[[client]]
client_id = "door"
event = "Door"
client_secret = "env:SECRET"
redirect_uris = ["https://shop.example/callback?shop=1"]

[[client]]
client_id = "elliptic"
event = "Sample"
client_secret = "env:SECRET"
redirect_uris = ["https://shop.example/callback?shop=1"]
id_token_signed_response_alg = "ES256"
access_token_signing_alg = "RS256"

[[client]]
client_id = "edwards"
event = "Sample"
client_secret = "env:SECRET"
redirect_uris = ["https://shop.example/callback?shop=1"]
id_token_signed_response_alg = "EdDSA"
"#;

/// A running application. It stops with [`TestApp::stop`], or with the test.
pub struct TestApp {
    pub issuer: String,
    pub clock: Arc<FrozenClock>,
    pub http: reqwest::Client,
    pub directory: TempDir,
    running: Running,
}

impl TestApp {
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// Starts with `more` TOML after the usual configuration.
    pub async fn with(more: &str) -> Self {
        Self::in_directory(seeded::directory().await, more).await
    }

    /// Starts on a directory that another application may have used before.
    pub async fn in_directory(directory: TempDir, more: &str) -> Self {
        let config = config(directory.path(), more);
        Self::configured(directory, config).await
    }

    /// Starts with any configuration.
    pub async fn configured(directory: TempDir, config: Config) -> Self {
        static CRYPTOGRAPHY: Once = Once::new();
        CRYPTOGRAPHY.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let clock = Arc::new(FrozenClock::at(NOW));
        let system = SystemDeps { clock: clock.clone(), entropy: Arc::new(SeededEntropy::new(1)) };
        let running = server::start(config, system).await.unwrap();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        Self { issuer: running.issuer.clone(), clock, http, directory, running }
    }

    /// Stops, and returns the directory. No request is pending, so no connection is notified.
    pub async fn stop(self) -> TempDir {
        self.running.stop_within(StopTimes::NONE).await;
        self.directory
    }

    /// Stops as the program does at a signal.
    pub async fn stop_as_the_program_does(self) -> TempDir {
        self.running.stop().await;
        self.directory
    }

    pub fn lobby(&self) -> &Lobby {
        self.running.lobby()
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The actual address of `path`, whatever scheme and host the public URL has.
    pub fn url(&self, path: &str) -> String {
        let base_path = Url::parse(&self.issuer).unwrap().path().trim_end_matches('/').to_owned();
        format!("http://{}{base_path}{path}", self.running.address)
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(self.url(path))
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    pub fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        self.http.post(self.url(path)).header("content-type", "application/x-www-form-urlencoded").body(encode(fields))
    }

    pub fn post_json(&self, path: &str, body: &Value) -> RequestBuilder {
        self.http.post(self.url(path)).header("content-type", "application/json").body(body.to_string())
    }

    /// Moves the serving counter of `event` as an operator.
    pub async fn serve(&self, event: &str, by: i64) -> u64 {
        let body = serde_json::json!({ "event_id": event, "increment_by": by });
        let sent = self.post_json("/private/increment_serving_counter", &body).bearer_auth(ADMIN_KEY).send().await;
        json(sent.unwrap()).await["serving_num"].as_u64().unwrap()
    }

    /// Redeems a code as the client Sample, with additional or replaced fields.
    pub async fn redeem(&self, code: &str, other: &[(&str, &str)]) -> Response {
        let usual = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT)];
        let fields = merged(&usual, other);
        self.post_form("/token", &fields).header("authorization", basic("Sample", SECRET)).send().await.unwrap()
    }

    /// Logs a new visitor in to the client Sample, who is served at once; the token answer.
    pub async fn tokens(&self, other: &[(&str, &str)]) -> (Browser, Value) {
        let mut browser = Browser::default();
        self.serve("Sample", 1).await;
        let code = browser.authorize(self, other).await.code();
        let answer = self.redeem(&code, &[]).await;
        assert_eq!(answer.status(), StatusCode::OK);
        (browser, json(answer).await)
    }

    pub async fn user_info(&self, access_token: &str) -> Response {
        self.get("/userInfo").bearer_auth(access_token).send().await.unwrap()
    }
}

/// The tests' configuration with `more` after it, in `directory`.
pub fn config(directory: &Path, more: &str) -> Config {
    config_from(directory, &format!("{CONFIG}\n{more}"))
}

/// The tests' configuration with `from` replaced, in `directory`.
pub fn config_replacing(directory: &Path, from: &str, to: &str) -> Config {
    assert!(CONFIG.contains(from), "{from}");
    config_from(directory, &CONFIG.replace(from, to))
}

/// A custom configuration, in `directory`.
pub fn config_from(directory: &Path, text: &str) -> Config {
    let environment: Environment =
        [("SECRET", SECRET), ("OTHER", OTHER_SECRET), ("ADMIN", ADMIN_KEY)].into_iter().collect();
    Config::parse(text, &directory.join("anteroom.toml"), &environment).unwrap()
}

/// A browser: it keeps cookies, and follows only the redirect of the cookie check.
#[derive(Default, Clone)]
pub struct Browser {
    pub cookies: BTreeMap<String, String>,
}

/// The query of `/authorize` from the client Sample, with additional or replaced parameters.
pub fn login_query(other: &[(&str, &str)]) -> String {
    let usual = [
        ("client_id", "Sample"),
        ("redirect_uri", REDIRECT),
        ("response_type", "code"),
        ("scope", "openid"),
        ("state", "st&te ü"),
        ("nonce", "n0nce"),
    ];
    encode(&merged(&usual, other))
}

/// The mark in the address of the cookie check's second request.
pub const COOKIE_CHECK: &str = "anteroom_cookie_check=1";

/// An answer to a browser.
#[derive(Debug)]
pub struct Page {
    pub status: StatusCode,
    pub location: Option<String>,
    pub headers: reqwest::header::HeaderMap,
    pub body: String,
}

impl Browser {
    pub async fn send(&mut self, request: RequestBuilder) -> Page {
        let (client, request) = request.build_split();
        let mut again = request.unwrap();
        let page = self.send_once(RequestBuilder::from_parts(client.clone(), again.try_clone().unwrap())).await;
        match page.location.as_ref().filter(|location| location.contains(COOKIE_CHECK)) {
            Some(location) => {
                *again.url_mut() = again.url().join(location).unwrap();
                self.send_once(RequestBuilder::from_parts(client, again)).await
            }
            None => page,
        }
    }

    /// Follows no redirect.
    pub async fn send_once(&mut self, request: RequestBuilder) -> Page {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = if cookies.is_empty() { request } else { request.header("cookie", cookies.join("; ")) };
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        for cookie in headers.get_all("set-cookie") {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), rest.split(';').next().unwrap().to_owned());
        }
        let location = headers.get("location").map(|value| value.to_str().unwrap().to_owned());
        Page { status, location, headers, body: answer.text().await.unwrap() }
    }

    /// Opens `/authorize` from the client Sample, with additional or replaced parameters.
    pub async fn authorize(&mut self, app: &TestApp, other: &[(&str, &str)]) -> Page {
        let query = login_query(other);
        self.send(app.get(&format!("/authorize?{query}"))).await
    }

    /// Follows the waiting page's resume link.
    pub async fn resume(&mut self, app: &TestApp, page: &Page) -> Page {
        self.send(app.get(&page.resume_url())).await
    }
}

impl Page {
    /// The parameters of the answer at the redirect URI.
    pub fn answer(&self) -> BTreeMap<String, String> {
        let location = self.location.as_ref().unwrap_or_else(|| panic!("no redirect: {self:?}"));
        Url::parse(location).unwrap().query_pairs().into_owned().collect()
    }

    pub fn code(&self) -> String {
        self.answer().remove("code").unwrap_or_else(|| panic!("no code: {self:?}"))
    }

    pub fn error(&self) -> String {
        self.answer().remove("error").unwrap_or_else(|| panic!("no error: {self:?}"))
    }

    pub fn waits(&self) -> bool {
        self.status == StatusCode::OK && self.body.contains("data-position=")
    }

    /// The value of an attribute of the page.
    pub fn attribute(&self, name: &str) -> String {
        let start = self.body.find(&format!("{name}=\"")).unwrap_or_else(|| panic!("no {name}: {}", self.body));
        let rest = &self.body[start + name.len() + 2..];
        rest.split('"').next().unwrap().replace("&amp;", "&").replace("&#38;", "&")
    }

    pub fn resume_url(&self) -> String {
        self.attribute("data-resume")
    }

    pub fn position(&self) -> u64 {
        self.attribute("data-position").parse().unwrap()
    }
}

/// `usual` with the parameters of the same name replaced by `other`; an empty value removes the parameter.
pub fn merged<'a>(usual: &[(&'a str, &'a str)], other: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = usual.iter().filter(|(name, _)| !other.iter().any(|(replaced, _)| replaced == name));
    kept.chain(other).filter(|(_, value)| !value.is_empty()).copied().collect()
}

pub fn encode(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

pub fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// The S256 challenge of `verifier`.
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

pub async fn json(answer: Response) -> Value {
    let text = answer.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

/// A part of a compact JWS, not verified.
pub fn part(token: &str, index: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
}

pub fn header(token: &str) -> Value {
    part(token, 0)
}

pub fn claims(token: &str) -> Value {
    part(token, 1)
}

impl TestApp {
    /// Starts with the usual configuration in which `from` is replaced by `to`.
    pub async fn replacing(from: &str, to: &str) -> Self {
        let directory = seeded::directory().await;
        let config = config_replacing(directory.path(), from, to);
        Self::configured(directory, config).await
    }

    /// The private listening address, if there is one.
    pub fn private_address(&self) -> Option<SocketAddr> {
        self.running.private_address
    }

    /// The listening address.
    pub fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// The counters of every event.
    pub fn all_counters(&self) -> BTreeMap<String, Counters> {
        let rooms = self.lobby().rooms();
        rooms.map(|room| (room.settings.id.to_string(), room.cache.counters())).collect()
    }

    /// Joins `event` through the REST channel; the request ID.
    pub async fn join(&self, event: &str) -> String {
        let body = serde_json::json!({ "event_id": event });
        let joined = json(self.post_json("/api/assign_queue_num", &body).send().await.unwrap()).await;
        joined["api_request_id"].as_str().unwrap().to_owned()
    }
}
