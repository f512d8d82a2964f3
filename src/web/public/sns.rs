//! `POST /inlet/sns`: departures, published on Amazon SNS topics.
//!
//! SNS treats a 4xx as a rejection; it retries after every other status than 2xx, and after 429.

use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName};
use actix_web::web::Data;
use actix_web::{Error, FromRequest, HttpRequest, HttpResponse};
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::aws::sns::{Received, SnsError, UnverifiedMessage};
use crate::lobby::DepartureOutcome;
use crate::policy;
use crate::room::EventId;
use crate::web::App;
use crate::web::departures::{DeparturesMessage, InvalidIds, NO_MESSAGES};
use crate::web::extract::{Body, header_text, room};
use crate::web::respond::{Audience, Problem, json_no_store};

const NO_TOPIC: Problem = Problem::Rest(StatusCode::NOT_FOUND, "No topic is listened to here");
const NO_DEPARTURES: Problem = Problem::Rest(StatusCode::BAD_REQUEST, "What was published does not say who left");
const BODY_TOO_LARGE: Problem = Problem::Rest(StatusCode::BAD_REQUEST, "The body is too large or incomplete");
const UNCONFIRMED: Problem =
    Problem::Rest(StatusCode::SERVICE_UNAVAILABLE, "The subscription cannot be confirmed at the moment");

impl From<SnsError> for Problem {
    fn from(error: SnsError) -> Self {
        let (status, sentence) = match error {
            SnsError::Malformed(sentence) => (StatusCode::BAD_REQUEST, sentence),
            SnsError::Foreign => (StatusCode::FORBIDDEN, "The topic is not one that is listened to"),
            SnsError::Stale => (StatusCode::FORBIDDEN, "The message is too old"),
            SnsError::Forged => (StatusCode::FORBIDDEN, "The message is not signed by Amazon SNS"),
            SnsError::Busy => (StatusCode::TOO_MANY_REQUESTS, "Try again in a few seconds"),
            SnsError::Unverifiable => {
                (StatusCode::SERVICE_UNAVAILABLE, "The signature cannot be checked at the moment")
            }
        };
        Self::Rest(status, sentence)
    }
}

/// The topic of a message, which SNS also sends in a header.
const TOPIC: HeaderName = HeaderName::from_static("x-amz-sns-topic-arn");

/// The body of a message. A body above the limit of other routes is read only if its head names a configured topic, and
/// only a few at a time; most messages are short and are not affected.
pub struct MessageBody {
    body: Body,
    _permit: Option<OwnedSemaphorePermit>,
}

impl FromRequest for MessageBody {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let permit = permit(request);
        let body = permit.is_ok().then(|| Body::from_request(request, payload));
        Box::pin(async move {
            let _permit = permit?;
            Ok(Self { body: body.ok_or(BODY_TOO_LARGE)?.await?, _permit })
        })
    }
}

/// A permit for a large body, if that of `request` needs one.
///
/// # Errors
/// When the body is not read: no topic is configured, or not this one, or every permit is taken.
fn permit(request: &HttpRequest) -> Result<Option<OwnedSemaphorePermit>, Problem> {
    let app = request.app_data::<Data<App>>().filter(|app| !app.topics.is_empty()).ok_or(NO_TOPIC)?;
    let length = header_text(request, &header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    let unknown = request.headers().contains_key(header::TRANSFER_ENCODING);
    if !unknown && length.is_none_or(|length| length <= policy::MAX_BODY) {
        return Ok(None);
    }
    let topic = header_text(request, &TOPIC).filter(|topic| app.topics.contains_key(*topic));
    topic.ok_or(SnsError::Foreign)?;
    Ok(Some(Arc::clone(&app.large_bodies).try_acquire_owned().map_err(|_| SnsError::Busy)?))
}

/// The endpoint.
pub async fn message(app: Data<App>, MessageBody { body, _permit }: MessageBody) -> Result<HttpResponse, Problem> {
    let message = UnverifiedMessage::parse(body.bytes().ok_or(BODY_TOO_LARGE)?)?;
    let (inbox, event) = app.topics.get(message.topic()).ok_or(SnsError::Foreign)?;
    match inbox.verify(message, app.lobby.now()).await? {
        Received::Notification { id, text } => {
            process_departures(&app, event, &text, (&id, &inbox.topic().to_string())).await
        }
        Received::Subscription { confirm } => {
            let topic = inbox.topic();
            inbox.confirm(&confirm).await.map_err(|error| {
                tracing::warn!(%topic, %error, "an SNS subscription cannot be confirmed; SNS retries");
                UNCONFIRMED
            })?;
            tracing::info!(%topic, %event, "the SNS subscription is confirmed");
            Ok(HttpResponse::Ok().finish())
        }
        Received::Unsubscribed => {
            tracing::warn!(topic = %inbox.topic(), %event, "the SNS subscription was ended: no more departures are reported");
            Ok(HttpResponse::Ok().finish())
        }
    }
}

/// A repeated message is harmless: sessions close once, and no more visitors are admitted than there is capacity.
async fn process_departures(
    app: &App,
    event: &EventId,
    text: &str,
    (id, topic): (&str, &str),
) -> Result<HttpResponse, Problem> {
    #[derive(Serialize)]
    struct Answer {
        updated: u64,
        #[serde(flatten)]
        invalid: InvalidIds,
        admitted: u64,
    }
    let departures = DeparturesMessage::parse(text).ok_or(NO_DEPARTURES)?;
    let room = room(&app.lobby, event.as_str())?;
    let (departures, invalid) = departures.read()?;
    let outcome = app.lobby.process_departures(room, departures, topic).await;
    let outcome = outcome.map_err(|error| Problem::Internal(error, Audience::Rest))?.ok_or(NO_MESSAGES)?;
    let DepartureOutcome { updated, admitted, .. } = outcome;
    tracing::info!(message_id = id, %event, updated, admitted, malformed = invalid.count(), "visitors left");
    Ok(json_no_store(&Answer { updated, invalid, admitted }))
}
