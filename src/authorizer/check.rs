//! The rules for a token whose signature is valid.

use serde::Deserialize;

use super::settings::Settings;
use crate::ambient::Timestamp;
use crate::keys::Verified;
use crate::policy;

/// The visitor of a valid token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Visitor {
    pub(super) sub: String,
    pub(super) position: Option<u64>,
    pub(super) event_id: String,
    pub(super) expires: Timestamp,
}

/// Why a token is not valid; for the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TokenError(pub(super) &'static str);

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    token_use: String,
    exp: Timestamp,
    nbf: Option<Timestamp>,
    queue_position: Option<u64>,
}

/// The visitor of a token, if it is a current access token for the event, from the issuer.
pub(super) fn check(verified: &Verified, settings: &Settings, now: Timestamp) -> Result<Visitor, TokenError> {
    let claims: Claims = verified.claims().map_err(|_| TokenError("claims are missing"))?;
    if claims.iss != settings.issuer {
        return Err(TokenError("another issuer"));
    }
    if claims.aud != settings.event_id {
        return Err(TokenError("another event"));
    }
    if claims.token_use != "access" {
        return Err(TokenError("not an access token"));
    }
    if claims.exp <= now {
        return Err(TokenError("expired"));
    }
    if claims.nbf.is_some_and(|begin| begin > now + policy::AUTHORIZER_CLOCK_SKEW) {
        return Err(TokenError("not valid yet"));
    }
    // No sub may equal the principal of denied requests.
    if claims.sub.is_empty() || claims.sub == super::answer::DENIED {
        return Err(TokenError("no subject"));
    }
    Ok(Visitor { sub: claims.sub, position: claims.queue_position, event_id: claims.aud, expires: claims.exp })
}
