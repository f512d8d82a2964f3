//! Extractors for bodies, headers and queries, with errors that name the problem.

use std::borrow::Cow;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName};
use actix_web::web::Bytes;
use actix_web::{Error, FromRequest, HttpRequest};
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;
use url::form_urlencoded;

use crate::http::given_by;
use crate::lobby::{Lobby, Room};
use crate::oauth::{OAuthError, Params};
use crate::policy;
use crate::room::Door;
use crate::text::without_byte_order_mark;
use crate::web::respond::Problem;

/// The body of a request, read within [`policy::BODY_TIMEOUT`]: a client that stops sending does not hold its
/// connection longer.
pub struct Body(Option<Bytes>);

impl Body {
    /// The bytes, if the body was complete, in time and within the limit.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.0.as_deref()
    }

    /// Reads a body outside of an extractor.
    pub async fn read(request: &HttpRequest, payload: &mut Payload) -> Self {
        Self::from_request(request, payload).await.unwrap_or(Self(None))
    }
}

impl FromRequest for Body {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = given_by(Instant::now() + policy::BODY_TIMEOUT, Bytes::from_request(request, payload));
        Box::pin(async move { Ok(Self(bytes.await.and_then(Result::ok))) })
    }
}

/// The text of a header, if it is valid text.
pub fn header_text<'a>(request: &'a HttpRequest, name: &HeaderName) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// The parameters of a form body.
///
/// # Errors
/// `invalid_request` when the body is not a form, unreadable, or too large.
pub fn form(request: &HttpRequest, body: Body) -> Result<Params, OAuthError> {
    let media_type = header_text(request, &header::CONTENT_TYPE).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(OAuthError::invalid_request("the content type must be application/x-www-form-urlencoded"));
    }
    let body = body.0.ok_or_else(|| OAuthError::invalid_request("the body is too large or incomplete"))?;
    Ok(Params::parse(&body))
}

/// A JSON body of the REST API. Its content type is ignored, as in the old system.
///
/// # Errors
/// 400 when it is too large, not JSON, or lacks a member.
pub fn json<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let refuse = |sentence| Problem::Rest(StatusCode::BAD_REQUEST, sentence);
    let body = body.0.ok_or_else(|| refuse("The body is too large or incomplete"))?;
    // Serde would accept an array as well.
    let body = without_byte_order_mark(&body);
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let read = is_object.then(|| serde_json::from_slice(body).ok()).flatten();
    read.ok_or_else(|| refuse("The body is not the JSON object that this call takes"))
}

/// A query that lacks a parameter or repeats one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueryError;

/// These parameters of the query, each present exactly once; others are ignored. Allocates only for escaped values.
///
/// # Errors
/// [`QueryError`].
pub fn query<'a, const N: usize>(request: &'a HttpRequest, names: [&str; N]) -> Result<[Cow<'a, str>; N], QueryError> {
    let mut found = [const { None }; N];
    for (name, value) in form_urlencoded::parse(request.query_string().as_bytes()) {
        let wanted = names.iter().position(|wanted| *wanted == name).and_then(|index| found.get_mut(index));
        if wanted.is_some_and(|place| place.replace(value).is_some()) {
            return Err(QueryError);
        }
    }
    if found.iter().any(Option::is_none) { Err(QueryError) } else { Ok(found.map(Option::unwrap_or_default)) }
}

/// The room that a call names.
///
/// # Errors
/// 400 for an unknown event, worded by the contract.
pub fn room<'a>(lobby: &'a Lobby, event_id: &str) -> Result<&'a Room, Problem> {
    let room = lobby.room(event_id).ok_or(Problem::Rest(StatusCode::BAD_REQUEST, "Invalid event ID"))?;
    Ok(room)
}

/// The room of a public call of the REST channel.
///
/// # Errors
/// As [`room`]; 403 if the event has no REST channel.
pub fn rest_room<'a>(lobby: &'a Lobby, event_id: &str) -> Result<&'a Room, Problem> {
    let room = room(lobby, event_id)?;
    if !room.settings.channels.include(Door::Rest) {
        return Err(Problem::Rest(StatusCode::FORBIDDEN, "This event has no REST channel"));
    }
    Ok(room)
}

/// The largest integer up to which a float represents every integer (RFC 8259 §6).
const LARGEST_EXACT_FLOAT: f64 = 9_007_199_254_740_991.0;

/// An integer, which callers of the old system may send as a JSON string, or as `1.0` or `1e2`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Number(pub i64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(i64),
            Text(String),
            Float(f64),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(Self(number)),
            Form::Text(text) => text.trim().parse().map(Self).map_err(serde::de::Error::custom),
            Form::Float(float) if float.fract() == 0.0 && float.abs() <= LARGEST_EXACT_FLOAT => Ok(Self(float as i64)),
            Form::Float(_) => Err(serde::de::Error::custom("no whole number, or too large for a float")),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn parse(query_string: &str) -> Result<[String; 2], QueryError> {
        let request = TestRequest::with_uri(&format!("/?{query_string}")).to_http_request();
        query(&request, ["event_id", "request_id"]).map(|found| found.map(Cow::into_owned))
    }

    #[test]
    fn parameters_are_read_in_any_order_and_unescaped() {
        let found = ["Sample".to_owned(), "a b&c".to_owned()];
        assert_eq!(parse("event_id=Sample&request_id=a+b%26c"), Ok(found.clone()));
        assert_eq!(parse("x=1&request_id=a%20b%26c&event_id=%53ample&x=2"), Ok(found));
    }

    #[test]
    fn an_integer_is_read_in_each_notation() {
        let read = |text: &str| serde_json::from_str::<Number>(text).ok().map(|Number(number)| number);
        let written = [("1.0", 1), ("-1.0", -1), ("1e2", 100), ("-0.0", 0), ("12.50e1", 125), ("\"7\"", 7)];
        written.iter().for_each(|(text, number)| assert_eq!(read(text), Some(*number), "{text}"));
        assert_eq!(read("9007199254740991.0"), Some(9_007_199_254_740_991));
        assert_eq!(read("9223372036854775807"), Some(i64::MAX));
        for text in ["1.5", "1e-2", "9007199254740992.0", "1e18", "-1e300", "9223372036854775808", "1e999", "\"1.5\""] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_missing_or_repeated_parameter_is_an_error() {
        for unclear in ["", "event_id=Sample", "event_id=a&event_id=a&request_id=b", "Event_id=a&request_id=b"] {
            assert_eq!(parse(unclear), Err(QueryError), "{unclear}");
        }
    }
}
