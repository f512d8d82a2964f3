//! A code for tokens: its redemption is recorded, exactly once, before anything is minted.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::code::{Code, Opened, read_asked};
use super::{Fault, Lobby, RegisteredClient, Urgency};
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

/// Why there are no tokens.
#[derive(Debug)]
pub enum ExchangeError {
    /// The request is at fault.
    Refused(OAuthError),
    /// We are.
    Fault(Fault),
}

impl<E: Into<Fault>> From<E> for ExchangeError {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

impl From<OAuthError> for ExchangeError {
    fn from(error: OAuthError) -> Self {
        Self::Refused(error)
    }
}

impl Lobby {
    /// Redeems an authorization code. A code that fails here is used up all the same, but where too much waits to be
    /// signed: that is found out first.
    ///
    /// # Errors
    /// `invalid_grant`, or a fault of ours.
    pub async fn exchange(
        &self,
        client: AuthenticatedClient<'_>,
        request: &CodeRequest<'_>,
    ) -> Result<TokenSet, ExchangeError> {
        let client = Arc::clone(self.clients.find(&client.get().id).ok_or(Fault::Internal("a client vanished"))?);
        let place = signs_slowly(&client.client).then(|| self.signing.reserve(Urgency::Login)).transpose()?;
        let code = self.redeem(&client, request.code).await?;
        code.grant.check(request)?;
        let session = self.store.session(&client.event, &code.request_id).await?;
        let live = session.filter(|session| session.is_live(self.now()));
        let session = live.ok_or_else(|| OAuthError::invalid_grant("the login has ended"))?;
        let order = Order {
            issuer: self.issuer.clone(),
            client,
            grant: code.grant,
            jti: URL_SAFE_NO_PAD.encode(code.id.0),
            now: self.now(),
            session,
        };
        let keys = self.keys.ring();
        Ok(match place {
            None => order.mint(&keys)?,
            Some(place) => place.run(move || order.mint(&keys)).await??,
        })
    }

    /// Uses a code up; what it holds. A code of another client is none, and nothing becomes of it. The code's age is judged
    /// by our clock, but not whether it was used before: a node whose clock is wrong revokes as well.
    async fn redeem(&self, client: &RegisteredClient, code: &str) -> Result<Code, ExchangeError> {
        let unknown = || OAuthError::invalid_grant("the code is unknown or expired");
        let opened = Code::open(&self.codes, client, code).ok_or_else(unknown)?;
        let (Opened::Whole(code) | Opened::Short(code)) = &opened;
        match self.store.redeem(&code.redemption(self.now())).await? {
            Redeemed::Now => self.completed_logins.note(&code.request_id, self.clock.steady()),
            Redeemed::Before => {
                return Err(OAuthError::invalid_grant("the code was used before: its tokens are revoked").into());
            }
            Redeemed::Never => return Err(unknown().into()),
        }
        match opened {
            Opened::Whole(code) => Ok(code),
            Opened::Short(mut code) => {
                let kept = self.store.long_grant(&code.request_id, &code.id).await?;
                // Where it is missing, later logins of the session took its place.
                let kept = kept.ok_or_else(unknown)?;
                code.grant.asked = read_asked(&kept).ok_or(Fault::Internal("a long grant is unreadable"))?;
                Ok(code)
            }
        }
    }
}

/// All that tokens are made of.
struct Order {
    issuer: String,
    client: Arc<RegisteredClient>,
    grant: Grant,
    session: Session,
    jti: String,
    now: crate::ambient::Timestamp,
}

/// Whether signing for the client is no work for a thread that others wait for: RSA takes a millisecond, the elliptic
/// curves take less than the way to another thread and back.
fn signs_slowly(client: &Client) -> bool {
    [client.id_token_alg, client.access_token_alg].contains(&SigningAlg::Rs256)
}

impl Order {
    fn mint(&self, keys: &KeyRing) -> Result<TokenSet, Fault> {
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

pub(super) fn json(claims: &impl Serialize) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(claims).map_err(|_| Fault::Internal("claims that are no JSON"))
}

/// What the tokens of a session say about its visitor.
pub(super) fn subject(session: &Session) -> Subject {
    Subject {
        sub: session.request_id.to_string(),
        position: session.position.get(),
        event_id: session.event.as_str().to_owned(),
    }
}
