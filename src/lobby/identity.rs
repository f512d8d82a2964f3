//! Who a token speaks of, and whether it still counts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::exchange::subject;
use super::login::KeptGrant;
use super::{Fault, Lobby};
use crate::ambient::Timestamp;
use crate::keys::TokenType;
use crate::oauth;
use crate::room::{EventId, RequestId};
use crate::store::{GrantId, GrantStanding};

/// Why a token is not accepted.
#[derive(Debug)]
pub enum IdentityError {
    /// It is not a good access token of ours; the reason is for the log.
    Invalid(&'static str),
    /// We are at fault.
    Fault(Fault),
}

impl<E: Into<Fault>> From<E> for IdentityError {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

/// What an access token must say for `/userInfo`.
#[derive(Deserialize)]
struct AccessToken {
    iss: String,
    sub: RequestId,
    exp: Timestamp,
    jti: String,
    client_id: String,
    event_id: EventId,
}

/// What an ID token must say to be a hint.
#[derive(Deserialize)]
struct IdToken {
    iss: String,
    sub: String,
    token_use: String,
}

impl Lobby {
    /// The claims that the holder of an access token may see (OIDC Core §5.3).
    ///
    /// # Errors
    /// [`IdentityError::Invalid`] for a token that is forged, expired, revoked, of another kind or issuer, or whose
    /// session has ended.
    pub async fn user_info(&self, token: &str) -> Result<Map<String, Value>, IdentityError> {
        let now = self.now();
        let verified = self.keys.ring().verify(token).map_err(|_| IdentityError::Invalid("bad signature or form"))?;
        if verified.typ != TokenType::AtJwt {
            return Err(IdentityError::Invalid("not an access token"));
        }
        let claims: AccessToken = verified.claims().map_err(|_| IdentityError::Invalid("claims are missing"))?;
        if claims.iss != self.issuer {
            return Err(IdentityError::Invalid("another issuer"));
        }
        if claims.exp <= now {
            return Err(IdentityError::Invalid("expired"));
        }
        if self.room(claims.event_id.as_str()).is_none() {
            return Err(IdentityError::Invalid("its event is gone"));
        }
        let registered = self.clients.find(&claims.client_id).ok_or(IdentityError::Invalid("its client is gone"))?;
        let grant = grant_of(&claims.jti).ok_or(IdentityError::Invalid("its jti names no grant"))?;
        let standing = self.store.token_standing(&claims.event_id, &claims.sub, &grant).await?;
        let live = standing.session.filter(|session| session.is_live(now));
        let session = live.ok_or(IdentityError::Invalid("its session has ended"))?;
        let body = match standing.grant {
            GrantStanding::Good(body) => body,
            GrantStanding::Revoked => return Err(IdentityError::Invalid("revoked")),
            GrantStanding::Unknown => return Err(IdentityError::Invalid("its grant is forgotten")),
        };
        let kept: KeptGrant = serde_json::from_str(&body).map_err(|_| Fault::Internal("a kept grant is unreadable"))?;
        Ok(oauth::user_info(&subject(&session), &registered.client, &kept.grant))
    }

    /// The subject of an ID token of ours, however old.
    pub(super) fn id_token_subject(&self, token: &str) -> Option<String> {
        let verified = self.keys.ring().verify(token).ok().filter(|verified| verified.typ == TokenType::Jwt)?;
        let claims: IdToken = verified.claims().ok()?;
        (claims.iss == self.issuer && claims.token_use == "id").then_some(claims.sub)
    }
}

/// The grant that an access token came from.
fn grant_of(jti: &str) -> Option<GrantId> {
    let bytes = URL_SAFE_NO_PAD.decode(jti).ok()?;
    bytes.try_into().ok().map(GrantId)
}
