//! The message of the retired system's inlet: who left the site (`docs/operators.md`, *Inlets*).

use actix_web::http::StatusCode;
use serde::Deserialize;

use super::extract::Number;
use super::respond::Problem;
use crate::lobby::Exits;
use crate::room::RequestId;
use crate::text::unmarked;

/// The message as it is written. `null` is the same as nothing.
#[derive(Deserialize)]
pub struct ExitsMessage {
    exited: Option<Number>,
    completed: Option<Vec<String>>,
    abandoned: Option<Vec<String>>,
}

/// The inlet does not count who is inside.
pub const NO_MESSAGES: Problem = Problem::Rest(StatusCode::BAD_REQUEST, "The inlet of this event takes no messages");

impl ExitsMessage {
    /// The message in `text`, which must be a JSON object.
    pub fn parse(text: &str) -> Option<Self> {
        let text = unmarked(text);
        // Serde would fill the members from an array too.
        let is_object = text.trim_ascii_start().starts_with('{');
        is_object.then(|| serde_json::from_str(text).ok()).flatten()
    }

    /// What it says, understood as a whole before any of it is done.
    ///
    /// # Errors
    /// 400 for what is no number of visitors and no request ID.
    pub fn read(&self) -> Result<Exits, Problem> {
        let refuse = |sentence| Problem::Rest(StatusCode::BAD_REQUEST, sentence);
        let exited = self.exited.map(|Number(number)| u64::try_from(number)).transpose();
        Ok(Exits {
            exited: exited.map_err(|_| refuse("Invalid number of visitors who exited"))?,
            completed: ids(self.completed.as_deref())?,
            abandoned: ids(self.abandoned.as_deref())?,
        })
    }
}

fn ids(texts: Option<&[String]>) -> Result<Vec<RequestId>, Problem> {
    let parsed: Result<_, _> = texts.unwrap_or_default().iter().map(|text| text.parse()).collect();
    parsed.map_err(|_| Problem::Rest(StatusCode::BAD_REQUEST, "Invalid request ID"))
}
