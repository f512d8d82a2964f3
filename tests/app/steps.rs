//! Shared steps of the OpenID Provider tests: other starts, token requests, answers.

use std::collections::BTreeMap;
use std::path::Path;

use anteroom::config::PublicUrl;
use anteroom::room::{Counters, EventId, RequestId, SessionStatus};
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::seeded;
use crate::support::{Browser, Page, REDIRECT, SECRET, TestApp, basic, claims, config, json, merged};

impl TestApp {
    /// Starts as the issuer `public_url`, whatever address it listens on.
    pub async fn at(public_url: &str) -> Self {
        let directory = seeded::directory().await;
        let mut config = config(directory.path(), "");
        config.endpoints.public_url = PublicUrl::parse(public_url).unwrap();
        Self::configured(directory, config).await
    }

    /// The time, in seconds since 1970.
    pub fn clock_seconds(&self) -> u64 {
        self.lobby().now().as_secs()
    }

    /// The counters of the event Sample.
    pub fn counters(&self) -> Counters {
        self.lobby().room("Sample").unwrap().cache.counters()
    }

    /// A code for a new visitor, who is served at once.
    pub async fn code(&self, other: &[(&str, &str)]) -> String {
        self.serve("Sample", 1).await;
        Browser::default().authorize(self, other).await.code()
    }

    /// A token request with these fields and, perhaps, this `Authorization` header.
    pub async fn token_request(&self, fields: &[(&str, &str)], authorization: Option<&str>) -> Response {
        let request = self.post_form("/token", fields);
        let request = authorization.into_iter().fold(request, |request, value| request.header("authorization", value));
        request.send().await.unwrap()
    }

    /// The tokens of a new visitor at the client `id`, whose secret is [`SECRET`].
    pub async fn tokens_at(&self, id: &str, other: &[(&str, &str)]) -> Value {
        let code = self.code(&merged(&[("client_id", id)], other)).await;
        let answer = self.token_request(&code_fields(&code, &[]), Some(&basic(id, SECRET))).await;
        assert_eq!(answer.status(), StatusCode::OK);
        json(answer).await
    }

    /// Closes a session as the private API does.
    pub async fn close_session(&self, sub: &str, status: SessionStatus) {
        let (event, ticket) = ("Sample".parse::<EventId>().unwrap(), sub.parse::<RequestId>().unwrap());
        self.lobby().store().close_session(&event, &ticket, status).await.unwrap();
    }

    /// The published keys.
    pub async fn key_set(&self) -> Value {
        json(self.get("/.well-known/jwks.json").send().await.unwrap()).await
    }
}

impl Browser {
    /// Presses the button of the button page.
    pub async fn enter(&mut self, app: &TestApp, page: &Page) -> Page {
        let fields = page.hidden_fields();
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.send(app.post_form("/authorize/resume", &fields)).await
    }
}

impl Page {
    /// A header of the answer; empty when it has none of this name.
    pub fn header(&self, name: &str) -> &str {
        text_of(&self.headers, name)
    }

    /// The hidden fields of the page's form.
    pub fn hidden_fields(&self) -> BTreeMap<String, String> {
        let inputs = self.body.split("<input type=\"hidden\" ").skip(1);
        let value = |input: &str, name: &str| {
            let (_, rest) = input.split_once(&format!("{name}=\"")).unwrap();
            unescaped(rest.split('"').next().unwrap())
        };
        inputs.map(|input| (value(input, "name"), value(input, "value"))).collect()
    }

    /// Whether this is an error page without a redirect.
    pub fn is_error_page(&self) -> bool {
        let html = self.header("content-type").starts_with("text/html");
        self.status == StatusCode::BAD_REQUEST && html && self.location.is_none() && !self.body.contains("<form")
    }

    /// Whether the page asks the visitor to press the button.
    pub fn is_door(&self) -> bool {
        self.status == StatusCode::OK && self.body.contains("name=\"enter\"")
    }
}

/// The fields of a token request that redeems `code`, with additional or replaced ones.
pub fn code_fields<'a>(code: &'a str, other: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    merged(&[("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT)], other)
}

/// A header; empty when there is none of this name.
pub fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// Status and `error` of an answer in the form of RFC 6749 §5.2, whose form is checked.
pub async fn oauth_error(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    assert_eq!(text_of(answer.headers(), "cache-control"), "no-store");
    assert_eq!(text_of(answer.headers(), "content-type"), "application/json");
    let body = json(answer).await;
    assert_is_description(body["error_description"].as_str().unwrap());
    (status, body["error"].as_str().unwrap().to_owned())
}

/// RFC 6749 §5.2: printable ASCII without `"` and `\`.
pub fn assert_is_description(text: &str) {
    let allowed = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
    assert!(!text.is_empty() && text.chars().all(allowed), "{text}");
}

/// A token of a token answer.
pub fn token<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap()
}

/// The claims of a token answer's ID token.
pub fn id_claims(tokens: &Value) -> Value {
    claims(token(tokens, "id_token"))
}

/// The `sub` of a token answer's ID token.
pub fn sub(tokens: &Value) -> String {
    id_claims(tokens)["sub"].as_str().unwrap().to_owned()
}

/// Compares with `tests/app/golden/NAME.json`, in which `{name}` stands for values that differ from run to run.
pub fn assert_golden(name: &str, actual: &Value, varying: &[(&str, &str)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/app/golden/{name}.json"));
    let golden = std::fs::read_to_string(&path).unwrap();
    let filled = varying.iter().fold(golden, |text, (name, value)| text.replace(&format!("{{{name}}}"), value));
    let golden: Value = serde_json::from_str(&filled).unwrap();
    assert_eq!(&golden, actual, "{}\nhas become\n{actual:#}", path.display());
}

fn unescaped(text: &str) -> String {
    let entities = [("&#34;", "\""), ("&#39;", "'"), ("&#60;", "<"), ("&#62;", ">"), ("&#38;", "&")];
    entities.iter().fold(text.to_owned(), |text, (entity, character)| text.replace(entity, character))
}
