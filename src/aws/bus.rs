//! An EventBridge event bus, as one who puts events on it.

use aws_config::SdkConfig;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::error::ProvideErrorMetadata as _;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;

use super::words::brief;
use crate::ambient::Timestamp;

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BusEntry {
    /// `detail-type`.
    pub kind: &'static str,
    /// `detail`: a JSON object.
    pub detail: String,
    /// When it happened.
    pub at: Timestamp,
}

/// Why a bus did not take all that it was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BusError {
    /// How many entries it took before the first that it did not take.
    pub taken: usize,
    /// What it said; for the log.
    pub reason: String,
    /// Whether that one is refused for what it is, so that sending it again is of no use.
    pub is_final: bool,
}

/// A bus.
pub struct Bus {
    client: Client,
    name: String,
    source: &'static str,
}

impl Bus {
    /// Most entries of one call (`PutEvents`).
    pub const BATCH: usize = 10;

    /// The bus with this name or ARN; what is put on it comes from `source`.
    pub fn new(config: &SdkConfig, name: &str, source: &'static str) -> Self {
        Self { client: Client::new(config), name: name.to_owned(), source }
    }

    /// Puts `entries`, [`Bus::BATCH`] at most, on the bus.
    ///
    /// # Errors
    /// How far it got, and what the bus said of the first entry that it did not take. Entries after that one may have
    /// been taken: sent again, they come twice.
    pub async fn put(&self, entries: &[BusEntry]) -> Result<(), BusError> {
        let nothing = |reason: String, is_final| BusError { taken: 0, reason, is_final };
        let entries = entries.iter().map(|entry| self.entry(entry)).collect();
        let sent = self.client.put_events().set_entries(Some(entries)).send().await.map_err(|error| {
            let invalid = matches!(error.code(), Some("ValidationException" | "ValidationError"));
            nothing(brief(&error), invalid)
        })?;
        let refused =
            sent.entries().iter().enumerate().find_map(|(taken, entry)| Some((taken, entry.error_code()?, entry)));
        match refused {
            None => Ok(()),
            Some((taken, code, entry)) => {
                let reason = format!("{code}: {}", entry.error_message().unwrap_or_default());
                Err(BusError { taken, reason, is_final: is_final(code) })
            }
        }
    }

    fn entry(&self, entry: &BusEntry) -> PutEventsRequestEntry {
        let time = DateTime::from_secs(i64::try_from(entry.at.as_secs()).unwrap_or(i64::MAX));
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.name)
            .source(self.source)
            .detail_type(entry.kind)
            .detail(&entry.detail)
            .time(time)
            .build()
    }
}

/// Whether an entry that failed with `code` (EventBridge API, *PutEventsResultEntry*) fails because of what it says.
fn is_final(code: &str) -> bool {
    // A lack of rights is not the entry's fault: an operator mends it, and nothing is lost meanwhile.
    matches!(code, "InvalidArgument" | "MalformedDetail" | "RedactionFailure")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_with_the_entry_itself_is_final() {
        assert!(is_final("MalformedDetail") && is_final("InvalidArgument"));
        assert!(!is_final("ThrottlingException") && !is_final("InternalFailure") && !is_final("InternalException"));
    }
}
