//! Session calls for operators and their scripts: `generate_token`, `update_session`, `expired_tokens`,
//! `num_active_tokens`; and `reset_initial_state`, which ends all sessions.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::access::operator;
use crate::lobby::{Caller, Lobby, LobbyError, Overrides};
use crate::oauth::is_issuer;
use crate::policy;
use crate::room::{EventId, Session, SessionStatus};
use crate::store::Closed;
use crate::web::App;
use crate::web::cors::ANY_ORIGIN;
use crate::web::extract::{self, Body, Number, query, room};
use crate::web::public::tokens::{token_answer, visitor};
use crate::web::respond::{Audience, Problem, json_for_operators};

const fn refuse(sentence: &'static str) -> Problem {
    Problem::Rest(StatusCode::BAD_REQUEST, sentence)
}

const fn internal(error: LobbyError) -> Problem {
    Problem::Internal(error, Audience::Rest)
}

#[derive(Deserialize)]
struct TokenRequest {
    event_id: String,
    request_id: String,
    issuer: Option<String>,
    validity_period: Option<Number>,
}

/// `POST /private/generate_token`: as the public call, for tickets of both channels, with an issuer and a validity
/// period of its own.
pub async fn generate_token(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    let operator = operator(&app, &request, &body)?;
    let redeem: TokenRequest = extract::json(body)?;
    let room = room(&app.lobby, &redeem.event_id)?;
    let visitor = visitor(&app, room, &redeem.request_id).await?;
    let overrides = Overrides {
        caller: Caller::Operator,
        issuer: redeem.issuer.map(issuer).transpose()?,
        validity: redeem.validity_period.map(validity).transpose()?,
    };
    let worth_now = app.lobby.generate_token(room, &visitor, overrides).await.map_err(internal)?;
    tracing::info!(operator = operator.name(), event = %room.settings.id, position = %visitor.ticket.position, "tokens were asked for");
    token_answer(worth_now)
}

/// Verifiers of the tokens compare the issuer with an address, or fetch keys from it.
fn issuer(text: String) -> Result<String, Problem> {
    let good = is_issuer(&text) && text.len() <= policy::MAX_ISSUER_BYTES;
    if good {
        Ok(text)
    } else {
        Err(refuse("Invalid issuer: an http or https URL without query and fragment, of 512 bytes at most"))
    }
}

fn validity(Number(seconds): Number) -> Result<Duration, Problem> {
    let duration = u64::try_from(seconds).ok().map(Duration::from_secs);
    duration
        .filter(|duration| !duration.is_zero() && *duration <= policy::MAX_VALIDITY)
        .ok_or_else(|| refuse("Invalid validity period: 1 to 604800 seconds"))
}

#[derive(Deserialize)]
struct Update {
    event_id: String,
    request_id: String,
    status: Number,
}

/// `POST /private/update_session`: completed (1) or abandoned (-1).
pub async fn update_session(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    let operator = operator(&app, &request, &body)?;
    let update: Update = extract::json(body)?;
    let room = room(&app.lobby, &update.event_id)?;
    let request_id = update.request_id.parse().map_err(|_| refuse("Invalid request ID"))?;
    let status = SessionStatus::from_code(update.status.0).filter(|status| *status != SessionStatus::Active);
    let status = status.ok_or_else(|| refuse("Invalid status: 1 (completed) or -1 (abandoned)"))?;
    match app.lobby.close_session(room, &request_id, status, operator.name()).await.map_err(internal)? {
        Closed::Now(_) => Ok(json_for_operators(&json!({}))),
        Closed::Before(_) => Err(Problem::Rest(StatusCode::NOT_FOUND, "The status of this session is already set")),
        Closed::Unknown => Err(Problem::Rest(StatusCode::NOT_FOUND, "This request ID has no session")),
    }
}

/// `GET /private/num_active_tokens?event_id=…`.
pub async fn num_active_tokens(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    #[derive(Serialize)]
    struct Answer {
        active_tokens: u64,
    }
    operator(&app, &request, &body)?;
    let [event_id] = query(&request, ["event_id"]).map_err(|_| refuse("Invalid event ID"))?;
    let room = room(&app.lobby, &event_id)?;
    let active_tokens = app.lobby.active_sessions(room).await.map_err(internal)?;
    Ok(json_for_operators(&Answer { active_tokens }))
}

/// `GET /private/expired_tokens?event_id=…`: all expired sessions, page by page, so that a million need no memory.
pub async fn expired_tokens(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    operator(&app, &request, &body)?;
    let [event_id] = query(&request, ["event_id"]).map_err(|_| refuse("Invalid event ID"))?;
    let event = room(&app.lobby, &event_id)?.settings.id.clone();
    let lobby = Arc::clone(&app.lobby);
    // The first page is read before the answer begins, so that a store that is away can still be reported.
    let first = page(&lobby, &event, None).await.map_err(internal)?;
    if first.len() < policy::EXPIRED_PAGE as usize {
        return Ok(json_for_operators(&first.iter().map(|session| session.request_id).collect::<Vec<_>>()));
    }
    let stream = unfold(Listing::Page(first, "["), move |listing| {
        let (lobby, event) = (Arc::clone(&lobby), event.clone());
        async move { listing.next(&lobby, &event).await }
    });
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((actix_web::http::header::CACHE_CONTROL, "no-store"))
        .insert_header(ANY_ORIGIN)
        .streaming(stream))
}

/// The state of a listing. Between two chunks it keeps only its place, because the reader may be slow.
enum Listing {
    /// A page to write, with the text before it.
    Page(Vec<Session>, &'static str),
    /// The next page is to be read, after this session.
    After(Session),
    End,
}

impl Listing {
    /// The next chunk. If the store fails midway, the answer is aborted, so that it is not mistaken for complete.
    async fn next(self, lobby: &Lobby, event: &EventId) -> Option<(Result<Bytes, actix_web::Error>, Self)> {
        let (mut sessions, before) = match self {
            Self::Page(sessions, before) => (sessions, before),
            Self::After(last) => match page(lobby, event, Some(&last)).await {
                Ok(sessions) => (sessions, ","),
                Err(error) => {
                    tracing::error!(%error, "a listing of sessions was aborted");
                    return Some((Err(actix_web::error::ErrorServiceUnavailable("broken off")), Self::End));
                }
            },
            Self::End => return None,
        };
        let ids: Vec<String> = sessions.iter().map(|session| format!("\"{}\"", session.request_id)).collect();
        let text = format!("{}{}", if ids.is_empty() { "" } else { before }, ids.join(","));
        Some(match sessions.pop() {
            Some(last) => (Ok(text.into()), Self::After(last)),
            None => (Ok("]".into()), Self::End),
        })
    }
}

async fn page(lobby: &Lobby, event: &EventId, last: Option<&Session>) -> Result<Vec<Session>, LobbyError> {
    lobby.expired_sessions(event, last, policy::EXPIRED_PAGE).await
}

#[derive(Deserialize)]
struct Reset {
    event_id: String,
}

/// `POST /private/reset_initial_state`.
pub async fn reset(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    let operator = operator(&app, &request, &body)?;
    let reset: Reset = extract::json(body)?;
    let room = room(&app.lobby, &reset.event_id)?;
    let counters = app.lobby.reset(room).await.map_err(internal)?;
    tracing::warn!(operator = operator.name(), event = %room.settings.id, generation = counters.generation.0, "the event was reset");
    Ok(json_for_operators(&json!({ "message": "Reset completed" })))
}
