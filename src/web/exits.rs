//! The message of the retired system's inlet: who left the site (`docs/operators.md`, *Inlets*).

use std::borrow::Cow;

use actix_web::http::StatusCode;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::extract::Number;
use super::respond::Problem;
use crate::lobby::Departures;
use crate::policy;
use crate::room::RequestId;
use crate::text::unmarked;

/// The message as it is written. `null` is the same as nothing. Where it does not name its event, that is left out.
#[derive(Deserialize)]
pub struct ExitsMessage<Event = IgnoredAny> {
    /// The event that they left.
    #[serde(default)]
    pub event_id: Event,
    exited: Option<Number>,
    // Read one by one: what JSON allows and no text or number can hold (half a surrogate pair, 1e400) is one bad entry.
    completed: Option<Vec<Box<RawValue>>>,
    abandoned: Option<Vec<Box<RawValue>>>,
}

/// What stood in a message in the place of request IDs and is none: it ends nothing, and stops nothing.
#[derive(Serialize, Debug, Default)]
pub struct Invalid {
    #[serde(rename = "invalid_count", skip_serializing_if = "is_none")]
    count: usize,
    /// The first of them, as they were sent or as their JSON; long ones cut short.
    #[serde(rename = "invalid", skip_serializing_if = "Vec::is_empty")]
    named: Vec<String>,
}

const fn is_none(count: &usize) -> bool {
    *count == 0
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
}

impl<Event> ExitsMessage<Event> {
    /// What it says, understood as a whole before any of it is done, and what of its lists is no request ID.
    ///
    /// # Errors
    /// 400 for what is no number of visitors.
    pub fn read(&self) -> Result<(Departures, Invalid), Problem> {
        let refuse = |sentence| Problem::Rest(StatusCode::BAD_REQUEST, sentence);
        let exited = self.exited.map(|Number(number)| u64::try_from(number)).transpose();
        let mut invalid = Invalid::default();
        let exits = Departures {
            exited: exited.map_err(|_| refuse("Invalid number of visitors who exited"))?,
            completed: invalid.sort_out(self.completed.as_deref()),
            abandoned: invalid.sort_out(self.abandoned.as_deref()),
        };
        Ok((exits, invalid))
    }
}

impl Invalid {
    /// How many there were. For the log: what they are may be somebody's secret.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The request IDs of a list.
    fn sort_out(&mut self, sent: Option<&[Box<RawValue>]>) -> Vec<RequestId> {
        let ids = sent.unwrap_or_default().iter().filter_map(|value| {
            let text: Option<Cow<'_, str>> = serde_json::from_str(value.get()).ok();
            let id = text.as_deref().and_then(|text| text.parse().ok());
            id.or_else(|| self.note(text.as_deref().unwrap_or(value.get())))
        });
        ids.collect()
    }

    fn note(&mut self, name: &str) -> Option<RequestId> {
        self.count += 1;
        if self.named.len() < policy::INVALID_IDS_NAMED {
            self.named.push(name.chars().take(policy::INVALID_ID_SHOWN).collect());
        }
        None
    }
}
