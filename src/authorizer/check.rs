//! The rules for a token whose signature is good.

use serde::Deserialize;

use super::settings::Settings;
use crate::ambient::Timestamp;
use crate::keys::Verified;
use crate::policy;

/// Who holds a good token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Visitor {
    pub(super) sub: String,
    pub(super) position: Option<u64>,
    pub(super) event_id: String,
    pub(super) expires: Timestamp,
}

/// Why a token is not good; for the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refusal(pub(super) &'static str);

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

/// The visitor of a token, if it is an access token for the event, from the issuer, and its time is now.
pub(super) fn check(verified: &Verified, settings: &Settings, now: Timestamp) -> Result<Visitor, Refusal> {
    let claims: Claims = verified.claims().map_err(|_| Refusal("claims are missing"))?;
    if claims.iss != settings.issuer {
        return Err(Refusal("another issuer"));
    }
    if claims.aud != settings.event_id {
        return Err(Refusal("another event"));
    }
    if claims.token_use != "access" {
        return Err(Refusal("not an access token"));
    }
    if claims.exp <= now {
        return Err(Refusal("expired"));
    }
    if claims.nbf.is_some_and(|begin| begin > now + policy::AUTHORIZER_CLOCK_SKEW) {
        return Err(Refusal("not valid yet"));
    }
    // No sub may pass for the principal of those who are denied.
    if claims.sub.is_empty() || claims.sub == super::answer::DENIED {
        return Err(Refusal("no subject"));
    }
    Ok(Visitor { sub: claims.sub, position: claims.queue_position, event_id: claims.aud, expires: claims.exp })
}
