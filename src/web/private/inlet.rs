//! `POST /private/inlet`: what the site tells of visitors who left, in the words of the retired system's inlet.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};

use super::access::operator;
use crate::lobby::{Exits, Refilled};
use crate::room::RequestId;
use crate::web::App;
use crate::web::extract::{Body, Number, json, room};
use crate::web::respond::{Audience, Problem, json_for_operators};

#[derive(Deserialize)]
struct Message {
    event_id: String,
    exited: Option<Number>,
    #[serde(default)]
    completed: Vec<String>,
    #[serde(default)]
    abandoned: Vec<String>,
}

/// The endpoint. The whole message is understood before any of it is done.
pub async fn exits(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    #[derive(Serialize)]
    struct Answer {
        serving_num: u64,
        updated: u64,
        skipped: Vec<RequestId>,
        admitted: u64,
    }
    let refuse = |sentence| Problem::Rest(StatusCode::BAD_REQUEST, sentence);
    let operator = operator(&app, &request, &body)?;
    let message: Message = json(body)?;
    let room = room(&app.lobby, &message.event_id)?;
    let exited = message.exited.map(|Number(number)| u64::try_from(number)).transpose();
    let exits = Exits {
        exited: exited.map_err(|_| refuse("Invalid number of visitors who exited"))?,
        completed: ids(&message.completed)?,
        abandoned: ids(&message.abandoned)?,
    };
    let noted = app.lobby.note_exits(room, exits).await.map_err(|fault| Problem::Fault(fault, Audience::Rest))?;
    let Refilled { counters, updated, skipped, admitted } =
        noted.ok_or_else(|| refuse("The inlet of this event takes no messages"))?;
    tracing::info!(operator = operator.name(), event = %room.settings.id, updated, admitted, "visitors left");
    Ok(json_for_operators(&Answer { serving_num: counters.serving, updated, skipped, admitted }))
}

fn ids(texts: &[String]) -> Result<Vec<RequestId>, Problem> {
    let parsed: Result<_, _> = texts.iter().map(|text| text.parse()).collect();
    parsed.map_err(|_| Problem::Rest(StatusCode::BAD_REQUEST, "Invalid request ID"))
}
