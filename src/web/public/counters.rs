//! `serving_num` and `waiting_num`: the counters, from memory.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use crate::lobby::Room;
use crate::web::App;
use crate::web::cors::ANY_ORIGIN;
use crate::web::extract::{query, room};
use crate::web::respond::Problem;

/// Short enough to be current, long enough for a CDN to absorb a rush.
const A_SECOND: HeaderValue = HeaderValue::from_static("public, max-age=1, stale-while-revalidate=4");

/// `GET /api/serving_num?event_id=…`.
pub async fn serving_num(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    #[derive(Serialize)]
    struct Answer {
        serving_counter: u64,
    }
    let counters = room_of_query(&app, &request)?.cache.counters();
    Ok(fresh_for_a_second(&Answer { serving_counter: counters.serving }))
}

/// `GET /api/waiting_num?event_id=…`.
pub async fn waiting_num(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    #[derive(Serialize)]
    struct Answer {
        waiting_num: u64,
    }
    let counters = room_of_query(&app, &request)?.cache.counters();
    Ok(fresh_for_a_second(&Answer { waiting_num: counters.waiting() }))
}

/// The room that the query names.
pub(super) fn room_of_query<'a>(app: &'a App, request: &HttpRequest) -> Result<&'a Room, Problem> {
    let [event_id] =
        query(request, ["event_id"]).map_err(|_| Problem::Rest(StatusCode::BAD_REQUEST, "Invalid event ID"))?;
    room(&app.lobby, &event_id)
}

fn fresh_for_a_second(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, A_SECOND)).insert_header(ANY_ORIGIN).json(body)
}
