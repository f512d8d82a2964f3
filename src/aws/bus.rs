//! A client of an EventBridge event bus.

use aws_config::SdkConfig;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::error::ProvideErrorMetadata as _;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::{PutEventsRequestEntry, PutEventsResultEntry};

use super::error_text::{describe, one_line};
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

/// Why a bus did not accept an entry, or a whole call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BusError {
    /// Its message, in a line.
    pub reason: String,
    /// Whether the entry itself is at fault, so that a retry is of no use.
    pub is_final: bool,
}

/// A bus.
pub struct Bus {
    client: Client,
    name: String,
    source: &'static str,
}

impl Bus {
    /// The most entries of one call (`PutEvents`).
    pub const BATCH: usize = 10;

    /// The bus with this name or ARN; its entries carry `source`.
    pub fn new(config: &SdkConfig, name: &str, source: &'static str) -> Self {
        Self { client: Client::new(config), name: name.to_owned(), source }
    }

    /// Puts `entries`, [`Bus::BATCH`] at most, on the bus. Returns the outcome of each.
    ///
    /// # Errors
    /// When the whole call failed.
    pub async fn put(&self, entries: &[BusEntry]) -> Result<Vec<Result<(), BusError>>, BusError> {
        let sent = entries.iter().map(|entry| self.entry(entry)).collect();
        let answer = self.client.put_events().set_entries(Some(sent)).send().await.map_err(|error| BusError {
            reason: describe(&error),
            is_final: matches!(error.code(), Some("ValidationException" | "ValidationError")),
        })?;
        if answer.entries().len() != entries.len() {
            let reason = format!("it answered for {} of {} entries", answer.entries().len(), entries.len());
            return Err(BusError { reason, is_final: false });
        }
        Ok(answer.entries().iter().map(outcome).collect())
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

fn outcome(entry: &PutEventsResultEntry) -> Result<(), BusError> {
    let Some(code) = entry.error_code() else { return Ok(()) };
    let reason = one_line(&format!("{code}: {}", entry.error_message().unwrap_or_default()));
    Err(BusError { reason, is_final: is_final(code) })
}

/// Whether an entry that failed with `code` (EventBridge API, *PutEventsResultEntry*) is itself at fault.
fn is_final(code: &str) -> bool {
    // Missing permissions are not the entry's fault: an operator can grant them, and nothing is lost meanwhile.
    matches!(code, "InvalidArgument" | "MalformedDetail" | "RedactionFailure")
}

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, Region};
    use aws_sdk_eventbridge::config::{Credentials, SharedCredentialsProvider};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    impl Bus {
        /// A bus that answers each call with the next of these answers.
        pub(crate) async fn answering(answers: Vec<(u16, &'static str)>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let config = SdkConfig::builder()
                .behavior_version(BehaviorVersion::v2026_01_12())
                .http_client(crate::aws::http_client())
                .region(Region::new("eu-central-1"))
                .credentials_provider(SharedCredentialsProvider::new(Credentials::for_tests()))
                .endpoint_url(format!("http://{}", listener.local_addr().unwrap()));
            tokio::spawn(async move {
                for (status, body) in answers {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let _ = stream.read(&mut [0; 8192]).await.unwrap();
                    let head =
                        format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
                }
            });
            Self::new(&config.build(), "default", "test")
        }
    }

    #[test]
    fn only_errors_of_the_entry_itself_are_final() {
        assert!(is_final("MalformedDetail") && is_final("InvalidArgument"));
        assert!(!is_final("ThrottlingException") && !is_final("InternalFailure") && !is_final("InternalException"));
    }

    /// The result of putting two entries on a bus with this answer.
    async fn put(status: u16, body: &'static str) -> Result<Vec<Result<(), BusError>>, BusError> {
        let entry = BusEntry { kind: "room_reset", detail: "{}".to_owned(), at: Timestamp::from_secs(1) };
        Bus::answering(vec![(status, body)]).await.put(&[entry.clone(), entry]).await
    }

    #[tokio::test]
    async fn each_entry_has_its_own_outcome() {
        let answer = r#"{"FailedEntryCount":1,"Entries":[{"ErrorCode":"ThrottlingException","ErrorMessage":"slow\ndown"},{"EventId":"1"}]}"#;
        let slow = BusError { reason: "ThrottlingException: slow down".to_owned(), is_final: false };
        assert_eq!(put(200, answer).await, Ok(vec![Err(slow), Ok(())]));
        let invalid = put(400, r#"{"__type":"ValidationException","message":"no"}"#).await;
        assert_eq!(invalid, Err(BusError { reason: "ValidationException: no".to_owned(), is_final: true }));
    }

    #[tokio::test]
    async fn an_answer_with_the_wrong_number_of_entries_is_an_error() {
        for answer in [r#"{"FailedEntryCount":0,"Entries":[{"EventId":"1"}]}"#, r#"{"FailedEntryCount":0}"#] {
            let error = put(200, answer).await.unwrap_err();
            assert!(!error.is_final && error.reason.ends_with("of 2 entries"), "{error:?}");
        }
    }
}
