//! A sink on AWS: an EventBridge bus, in the words of the retired system (`vwr-contract.md`, *Events sent out*).

use async_trait::async_trait;

use super::courier::{Refusal, Sink, Undelivered};
use crate::ambient::Timestamp;
use crate::aws::{self, Bus, BusEntry, NoRegion};
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

    async fn deliver(&self, letters: &[&Letter], _now: Timestamp) -> Result<(), Undelivered> {
        let entry =
            |letter: &&Letter| BusEntry { kind: letter.kind.name(), detail: letter.body.clone(), at: letter.at };
        let entries: Vec<BusEntry> = letters.iter().map(entry).collect();
        self.bus.put(&entries).await.map_err(|error| {
            let refusal = if error.is_final { Refusal::Refused } else { Refusal::Away };
            Undelivered { taken: error.taken, refusal: refusal(error.reason) }
        })
    }
}
