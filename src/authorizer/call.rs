//! The three forms of event that API Gateway sends; none is assumed to be complete.

use serde_json::Value;

/// The form of the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// An IAM policy for this resource (REST APIs; HTTP APIs with payload format 1.0).
    Policy(String),
    /// A simple response (HTTP APIs with payload format 2.0).
    Simple,
}

/// A call of API Gateway.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Call {
    /// The token, if any.
    pub(super) token: Option<String>,
    pub(super) form: Form,
}

/// Without the requested method, a denial applies to every method.
const EVERYTHING: &str = "*";

impl Call {
    /// Reads an event. An event that is not understood has no token.
    pub(super) fn read(event: &Value) -> Self {
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        if text("version") == Some("2.0") {
            return Self { token: token_of_request(event), form: Form::Simple };
        }
        let Some(resource) = text("methodArn").and_then(whole_api) else {
            return Self { token: None, form: Form::Policy(EVERYTHING.to_owned()) };
        };
        let token = match text("type") {
            Some("REQUEST") => token_of_request(event),
            // All events of the old system are of this type, so they may omit it.
            Some("TOKEN") | None => text("authorizationToken").and_then(bare),
            Some(_) => None,
        };
        Self { token, form: Form::Policy(resource) }
    }
}

/// Every stage, method and path of the API of `arn`, because API Gateway caches an answer for other paths too.
fn whole_api(arn: &str) -> Option<String> {
    let (base, _) = arn.split_once('/')?;
    let parts: Vec<&str> = base.split(':').collect();
    match parts[..] {
        ["arn", _, "execute-api", _, _, api] if !api.is_empty() && !base.contains(['*', '?']) => {
            Some(format!("{base}/*/*/*"))
        }
        _ => None,
    }
}

/// The token of a header or, for clients that cannot send one, of the query.
fn token_of_request(event: &Value) -> Option<String> {
    let members = |name: &str| event.get(name).and_then(Value::as_object).into_iter().flatten();
    let mut headers = members("headers").filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    match (headers.next(), headers.next()) {
        (Some((_, value)), None) => value.as_str().and_then(bare),
        (Some(_), Some(_)) => None,
        (None, _) => {
            let mut asked = members("queryStringParameters").filter(|(name, _)| *name == "access_token");
            asked.next().and_then(|(_, value)| value.as_str()).and_then(bare)
        }
    }
}

/// A token without its scheme, if it has one.
fn bare(value: &str) -> Option<String> {
    let value = value.trim();
    let token = match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        Some(_) => return None,
        None => value,
    };
    Some(token.to_owned()).filter(|token| !token.is_empty())
}
