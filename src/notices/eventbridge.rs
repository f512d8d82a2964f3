//! A sink on AWS: an EventBridge bus, in the words of the retired system (`docs/migrating.md`, *Events*).

use async_trait::async_trait;

use super::courier::Sink;
use super::trouble::Refusal;
use crate::ambient::Timestamp;
use crate::aws::{self, Bus, BusEntry, BusError, NoRegion};
use crate::config::{EventBridgeConfig, Subscription};
use crate::store::Letter;

/// The `source` of every event.
const SOURCE: &str = "custom.waitingroom";

pub(super) struct EventBridge {
    subscription: Subscription,
    bus: Bus,
}

impl EventBridge {
    pub(super) async fn new(config: &EventBridgeConfig) -> Result<Self, NoRegion> {
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

    async fn deliver(&self, letters: &[&Letter], _now: Timestamp) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        let entry =
            |letter: &&Letter| BusEntry { kind: letter.kind.name(), detail: letter.body.clone(), at: letter.at };
        let entries: Vec<BusEntry> = letters.iter().map(entry).collect();
        let outcomes = match self.bus.put(&entries).await {
            // One of them spoils the call: which one shows when each comes alone.
            Err(error) if error.is_final => self.put_each(&entries).await,
            Err(error) => return Err(refusal(error)),
            Ok(outcomes) => outcomes,
        };
        Ok(outcomes.into_iter().map(|outcome| outcome.map_err(refusal)).collect())
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

fn refusal(error: BusError) -> Refusal {
    if error.is_final { Refusal::Refused(error.reason) } else { Refusal::Away(error.reason) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::EventKind;

    #[tokio::test]
    async fn an_entry_that_spoils_the_call_is_refused_alone() {
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
        let refused = Refusal::Refused("ValidationException: no".to_owned());
        assert_eq!(outcomes, [Ok(()), Err(refused), Ok(())]);
    }
}
