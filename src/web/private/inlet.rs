//! `POST /private/inlet`: departures that a site reports, in the format of the retired system's inlet.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::access::operator;
use crate::lobby::DepartureOutcome;
use crate::room::RequestId;
use crate::web::App;
use crate::web::departures::{DeparturesMessage, InvalidIds, NO_MESSAGES};
use crate::web::extract::{Body, json, room};
use crate::web::respond::{Audience, Problem, json_for_operators};

/// The endpoint.
pub async fn departures(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    #[derive(Serialize)]
    struct Answer {
        serving_num: u64,
        updated: u64,
        skipped: Vec<RequestId>,
        #[serde(flatten)]
        invalid: InvalidIds,
        admitted: u64,
    }
    let operator = operator(&app, &request, &body)?;
    let message: DeparturesMessage<String> = json(body)?;
    let room = room(&app.lobby, &message.event_id)?;
    let (departures, invalid) = message.read()?;
    let outcome = app.lobby.process_departures(room, departures, operator.name()).await;
    let outcome = outcome.map_err(|error| Problem::Internal(error, Audience::Rest))?;
    let DepartureOutcome { counters, updated, skipped, admitted } = outcome.ok_or(NO_MESSAGES)?;
    let (operator, event, malformed) = (operator.name(), &room.settings.id, invalid.count());
    tracing::info!(operator, %event, updated, admitted, malformed, "visitors left");
    Ok(json_for_operators(&Answer { serving_num: counters.serving, updated, skipped, invalid, admitted }))
}
