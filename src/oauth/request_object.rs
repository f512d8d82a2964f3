//! The response parameters in a request object (OIDC Core §6.1), for the answer that refuses it.
//!
//! Request objects are not supported. But a relying party may name the response mode and `state` in the object alone,
//! and would not understand a refusal without them. Nothing is verified: the answer goes to the registered redirect URI
//! of the outer request, whose sender could have used the same parameters there.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{ErrorCode, OAuthError, Params, Reply, ResponseMode};

impl Reply {
    /// The target of `error` for the request `params`: if a request object is refused, with the response mode and the
    /// `state` of the object, as far as the request itself omits them.
    #[must_use]
    pub fn refusing(self, params: &Params, error: &OAuthError) -> Self {
        let object = params.get("request").ok().flatten().filter(|_| error.code == ErrorCode::RequestNotSupported);
        let Some(claims) = object.and_then(claims_of) else { return self };
        let left_out = |name: &str| matches!(params.get(name), Ok(None));
        let said =
            |name: &str| claims.get(name).and_then(Value::as_str).filter(|value| left_out(name) && is_value(value));
        let asked_mode = said("response_mode").and_then(|mode| ResponseMode::named(mode).ok());
        let state = said("state").map(str::to_owned);
        Self { mode: asked_mode.unwrap_or(self.mode), state: state.or(self.state), ..self }
    }
}

/// The claims of a request object in the compact form of a JWS (RFC 7515 §3.1), without verification; an encrypted
/// object has none that can be read.
fn claims_of(object: &str) -> Option<Map<String, Value>> {
    let [_header, payload, _signature]: [&str; 3] = object.split('.').collect::<Vec<_>>().try_into().ok()?;
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// The members that can also be parameters of the request.
fn is_value(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::ValidatedRedirect;

    fn object(header: &str, claims: &str, signature: &str) -> String {
        format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    /// The mode and the state of the answer to a request with these parameters.
    fn answered(pairs: &[(&str, &str)], code: ErrorCode) -> (ResponseMode, Option<String>) {
        let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let params = Params::parse(text.as_bytes());
        let reply = Reply {
            redirect: ValidatedRedirect::proven("https://shop.example/cb"),
            mode: ResponseMode::requested(&params).unwrap_or(ResponseMode::Query),
            state: params.get("state").ok().flatten().map(str::to_owned),
        };
        let reply = reply.refusing(&params, &OAuthError::new(code, "no"));
        (reply.mode, reply.state)
    }

    fn refused(pairs: &[(&str, &str)]) -> (ResponseMode, Option<String>) {
        answered(pairs, ErrorCode::RequestNotSupported)
    }

    const NONE: &str = r#"{"alg":"none"}"#;
    const ASKED: &str = r#"{"response_mode":"form_post","state":"inner","redirect_uri":"https://evil.example/"}"#;

    #[test]
    fn omitted_parameters_are_read_from_an_object_with_any_signature() {
        let padded = format!("{}==", object(NONE, ASKED, "").trim_end_matches('.'));
        let objects = [
            object(NONE, ASKED, ""),
            object(r#"{"alg":"RS256"}"#, ASKED, "c2lnbmF0dXJl"),
            object("nonsense", ASKED, "not base64!"),
            format!("{padded}."),
        ];
        for object in &objects {
            let expected = (ResponseMode::FormPost, Some("inner".to_owned()));
            assert_eq!(refused(&[("request", object)]), expected, "{object}");
            assert_eq!(refused(&[("request", object), ("response_mode", ""), ("state", "")]), expected);
            let outer = refused(&[("request", object), ("response_mode", "query"), ("state", "outer")]);
            assert_eq!(outer, (ResponseMode::Query, Some("outer".to_owned())), "the request itself comes first");
            let half = refused(&[("request", object), ("response_mode", "query")]);
            assert_eq!(half, (ResponseMode::Query, Some("inner".to_owned())));
        }
    }

    #[test]
    fn an_unreadable_object_has_no_effect() {
        let jwe = format!("{}.a.b", object(NONE, ASKED, "c"));
        let mut bad: Vec<String> = ["", "x", "..", "a.b.c", "a.b", &jwe].map(str::to_owned).to_vec();
        for claims in [
            "",
            "[]",
            "null",
            "{",
            r#"{"response_mode":"fragment","state":7}"#,
            r#"{"state":""}"#,
            r#"{"state":"a\u0000"}"#,
        ] {
            bad.push(object(NONE, claims, ""));
        }
        for object in &bad {
            assert_eq!(refused(&[("request", object)]), (ResponseMode::Query, None), "{object}");
        }
    }

    #[test]
    fn an_object_affects_no_other_answer() {
        let object = object(NONE, ASKED, "");
        for code in [ErrorCode::InvalidRequest, ErrorCode::RequestUriNotSupported, ErrorCode::LoginRequired] {
            assert_eq!(answered(&[("request", &object)], code), (ResponseMode::Query, None));
        }
        assert_eq!(refused(&[("request", &object), ("request", &object)]), (ResponseMode::Query, None));
        assert_eq!(refused(&[("request_uri", &object)]), (ResponseMode::Query, None));
    }
}
