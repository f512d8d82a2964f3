//! Exchanges a code for tokens. The redemption is recorded, exactly once, before any token is signed.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::code::{Code, OpenedCode, decode_asked};
use super::{Lobby, LobbyError, RegisteredClient, Urgency};
use crate::keys::{KeyRing, TokenType, at_hash};
use crate::oauth::{
    self, AccessTokenClaims, AuthenticatedClient, Client, CodeRequest, Grant, IdTokenClaims, OAuthError, SigningAlg,
    Subject,
};
use crate::room::Session;
use crate::store::Redeemed;

/// The answer of the token endpoint (RFC 6749 §5.1, OIDC Core §3.1.3.3).
#[derive(Serialize, Debug)]
pub struct TokenSet {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    id_token: String,
    scope: &'static str,
}

/// Why a code yields no tokens.
#[derive(Debug)]
pub enum ExchangeError {
    /// The request is at fault.
    Refused(OAuthError),
    /// The provider failed.
    Internal(LobbyError),
}

impl<E: Into<LobbyError>> From<E> for ExchangeError {
    fn from(error: E) -> Self {
        Self::Internal(error.into())
    }
}

impl From<OAuthError> for ExchangeError {
    fn from(error: OAuthError) -> Self {
        Self::Refused(error)
    }
}

impl Lobby {
    /// Redeems an authorization code. A code whose exchange fails is used up all the same, except when the signing
    /// queue is full, which is checked first.
    ///
    /// # Errors
    /// `invalid_grant`, or an internal error.
    pub async fn exchange(
        &self,
        client: AuthenticatedClient<'_>,
        request: &CodeRequest<'_>,
    ) -> Result<TokenSet, ExchangeError> {
        let client = Arc::clone(self.clients.find(&client.get().id).ok_or(LobbyError::Internal("a client vanished"))?);
        let slot = signs_slowly(&client.client).then(|| self.signing.reserve(Urgency::Login)).transpose()?;
        let code = self.redeem(&client, request.code).await?;
        code.grant.check(request)?;
        let session = self.store.session(&client.event, &code.request_id).await?;
        let live = session.filter(|session| session.is_live(self.now()));
        let session = live.ok_or_else(|| OAuthError::invalid_grant("the login has ended"))?;
        let input = MintInput {
            issuer: self.issuer.clone(),
            client,
            grant: code.grant,
            jti: URL_SAFE_NO_PAD.encode(code.id.0),
            now: self.now(),
            session,
        };
        let keys = self.keys.key_ring();
        Ok(match slot {
            None => input.mint(&keys)?,
            Some(slot) => slot.run(move || input.mint(&keys)).await??,
        })
    }

    /// Uses a code up and returns its content. A code of another client is refused and stays unused. The code's age is
    /// judged by this node's clock, but not whether it was used before: a node whose clock is wrong revokes tokens as
    /// well.
    async fn redeem(&self, client: &RegisteredClient, code: &str) -> Result<Code, ExchangeError> {
        let unknown = || OAuthError::invalid_grant("the code is unknown or expired");
        let opened = Code::open(&self.codes, client, code).ok_or_else(unknown)?;
        let (OpenedCode::Whole(code) | OpenedCode::Short(code)) = &opened;
        match self.store.redeem(&code.redemption(self.now())).await? {
            Redeemed::Now => self.completed_logins.note(&code.request_id, self.clock.steady()),
            Redeemed::Before => {
                return Err(OAuthError::invalid_grant("the code was used before: its tokens are revoked").into());
            }
            Redeemed::Never => return Err(unknown().into()),
        }
        match opened {
            OpenedCode::Whole(code) => Ok(code),
            OpenedCode::Short(mut code) => {
                let kept = self.store.long_grant(&code.request_id, &code.id).await?;
                // If it is missing, later logins of the session replaced it.
                let kept = kept.ok_or_else(unknown)?;
                code.grant.asked = decode_asked(&kept).ok_or(LobbyError::Internal("a long grant is unreadable"))?;
                Ok(code)
            }
        }
    }
}

/// Everything that tokens are made from.
struct MintInput {
    issuer: String,
    client: Arc<RegisteredClient>,
    grant: Grant,
    session: Session,
    jti: String,
    now: crate::ambient::Timestamp,
}

/// Whether signatures for the client go through the signing queue. RSA takes a millisecond; the elliptic curves take
/// less than the way to another thread and back.
fn signs_slowly(client: &Client) -> bool {
    [client.id_token_alg, client.access_token_alg].contains(&SigningAlg::Rs256)
}

impl MintInput {
    fn mint(&self, keys: &KeyRing) -> Result<TokenSet, LobbyError> {
        let client: &Client = &self.client.client;
        let subject = subject(&self.session);
        let session = oauth::Session {
            issuer: &self.issuer,
            subject: &subject,
            auth_time: self.session.opened_at,
            expires_at: self.session.expires_at,
            now: self.now,
        };
        let access = json(&AccessTokenClaims::new(&session, &self.grant, &self.jti))?;
        let access_token = keys.sign(client.access_token_alg, TokenType::AtJwt, &access)?;
        let hash = at_hash(client.id_token_alg, &access_token);
        let id = json(&IdTokenClaims::new(&session, client, &self.grant, &hash))?;
        Ok(TokenSet {
            id_token: keys.sign(client.id_token_alg, TokenType::Jwt, &id)?,
            access_token,
            token_type: "Bearer",
            expires_in: self.session.expires_at.since(self.now).as_secs(),
            scope: self.grant.scope.as_str(),
        })
    }
}

pub(super) fn json(claims: &impl Serialize) -> Result<Vec<u8>, LobbyError> {
    serde_json::to_vec(claims).map_err(|_| LobbyError::Internal("claims that are no JSON"))
}

/// The claims about a session's visitor.
pub(super) fn subject(session: &Session) -> Subject {
    Subject {
        sub: session.request_id.to_string(),
        position: session.position.get(),
        event_id: session.event.as_str().to_owned(),
    }
}
