//! An EventBridge bus as a sink, with the retired system's event format (`docs/migrating.md`, *Events*).

use async_trait::async_trait;

use super::delivery_worker::Sink;
use super::retry::SinkError;
use crate::ambient::Timestamp;
use crate::aws::{self, Bus, BusEntry, BusError, MissingRegionError};
use crate::config::{EventBridgeConfig, Subscription};
use crate::store::Letter;

/// The `source` of every event.
const SOURCE: &str = "custom.waitingroom";

pub(super) struct EventBridge {
    subscription: Subscription,
    bus: Bus,
}

impl EventBridge {
    pub(super) async fn new(config: &EventBridgeConfig) -> Result<Self, MissingRegionError> {
        let bus = Bus::new(&aws::regional_config().await?, &config.bus, SOURCE);
        Ok(Self { subscription: config.subscription.clone(), bus })
    }
}

#[async_trait]
impl Sink for EventBridge {
    fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    fn batch(&self) -> usize {
        Bus::BATCH
    }

    async fn deliver(&self, letters: &[&Letter], _now: Timestamp) -> Result<Vec<Result<(), SinkError>>, SinkError> {
        let entry =
            |letter: &&Letter| BusEntry { kind: letter.kind.name(), detail: letter.body.clone(), at: letter.at };
        let entries: Vec<BusEntry> = letters.iter().map(entry).collect();
        let outcomes = match self.bus.put(&entries).await {
            // One entry makes the whole call fail: sending each alone finds it.
            Err(error) if error.is_final => self.put_each(&entries).await,
            Err(error) => return Err(sink_error(error)),
            Ok(outcomes) => outcomes,
        };
        Ok(outcomes.into_iter().map(|outcome| outcome.map_err(sink_error)).collect())
    }
}

impl EventBridge {
    async fn put_each(&self, entries: &[BusEntry]) -> Vec<Result<(), BusError>> {
        let mut outcomes = Vec::new();
        for entry in entries {
            let outcome = self.bus.put(std::slice::from_ref(entry)).await;
            outcomes.push(outcome.and_then(|outcomes| outcomes.into_iter().collect()));
        }
        outcomes
    }
}

fn sink_error(error: BusError) -> SinkError {
    if error.is_final { SinkError::Rejected(error.reason) } else { SinkError::Unavailable(error.reason) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::EventKind;

    #[tokio::test]
    async fn an_entry_that_fails_the_whole_call_is_rejected_alone() {
        let invalid = (400, r#"{"__type":"ValidationException","message":"no"}"#);
        let good = (200, r#"{"FailedEntryCount":0,"Entries":[{"EventId":"1"}]}"#);
        let bus = Bus::answering(vec![invalid, good, invalid, good]).await;
        let subscription = Subscription { name: "bus".to_owned(), events: Vec::new(), kinds: Vec::new() };
        let letter = Letter {
            seq: 1,
            event: "Sample".parse().unwrap(),
            at: Timestamp::from_secs(1),
            kind: EventKind::RoomReset,
            body: "{}".to_owned(),
        };
        let outcomes = EventBridge { subscription, bus }.deliver(&[&letter; 3], letter.at).await.unwrap();
        let refused = SinkError::Rejected("ValidationException: no".to_owned());
        assert_eq!(outcomes, [Ok(()), Err(refused), Ok(())]);
    }
}
