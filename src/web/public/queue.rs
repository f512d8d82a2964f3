//! `assign_queue_num` and `queue_num`: join through the REST channel, and read one's position.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};

use crate::ambient::Timestamp;
use crate::room::{Door, RequestId};
use crate::web::App;
use crate::web::cors::ANY_ORIGIN;
use crate::web::extract::{Body, json, query, rest_room};
use crate::web::respond::{Audience, Problem};

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The body of `assign_queue_num`.
#[derive(Deserialize)]
struct Join {
    event_id: String,
}

/// `POST /api/assign_queue_num`.
pub async fn assign_queue_num(app: Data<App>, request: HttpRequest, body: Body) -> Result<HttpResponse, Problem> {
    #[derive(Serialize)]
    struct Answer {
        api_request_id: RequestId,
    }
    let join: Join = json(body)?;
    let room = rest_room(&app.lobby, &join.event_id)?;
    app.rate_limits.join(&app.site, &request).map_err(|limit| Problem::RateLimited(limit, Audience::Rest))?;
    let visitor = app.lobby.join(room, Door::Rest).await.map_err(|error| Problem::Internal(error, Audience::Rest))?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, NO_STORE))
        .insert_header(ANY_ORIGIN)
        .json(Answer { api_request_id: visitor.request_id }))
}

// A position never changes, but a reset voids it and caches are not notified: none may answer without revalidation.
const NEVER_STALE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// `GET /api/queue_num?event_id=…&request_id=…`.
pub async fn queue_num(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    #[derive(Serialize)]
    struct Answer<'a> {
        queue_number: u64,
        entry_time: Timestamp,
        event_id: &'a str,
        status: u8,
    }
    let refuse = |sentence| Problem::Rest(StatusCode::BAD_REQUEST, sentence);
    let [event_id, request_id] =
        query(&request, ["event_id", "request_id"]).map_err(|_| refuse("Invalid event or request ID"))?;
    let room = rest_room(&app.lobby, &event_id)?;
    let request_id = request_id.parse().map_err(|_| refuse("Invalid request ID"))?;
    let internal = |error| Problem::Internal(error, Audience::Rest);
    let unknown = |_| Problem::Rest(StatusCode::ACCEPTED, "Request ID not found");
    let visitor = app.lobby.recognise(room, request_id).await.map_err(internal)?.map_err(unknown)?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, NEVER_STALE)).insert_header(ANY_ORIGIN).json(Answer {
        queue_number: visitor.ticket.position.get(),
        entry_time: visitor.ticket.entry,
        event_id: room.settings.id.as_str(),
        status: 1,
    }))
}
