//! `POST /inlet/sns`: the messages of Amazon SNS topics that tell who left.
//!
//! SNS counts a 4xx as a refusal and everything else but a 2xx as a reason to try again, 429 included.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use serde::Serialize;

use crate::aws::sns::{Received, Rejection, Unproven};
use crate::lobby::Refilled;
use crate::room::EventId;
use crate::web::App;
use crate::web::exits::{ExitsMessage, NO_MESSAGES};
use crate::web::extract::{Body, room};
use crate::web::respond::{Audience, Problem, json_no_store};

const NO_EXITS: Problem = Problem::Rest(StatusCode::BAD_REQUEST, "What was published does not say who left");
const BODY_TOO_LARGE: Problem = Problem::Rest(StatusCode::BAD_REQUEST, "The body is too large or incomplete");
const UNCONFIRMED: Problem =
    Problem::Rest(StatusCode::SERVICE_UNAVAILABLE, "The subscription cannot be confirmed at the moment");

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let (status, sentence) = match rejection {
            Rejection::Malformed(sentence) => (StatusCode::BAD_REQUEST, sentence),
            Rejection::Foreign => (StatusCode::FORBIDDEN, "The topic is not one that is listened to"),
            Rejection::Stale => (StatusCode::FORBIDDEN, "The message is too old"),
            Rejection::Forged => (StatusCode::FORBIDDEN, "The message is not signed by Amazon SNS"),
            Rejection::Busy => (StatusCode::TOO_MANY_REQUESTS, "Try again in a few seconds"),
            Rejection::Unverifiable(reason) => {
                tracing::warn!(reason, "the signature of an SNS message cannot be checked");
                (StatusCode::SERVICE_UNAVAILABLE, "The signature cannot be checked at the moment")
            }
        };
        Self::Rest(status, sentence)
    }
}

/// The endpoint.
pub async fn message(app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    let message = Unproven::parse(body.bytes().ok_or(BODY_TOO_LARGE)?)?;
    let (inbox, event) = app.topics.get(message.topic()).ok_or(Rejection::Foreign)?;
    match inbox.prove(message, app.lobby.now()).await? {
        Received::Notification { id, text } => note_exits(&app, event, &id, &text).await,
        Received::Subscription { confirm } => {
            let topic = inbox.topic();
            inbox.confirm(&confirm).await.map_err(|error| {
                tracing::warn!(%topic, %error, "a subscription cannot be confirmed");
                UNCONFIRMED
            })?;
            tracing::info!(%topic, %event, "the subscription is confirmed");
            Ok(HttpResponse::Ok().finish())
        }
        Received::Unsubscribed => {
            tracing::warn!(topic = %inbox.topic(), %event, "the subscription was ended: nobody tells who left any more");
            Ok(HttpResponse::Ok().finish())
        }
    }
}

/// A message that comes twice does no harm: sessions end once, and nobody is let in beyond the free places.
async fn note_exits(app: &App, event: &EventId, id: &str, text: &str) -> Result<HttpResponse, Problem> {
    #[derive(Serialize)]
    struct Answer {
        updated: u64,
        admitted: u64,
    }
    let exits: ExitsMessage = serde_json::from_str(text).map_err(|_| NO_EXITS)?;
    let room = room(&app.lobby, event.as_str())?;
    let noted = app.lobby.note_exits(room, exits.read()?).await;
    let noted = noted.map_err(|fault| Problem::Fault(fault, Audience::Rest))?.ok_or(NO_MESSAGES)?;
    let Refilled { updated, admitted, .. } = noted;
    tracing::info!(message = id, %event, updated, admitted, "visitors left");
    Ok(json_no_store(&Answer { updated, admitted }))
}
