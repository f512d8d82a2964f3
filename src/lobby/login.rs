//! Login: the visitor is served, waits, or is refused.

use std::time::Duration;

use super::code::Code;
use super::{BrowserName, Lobby, LobbyError, RegisteredClient, Room, Visitor};
use crate::ambient::{Timestamp, random};
use crate::oauth::{self, AuthorizationRequest, ErrorCode, Grant, LoginDecision, OAuthError, Prompt, Reply};
use crate::policy;
use crate::room::{Admission, CookieKind, Door, Entry, ExpiryRule, Opener, Refusal, Served, Session, Ticket};
use crate::store::{GrantId, StoreError};

/// One evaluation of a pending authorization request: at first, and each time the waiting browser returns.
pub struct Attempt<'a> {
    /// The relying party.
    pub registered: &'a RegisteredClient,
    /// The authorization request.
    pub request: &'a AuthorizationRequest,
    /// Where the answer goes.
    pub reply: &'a Reply,
    /// The browser's cookie for its place in the queue.
    pub cookie: Option<&'a str>,
    /// The name of the browser, if it has been here before.
    pub browser: Option<BrowserName>,
    /// When the relying party sent the browser here; `None` if it did so just now.
    pub began: Option<Timestamp>,
    /// Whether the visitor pressed the button of a room with `entry = "button"`.
    pub enters: bool,
    /// The name of this request in this browser, the same for every repetition. `None`: it cannot be told apart from
    /// other requests.
    pub opener: Option<Opener>,
    /// Whether the visitor joins again after another browser used the place.
    pub rejoins: bool,
    /// Whether a visitor without a place may get one; called just before one is taken.
    pub may_join: &'a dyn Fn() -> Result<(), JoinDenied>,
}

/// Why a visitor without a place gets none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JoinDenied {
    /// The browser has not shown that it keeps cookies, which hold the place.
    NoCookie,
    /// Too many visitors joined from this address; the next may join after this time.
    TooManyJoins(Duration),
}

/// The outcome of a login attempt.
#[derive(Debug)]
pub enum Login {
    /// The visitor is admitted: answer the relying party with this code.
    Granted(LoggedIn),
    /// The visitor waits.
    Waiting(Wait),
    /// The visitor is served and must press the button.
    AwaitingButton(Wait),
    /// The visitor has no place and may not take one now.
    JoinDenied(JoinDenied),
    /// The visitor is served, but the relying party's own timeout has passed: it must start a new request.
    TooLate,
    /// The browser holds a place with which another browser, or another request of its own, opened the session.
    PlaceUsed,
    /// The relying party gets this error.
    Refused(OAuthError),
}

/// A login that succeeded.
#[derive(Debug)]
pub struct LoggedIn {
    /// The authorization code.
    pub code: String,
    /// The cookie that replaces the place cookie, unless the browser has it already.
    pub cookie: Option<String>,
}

/// A visitor in the queue.
#[derive(Debug)]
pub struct Wait {
    /// The visitor.
    pub visitor: Visitor,
    /// The place cookie.
    pub cookie: String,
    /// The number of visitors ahead; 0: next, or served.
    pub ahead: u64,
    /// Until when a served visitor may press the button.
    pub deadline: Option<Timestamp>,
    /// A change of the place that the page must explain.
    pub place_change: Option<PlaceChange>,
}

/// A change of the visitor's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlaceChange {
    /// The position was served and expired unused; this is a new place.
    Expired,
    /// The operator reset the event; this is a new place.
    LineRestarted,
}

/// The answer to `prompt=none` for a browser whose place was used elsewhere.
fn login_required() -> OAuthError {
    OAuthError::new(ErrorCode::LoginRequired, "the visitor is not logged in with this browser")
}

/// A visitor without a session.
struct Queued {
    visitor: Visitor,
    place_change: Option<PlaceChange>,
}

impl Lobby {
    /// Logs the visitor in, or returns how far they are from it.
    ///
    /// # Errors
    /// When the store is away: the visitor keeps the place.
    pub async fn log_in(&self, attempt: &Attempt<'_>) -> Result<Login, LobbyError> {
        let room =
            self.rooms.get(&attempt.registered.event).ok_or(LobbyError::Internal("a client without its room"))?;
        let recognised = match attempt.cookie {
            Some(cookie) => Some(self.recognise_cookie(room, cookie).await?),
            None => None,
        };
        let restarted = matches!(recognised, Some(Err(Refusal::OldGeneration)));
        let holder = recognised.and_then(Result::ok);
        let session = match &holder {
            Some((visitor, _)) => self.store.session(&room.settings.id, &visitor.request_id).await?,
            None => None,
        };
        let unused = |(_, kind): &(Visitor, CookieKind)| session.is_none() && *kind == CookieKind::Place;
        // A place that was never used for a login is kept.
        let place = holder.filter(unused).map(|(visitor, _)| visitor);
        let now = self.now();
        let live = session.filter(|session| session.is_live(now));
        let login = live
            .as_ref()
            .map(|session| oauth::Login { subject: session.request_id.to_string(), auth_time: session.opened_at });
        let hint = match self.hinted_subject(attempt.request).await? {
            Ok(hint) => hint,
            Err(error) => return Ok(Login::Refused(error)),
        };
        match (oauth::decide(attempt.request, login.as_ref(), hint.as_deref(), now, attempt.began), live.zip(holder)) {
            (LoginDecision::Refuse(error), _) => return Ok(Login::Refused(error)),
            (LoginDecision::Reuse, _) if self.is_too_late(attempt) => return Ok(Login::TooLate),
            (LoginDecision::Reuse, None) => return Err(LobbyError::Internal("a login without a session")),
            (LoginDecision::Reuse, Some((session, (visitor, kind)))) => match (kind, attempt.request.prompt) {
                (CookieKind::Session, _) => return self.grant(attempt, &session, None).await,
                (CookieKind::Place, _)
                    if session.admits_place(attempt.opener.as_ref(), now)
                        && !self.completed_logins.contains(&session.request_id) =>
                {
                    return self.grant(attempt, &session, Some(self.session_cookie(room, &visitor))).await;
                }
                (CookieKind::Place, Prompt::None) => return Ok(Login::Refused(login_required())),
                (CookieKind::Place, _) if !attempt.rejoins => return Ok(Login::PlaceUsed),
                (CookieKind::Place, _) => {}
            },
            (LoginDecision::LineUp, _) => {}
        }
        let queued = match place {
            Some(visitor) => Queued { visitor, place_change: None },
            None => match self.join_for(attempt, room, None).await? {
                Ok(visitor) => Queued { visitor, place_change: restarted.then_some(PlaceChange::LineRestarted) },
                Err(reason) => return Ok(Login::JoinDenied(reason)),
            },
        };
        self.line_up(attempt, room, queued).await
    }

    /// Admits the visitor if the position is served.
    async fn line_up(&self, attempt: &Attempt<'_>, room: &Room, mut queued: Queued) -> Result<Login, LobbyError> {
        for _ in 0..policy::LINE_UP_TRIES {
            let (admission, first_served) = self.admission(room, &queued.visitor).await?;
            match admission {
                Admission::Waiting { ahead } => {
                    return Ok(Login::Waiting(self.wait(room, queued, ahead, None)));
                }
                Admission::Expired => {
                    let place_change = self.lost_place(room, &queued.visitor);
                    match self.join_for(attempt, room, Some(&queued.visitor)).await? {
                        Ok(visitor) => queued = Queued { visitor, place_change },
                        Err(reason) => return Ok(Login::JoinDenied(reason)),
                    }
                }
                Admission::Served(_) if self.is_too_late(attempt) => return Ok(Login::TooLate),
                Admission::Served(served) if room.settings.entry == Entry::Button && !attempt.enters => {
                    let deadline = room.settings.expiry.deadline(served.ticket().entry, first_served);
                    return Ok(Login::AwaitingButton(self.wait(room, queued, 0, deadline)));
                }
                Admission::Served(served) => match self.enter(attempt, room, &queued.visitor, &served).await {
                    // The event was reset, or the position was given up or is no longer served: evaluate again.
                    Err(LobbyError::Store(StoreError::Outdated(_))) => {
                        room.cache.refresh(&*self.store, &room.settings.id).await?;
                        if self.known(room, queued.visitor.request_id).is_err() {
                            match self.join_for(attempt, room, Some(&queued.visitor)).await? {
                                Ok(visitor) => {
                                    queued = Queued { visitor, place_change: Some(PlaceChange::LineRestarted) }
                                }
                                Err(reason) => return Ok(Login::JoinDenied(reason)),
                            }
                        }
                    }
                    // The place was used for an earlier session: this is a new login.
                    Err(LobbyError::Store(StoreError::SessionOver(_))) => {
                        match self.join_for(attempt, room, Some(&queued.visitor)).await? {
                            Ok(visitor) => queued = Queued { visitor, place_change: None },
                            Err(reason) => return Ok(Login::JoinDenied(reason)),
                        }
                    }
                    entered => return entered,
                },
            }
        }
        Err(LobbyError::Store(StoreError::Outdated(room.settings.id.clone())))
    }

    /// Takes a place for a visitor, to replace one that is no longer valid. Concurrent tabs of one browser share the
    /// place, because its cookie reaches the browser only with the first answer.
    async fn join_for(
        &self,
        attempt: &Attempt<'_>,
        room: &Room,
        former: Option<&Visitor>,
    ) -> Result<Result<Visitor, JoinDenied>, LobbyError> {
        let joins = attempt.browser.map(|browser| room.recent_joins.of(browser, self.now()));
        let mut latest = match &joins {
            Some(joins) => Some(joins.lock().await),
            None => None,
        };
        let shared = latest.as_ref().and_then(|latest| **latest).filter(|visitor| Some(visitor) != former);
        if let Some(visitor) = shared
            && self.known(room, visitor.request_id).is_ok()
            && self.store.session(&room.settings.id, &visitor.request_id).await?.is_none()
        {
            return Ok(Ok(visitor));
        }
        if let Err(reason) = (attempt.may_join)() {
            return Ok(Err(reason));
        }
        let visitor = self.join(room, Door::Login).await?;
        if let Some(latest) = &mut latest {
            **latest = Some(visitor);
        }
        Ok(Ok(visitor))
    }

    /// The change to report for a position that was given up. `None` if the visitor may have had a session that is
    /// forgotten: always where positions do not expire, otherwise one day after joining.
    fn lost_place(&self, room: &Room, visitor: &Visitor) -> Option<PlaceChange> {
        let lately = self.now() < visitor.ticket.entry + policy::SESSION_RETENTION;
        (lately && room.settings.expiry != ExpiryRule::Never).then_some(PlaceChange::Expired)
    }

    /// Opens the session of a served visitor.
    async fn enter(
        &self,
        attempt: &Attempt<'_>,
        room: &Room,
        visitor: &Visitor,
        served: &Served,
    ) -> Result<Login, LobbyError> {
        let event = room.settings.id.clone();
        // A request that cannot be told apart from others gets a unique name, so that it cannot be repeated.
        let opener = attempt.opener.unwrap_or_else(|| Opener::from_bytes(random(self.entropy())));
        let mut session = served.session(event, visitor.request_id, room.settings.validity);
        session.opener = Some(opener);
        let opened = self.store.open_session(&session).await?;
        room.cache.update(opened.counters);
        let now = self.now();
        if !opened.session.is_live(now) {
            // Another tab opened and closed the session in the meantime: that login is over.
            Ok(Login::Refused(OAuthError::new(ErrorCode::LoginRequired, "the login has ended")))
        } else if opened.inserted || opened.session.admits_place(Some(&opener), now) {
            self.grant(attempt, &opened.session, Some(self.session_cookie(room, visitor))).await
        } else {
            // Another browser used a copy of the place first, or another tab did.
            Ok(Login::PlaceUsed)
        }
    }

    /// Whether a visitor without a session is admitted now, and when the position was first served.
    pub(super) async fn admission(
        &self,
        room: &Room,
        visitor: &Visitor,
    ) -> Result<(Admission, Option<Timestamp>), LobbyError> {
        let position = visitor.ticket.position;
        // The record is read only if it matters.
        let record = match room.cache.counters().serves(position) {
            true => self.store.serving_record_at(&room.settings.id, position).await?,
            false => None,
        };
        let now = self.moment();
        let (view, rule) = (room.cache.view(), room.settings.expiry);
        let first_served = record.map(|record| view.served(&record, now));
        let ticket = Ticket { entry: view.entry(&visitor.ticket, now), ..visitor.ticket };
        Ok((Admission::decide(ticket, &view.counters, rule, first_served, now.wall), first_served))
    }

    fn wait(&self, room: &Room, queued: Queued, ahead: u64, deadline: Option<Timestamp>) -> Wait {
        let cookie = self.cookie(room, &queued.visitor);
        Wait { visitor: queued.visitor, cookie, ahead, deadline, place_change: queued.place_change }
    }

    /// Whether the relying party has stopped waiting for the answer.
    fn is_too_late(&self, attempt: &Attempt<'_>) -> bool {
        attempt.began.is_some_and(|began| self.now().since(began) > attempt.registered.client.login_timeout)
    }

    /// The subject of `id_token_hint`, if it is an ID token of this provider, whatever its age. A token whose key is
    /// gone cannot be verified and gives no hint; with `prompt=none` it is an error.
    async fn hinted_subject(
        &self,
        request: &AuthorizationRequest,
    ) -> Result<Result<Option<String>, OAuthError>, LobbyError> {
        let Some(hint) = &request.id_token_hint else { return Ok(Ok(None)) };
        let subject = self.id_token_subject(hint).await?;
        Ok(if subject.is_none() && request.prompt == Prompt::None {
            Err(OAuthError::new(ErrorCode::LoginRequired, "id_token_hint is not an ID token of this provider"))
        } else {
            Ok(subject)
        })
    }

    /// Issues a code for the session. The store keeps nothing of it, unless the grant is too long for a code.
    async fn grant(
        &self,
        attempt: &Attempt<'_>,
        session: &Session,
        cookie: Option<String>,
    ) -> Result<Login, LobbyError> {
        let code = Code {
            id: GrantId(random(self.entropy())),
            issued_at: self.now(),
            request_id: session.request_id,
            session_end: session.expires_at,
            grant: Grant::new(&attempt.registered.client, &attempt.reply.redirect, attempt.request),
        };
        let sealed = code.seal(&self.codes, attempt.registered);
        let sealed = sealed.map_err(|_| LobbyError::Internal("a code that cannot be sealed"))?;
        if let Some(kept) = &sealed.kept {
            self.store.put_long_grant(kept).await?;
        }
        Ok(Login::Granted(LoggedIn { code: sealed.text, cookie }))
    }
}
