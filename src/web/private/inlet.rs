//! `POST /private/inlet`: what the site tells of visitors who left, in the words of the retired system's inlet.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::access::operator;
use crate::lobby::DepartureOutcome;
use crate::room::RequestId;
use crate::web::App;
use crate::web::exits::{ExitsMessage, Invalid, NO_MESSAGES};
use crate::web::extract::{Body, json, room};
use crate::web::respond::{Audience, Problem, json_for_operators};

/// The endpoint.
pub async fn exits(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    #[derive(Serialize)]
    struct Answer {
        serving_num: u64,
        updated: u64,
        skipped: Vec<RequestId>,
        #[serde(flatten)]
        invalid: Invalid,
        admitted: u64,
    }
    let operator = operator(&app, &request, &body)?;
    let message: ExitsMessage<String> = json(body)?;
    let room = room(&app.lobby, &message.event_id)?;
    let (exits, invalid) = message.read()?;
    let noted = app.lobby.process_departures(room, exits, operator.name()).await;
    let noted = noted.map_err(|fault| Problem::Internal(fault, Audience::Rest))?;
    let DepartureOutcome { counters, updated, skipped, admitted } = noted.ok_or(NO_MESSAGES)?;
    let (operator, event, malformed) = (operator.name(), &room.settings.id, invalid.count());
    tracing::info!(operator, %event, updated, admitted, malformed, "visitors left");
    Ok(json_for_operators(&Answer { serving_num: counters.serving, updated, skipped, invalid, admitted }))
}
