//! Sessions of the REST contract: tokens for a ticket, and what operators do to a session.
//!
//! One ticket has one session, whichever way it is opened: a login of the same visitor finds the session that
//! `generate_token` opened, and the other way round.

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::exchange::json;
use super::token_cache::SignedSet;
use super::{Lobby, LobbyError, Room, Urgency, Visitor};
use crate::ambient::Timestamp;
use crate::keys::{KeyRing, KeyUse, TokenType};
use crate::policy;
use crate::room::{Admission, Counters, EventId, ExpiryRule, Inlet, Position, RequestId, Session, SessionStatus};
use crate::store::{Closed, StoreError};

/// Who requests the tokens of a ticket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Caller {
    /// Its holder.
    #[default]
    Visitor,
    /// An operator, for its holder.
    Operator,
}

/// The differences of the private `generate_token` from the public one. The overrides take effect if the call opens the
/// session, and for that session alone: issued tokens keep their claims.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The caller: an operator may open sessions on a full disk as well.
    pub caller: Caller,
    /// `iss` of the tokens.
    pub issuer: Option<String>,
    /// The validity of the session.
    pub validity: Option<Duration>,
}

/// The outcome of a token request for a ticket.
#[derive(Debug)]
pub enum TokenOutcome {
    /// The ticket is valid.
    Tokens(RestTokens),
    /// The position is not served yet.
    Waiting,
    /// The position was served, and not used in time.
    Expired,
    /// The event was reset during the call.
    Reset,
    /// The session was completed or abandoned, or has expired.
    Ended,
}

/// The token set of the REST calls (`docs/integrators.md`).
#[derive(Debug)]
pub struct RestTokens {
    set: Arc<SignedSet>,
    /// Seconds.
    expires_in: u64,
}

impl Serialize for RestTokens {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Answer<'a> {
            access_token: &'a str,
            refresh_token: &'a str,
            id_token: &'a str,
            token_type: &'static str,
            expires_in: u64,
        }
        let (set, expires_in) = (&self.set, self.expires_in);
        let (access_token, refresh_token, id_token) = (&set.access_token, &set.refresh_token, &set.id_token);
        Answer { access_token, refresh_token, id_token, token_type: "Bearer", expires_in }.serialize(serializer)
    }
}

/// How long a visitor may still use a served position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remaining {
    /// For this long.
    Time(Duration),
    /// The position is not served yet, so it does not expire yet.
    NotServed,
    /// Positions of this event do not expire.
    NoExpiry,
    /// The position was used: it no longer expires.
    Used,
    /// It expired.
    Expired,
}

#[derive(Serialize)]
struct RestClaims<'a> {
    aud: &'a EventId,
    sub: RequestId,
    queue_position: Position,
    token_use: &'static str,
    iat: Timestamp,
    nbf: Timestamp,
    exp: Timestamp,
    iss: &'a str,
}

impl Lobby {
    /// Returns the tokens of a ticket, and opens its session if it has none. The same ticket always gets the same
    /// claims, and the same tokens as long as they are cached and the key signs.
    ///
    /// # Errors
    /// When the store is away, or the signing queue is full: either no session was opened, or the next call returns its
    /// tokens.
    pub async fn generate_token(
        &self,
        room: &Room,
        visitor: &Visitor,
        overrides: Overrides,
    ) -> Result<TokenOutcome, LobbyError> {
        let event = &room.settings.id;
        let session = match self.store.session(event, &visitor.request_id).await? {
            Some(session) => session,
            None => match self.admission(room, visitor).await?.0 {
                Admission::Waiting { .. } => return Ok(TokenOutcome::Waiting),
                Admission::Expired => return Ok(given_up(room)),
                Admission::Served(served) => {
                    let validity = overrides.validity.unwrap_or(room.settings.validity);
                    let mut new = served.session(event.clone(), visitor.request_id, validity);
                    new.issuer = overrides.issuer;
                    let opened = match overrides.caller {
                        Caller::Visitor => self.store.open_session(&new).await,
                        Caller::Operator => self.store.open_session_for(&new).await,
                    };
                    match opened {
                        Ok(opened) => {
                            room.cache.update(opened.counters);
                            opened.session
                        }
                        Err(StoreError::Outdated(_)) => return self.overtaken(room, visitor).await,
                        Err(StoreError::SessionOver(_)) => return Ok(TokenOutcome::Ended),
                        Err(error) => return Err(error.into()),
                    }
                }
            },
        };
        let now = self.now();
        if !session.is_live(now) {
            return Ok(TokenOutcome::Ended);
        }
        let keys = self.keys.key_ring();
        let signing = {
            let (keys, session, issuer) = (Arc::clone(&keys), session.clone(), self.issuer.clone());
            async { self.signing.reserve(Urgency::Rest)?.run(move || sign(&session, &issuer, &keys)).await? }
        };
        let set = self.signed.get(&session, keys.public_jwk(KeyUse::Rest).kid(), signing).await?;
        Ok(TokenOutcome::Tokens(RestTokens { set, expires_in: session.expires_at.since(now).as_secs() }))
    }

    /// The outcome for a ticket whose event was reset, whose position was given up, or whose serving counter moved
    /// back, since it was evaluated.
    async fn overtaken(&self, room: &Room, visitor: &Visitor) -> Result<TokenOutcome, LobbyError> {
        room.cache.refresh(&*self.store, &room.settings.id).await?;
        Ok(match self.known(room, visitor.request_id) {
            Err(_) => TokenOutcome::Reset,
            Ok(_) if room.cache.counters().serves(visitor.ticket.position) => given_up(room),
            Ok(_) => TokenOutcome::Waiting,
        })
    }

    /// How long the visitor's position can still be used.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn remaining(&self, room: &Room, visitor: &Visitor) -> Result<Remaining, LobbyError> {
        if !room.cache.counters().serves(visitor.ticket.position) {
            return Ok(Remaining::NotServed);
        }
        if self.store.session(&room.settings.id, &visitor.request_id).await?.is_some() {
            return Ok(Remaining::Used);
        }
        let (admission, first_served) = self.admission(room, visitor).await?;
        Ok(match admission {
            Admission::Waiting { .. } => Remaining::NotServed,
            Admission::Expired if room.settings.expiry == ExpiryRule::Never => Remaining::Used,
            Admission::Expired => Remaining::Expired,
            Admission::Served(served) => {
                let deadline = room.settings.expiry.deadline(served.ticket().entry, first_served);
                deadline.map_or(Remaining::NoExpiry, |deadline| Remaining::Time(deadline.since(self.now())))
            }
        })
    }

    /// Closes an active session and frees its capacity. The log names `by`, who asked for it.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn close_session(
        &self,
        room: &Room,
        request_id: &RequestId,
        status: SessionStatus,
        by: &str,
    ) -> Result<Closed, LobbyError> {
        let closed = self.store.close_session(&room.settings.id, request_id, status).await?;
        if let Closed::Now(counters) = closed {
            room.log_closed(request_id, status, by);
            room.cache.update(counters);
            if let Inlet::MaxSize(places) = room.settings.inlet
                && let Err(error) = self.fill(room, places, u64::MAX).await
            {
                // The session is closed all the same; the inlet's next step uses the capacity.
                tracing::warn!(event = %room.settings.id, %error, "freed capacity is filled at the next inlet step");
            }
        }
        Ok(closed)
    }

    /// The number of active sessions that have not expired.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn active_sessions(&self, room: &Room) -> Result<u64, LobbyError> {
        Ok(self.store.active_sessions(&room.settings.id, self.now()).await?)
    }

    /// A page of the sessions that expired within the last day: those after `last`, the last session of the previous
    /// page.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn expired_sessions(
        &self,
        event: &EventId,
        last: Option<&Session>,
        limit: u32,
    ) -> Result<Vec<Session>, LobbyError> {
        let now = self.now();
        // Older sessions may still be in the store.
        let first = (now - policy::SESSION_RETENTION, RequestId::from_bytes([0; 16]));
        let after = last.map_or(first, |session| (session.expires_at, session.request_id));
        Ok(self.store.expired_sessions(event, now, Some(after), limit).await?)
    }

    /// Resets the event: every counter becomes zero, every existing ticket and session void.
    ///
    /// # Errors
    /// When the store is away: nothing changed.
    pub async fn reset(&self, room: &Room) -> Result<Counters, LobbyError> {
        let counters = self.store.reset(&room.settings.id).await?;
        room.cache.update(counters);
        Ok(counters)
    }
}

/// The outcome for a position that is given up and has no session. Where positions do not expire, its session is
/// forgotten.
fn given_up(room: &Room) -> TokenOutcome {
    match room.settings.expiry {
        ExpiryRule::Never => TokenOutcome::Ended,
        ExpiryRule::Within(_) => TokenOutcome::Expired,
    }
}

/// Signs the set with RS256, whatever the client's algorithm: verifiers of the old system know no other.
fn sign(session: &Session, issuer: &str, keys: &KeyRing) -> Result<SignedSet, LobbyError> {
    let sign = |token_use| {
        let claims = RestClaims {
            aud: &session.event,
            sub: session.request_id,
            queue_position: session.position,
            token_use,
            iat: session.opened_at,
            nbf: session.opened_at,
            exp: session.expires_at,
            iss: session.issuer.as_deref().unwrap_or(issuer),
        };
        Ok::<_, LobbyError>(keys.sign(KeyUse::Rest, TokenType::Jwt, &json(&claims)?)?)
    };
    Ok(SignedSet { access_token: sign("access")?, refresh_token: sign("refresh")?, id_token: sign("id")? })
}
