//! A deployment, and its clients: callers of the REST API, and browsers that log in.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;

use anteroom::policy::READINESS_PERIOD;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use url::{Url, form_urlencoded};

use crate::process::{ATTEMPTS, Launch, PAUSE, Program};

pub const ADMIN_KEY: &str = "admin-key-0123456789-0123456789-01234567";
pub const CLIENT_SECRET: &str = "sample-secret-0123456789-0123456789-0123";
pub const REDIRECT: &str = "https://shop.example/callback";

/// The issuer is not the listening address, as behind a proxy: it stays the same when the port changes.
const CONFIG: &str = r#"
public_url = "https://queue.example"

[admin]
keys = [{ name = "ops", key = "env:ADMIN" }]

[[event]]
id = "Sample"
inlet = { strategy = "manual" }

[[client]]
client_id = "Sample"
event = "Sample"
client_name = "Sample shop"
client_secret = "env:SECRET"
redirect_uris = ["https://shop.example/callback"]
"#;

/// A directory with a configuration, whose data directory is `data`.
pub struct Deployment(TempDir);

impl Deployment {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("anteroom.toml"), CONFIG).unwrap();
        Self(directory)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A command of the program with the configuration.
    pub fn command(&self, arguments: &[&str]) -> Launch {
        let launch = Launch::command(self.0.path(), arguments).and(&["--config", "anteroom.toml"]);
        launch.with("ADMIN", ADMIN_KEY).with("SECRET", CLIENT_SECRET).with("ANTEROOM_LISTEN", "127.0.0.1:0")
    }

    pub fn serve(&self) -> Launch {
        self.command(&["serve"])
    }
}

/// An HTTP client that follows no redirects and has a timeout.
pub fn http() -> Client {
    static CRYPTOGRAPHY: Once = Once::new();
    CRYPTOGRAPHY.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let builder = Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    builder.timeout(Duration::from_secs(60)).build().unwrap()
}

/// The REST API of a running program.
#[derive(Clone)]
pub struct Api {
    pub http: Client,
    pub base: String,
}

impl Api {
    pub fn of(program: &Program) -> Self {
        Self { http: http(), base: program.url("") }
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.base))
    }

    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        let request = self.http.post(format!("{}{path}", self.base));
        request.header(CONTENT_TYPE, "application/json").body(body.to_string())
    }

    pub fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let request = self.http.post(format!("{}{path}", self.base));
        request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(encode(fields))
    }

    pub fn join(&self) -> RequestBuilder {
        self.post("/api/assign_queue_num", &json!({ "event_id": "Sample" }))
    }

    /// Joins; the ticket.
    pub async fn ticket(&self) -> String {
        let answer = self.join().send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        text(&object(answer).await, "api_request_id")
    }

    /// The position of a ticket, which must be valid.
    pub async fn position(&self, ticket: &str) -> u64 {
        let query = encode(&[("event_id", "Sample"), ("request_id", ticket)]);
        let answer = self.get(&format!("/api/queue_num?{query}")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "the ticket {ticket} is not recognised");
        object(answer).await["queue_number"].as_u64().unwrap()
    }

    /// Moves the serving counter, by the operator's `key`.
    pub async fn let_in(&self, key: &str, by: u64) {
        let body = json!({ "event_id": "Sample", "increment_by": by });
        let answer = self.post("/private/increment_serving_counter", &body).bearer_auth(key).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }

    pub async fn user_info(&self, access_token: &str) -> StatusCode {
        self.get("/userInfo").bearer_auth(access_token).send().await.unwrap().status()
    }

    /// The key IDs of the JWK Set, in order.
    pub async fn key_ids(&self) -> Vec<String> {
        let set = object(self.get("/.well-known/jwks.json").send().await.unwrap()).await;
        set["keys"].as_array().unwrap().iter().map(|key| text(key, "kid")).collect()
    }

    /// The status and the body of `/health/ready` for an operator, of a check that begins after the call.
    pub async fn health(&self) -> (StatusCode, String) {
        tokio::time::sleep(READINESS_PERIOD).await;
        let answer = self.get("/health/ready").bearer_auth(ADMIN_KEY).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    /// Redeems a code as the client Sample.
    pub fn redeem(&self, code: &str) -> RequestBuilder {
        let fields = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT)];
        let credentials = STANDARD.encode(format!("Sample:{CLIENT_SECRET}"));
        self.post_form("/token", &fields).header(AUTHORIZATION, format!("Basic {credentials}"))
    }

    /// Admits one more and logs a new visitor in, who must be the admitted one.
    pub async fn log_in(&self) -> (Browser, Tokens) {
        self.let_in(ADMIN_KEY, 1).await;
        let mut browser = Browser::default();
        let tokens = browser.log_in(self).await.unwrap();
        (browser, tokens)
    }
}

/// The answer of the token endpoint.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub access: String,
    pub id: String,
}

impl Tokens {
    /// The visitor: `sub` and `queue_position`.
    pub fn who(&self) -> (String, u64) {
        let claims = part(&self.id, 1);
        (text(&claims, "sub"), claims["queue_position"].as_u64().unwrap())
    }
}

/// A browser: it keeps cookies, and sends them to every port. It follows only the redirect of the cookie check.
#[derive(Default, Clone)]
pub struct Browser {
    pub cookies: BTreeMap<String, String>,
}

/// An answer to a browser.
#[derive(Debug)]
pub struct Page {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Browser {
    pub async fn send(&mut self, request: RequestBuilder) -> Result<Page, reqwest::Error> {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = if cookies.is_empty() { request } else { request.header(COOKIE, cookies.join("; ")) };
        let answer = request.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        for cookie in headers.get_all(SET_COOKIE) {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), rest.split(';').next().unwrap().to_owned());
        }
        Ok(Page { status, headers, body: answer.text().await? })
    }

    /// Opens `/authorize` from the client Sample.
    pub async fn authorize(&mut self, api: &Api) -> Result<Page, reqwest::Error> {
        let query = encode(&[
            ("client_id", "Sample"),
            ("redirect_uri", REDIRECT),
            ("response_type", "code"),
            ("scope", "openid"),
            ("nonce", "n0nce"),
        ]);
        let page = self.send(api.get(&format!("/authorize?{query}"))).await?;
        match page.location().filter(|location| location.contains("anteroom_cookie_check=1")) {
            Some(location) => self.send(api.get(&location)).await,
            None => Ok(page),
        }
    }

    /// Logs in where the visitor need not wait. An error means that the program ended.
    pub async fn log_in(&mut self, api: &Api) -> Result<Tokens, reqwest::Error> {
        let code = self.authorize(api).await?.code();
        let answer = api.redeem(&code).send().await?;
        let (status, body) = (answer.status(), answer.text().await?);
        assert_eq!(status, StatusCode::OK, "{body}");
        let tokens: Value = serde_json::from_str(&body).unwrap();
        Ok(Tokens { access: text(&tokens, "access_token"), id: text(&tokens, "id_token") })
    }

    /// Opens `start` and follows redirects and refreshes until a page has `goal`.
    pub async fn follow(&mut self, http: &Client, start: &str, goal: &str) -> Page {
        let mut here = Url::parse(start).unwrap();
        for _ in 0..ATTEMPTS {
            let page = self.send(http.get(here.clone())).await.unwrap();
            if page.body.contains(goal) {
                return page;
            }
            let next = page.location().or_else(|| page.refresh());
            here = here.join(&next.unwrap_or_else(|| panic!("{here} leads nowhere: {page:?}"))).unwrap();
            if page.location().is_none() {
                tokio::time::sleep(PAUSE).await;
            }
        }
        panic!("there is never a page with {goal:?}");
    }
}

impl Page {
    pub fn location(&self) -> Option<String> {
        self.headers.get(LOCATION).map(|value| value.to_str().unwrap().to_owned())
    }

    /// The target of the page's refresh.
    pub fn refresh(&self) -> Option<String> {
        let (_, rest) = self.body.split_once("<meta http-equiv=\"refresh\" content=\"")?;
        let (_, rest) = rest.split_once(";url=")?;
        Some(unescape(rest.split('"').next()?))
    }

    pub fn waits(&self) -> bool {
        self.status == StatusCode::OK && self.body.contains("data-position=")
    }

    /// The code of the answer at the redirect URI.
    pub fn code(&self) -> String {
        let location = self.location().unwrap_or_else(|| panic!("no redirect: {self:?}"));
        let url = Url::parse(&location).unwrap();
        let code = url.query_pairs().find(|(name, _)| name == "code").map(|(_, value)| value.into_owned());
        code.unwrap_or_else(|| panic!("no code: {self:?}"))
    }
}

fn unescape(text: &str) -> String {
    text.replace("&#38;", "&").replace("&amp;", "&").replace("&#61;", "=")
}

pub fn encode(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

pub async fn object(answer: Response) -> Value {
    let body = answer.text().await.unwrap();
    serde_json::from_str(&body).unwrap_or_else(|_| panic!("no JSON: {body}"))
}

/// A text member.
pub fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_else(|| panic!("no {member}: {value}")).to_owned()
}

/// A part of a compact JWS, not verified: 0 is its header, 1 its claims.
pub fn part(token: &str, index: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
}
