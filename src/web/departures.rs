//! The message of the retired system's inlet: visitors who left the site (`docs/operators.md`, *Inlets*).

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

/// The message as sent. `null` is the same as a missing member. `Event` is ignored where the message does not name its
/// event.
#[derive(Deserialize)]
pub struct DeparturesMessage<Event = IgnoredAny> {
    /// The event that the visitors left.
    #[serde(default)]
    pub event_id: Event,
    exited: Option<Number>,
    // Parsed one by one: valid JSON that no text or number can hold (half a surrogate pair, 1e400) makes one invalid
    // entry.
    completed: Option<Vec<Box<RawValue>>>,
    abandoned: Option<Vec<Box<RawValue>>>,
}

/// Entries of a message that are not request IDs: they are reported and otherwise ignored.
#[derive(Serialize, Debug, Default)]
pub struct InvalidIds {
    #[serde(rename = "invalid_count", skip_serializing_if = "is_none")]
    count: usize,
    /// The first of them, as sent or as JSON, truncated.
    #[serde(rename = "invalid", skip_serializing_if = "Vec::is_empty")]
    named: Vec<String>,
}

const fn is_none(count: &usize) -> bool {
    *count == 0
}

/// The event's inlet does not count occupancy.
pub const NO_MESSAGES: Problem = Problem::Rest(StatusCode::BAD_REQUEST, "The inlet of this event takes no messages");

impl DeparturesMessage {
    /// Parses the message in `text`, which must be a JSON object.
    pub fn parse(text: &str) -> Option<Self> {
        let text = unmarked(text);
        // Serde would accept an array as well.
        let is_object = text.trim_ascii_start().starts_with('{');
        is_object.then(|| serde_json::from_str(text).ok()).flatten()
    }
}

impl<Event> DeparturesMessage<Event> {
    /// Validates the whole message before any of it is applied. Returns the departures and the invalid entries.
    ///
    /// # Errors
    /// 400 for an invalid number of visitors.
    pub fn read(&self) -> Result<(Departures, InvalidIds), Problem> {
        let refuse = |sentence| Problem::Rest(StatusCode::BAD_REQUEST, sentence);
        let exited = self.exited.map(|Number(number)| u64::try_from(number)).transpose();
        let mut invalid = InvalidIds::default();
        let departures = Departures {
            exited: exited.map_err(|_| refuse("Invalid number of visitors who exited"))?,
            completed: invalid.parse_ids(self.completed.as_deref()),
            abandoned: invalid.parse_ids(self.abandoned.as_deref()),
        };
        Ok((departures, invalid))
    }
}

impl InvalidIds {
    /// The number of invalid entries. For the log, because the entries themselves may be secrets.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The request IDs of a list.
    fn parse_ids(&mut self, sent: Option<&[Box<RawValue>]>) -> Vec<RequestId> {
        let ids = sent.unwrap_or_default().iter().filter_map(|value| {
            let text: Option<Cow<'_, str>> = serde_json::from_str(value.get()).ok();
            let id = text.as_deref().and_then(|text| text.parse().ok());
            id.or_else(|| self.record(text.as_deref().unwrap_or(value.get())))
        });
        ids.collect()
    }

    fn record(&mut self, name: &str) -> Option<RequestId> {
        self.count += 1;
        if self.named.len() < policy::INVALID_IDS_NAMED {
            self.named.push(name.chars().take(policy::INVALID_ID_SHOWN).collect());
        }
        None
    }
}
