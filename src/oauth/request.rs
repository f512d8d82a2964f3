//! The authorization request (OIDC Core §3.1.2.1) and the target of its answer.
//!
//! An invalid client or redirect URI is reported on a page. Every other error goes to the redirect URI, so [`Reply`] is
//! read first, and on its own.

use std::time::Duration;

use super::ValidatedRedirect;
use super::prompt::max_age;
use super::{Challenge, ClaimsRequest, Client, ErrorCode, OAuthError, Params, Prompt, RedirectUriError, Scope};

/// Every supported parameter.
pub const KNOWN: [&str; 20] = [
    "client_id",
    "redirect_uri",
    "state",
    "response_mode",
    "response_type",
    "scope",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "max_age",
    "id_token_hint",
    "login_hint",
    "display",
    "ui_locales",
    "claims_locales",
    "acr_values",
    "claims",
    "request",
    "request_uri",
];

/// The response mode (OAuth Multiple Response Types §2.1, Form Post Response Mode).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseMode {
    /// In the query of the redirect URI.
    Query,
    /// In a form that the browser posts.
    FormPost,
}

impl ResponseMode {
    pub(super) fn requested(params: &Params) -> Result<Self, OAuthError> {
        params.get("response_mode")?.map_or(Ok(Self::Query), Self::named)
    }

    /// The mode of this name.
    pub(super) fn named(name: &str) -> Result<Self, OAuthError> {
        match name {
            "query" => Ok(Self::Query),
            "form_post" => Ok(Self::FormPost),
            _ => Err(OAuthError::invalid_request("response_mode must be query or form_post")),
        }
    }
}

/// The target of the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The redirect URI.
    pub redirect: ValidatedRedirect,
    /// The response mode.
    pub mode: ResponseMode,
    /// The client's `state`, returned untouched.
    pub state: Option<String>,
}

/// The `client_id` of a request.
pub fn client_id(params: &Params) -> Result<&str, OAuthError> {
    params.require("client_id")
}

impl Reply {
    /// Reads the target of the answer. An invalid `state` or `response_mode` is ignored here, and refused by
    /// [`read_request`].
    pub fn read(params: &Params, client: &Client) -> Result<Self, OAuthError> {
        let asked = params.require("redirect_uri")?;
        let refused = |error: RedirectUriError| OAuthError::invalid_request(format!("redirect_uri: {error}"));
        Ok(Self {
            redirect: client.redirect(asked).map_err(refused)?,
            mode: ResponseMode::requested(params).unwrap_or(ResponseMode::Query),
            state: params.get("state").ok().flatten().map(str::to_owned),
        })
    }
}

/// The relying party's request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuthorizationRequest {
    /// `scope`.
    pub scope: Scope,
    /// `nonce`, returned in the ID token.
    pub nonce: Option<String>,
    /// `code_challenge`.
    pub challenge: Option<Challenge>,
    /// `prompt`.
    pub prompt: Prompt,
    /// `max_age`.
    pub max_age: Option<Duration>,
    /// `id_token_hint`, not yet verified.
    pub id_token_hint: Option<String>,
    /// `claims`.
    pub claims: ClaimsRequest,
    /// The first of the requested `acr_values` that the client supports.
    pub acr: Option<String>,
}

/// Reads a request whose client and redirect URI are valid. The checks run in the order of the lines.
pub fn read_request(params: &Params, client: &Client) -> Result<AuthorizationRequest, OAuthError> {
    each_parameter_once(params)?;
    no_request_object(params)?;
    ResponseMode::requested(params)?;
    response_type(params)?;
    let claims = ClaimsRequest::requested(params)?;
    Ok(AuthorizationRequest {
        scope: Scope::requested(params)?,
        prompt: Prompt::requested(params)?,
        max_age: max_age(params)?,
        challenge: Challenge::requested(params, client)?,
        nonce: params.get("nonce")?.map(str::to_owned),
        id_token_hint: params.get("id_token_hint")?.map(str::to_owned),
        acr: acr(params, &claims, client)?,
        claims,
    })
}

/// RFC 6749 §3.1.
fn each_parameter_once(params: &Params) -> Result<(), OAuthError> {
    KNOWN.iter().try_for_each(|name| params.get(name).map(|_| ()))
}

/// OIDC Core §6: request objects are not supported and refused, in the response mode that they name
/// ([`Reply::refusing`]).
fn no_request_object(params: &Params) -> Result<(), OAuthError> {
    if params.get("request")?.is_some() {
        return Err(OAuthError::new(ErrorCode::RequestNotSupported, "the request parameter is not supported"));
    }
    if params.get("request_uri")?.is_some() {
        return Err(OAuthError::new(ErrorCode::RequestUriNotSupported, "the request_uri parameter is not supported"));
    }
    Ok(())
}

/// Only the authorization code flow (RFC 9700 §2.1.2).
fn response_type(params: &Params) -> Result<(), OAuthError> {
    match params.require("response_type")? {
        "code" => Ok(()),
        _ => Err(OAuthError::new(ErrorCode::UnsupportedResponseType, "response_type must be code")),
    }
}

fn acr(params: &Params, claims: &ClaimsRequest, client: &Client) -> Result<Option<String>, OAuthError> {
    let asked = params.get("acr_values")?.unwrap_or_default().split(' ').chain(claims.acr_values());
    let mut offered = asked.filter(|asked| client.acr_values.iter().any(|known| known == asked));
    Ok(offered.next().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::Secret;
    use crate::oauth::{ClientKind, RedirectUri};

    const GOOD: [(&str, &str); 4] = [
        ("client_id", "shop"),
        ("redirect_uri", "https://shop.example/cb"),
        ("response_type", "code"),
        ("scope", "openid"),
    ];

    fn client() -> Client {
        let uri = RedirectUri::register("https://shop.example/cb", ClientKind::Web).unwrap();
        let client = Client::confidential("shop", Secret::new("s"));
        Client { redirect_uris: vec![uri], acr_values: vec!["queue:fair".into()], ..client }
    }

    fn with(extra: &[(&str, &str)]) -> Params {
        let kept = GOOD.iter().filter(|(name, _)| !extra.iter().any(|(other, _)| other == name));
        let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(kept.chain(extra)).finish();
        Params::parse(text.as_bytes())
    }

    fn error(extra: &[(&str, &str)]) -> ErrorCode {
        read_request(&with(extra), &client()).unwrap_err().code
    }

    #[test]
    fn the_minimal_request_is_valid_and_unknown_parameters_are_ignored() {
        let extra =
            [("utm_source", "x"), ("utm_source", "y"), ("display", "popup"), ("ui_locales", "de"), ("login_hint", "a")];
        let request = read_request(&with(&extra), &client()).unwrap();
        assert_eq!(request, AuthorizationRequest::default());
    }

    #[test]
    fn each_invalid_request_has_its_error() {
        assert_eq!(error(&[("response_type", "")]), ErrorCode::InvalidRequest);
        assert_eq!(error(&[("response_type", "token")]), ErrorCode::UnsupportedResponseType);
        assert_eq!(error(&[("response_mode", "fragment")]), ErrorCode::InvalidRequest);
        assert_eq!(error(&[("scope", "profile")]), ErrorCode::InvalidScope);
        assert_eq!(error(&[("request", "x")]), ErrorCode::RequestNotSupported);
        assert_eq!(error(&[("request_uri", "x")]), ErrorCode::RequestUriNotSupported);
        assert_eq!(error(&[("nonce", "a"), ("nonce", "a")]), ErrorCode::InvalidRequest);
        assert_eq!(error(&[("state", "a"), ("state", "b")]), ErrorCode::InvalidRequest);
        assert_eq!(error(&[("claims", "{")]), ErrorCode::InvalidRequest);
    }

    #[test]
    fn the_answer_goes_to_registered_uris_alone_and_keeps_the_state() {
        let reply = Reply::read(&with(&[("state", "a b"), ("response_mode", "form_post")]), &client()).unwrap();
        assert_eq!((reply.mode, reply.state.as_deref()), (ResponseMode::FormPost, Some("a b")));
        for uri in ["", "https://evil.example/cb", "https://shop.example/cb?x"] {
            assert!(Reply::read(&with(&[("redirect_uri", uri)]), &client()).is_err(), "{uri}");
        }
        let twice = [("state", "a"), ("state", "b")];
        assert_eq!(Reply::read(&with(&twice), &client()).unwrap().state, None, "of two states neither is the client's");
    }

    #[test]
    fn acr_is_echoed_only_where_configured() {
        let acr = |extra: &[(&str, &str)]| read_request(&with(extra), &client()).unwrap().acr;
        assert_eq!(acr(&[("acr_values", "other queue:fair")]).as_deref(), Some("queue:fair"));
        assert_eq!(acr(&[("acr_values", "other")]), None);
        assert_eq!(
            acr(&[("claims", r#"{"id_token":{"acr":{"values":["queue:fair"]}}}"#)]).as_deref(),
            Some("queue:fair")
        );
    }
}
