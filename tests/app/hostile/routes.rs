//! Every route, and the required form of its refusals.

use serde_json::Value;

use crate::support::{ADMIN_KEY, OTHER_SECRET, SECRET, TestApp};
use crate::wire::Answer;

/// The audience of a route's errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reader {
    /// A person: a page.
    Person,
    /// A relying party: RFC 6749 §5.2 JSON (RFC 6750 §3: perhaps the challenge alone).
    Client,
    /// A caller of the REST API: one sentence.
    Rest,
}

/// The input of a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Takes {
    Nothing,
    Query,
    Form,
    Json,
}

/// A route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub method: &'static str,
    pub path: &'static str,
    pub takes: Takes,
    pub reader: Reader,
    /// Whether pages of other origins may call it.
    pub cors: bool,
}

const fn route(method: &'static str, path: &'static str, takes: Takes, reader: Reader, cors: bool) -> Route {
    Route { method, path, takes, reader, cors }
}

/// All routes except `/verify/EVENT/…`, which answers every method (tests/app/verify.rs).
pub const ROUTES: [Route; 35] = [
    route("GET", "/.well-known/openid-configuration", Takes::Nothing, Reader::Rest, true),
    route("GET", "/.well-known/oauth-authorization-server", Takes::Nothing, Reader::Rest, true),
    route("GET", "/.well-known/jwks.json", Takes::Nothing, Reader::Rest, true),
    route("GET", "/authorize", Takes::Query, Reader::Person, false),
    route("POST", "/authorize", Takes::Form, Reader::Person, false),
    route("GET", "/authorize/resume", Takes::Query, Reader::Person, false),
    route("POST", "/authorize/resume", Takes::Form, Reader::Person, false),
    route("POST", "/token", Takes::Form, Reader::Client, true),
    route("GET", "/userInfo", Takes::Nothing, Reader::Client, true),
    route("POST", "/userInfo", Takes::Form, Reader::Client, true),
    route("GET", "/verify", Takes::Query, Reader::Rest, false),
    route("GET", "/line/Sample", Takes::Nothing, Reader::Rest, false),
    route("POST", "/api/assign_queue_num", Takes::Json, Reader::Rest, true),
    route("GET", "/api/queue_num", Takes::Query, Reader::Rest, true),
    route("GET", "/api/serving_num", Takes::Query, Reader::Rest, true),
    route("GET", "/api/waiting_num", Takes::Query, Reader::Rest, true),
    route("POST", "/api/generate_token", Takes::Json, Reader::Rest, true),
    route("GET", "/api/queue_pos_expiry", Takes::Query, Reader::Rest, true),
    route("GET", "/api/public_key", Takes::Query, Reader::Rest, true),
    route("POST", "/private/generate_token", Takes::Json, Reader::Rest, true),
    route("POST", "/private/inlet", Takes::Json, Reader::Rest, true),
    route("POST", "/private/update_session", Takes::Json, Reader::Rest, true),
    route("GET", "/private/expired_tokens", Takes::Query, Reader::Rest, true),
    route("GET", "/private/num_active_tokens", Takes::Query, Reader::Rest, true),
    route("POST", "/private/reset_initial_state", Takes::Json, Reader::Rest, true),
    route("GET", "/private/keys", Takes::Nothing, Reader::Rest, false),
    route("POST", "/private/rotate_keys", Takes::Json, Reader::Rest, false),
    route("GET", "/private/dead_letters", Takes::Nothing, Reader::Rest, false),
    route("POST", "/private/dead_letters/redeliver", Takes::Json, Reader::Rest, false),
    route("POST", "/private/increment_serving_counter", Takes::Json, Reader::Rest, true),
    route("POST", "/private/increment_serving_num", Takes::Json, Reader::Rest, true),
    route("GET", "/health/live", Takes::Nothing, Reader::Rest, false),
    route("GET", "/health/ready", Takes::Nothing, Reader::Rest, false),
    route("GET", "/metrics", Takes::Nothing, Reader::Rest, false),
    route("GET", "/", Takes::Nothing, Reader::Person, false),
];

impl Route {
    /// The beginning of a request, with an operator's key if required, up to the first additional header.
    pub fn head(&self, query: &[u8]) -> Vec<u8> {
        let mut head = format!("{} {}", self.method, self.path).into_bytes();
        if !query.is_empty() {
            head.push(b'?');
            head.extend_from_slice(query);
        }
        head.extend_from_slice(b" HTTP/1.1\r\nhost: anteroom\r\nconnection: close\r\n");
        if self.path.starts_with("/private") {
            head.extend_from_slice(format!("authorization: Bearer {ADMIN_KEY}\r\n").as_bytes());
        }
        head
    }

    /// A whole request without a body, or with a body of known length.
    pub fn request(&self, query: &[u8], headers: &str, body: Option<&[u8]>) -> Vec<u8> {
        let mut request = self.head(query);
        request.extend_from_slice(headers.as_bytes());
        if let Some(body) = body {
            request.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body.unwrap_or_default());
        request
    }

    /// The content type of its valid bodies.
    pub fn content_type(&self) -> &'static str {
        match self.takes {
            Takes::Form => "content-type: application/x-www-form-urlencoded\r\n",
            Takes::Json => "content-type: application/json\r\n",
            Takes::Query | Takes::Nothing => "",
        }
    }

    /// Checks a refusal of a handler of this route.
    pub fn check(&self, app: &TestApp, answer: &Answer, what: &str) {
        assert_clean(app, answer, what);
        assert!(answer.header("x-request-id").is_some(), "no request ID: {what}");
        let content_type = answer.header("content-type");
        match self.reader {
            _ if answer.status == 405 => assert_sentence(answer, what),
            Reader::Person => {
                assert_eq!(content_type, Some("text/html; charset=utf-8"), "{what}");
                assert!(answer.body.contains("</html>"), "{what}: {}", answer.body);
            }
            Reader::Client if answer.body.is_empty() => {
                assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"anteroom\""), "{what}");
            }
            Reader::Client => {
                assert_eq!(content_type, Some("application/json"), "{what}");
                let error: Value = serde_json::from_str(&answer.body).unwrap();
                assert!(error["error"].as_str().unwrap().bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()));
                assert!(!error["error_description"].as_str().unwrap().is_empty(), "{what}");
                assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
            }
            Reader::Rest => assert_sentence(answer, what),
        }
        if self.cors {
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{what}");
        }
    }
}

fn assert_sentence(answer: &Answer, what: &str) {
    assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
    let error: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{what}: {}", answer.body));
    assert_eq!(error.as_object().unwrap().len(), 1, "{what}: {error}");
    let sentence = error["error"].as_str().unwrap();
    assert!(sentence.contains(' ') && sentence.starts_with(char::is_uppercase), "{what}: {sentence}");
}

/// A 4xx without internal details.
pub fn assert_clean(app: &TestApp, answer: &Answer, what: &str) {
    assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
    assert_eq!(answer.header("server"), None, "{what}");
    let everything = format!("{:?} {}", answer.headers, answer.body);
    let directory = app.directory.path().to_str().unwrap();
    let inside = [
        directory,
        SECRET,
        OTHER_SECRET,
        ADMIN_KEY,
        "src/",
        ".rs:",
        "panicked",
        "serde",
        "actix",
        "sqlite",
        "line 1 column",
        "Error {",
        "Err(",
        "Some(",
        "expected",
        "deserialize",
    ];
    for word in inside {
        assert!(!everything.contains(word), "{what} shows {word}: {everything}");
    }
}
