//! The HTTP calls to a node, and the five kinds of answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION, RETRY_AFTER};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

pub const ADMIN_KEY: &str = "admin-key-0123456789-0123456789-01234567";
pub const CLIENT_SECRET: &str = "sample-secret-0123456789-0123456789-0123";
pub const REDIRECT: &str = "https://shop.example/callback";
/// The event that an inlet and an operator move slowly.
pub const LINE: &str = "Line";
/// The event that admits every login.
pub const DOOR: &str = "Door";

/// The cookie of a new browser each time, which has been here before, named as for a https public URL.
fn browser() -> String {
    static BROWSERS: AtomicU64 = AtomicU64::new(0);
    let number = u128::from(BROWSERS.fetch_add(1, Ordering::Relaxed));
    format!("__Host-anteroom-browser={}", URL_SAFE_NO_PAD.encode(number.to_be_bytes()))
}

/// Longer than any answer takes, so that only a missing answer fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The outcome of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// 200; or the target of a redirect, as a text.
    Done(Value),
    /// Any other status that is no failure of the service.
    Refused(u16, String),
    /// 503 with `Retry-After`.
    Away,
    /// No answer, or a truncated one: the connection ended.
    Gone,
    /// A violation.
    Wrong(String),
}

/// A node as its callers see it. Its address may change when it is restarted.
#[derive(Clone)]
pub struct Node {
    pub number: usize,
    http: Client,
    base: Arc<Mutex<String>>,
}

impl Node {
    pub fn new(number: usize, http: &Client) -> Self {
        Self { number, http: http.clone(), base: Arc::default() }
    }

    /// The same node for callers on another runtime, which must not share connections.
    pub fn with(&self, http: &Client) -> Self {
        Self { http: http.clone(), ..self.clone() }
    }

    pub fn is_at(&self, base: String) {
        *self.base.lock().unwrap() = base;
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base.lock().unwrap())
    }

    async fn get(&self, path: &str) -> Answer {
        answer(self.http.get(self.url(path))).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.http.post(self.url(path)).header(CONTENT_TYPE, "application/json");
        answer(request.bearer_auth(ADMIN_KEY).body(body.to_string())).await
    }

    /// The ticket.
    pub async fn join(&self) -> Answer {
        self.post("/api/assign_queue_num", &json!({ "event_id": LINE })).await.part("api_request_id")
    }

    /// The position.
    pub async fn position(&self, ticket: &str) -> Answer {
        self.get(&format!("/api/queue_num?event_id={LINE}&request_id={ticket}")).await.part("queue_number")
    }

    /// The serving counter.
    pub async fn serving(&self) -> Answer {
        self.get(&format!("/api/serving_num?event_id={LINE}")).await.part("serving_counter")
    }

    /// The claims of the access token.
    pub async fn token(&self, ticket: &str) -> Answer {
        let answer = self.post("/api/generate_token", &json!({ "event_id": LINE, "request_id": ticket })).await;
        match answer.part("access_token") {
            Answer::Done(token) => Answer::Done(claims(token.as_str().unwrap())),
            other => other,
        }
    }

    /// Closes a session.
    pub async fn complete(&self, ticket: &str) -> Answer {
        self.post("/private/update_session", &json!({ "event_id": LINE, "request_id": ticket, "status": 1 })).await
    }

    /// The resulting serving counter.
    pub async fn let_in(&self, event: &str, by: i64) -> Answer {
        let body = json!({ "event_id": event, "increment_by": by });
        self.post("/private/increment_serving_counter", &body).await.part("serving_num")
    }

    /// The number of active sessions.
    pub async fn active(&self) -> Answer {
        let request = self.http.get(self.url(&format!("/private/num_active_tokens?event_id={LINE}")));
        answer(request.bearer_auth(ADMIN_KEY)).await.part("active_tokens")
    }

    pub async fn ready(&self) -> Answer {
        self.get("/health/ready").await
    }

    /// The code of a new visitor's login.
    pub async fn code(&self) -> Answer {
        let fields = [
            ("client_id", "Shop"),
            ("redirect_uri", REDIRECT),
            ("response_type", "code"),
            ("scope", "openid"),
            ("nonce", "n0nce"),
        ];
        // The browser has a cookie, so the cookie check is passed.
        let request = self.http.get(self.url(&format!("/authorize?{}", encode(&fields)))).header(COOKIE, browser());
        match answer(request).await {
            Answer::Done(Value::String(location)) => {
                let url = Url::parse(&location).unwrap();
                let code = url.query_pairs().find(|(name, _)| name == "code");
                match code {
                    Some((_, code)) => Answer::Done(code.into()),
                    None => Answer::Wrong(format!("a login that leads to {location}")),
                }
            }
            Answer::Done(other) => Answer::Wrong(format!("a login that leads nowhere: {other}")),
            other => other,
        }
    }

    /// The access token for the code.
    pub async fn redeem(&self, code: &str) -> Answer {
        let fields = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT)];
        let credentials = STANDARD.encode(format!("Shop:{CLIENT_SECRET}"));
        let request = self.http.post(self.url("/token")).header(AUTHORIZATION, format!("Basic {credentials}"));
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        answer(request.body(encode(&fields))).await.part("access_token")
    }

    pub async fn user_info(&self, access_token: &str) -> Answer {
        answer(self.http.get(self.url("/userInfo")).bearer_auth(access_token)).await
    }
}

impl Answer {
    fn part(self, member: &str) -> Self {
        match self {
            Self::Done(object) => match object.get(member) {
                Some(part) => Self::Done(part.clone()),
                None => Self::Wrong(format!("no {member}: {object}")),
            },
            other => other,
        }
    }

    /// A number of the required form.
    pub fn number(self) -> u64 {
        match self {
            Self::Done(Value::Number(number)) => number.as_u64().unwrap(),
            other => panic!("no number: {other:?}"),
        }
    }
}

async fn answer(request: RequestBuilder) -> Answer {
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) if error.is_timeout() => return Answer::Wrong("no answer, ever".to_owned()),
        Err(_) => return Answer::Gone,
    };
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let Ok(body) = answer.text().await else { return Answer::Gone };
    if let Some(location) = headers.get(LOCATION) {
        return Answer::Done(location.to_str().unwrap().into());
    }
    match status {
        200 => serde_json::from_str(&body).map_or_else(|_| Answer::Done(Value::Null), Answer::Done),
        503 if headers.contains_key(RETRY_AFTER) => Answer::Away,
        500.. => Answer::Wrong(format!("{status}: {body}")),
        _ => Answer::Refused(status, body),
    }
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

fn encode(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// An HTTP client that follows no redirects.
pub fn http() -> Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    let builder = Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    builder.timeout(PATIENCE).build().unwrap()
}
