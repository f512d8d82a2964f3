//! Sessions by the REST contract: tokens for a ticket, and what operators do to a session.
//!
//! One ticket has one session, whichever door opens it: a login of the same visitor finds the session that
//! `generate_token` opened, and the other way round.

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::exchange::json;
use super::token_cache::SignedSet;
use super::{Fault, Lobby, Room, Urgency, Visitor};
use crate::ambient::Timestamp;
use crate::keys::{KeyRing, KeyUse, TokenType};
use crate::policy;
use crate::room::{Admission, Counters, EventId, ExpiryRule, Inlet, Position, RequestId, Session, SessionStatus};
use crate::store::{Closed, StoreError};

/// Who asks for the tokens of a ticket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Caller {
    /// Its holder.
    #[default]
    Visitor,
    /// An operator, for its holder.
    Operator,
}

/// What the private `generate_token` does otherwise than the public one. The overrides take effect where the call opens the
/// session, and for that session alone: tokens once issued keep their claims.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Whose call it is: an operator's opens sessions on a full disk as well.
    pub caller: Caller,
    /// `iss` of the tokens.
    pub issuer: Option<String>,
    /// How long the session is good.
    pub validity: Option<Duration>,
}

/// What a ticket is worth now.
#[derive(Debug)]
pub enum Worth {
    /// Tokens.
    Tokens(RestTokens),
    /// Nothing yet: it is not served.
    Waiting,
    /// Nothing any more: it was served, and not used in time.
    Forfeited,
    /// Nothing any more: the event was reset in this moment.
    Void,
    /// Nothing any more: its session was completed or abandoned, or its time is over.
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

/// How long a visitor may still turn a served position into a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remaining {
    /// So long.
    Time(Duration),
    /// The position is not served yet: no time runs.
    NotServed,
    /// Positions of this event do not expire.
    NoExpiry,
    /// The position was used: it does not expire any more.
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
    /// Gives the tokens of a ticket, and opens its session if it has none. The same ticket always gets the same claims,
    /// and the same tokens as long as they are remembered and the key signs.
    ///
    /// # Errors
    /// When the store is away, or too much waits to be signed: then nothing was opened, or the next call gives the tokens
    /// of what was.
    pub async fn generate_token(&self, room: &Room, visitor: &Visitor, overrides: Overrides) -> Result<Worth, Fault> {
        let event = &room.settings.id;
        let session = match self.store.session(event, &visitor.request_id).await? {
            Some(session) => session,
            None => match self.admission(room, visitor).await?.0 {
                Admission::Waiting { .. } => return Ok(Worth::Waiting),
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
                            room.board.update(opened.counters);
                            opened.session
                        }
                        Err(StoreError::Outdated(_)) => return self.overtaken(room, visitor).await,
                        Err(StoreError::SessionOver(_)) => return Ok(Worth::Ended),
                        Err(error) => return Err(error.into()),
                    }
                }
            },
        };
        let now = self.now();
        if !session.is_live(now) {
            return Ok(Worth::Ended);
        }
        let keys = self.keys.ring();
        let signing = {
            let (keys, session, issuer) = (Arc::clone(&keys), session.clone(), self.issuer.clone());
            async { self.signing.reserve(Urgency::Rest)?.run(move || sign(&session, &issuer, &keys)).await? }
        };
        let set = self.signed.get(&session, keys.public_jwk(KeyUse::Rest).kid(), signing).await?;
        Ok(Worth::Tokens(RestTokens { set, expires_in: session.expires_at.since(now).as_secs() }))
    }

    /// What a ticket is worth whose event was reset, whose position was given up, or whose line went back, since it was
    /// looked at.
    async fn overtaken(&self, room: &Room, visitor: &Visitor) -> Result<Worth, Fault> {
        room.board.refresh(&*self.store, &room.settings.id).await?;
        Ok(match self.known(room, visitor.request_id) {
            Err(_) => Worth::Void,
            Ok(_) if room.board.counters().serves(visitor.ticket.position) => given_up(room),
            Ok(_) => Worth::Waiting,
        })
    }

    /// How long the visitor's position can still be used.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn remaining(&self, room: &Room, visitor: &Visitor) -> Result<Remaining, Fault> {
        if !room.board.counters().serves(visitor.ticket.position) {
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

    /// Ends an active session; its place is free from then on. The log names `by`, who asked for it.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn close_session(
        &self,
        room: &Room,
        request_id: &RequestId,
        status: SessionStatus,
        by: &str,
    ) -> Result<Closed, Fault> {
        let closed = self.store.close_session(&room.settings.id, request_id, status).await?;
        if let Closed::Now(counters) = closed {
            room.log_closed(request_id, status, by);
            room.board.update(counters);
            if let Inlet::MaxSize(places) = room.settings.inlet
                && let Err(error) = self.fill(room, places, u64::MAX).await
            {
                // The session is closed all the same; the inlet's next step finds the place.
                tracing::warn!(event = %room.settings.id, %error, "a free place waits for the inlet");
            }
        }
        Ok(closed)
    }

    /// How many sessions are active and not over.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn active_sessions(&self, room: &Room) -> Result<u64, Fault> {
        Ok(self.store.active_sessions(&room.settings.id, self.now()).await?)
    }

    /// A page of the sessions whose time is over, since a day at most: those after `last`, the last session of the page
    /// before.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn expired_sessions(
        &self,
        event: &EventId,
        last: Option<&Session>,
        limit: u32,
    ) -> Result<Vec<Session>, Fault> {
        let now = self.now();
        // Older ones may be there still.
        let first = (now - policy::SESSION_RETENTION, RequestId::from_bytes([0; 16]));
        let after = last.map_or(first, |session| (session.expires_at, session.request_id));
        Ok(self.store.expired_sessions(event, now, Some(after), limit).await?)
    }

    /// Begins the event anew: every counter at zero, every old ticket and session void.
    ///
    /// # Errors
    /// When the store is away: then nothing changed.
    pub async fn reset(&self, room: &Room) -> Result<Counters, Fault> {
        let counters = self.store.reset(&room.settings.id).await?;
        room.board.update(counters);
        Ok(counters)
    }
}

/// What a position is worth that is given up, and has no session. Where positions do not expire it had one, which is
/// forgotten.
fn given_up(room: &Room) -> Worth {
    match room.settings.expiry {
        ExpiryRule::Never => Worth::Ended,
        ExpiryRule::Within(_) => Worth::Forfeited,
    }
}

/// Signs the set. RS256, whatever a client asked for: verifiers of the old system know nothing else.
fn sign(session: &Session, issuer: &str, keys: &KeyRing) -> Result<SignedSet, Fault> {
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
        Ok::<_, Fault>(keys.sign(KeyUse::Rest, TokenType::Jwt, &json(&claims)?)?)
    };
    Ok(SignedSet { access_token: sign("access")?, refresh_token: sign("refresh")?, id_token: sign("id")? })
}
