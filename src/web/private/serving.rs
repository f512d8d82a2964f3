//! `increment_serving_counter`: moves the serving counter.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};

use super::access::operator;
use crate::lobby::AdvanceError;
use crate::web::App;
use crate::web::extract::{Body, Number, json, room};
use crate::web::respond::{Audience, Problem, json_for_operators};

#[derive(Deserialize)]
struct Increment {
    event_id: String,
    increment_by: Number,
}

/// `POST /private/increment_serving_counter` (and `increment_serving_num`).
pub async fn increment(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    #[derive(Serialize)]
    struct Answer {
        serving_num: u64,
    }
    let operator = operator(&app, &request, &body)?;
    let increment: Increment = json(body)?;
    let room = room(&app.lobby, &increment.event_id)?;
    let by = increment.increment_by.0;
    match app.lobby.advance(room, by).await {
        Ok(counters) => {
            tracing::info!(operator = operator.name(), event = %room.settings.id, by, serving = counters.serving, "the serving counter was moved");
            let answer = Answer { serving_num: counters.serving };
            Ok(json_for_operators(&answer))
        }
        Err(AdvanceError::OutOfRange) => Err(Problem::Rest(
            StatusCode::BAD_REQUEST,
            "The serving counter would fall below 0 or rise above 9223372036854775807",
        )),
        Err(AdvanceError::Internal(error)) => Err(Problem::Internal(error, Audience::Rest)),
    }
}
