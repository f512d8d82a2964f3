//! Verification of tokens: which session a token belongs to, and whether it is still valid.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::exchange::subject;
use super::{Lobby, LobbyError};
use crate::ambient::Timestamp;
use crate::keys::{TokenType, Verified, VerifyError};
use crate::oauth::{self, Scope};
use crate::room::{EventId, RequestId, Session};
use crate::store::{GrantId, GrantStanding};

/// Why a token is not accepted.
#[derive(Debug)]
pub enum IdentityError {
    /// The token carries no valid signature of this provider.
    Foreign,
    /// This provider signed the token, but it is not a valid access token; the reason is for the log.
    Invalid(&'static str),
    /// The provider failed.
    Internal(LobbyError),
}

impl IdentityError {
    /// The reason, for the log.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Foreign => "no good signature of ours",
            Self::Invalid(reason) => reason,
            Self::Internal(_) => "a fault of ours",
        }
    }
}

impl<E: Into<LobbyError>> From<E> for IdentityError {
    fn from(error: E) -> Self {
        Self::Internal(error.into())
    }
}

/// The claims of an access token, from `/token` or from the REST API.
#[derive(Deserialize)]
struct AccessToken {
    iss: String,
    sub: RequestId,
    aud: EventId,
    exp: Timestamp,
    token_use: String,
    /// The grant that the token comes from; `None` for tokens of the REST API.
    #[serde(flatten)]
    grant: Option<GrantClaims>,
}

/// Further claims of an access token from `/token`.
#[derive(Deserialize)]
struct GrantClaims {
    jti: String,
    client_id: String,
    scope: String,
    /// Missing where no additional claims were requested.
    #[serde(default)]
    userinfo_claims: Vec<String>,
}

/// The claims of an ID token that is used as a hint.
#[derive(Deserialize)]
struct IdToken {
    iss: String,
    sub: String,
    /// Missing in tokens of clients that get the queue's claims on request. Every other token of this type has it.
    token_use: Option<String>,
}

impl Lobby {
    /// The claims that the holder of an access token may read (OIDC Core §5.3).
    ///
    /// # Errors
    /// [`IdentityError::Foreign`] for a token that this provider did not sign; [`IdentityError::Invalid`] for one that
    /// is expired, revoked, of another kind or issuer, or whose session has ended.
    pub async fn user_info(&self, token: &str) -> Result<Map<String, Value>, IdentityError> {
        let (claims, typ) = self.access_token(token).await?;
        let grant_claims = claims.grant.as_ref().filter(|_| typ == TokenType::AtJwt);
        let grant_claims = grant_claims.ok_or(IdentityError::Invalid("not an access token of a client"))?;
        let session = self.session_of_grant(&claims, grant_claims).await?;
        let registered =
            self.clients.find(&grant_claims.client_id).ok_or(IdentityError::Invalid("its client is gone"))?;
        let scope = Scope::parse(&grant_claims.scope);
        Ok(oauth::user_info(&subject(&session), &registered.client, scope, &grant_claims.userinfo_claims))
    }

    /// The session of the visitor who holds an access token of `event`, from `/token` or from the REST API.
    ///
    /// # Errors
    /// [`IdentityError::Foreign`] for a token that this provider did not sign; [`IdentityError::Invalid`] for one that
    /// is expired, revoked, of another kind, issuer or event, or whose session has ended.
    pub async fn admitted(&self, token: &str, event: &EventId) -> Result<Session, IdentityError> {
        let (claims, typ) = self.access_token(token).await?;
        if claims.aud != *event {
            return Err(IdentityError::Invalid("another event"));
        }
        match (typ, &claims.grant) {
            (TokenType::AtJwt, Some(grant_claims)) => self.session_of_grant(&claims, grant_claims).await,
            (TokenType::AtJwt, None) => Err(IdentityError::Invalid("its grant is not named")),
            (TokenType::Jwt, _) => {
                let session = self.live(self.store.session(event, &claims.sub).await?)?;
                Self::issued_by(session.issuer.as_deref().unwrap_or(&self.issuer), &claims)?;
                Ok(session)
            }
        }
    }

    /// The claims of a token that is signed by this provider, is an access token of an existing event, and has not
    /// expired.
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

    /// The live session behind a token of `/token`, unless its grant is revoked; one store read.
    async fn session_of_grant(&self, claims: &AccessToken, from: &GrantClaims) -> Result<Session, IdentityError> {
        Self::issued_by(&self.issuer, claims)?;
        let grant = grant_of(&from.jti).ok_or(IdentityError::Invalid("its jti names no grant"))?;
        let standing = self.store.token_standing(&claims.aud, &claims.sub, &grant).await?;
        match standing.grant {
            GrantStanding::Good => self.live(standing.session),
            GrantStanding::Revoked => Err(IdentityError::Invalid("revoked")),
        }
    }

    /// Whether the token names the required issuer: the private `generate_token` can give a session another one.
    fn issued_by(issuer: &str, claims: &AccessToken) -> Result<(), IdentityError> {
        if claims.iss == issuer { Ok(()) } else { Err(IdentityError::Invalid("another issuer")) }
    }

    fn live(&self, session: Option<Session>) -> Result<Session, IdentityError> {
        let now = self.now();
        session.filter(|session| session.is_live(now)).ok_or(IdentityError::Invalid("its session has ended"))
    }

    async fn verify(&self, token: &str) -> Result<Result<Verified, VerifyError>, LobbyError> {
        self.keys.verify(&*self.store, self.now(), token).await
    }

    /// The subject of an ID token of this provider, whatever its age.
    pub(super) async fn id_token_subject(&self, token: &str) -> Result<Option<String>, LobbyError> {
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
