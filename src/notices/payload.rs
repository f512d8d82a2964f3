//! The payload of a notice, the same for every sink.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::store::Letter;

/// The notice as JSON: `{"type", "timestamp", "data"}` (Standard Webhooks, *Payload structure*).
pub fn payload(letter: &Letter) -> String {
    #[derive(Serialize)]
    struct Payload<'a> {
        r#type: &'a str,
        timestamp: String,
        data: &'a RawValue,
    }
    let data = serde_json::from_str(&letter.body).unwrap_or(RawValue::NULL);
    let payload = Payload { r#type: letter.kind.name(), timestamp: letter.at.rfc3339(), data };
    serde_json::to_string(&payload).unwrap_or_default()
}
