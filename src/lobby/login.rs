//! Logging in: the visitor is served, waits, or is refused. Nothing else can happen.

use std::time::Duration;

use super::code::Code;
use super::{BrowserName, Fault, Lobby, RegisteredClient, Room, Visitor};
use crate::ambient::{Timestamp, random};
use crate::oauth::{self, AuthorizationRequest, ErrorCode, Grant, LoginDecision, OAuthError, Prompt, Reply};
use crate::policy;
use crate::room::{Admission, CookieKind, Door, Entry, ExpiryRule, Opener, Refusal, Served, Session, Ticket};
use crate::store::{GrantId, StoreError};

/// One look at a pending authorization request: at first, and each time the waiting browser returns.
pub struct Attempt<'a> {
    /// Who asks.
    pub registered: &'a RegisteredClient,
    /// What is asked.
    pub request: &'a AuthorizationRequest,
    /// Where the answer goes.
    pub reply: &'a Reply,
    /// What the browser keeps of its place in line.
    pub cookie: Option<&'a str>,
    /// What names the browser, if it has been here before.
    pub browser: Option<BrowserName>,
    /// When the relying party sent the browser here: `None` if it did so just now.
    pub began: Option<Timestamp>,
    /// Whether the visitor pressed the button of a room with `entry = "button"`.
    pub enters: bool,
    /// What names this request in this browser, however often it comes. `None`: it cannot be told from another.
    pub opener: Option<Opener>,
    /// Whether the visitor was told that another browser used the place, and joins anew.
    pub rejoins: bool,
    /// Whether a visitor who has no place may be given one: asked just before one is given.
    pub may_join: &'a dyn Fn() -> Result<(), NoPlace>,
}

/// Why a visitor without a place gets none now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoPlace {
    /// The browser has not shown that it keeps cookies, which a place is kept in.
    NoCookie,
    /// Too many joined from the visitor's address; after this time the next may.
    TooManyJoins(Duration),
}

/// What came of it.
#[derive(Debug)]
pub enum Login {
    /// The visitor is in: answer the relying party with this code.
    Granted(LoggedIn),
    /// The visitor waits.
    Waiting(Wait),
    /// The visitor is served and asked to press the button.
    AtTheDoor(Wait),
    /// The visitor has no place and may not have one now.
    NoPlace(NoPlace),
    /// The visitor is served, but the relying party has given this request up: it must start a fresh one.
    TooLate,
    /// The browser holds a place with which another browser, or another of its own requests, opened the session.
    PlaceUsed,
    /// The relying party gets this error.
    Refused(OAuthError),
}

/// A login that succeeded.
#[derive(Debug)]
pub struct LoggedIn {
    /// The authorization code.
    pub code: String,
    /// What the browser must keep from now on instead of the place, if it does not yet.
    pub cookie: Option<String>,
}

/// A visitor in line.
#[derive(Debug)]
pub struct Wait {
    /// Who.
    pub visitor: Visitor,
    /// The place, for the browser to keep.
    pub cookie: String,
    /// How many come before; 0: next, or served.
    pub ahead: u64,
    /// Until when the served visitor may press the button.
    pub deadline: Option<Timestamp>,
    /// What the visitor should be told besides.
    pub notice: Option<Notice>,
}

/// Something that happened to the visitor's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The turn came and passed unused; this is a new place.
    TurnPassed,
    /// The operator began the line anew; this is a new place.
    LineRestarted,
}

/// The answer to `prompt=none` of a browser that holds a place which was used elsewhere.
fn not_here() -> OAuthError {
    OAuthError::new(ErrorCode::LoginRequired, "the visitor is not logged in with this browser")
}

/// A visitor without a session, before the door.
struct Queued {
    visitor: Visitor,
    notice: Option<Notice>,
}

impl Lobby {
    /// Logs in, or tells how far the visitor is from it.
    ///
    /// # Errors
    /// When the store is away: the visitor's place is kept.
    pub async fn log_in(&self, attempt: &Attempt<'_>) -> Result<Login, Fault> {
        let room = self.rooms.get(&attempt.registered.event).ok_or(Fault::Internal("a client without its room"))?;
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
        // A place that was never used for a login is still a place in line: it is kept.
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
            (LoginDecision::Reuse, _) if self.gave_up(attempt) => return Ok(Login::TooLate),
            (LoginDecision::Reuse, None) => return Err(Fault::Internal("a login without a session")),
            (LoginDecision::Reuse, Some((session, (visitor, kind)))) => match (kind, attempt.request.prompt) {
                (CookieKind::Session, _) => return self.grant(attempt, &session, None).await,
                (CookieKind::Place, _)
                    if session.admits_place(attempt.opener.as_ref(), now)
                        && !self.completed_logins.contains(&session.request_id) =>
                {
                    return self.grant(attempt, &session, Some(self.session_cookie(room, &visitor))).await;
                }
                (CookieKind::Place, Prompt::None) => return Ok(Login::Refused(not_here())),
                (CookieKind::Place, _) if !attempt.rejoins => return Ok(Login::PlaceUsed),
                (CookieKind::Place, _) => {}
            },
            (LoginDecision::LineUp, _) => {}
        }
        let queued = match place {
            Some(visitor) => Queued { visitor, notice: None },
            None => match self.join_anew(attempt, room, None).await? {
                Ok(visitor) => Queued { visitor, notice: restarted.then_some(Notice::LineRestarted) },
                Err(reason) => return Ok(Login::NoPlace(reason)),
            },
        };
        self.line_up(attempt, room, queued).await
    }

    /// Lets the visitor in if their place is served.
    async fn line_up(&self, attempt: &Attempt<'_>, room: &Room, mut queued: Queued) -> Result<Login, Fault> {
        for _ in 0..policy::LINE_UP_TRIES {
            let (admission, first_served) = self.admission(room, &queued.visitor).await?;
            match admission {
                Admission::Waiting { ahead } => {
                    return Ok(Login::Waiting(self.wait(room, queued, ahead, None)));
                }
                Admission::Expired => {
                    let notice = self.missed_turn(room, &queued.visitor);
                    match self.join_anew(attempt, room, Some(&queued.visitor)).await? {
                        Ok(visitor) => queued = Queued { visitor, notice },
                        Err(reason) => return Ok(Login::NoPlace(reason)),
                    }
                }
                Admission::Served(_) if self.gave_up(attempt) => return Ok(Login::TooLate),
                Admission::Served(served) if room.settings.entry == Entry::Button && !attempt.enters => {
                    let deadline = room.settings.expiry.deadline(served.ticket().entry, first_served);
                    return Ok(Login::AtTheDoor(self.wait(room, queued, 0, deadline)));
                }
                Admission::Served(served) => match self.enter(attempt, room, &queued.visitor, &served).await {
                    // Reset, given up, or served no more since the look at the counters: look again.
                    Err(Fault::Store(StoreError::Outdated(_))) => {
                        room.board.refresh(&*self.store, &room.settings.id).await?;
                        if self.known(room, queued.visitor.request_id).is_err() {
                            match self.join_anew(attempt, room, Some(&queued.visitor)).await? {
                                Ok(visitor) => queued = Queued { visitor, notice: Some(Notice::LineRestarted) },
                                Err(reason) => return Ok(Login::NoPlace(reason)),
                            }
                        }
                    }
                    // The visitor was in, long ago: this is a new login.
                    Err(Fault::Store(StoreError::SessionOver(_))) => {
                        match self.join_anew(attempt, room, Some(&queued.visitor)).await? {
                            Ok(visitor) => queued = Queued { visitor, notice: None },
                            Err(reason) => return Ok(Login::NoPlace(reason)),
                        }
                    }
                    entered => return entered,
                },
            }
        }
        Err(Fault::Store(StoreError::Outdated(room.settings.id.clone())))
    }

    /// Gives a visitor a place, in exchange for one that is good no more. Tabs of one browser that come at the same time
    /// get the same: the first has it in its cookie only once it is answered.
    async fn join_anew(
        &self,
        attempt: &Attempt<'_>,
        room: &Room,
        former: Option<&Visitor>,
    ) -> Result<Result<Visitor, NoPlace>, Fault> {
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

    /// What a visitor is told whose position is given up. Nothing, if the visitor may have had a session that is
    /// forgotten: where positions do not expire it was so, and a day after joining it may have been.
    fn missed_turn(&self, room: &Room, visitor: &Visitor) -> Option<Notice> {
        let lately = self.now() < visitor.ticket.entry + policy::SESSION_RETENTION;
        (lately && room.settings.expiry != ExpiryRule::Never).then_some(Notice::TurnPassed)
    }

    /// Opens the session of a served visitor.
    async fn enter(
        &self,
        attempt: &Attempt<'_>,
        room: &Room,
        visitor: &Visitor,
        served: &Served,
    ) -> Result<Login, Fault> {
        let event = room.settings.id.clone();
        // A request that cannot be told from others gets a name that no other has: it cannot be repeated.
        let opener = attempt.opener.unwrap_or_else(|| Opener::from_bytes(random(self.entropy())));
        let mut session = served.session(event, visitor.request_id, room.settings.validity);
        session.opener = Some(opener);
        let opened = self.store.open_session(&session).await?;
        room.board.update(opened.counters);
        let now = self.now();
        if !opened.session.is_live(now) {
            // Opened and closed by another tab in the meantime: that login is over.
            Ok(Login::Refused(OAuthError::new(ErrorCode::LoginRequired, "the login has ended")))
        } else if opened.inserted || opened.session.admits_place(Some(&opener), now) {
            self.grant(attempt, &opened.session, Some(self.session_cookie(room, visitor))).await
        } else {
            // Another browser was quicker with a copy of the place, or another tab.
            Ok(Login::PlaceUsed)
        }
    }

    /// Whether a visitor without a session may enter now, and when their position was first served.
    pub(super) async fn admission(
        &self,
        room: &Room,
        visitor: &Visitor,
    ) -> Result<(Admission, Option<Timestamp>), Fault> {
        let position = visitor.ticket.position;
        // Asked only where the answer matters.
        let record = match room.board.counters().serves(position) {
            true => self.store.serving_record_at(&room.settings.id, position).await?,
            false => None,
        };
        let now = self.moment();
        let (view, rule) = (room.board.view(), room.settings.expiry);
        let first_served = record.map(|record| view.served(&record, now));
        let ticket = Ticket { entry: view.entry(&visitor.ticket, now), ..visitor.ticket };
        Ok((Admission::decide(ticket, &view.counters, rule, first_served, now.wall), first_served))
    }

    fn wait(&self, room: &Room, queued: Queued, ahead: u64, deadline: Option<Timestamp>) -> Wait {
        let cookie = self.cookie(room, &queued.visitor);
        Wait { visitor: queued.visitor, cookie, ahead, deadline, notice: queued.notice }
    }

    /// Whether the relying party no longer waits for the answer.
    fn gave_up(&self, attempt: &Attempt<'_>) -> bool {
        attempt.began.is_some_and(|began| self.now().since(began) > attempt.registered.client.login_timeout)
    }

    /// The subject of `id_token_hint`, if it is an ID token of ours (its age does not matter). One that cannot be
    /// verified, because its key is long gone, hints at nothing; with `prompt=none` nobody can be asked instead.
    async fn hinted_subject(
        &self,
        request: &AuthorizationRequest,
    ) -> Result<Result<Option<String>, OAuthError>, Fault> {
        let Some(hint) = &request.id_token_hint else { return Ok(Ok(None)) };
        let subject = self.id_token_subject(hint).await?;
        Ok(if subject.is_none() && request.prompt == Prompt::None {
            Err(OAuthError::new(ErrorCode::LoginRequired, "id_token_hint is not an ID token of this provider"))
        } else {
            Ok(subject)
        })
    }

    /// Gives a code for the session. The store keeps nothing of it, unless the grant is too long for a code.
    async fn grant(&self, attempt: &Attempt<'_>, session: &Session, cookie: Option<String>) -> Result<Login, Fault> {
        let code = Code {
            id: GrantId(random(self.entropy())),
            issued_at: self.now(),
            request_id: session.request_id,
            session_end: session.expires_at,
            grant: Grant::new(&attempt.registered.client, &attempt.reply.redirect, attempt.request),
        };
        let sealed = code.seal(&self.codes, attempt.registered);
        let sealed = sealed.map_err(|_| Fault::Internal("a code that cannot be sealed"))?;
        if let Some(kept) = &sealed.kept {
            self.store.put_long_grant(kept).await?;
        }
        Ok(Login::Granted(LoggedIn { code: sealed.text, cookie }))
    }
}
