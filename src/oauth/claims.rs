//! Additional claims: made from templates, released by scope (OIDC Core §5.4) or by the `claims` parameter (§5.5).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{OAuthError, Params, Scope};

/// The values of a visitor for templates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subject {
    /// `{sub}`: the request ID.
    pub sub: String,
    /// `{position}`: the position in the queue.
    pub position: u64,
    /// `{event_id}`: the waiting room.
    pub event_id: String,
}

/// A claim's value: text with placeholders, or a value as it is.
#[derive(Clone, PartialEq, Debug)]
struct ClaimTemplate(Value);

/// Why a claim cannot be configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The provider sets this claim itself.
    #[error("the claim {0} is the provider's own")]
    Reserved(String),
    /// An unknown placeholder.
    #[error("unknown placeholder in {0}: known are {{sub}}, {{position}} and {{event_id}}")]
    Placeholder(String),
    /// Claims are text, numbers or true/false.
    #[error("the claim {0} must be text, a number, true or false")]
    Kind(String),
}

/// Claims that only the provider may set.
const RESERVED: [&str; 19] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "auth_time",
    "nonce",
    "at_hash",
    "c_hash",
    "acr",
    "amr",
    "azp",
    "sid",
    "jti",
    "queue_position",
    "token_use",
    "event_id",
    "client_id",
];
const PLACEHOLDERS: [&str; 3] = ["sub", "position", "event_id"];

/// The claims of a client, by name.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ClaimTemplates(BTreeMap<String, ClaimTemplate>);

impl ClaimTemplates {
    /// Checks the configured claims.
    pub fn new(templates: impl IntoIterator<Item = (String, Value)>) -> Result<Self, TemplateError> {
        let checked = templates.into_iter().map(|(name, value)| {
            if RESERVED.contains(&name.as_str()) {
                return Err(TemplateError::Reserved(name));
            }
            match &value {
                Value::String(text) if !placeholders_known(text) => Err(TemplateError::Placeholder(name)),
                Value::String(_) | Value::Bool(_) | Value::Number(_) => Ok((name, ClaimTemplate(value))),
                Value::Null | Value::Array(_) | Value::Object(_) => Err(TemplateError::Kind(name)),
            }
        });
        checked.collect::<Result<_, _>>().map(Self)
    }

    /// The names of all claims.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether a scope with this flag releases any of them.
    pub(super) fn any_released_by(&self, scope: Scope) -> bool {
        self.names().any(|name| released_by(scope, name))
    }

    /// The claims whose name `wanted` accepts, filled in for `subject`.
    pub(super) fn render(&self, subject: &Subject, wanted: impl Fn(&str) -> bool) -> Map<String, Value> {
        let chosen = self.0.iter().filter(|(name, _)| wanted(name));
        chosen.map(|(name, template)| (name.clone(), template.fill(subject))).collect()
    }
}

impl ClaimTemplate {
    fn fill(&self, subject: &Subject) -> Value {
        match &self.0 {
            Value::String(text) => {
                let filled = text.replace("{sub}", &subject.sub).replace("{event_id}", &subject.event_id);
                Value::String(filled.replace("{position}", &subject.position.to_string()))
            }
            other => other.clone(),
        }
    }
}

fn placeholders_known(text: &str) -> bool {
    let mut rest = text;
    while let Some(open) = rest.find(['{', '}']) {
        let Some((name, after)) = rest[open..].strip_prefix('{').and_then(|inner| inner.split_once('}')) else {
            return false;
        };
        if !PLACEHOLDERS.contains(&name) {
            return false;
        }
        rest = after;
    }
    true
}

/// The claims about the queue. Clients of the old system read them in every ID token.
pub const QUEUE_CLAIMS: [&str; 3] = ["queue_position", "token_use", "event_id"];

/// The scope that releases a claim: `email` those of the address, `profile` all others (OIDC Core §5.4).
pub(super) fn released_by(scope: Scope, name: &str) -> bool {
    match name {
        "email" | "email_verified" => scope.email,
        name if QUEUE_CLAIMS.contains(&name) => scope.queue,
        _ => scope.profile,
    }
}

/// The `claims` parameter: claims requested individually, for the ID token or for `/userInfo`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClaimsRequest {
    userinfo: BTreeMap<String, ClaimRequest>,
    id_token: BTreeMap<String, ClaimRequest>,
}

/// The request for one claim. `essential` has no effect: existing claims are always given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct ClaimRequest {
    values: Vec<String>,
}

impl ClaimsRequest {
    /// The `claims` of an authorization request.
    pub fn requested(params: &Params) -> Result<Self, OAuthError> {
        let Some(text) = params.get("claims")? else { return Ok(Self::default()) };
        let malformed = || OAuthError::invalid_request("claims is not a JSON object as OIDC Core 5.5 describes it");
        let Ok(Value::Object(members)) = serde_json::from_str(text) else { return Err(malformed()) };
        let requests = |member: &str| match members.get(member) {
            None | Some(Value::Null) => Ok(BTreeMap::new()),
            Some(Value::Object(requests)) => requests
                .iter()
                .map(|(name, request)| Ok((name.clone(), ClaimRequest::read(request).ok_or_else(malformed)?)))
                .collect(),
            Some(_) => Err(malformed()),
        };
        Ok(Self { userinfo: requests("userinfo")?, id_token: requests("id_token")? })
    }

    /// Whether the claim is requested at `/userInfo`.
    pub fn wants_in_userinfo(&self, name: &str) -> bool {
        self.userinfo.contains_key(name)
    }

    /// Whether the claim is requested in the ID token.
    pub fn wants_in_id_token(&self, name: &str) -> bool {
        self.id_token.contains_key(name)
    }

    /// The subject that must be the one logged in (OIDC Core §5.5.1).
    pub fn subject(&self) -> Option<&str> {
        let request = self.id_token.get("sub").or_else(|| self.userinfo.get("sub"))?;
        request.values.first().map(String::as_str)
    }

    /// The requested `acr` values.
    pub fn acr_values(&self) -> impl Iterator<Item = &str> {
        self.id_token.get("acr").into_iter().flat_map(|request| request.values.iter().map(String::as_str))
    }
}

impl ClaimRequest {
    fn read(request: &Value) -> Option<Self> {
        let members = match request {
            Value::Null => return Some(Self::default()),
            Value::Object(members) => members,
            _ => return None,
        };
        let many = members.get("values").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let values = members.get("value").into_iter().chain(many).filter_map(Value::as_str).map(str::to_owned);
        Some(Self { values: values.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn templates(pairs: &[(&str, Value)]) -> Result<ClaimTemplates, TemplateError> {
        ClaimTemplates::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())))
    }

    fn visitor() -> Subject {
        Subject { sub: "abc".into(), position: 17, event_id: "Sample".into() }
    }

    #[test]
    fn templates_are_filled_in() {
        let templates = templates(&[
            ("preferred_username", json!("visitor-{position}")),
            ("email", json!("{sub}@{event_id}.invalid")),
            ("email_verified", json!(false)),
        ]);
        let claims = templates.unwrap().render(&visitor(), |_| true);
        let expected =
            json!({"preferred_username": "visitor-17", "email": "abc@Sample.invalid", "email_verified": false});
        assert_eq!(Value::Object(claims), expected);
    }

    #[test]
    fn reserved_claims_unknown_placeholders_and_structures_are_refused() {
        assert_eq!(templates(&[("sub", json!("x"))]), Err(TemplateError::Reserved("sub".into())));
        for text in ["{name}", "{", "}", "{sub", "{{sub}}"] {
            assert_eq!(templates(&[("x", json!(text))]), Err(TemplateError::Placeholder("x".into())), "{text}");
        }
        assert_eq!(templates(&[("x", json!([]))]), Err(TemplateError::Kind("x".into())));
    }

    #[test]
    fn the_claims_parameter_is_read_as_core_describes_it() {
        let read = |text: &str| ClaimsRequest::requested(&Params::from([("claims", text)]));
        let asked = read(r#"{"userinfo":{"email":null,"x":{"essential":true}},"id_token":{"sub":{"value":"me"},"acr":{"values":["a","b"]}}}"#).unwrap();
        assert!(asked.wants_in_userinfo("email") && asked.wants_in_userinfo("x") && !asked.wants_in_userinfo("sub"));
        assert_eq!(asked.subject(), Some("me"));
        assert_eq!(asked.acr_values().collect::<Vec<_>>(), ["a", "b"]);
        for bad in ["x", "[]", r#"{"userinfo":[]}"#, r#"{"id_token":{"sub":"me"}}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
