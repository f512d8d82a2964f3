//! The message of the retired system's inlet: who left the site (`vwr-contract.md`, *Inlet strategies*).

use actix_web::http::StatusCode;
use serde::Deserialize;

use super::extract::Number;
use super::respond::Problem;
use crate::lobby::Exits;
use crate::room::RequestId;

/// The message as it is written.
#[derive(Deserialize)]
pub struct ExitsMessage {
    exited: Option<Number>,
    #[serde(default)]
    completed: Vec<String>,
    #[serde(default)]
    abandoned: Vec<String>,
}

/// The inlet does not count who is inside.
pub const NO_MESSAGES: Problem = Problem::Rest(StatusCode::BAD_REQUEST, "The inlet of this event takes no messages");

impl ExitsMessage {
    /// What it says, understood as a whole before any of it is done.
    ///
    /// # Errors
    /// 400 for what is no number of visitors and no request ID.
    pub fn read(&self) -> Result<Exits, Problem> {
        let refuse = |sentence| Problem::Rest(StatusCode::BAD_REQUEST, sentence);
        let exited = self.exited.map(|Number(number)| u64::try_from(number)).transpose();
        Ok(Exits {
            exited: exited.map_err(|_| refuse("Invalid number of visitors who exited"))?,
            completed: ids(&self.completed)?,
            abandoned: ids(&self.abandoned)?,
        })
    }
}

fn ids(texts: &[String]) -> Result<Vec<RequestId>, Problem> {
    let parsed: Result<_, _> = texts.iter().map(|text| text.parse()).collect();
    parsed.map_err(|_| Problem::Rest(StatusCode::BAD_REQUEST, "Invalid request ID"))
}
