//! `generate_token`, `queue_pos_expiry`, `public_key`: tokens for a ticket, its expiry, and the key that verifies the
//! tokens.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};

use super::counters::room_of_query;
use crate::keys::KeyUse;
use crate::lobby::{Overrides, Remaining, Room, TokenOutcome, Visitor};
use crate::room::{Door, PublicTokens};
use crate::web::App;
use crate::web::cors::ANY_ORIGIN;
use crate::web::extract::{Body, json, query, rest_room};
use crate::web::respond::{Audience, Problem};

/// Verifiers that refresh less often use the JWK Set, which has the next key a day before it signs.
const FIVE_MINUTES: HeaderValue = HeaderValue::from_static("public, max-age=300");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The body of `generate_token`.
#[derive(Deserialize)]
struct TokenRequest {
    event_id: String,
    request_id: String,
}

/// `POST /api/generate_token`.
pub async fn generate_token(app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    let body: TokenRequest = json(body)?;
    let room = rest_room(&app.lobby, &body.event_id)?;
    if room.settings.public_tokens == PublicTokens::Withheld {
        return Err(Problem::Rest(StatusCode::FORBIDDEN, "This event gives no tokens here"));
    }
    let visitor = visitor(&app, room, &body.request_id).await?;
    if visitor.ticket.door == Door::Login {
        return Err(Problem::Rest(StatusCode::BAD_REQUEST, "The tokens of this request ID come from the login alone"));
    }
    token_answer(app.lobby.generate_token(room, &visitor, Overrides::default()).await.map_err(internal)?)
}

/// The answer to `generate_token`, the public one and the private.
pub fn token_answer(outcome: TokenOutcome) -> Result<HttpResponse, Problem> {
    match outcome {
        TokenOutcome::Tokens(tokens) => Ok(answer(NO_STORE, &tokens)),
        TokenOutcome::Waiting => Err(NOT_SERVED),
        TokenOutcome::Expired => Err(EXPIRED),
        TokenOutcome::Reset => Err(UNKNOWN),
        TokenOutcome::Ended => Err(Problem::Rest(StatusCode::GONE, "Token corresponding to request id has expired")),
    }
}

/// `GET /api/queue_pos_expiry?event_id=…&request_id=…`.
pub async fn queue_pos_expiry(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    #[derive(Serialize)]
    struct Answer {
        expires_in: u64,
    }
    let [event_id, request_id] = query(&request, ["event_id", "request_id"])
        .map_err(|_| Problem::Rest(StatusCode::BAD_REQUEST, "Invalid event or request ID"))?;
    let room = rest_room(&app.lobby, &event_id)?;
    let visitor = visitor(&app, room, &request_id).await?;
    match app.lobby.remaining(room, &visitor).await.map_err(internal)? {
        Remaining::Time(time) => Ok(answer(NO_STORE, &Answer { expires_in: time.as_secs() })),
        Remaining::NotServed => Err(NOT_SERVED),
        Remaining::NoExpiry => Err(Problem::Rest(StatusCode::ACCEPTED, "Queue position expiry not enabled")),
        Remaining::Used => Err(Problem::Rest(StatusCode::ACCEPTED, "Queue position was used and does not expire")),
        Remaining::Expired => Err(EXPIRED),
    }
}

/// `GET /api/public_key?event_id=…`: the key that signs the tokens of this API.
pub async fn public_key(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    room_of_query(&app, &request)?;
    Ok(answer(FIVE_MINUTES, app.lobby.keys().key_ring().public_jwk(KeyUse::Rest)))
}

const NOT_SERVED: Problem = Problem::Rest(StatusCode::ACCEPTED, "Request ID not being served yet");
const UNKNOWN: Problem = Problem::Rest(StatusCode::NOT_FOUND, "Request ID not found");
const EXPIRED: Problem = Problem::Rest(StatusCode::GONE, "Queue position has expired");

/// The visitor that a call names.
///
/// # Errors
/// 400 for a malformed request ID, 404 for one that was not issued since the last reset, 503 when the store is needed
/// and away.
pub async fn visitor(app: &App, room: &Room, request_id: &str) -> Result<Visitor, Problem> {
    let request_id = request_id.parse().map_err(|_| Problem::Rest(StatusCode::BAD_REQUEST, "Invalid request ID"))?;
    app.lobby.recognise(room, request_id).await.map_err(internal)?.map_err(|_| UNKNOWN)
}

fn answer(caching: HeaderValue, body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, caching)).insert_header(ANY_ORIGIN).json(body)
}

fn internal(error: crate::lobby::LobbyError) -> Problem {
    Problem::Internal(error, Audience::Rest)
}
