//! Who a token speaks of, and whether it still counts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::exchange::subject;
use super::{Fault, Lobby};
use crate::ambient::Timestamp;
use crate::keys::{TokenType, Verified, VerifyError};
use crate::oauth::{self, Scope};
use crate::room::{EventId, RequestId, Session};
use crate::store::{GrantId, GrantStanding};

/// Why a token is not accepted.
#[derive(Debug)]
pub enum IdentityError {
    /// It bears no signature of ours: it is somebody else's token, forged, or no token at all.
    Foreign,
    /// We signed it, but it is no good access token; the reason is for the log.
    Invalid(&'static str),
    /// We are at fault.
    Fault(Fault),
}

impl IdentityError {
    /// The reason, for the log.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Foreign => "no good signature of ours",
            Self::Invalid(reason) => reason,
            Self::Fault(_) => "a fault of ours",
        }
    }
}

impl<E: Into<Fault>> From<E> for IdentityError {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

/// What an access token says, of `/token` or of the REST door.
#[derive(Deserialize)]
struct AccessToken {
    iss: String,
    sub: RequestId,
    aud: EventId,
    exp: Timestamp,
    token_use: String,
    /// Where it comes from: a grant of this client, or no client at all.
    #[serde(flatten)]
    grant: Option<OfGrant>,
}

/// What an access token of `/token` says besides.
#[derive(Deserialize)]
struct OfGrant {
    jti: String,
    client_id: String,
    scope: String,
    /// Missing where nothing was asked for besides.
    #[serde(default)]
    userinfo_claims: Vec<String>,
}

/// What an ID token must say to be a hint.
#[derive(Deserialize)]
struct IdToken {
    iss: String,
    sub: String,
    /// Missing in that of a client that gets the claims of the line on request. Every other token of this type has it.
    token_use: Option<String>,
}

impl Lobby {
    /// The claims that the holder of an access token may see (OIDC Core §5.3).
    ///
    /// # Errors
    /// [`IdentityError::Foreign`] for a token that we did not sign; [`IdentityError::Invalid`] for one that is expired,
    /// revoked, of another kind or issuer, or whose session has ended.
    pub async fn user_info(&self, token: &str) -> Result<Map<String, Value>, IdentityError> {
        let (claims, typ) = self.access_token(token).await?;
        let of_grant = claims.grant.as_ref().filter(|_| typ == TokenType::AtJwt);
        let of_grant = of_grant.ok_or(IdentityError::Invalid("not an access token of a client"))?;
        let session = self.login_of(&claims, of_grant).await?;
        let registered = self.clients.find(&of_grant.client_id).ok_or(IdentityError::Invalid("its client is gone"))?;
        let scope = Scope::parse(&of_grant.scope);
        Ok(oauth::user_info(&subject(&session), &registered.client, scope, &of_grant.userinfo_claims))
    }

    /// The session of the visitor who holds an access token of `event`: of `/token`, or of the REST door.
    ///
    /// # Errors
    /// [`IdentityError::Foreign`] for a token that we did not sign; [`IdentityError::Invalid`] for one that is expired,
    /// revoked, of another kind, issuer or event, or whose session has ended.
    pub async fn admitted(&self, token: &str, event: &EventId) -> Result<Session, IdentityError> {
        let (claims, typ) = self.access_token(token).await?;
        if claims.aud != *event {
            return Err(IdentityError::Invalid("another event"));
        }
        match (typ, &claims.grant) {
            (TokenType::AtJwt, Some(of_grant)) => self.login_of(&claims, of_grant).await,
            (TokenType::AtJwt, None) => Err(IdentityError::Invalid("its grant is not named")),
            (TokenType::Jwt, _) => {
                let session = self.live(self.store.session(event, &claims.sub).await?)?;
                Self::issued_by(session.issuer.as_deref().unwrap_or(&self.issuer), &claims)?;
                Ok(session)
            }
        }
    }

    /// The claims of a token whose signature is ours and which says that it is an access token, of an event that there
    /// is, and not expired.
    async fn access_token(&self, token: &str) -> Result<(AccessToken, TokenType), IdentityError> {
        let verified = self.verify(token).await?.map_err(|_| IdentityError::Foreign)?;
        let claims: AccessToken = verified.claims().map_err(|_| IdentityError::Invalid("claims are missing"))?;
        if claims.token_use != "access" {
            return Err(IdentityError::Invalid("not an access token"));
        }
        if claims.exp <= self.now() {
            return Err(IdentityError::Invalid("expired"));
        }
        if self.room(claims.aud.as_str()).is_none() {
            return Err(IdentityError::Invalid("its event is gone"));
        }
        Ok((claims, verified.typ))
    }

    /// The live session that a token of `/token` rests on, if its grant is not revoked; one read of the store.
    async fn login_of(&self, claims: &AccessToken, from: &OfGrant) -> Result<Session, IdentityError> {
        Self::issued_by(&self.issuer, claims)?;
        let grant = grant_of(&from.jti).ok_or(IdentityError::Invalid("its jti names no grant"))?;
        let standing = self.store.token_standing(&claims.aud, &claims.sub, &grant).await?;
        match standing.grant {
            GrantStanding::Good => self.live(standing.session),
            GrantStanding::Revoked => Err(IdentityError::Invalid("revoked")),
        }
    }

    /// Whether the token names the issuer that it must: the private `generate_token` can give a session another one.
    fn issued_by(issuer: &str, claims: &AccessToken) -> Result<(), IdentityError> {
        if claims.iss == issuer { Ok(()) } else { Err(IdentityError::Invalid("another issuer")) }
    }

    fn live(&self, session: Option<Session>) -> Result<Session, IdentityError> {
        let now = self.now();
        session.filter(|session| session.is_live(now)).ok_or(IdentityError::Invalid("its session has ended"))
    }

    async fn verify(&self, token: &str) -> Result<Result<Verified, VerifyError>, Fault> {
        self.keys.verify(&*self.store, self.now(), token).await
    }

    /// The subject of an ID token of ours, however old.
    pub(super) async fn id_token_subject(&self, token: &str) -> Result<Option<String>, Fault> {
        let verified = self.verify(token).await?.ok().filter(|verified| verified.typ == TokenType::Jwt);
        let claims = verified.and_then(|verified| verified.claims::<IdToken>().ok());
        let ours = claims.filter(|claims| {
            claims.iss == self.issuer && claims.token_use.as_deref().is_none_or(|token_use| token_use == "id")
        });
        Ok(ours.map(|claims| claims.sub))
    }
}

/// The grant that an access token came from.
fn grant_of(jti: &str) -> Option<GrantId> {
    let bytes = URL_SAFE_NO_PAD.decode(jti).ok()?;
    bytes.try_into().ok().map(GrantId)
}
