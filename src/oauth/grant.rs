//! The authorization code grant: what a code stands for, and whether a token request may redeem it
//! (RFC 6749 §4.1.3, OIDC Core §3.1.3.2).

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::{Challenge, ClaimsRequest, OAuthError, Params, Scope};

/// What the authorization request bound to its code.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// The client it was given to.
    pub client_id: String,
    /// The redirect URI that it was sent to.
    pub redirect_uri: String,
    /// The request's nonce.
    pub nonce: Option<String>,
    /// The request's PKCE challenge.
    pub challenge: Option<Challenge>,
    /// The granted scope.
    pub scope: Scope,
    /// The granted `acr`.
    pub acr: Option<String>,
    /// The claims asked for one by one.
    pub claims: ClaimsRequest,
}

/// A token request with `grant_type=authorization_code`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodeRequest<'a> {
    /// `code`.
    pub code: &'a str,
    /// `redirect_uri`.
    pub redirect_uri: &'a str,
    /// `code_verifier`.
    pub verifier: Option<&'a str>,
}

impl<'a> CodeRequest<'a> {
    /// Reads it from the form.
    pub fn read(params: &'a Params) -> Result<Self, OAuthError> {
        Ok(Self {
            code: params.require("code")?,
            redirect_uri: params.require("redirect_uri")?,
            verifier: params.get("code_verifier")?,
        })
    }
}

impl Grant {
    /// Whether it may be redeemed with `request`. The code itself was matched, as one of this client's, and used up
    /// before.
    pub fn check(&self, request: &CodeRequest<'_>) -> Result<(), OAuthError> {
        let same_uri: bool = self.redirect_uri.as_bytes().ct_eq(request.redirect_uri.as_bytes()).into();
        if !same_uri {
            return Err(OAuthError::invalid_grant("redirect_uri is not the one of the authorization request"));
        }
        Challenge::check(self.challenge.as_ref(), request.verifier)
    }
}
