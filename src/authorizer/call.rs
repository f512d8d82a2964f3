//! How API Gateway asks: three forms of event, of which none is trusted to be whole.

use serde_json::Value;

/// How the answer must look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// An IAM policy for this resource (REST APIs; HTTP APIs with payload format 1.0).
    Policy(String),
    /// A simple response (HTTP APIs with payload format 2.0).
    Simple,
}

/// A question of API Gateway.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Call {
    /// The token, if one was sent.
    pub(super) token: Option<String>,
    pub(super) form: Form,
}

/// Where nothing says what is asked for: what is denied there is denied everywhere.
const EVERYTHING: &str = "*";

impl Call {
    /// Reads an event. What is not understood has no token.
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
            // The old system's events are all of this type, so it need not be said.
            Some("TOKEN") | None => text("authorizationToken").and_then(bare),
            Some(_) => None,
        };
        Self { token, form: Form::Policy(resource) }
    }
}

/// Every stage, method and path of the API that `arn` is a method of: API Gateway keeps an answer for other paths too.
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

/// The token of a header or, where a header cannot be sent, of the query.
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

/// A token with or without its scheme.
fn bare(value: &str) -> Option<String> {
    let value = value.trim();
    let token = match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        Some(_) => return None,
        None => value,
    };
    Some(token.to_owned()).filter(|token| !token.is_empty())
}
