//! The authorization code grant: what a code grants, and whether a token request may redeem it (RFC 6749 §4.1.3, OIDC
//! Core §3.1.3.2).

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::claims::released_by;
use super::{
    AuthorizationRequest, Challenge, Client, OAuthError, Params, QUEUE_CLAIMS, QueueClaims, Scope, ValidatedRedirect,
};

/// What the authorization request bound to its code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// Its client.
    pub client_id: String,
    /// The redirect URI of the answer.
    pub redirect: RedirectHash,
    /// The request's PKCE challenge.
    pub challenge: Option<Challenge>,
    /// The granted scope.
    pub scope: Scope,
    /// What the request asked the tokens to contain.
    pub asked: AskedClaims,
}

/// The hash of a redirect URI: enough for comparison, and of fixed length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RedirectHash(pub [u8; 32]);

/// What one authorization request asked its tokens to contain.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AskedClaims {
    /// The request's nonce.
    pub nonce: Option<String>,
    /// The granted `acr`.
    pub acr: Option<String>,
    /// The client's claims requested for the ID token, by name.
    pub id_token: Vec<String>,
    /// The client's claims requested for `/userInfo` in addition to the scope's, by name.
    pub user_info: Vec<String>,
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
    /// Parses the form.
    pub fn read(params: &'a Params) -> Result<Self, OAuthError> {
        Ok(Self {
            code: params.require("code")?,
            redirect_uri: params.require("redirect_uri")?,
            verifier: params.get("code_verifier")?,
        })
    }
}

impl RedirectHash {
    /// The hash of this URI.
    pub fn of(uri: &str) -> Self {
        Self(Sha256::digest(uri).into())
    }
}

impl Grant {
    /// The grant of `client` for its request. Requested claims that the client does not have are dropped, so that a
    /// request cannot make the grant longer with invented names.
    pub fn new(client: &Client, redirect: &ValidatedRedirect, request: &AuthorizationRequest) -> Self {
        let of_the_line: &[&str] = match client.queue_claims {
            QueueClaims::Always => &[],
            QueueClaims::Requested => &QUEUE_CLAIMS,
        };
        let chosen = |wanted: &dyn Fn(&str) -> bool| {
            let names = client.claims.names().chain(of_the_line.iter().copied());
            names.filter(|name| wanted(name)).map(str::to_owned).collect()
        };
        let more = |name: &str| request.claims.wants_in_userinfo(name) && !released_by(request.scope, name);
        Self {
            client_id: client.id.clone(),
            redirect: RedirectHash::of(redirect.as_str()),
            challenge: request.challenge,
            scope: request.scope,
            asked: AskedClaims {
                nonce: request.nonce.clone(),
                acr: request.acr.clone(),
                id_token: chosen(&|name| request.claims.wants_in_id_token(name)),
                user_info: chosen(&more),
            },
        }
    }

    /// Whether it may be redeemed with `request`. The code itself was matched to the client and used up before.
    pub fn check(&self, request: &CodeRequest<'_>) -> Result<(), OAuthError> {
        let same_uri: bool = self.redirect.0.ct_eq(&RedirectHash::of(request.redirect_uri).0).into();
        if !same_uri {
            return Err(OAuthError::invalid_grant("redirect_uri is not the one of the authorization request"));
        }
        Challenge::check(self.challenge.as_ref(), request.verifier)
    }
}
