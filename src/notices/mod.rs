//! Notices: delivers the outbox to its sinks.
//!
//! Owns the delivery: order, retries, dead letters ([`delivery_worker`], [`retry`]), the notices that no state change
//! writes ([`scheduled_metrics`]), and the signal that wakes workers and streams. Must not know how a change is
//! recorded (`store`), nor how a stream is served (`web`).

mod delivery_worker;
mod eventbridge;
mod payload;
mod retry;
mod scheduled_metrics;
mod webhook;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use payload::payload;
pub use webhook::WebhookError;

use delivery_worker::{DeliveryWorker, Sink};
use eventbridge::EventBridge;
use webhook::Webhook;

use crate::aws::MissingRegionError;
use crate::config::{EventBridgeConfig, WebhookConfig};
use crate::lobby::Lobby;
use crate::store::{Outbox, StoreError};

/// Why notices cannot be delivered.
#[derive(Debug, thiserror::Error)]
pub enum NoticesError {
    /// The outbox cannot be used.
    #[error("the outbox cannot be used: {0}")]
    Store(#[from] StoreError),
    /// A webhook cannot be used.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// The AWS region is not known.
    #[error("the event bus cannot be used: {0}")]
    Region(#[from] MissingRegionError),
}

/// Wakes subscribers: a counter that grows with each signal; `None` ends them.
type WakeSender = watch::Sender<Option<u64>>;

/// The delivery of a running deployment. [`Notices::close`] and [`Notices::stop`] end it.
pub struct Notices {
    lobby: Arc<Lobby>,
    wake: Arc<WakeSender>,
    /// The background tasks, taken by the caller that waits for their end.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Notices {
    /// Starts the delivery. Everything recorded after this returns reaches every sink.
    ///
    /// # Errors
    /// When a webhook cannot be used, the AWS region is not known, or the store is away.
    pub async fn start(
        lobby: &Arc<Lobby>,
        webhooks: &[WebhookConfig],
        buses: &[EventBridgeConfig],
    ) -> Result<Self, NoticesError> {
        let mut sinks: Vec<Arc<dyn Sink>> = Vec::new();
        for webhook in webhooks {
            sinks.push(Arc::new(Webhook::new(webhook, lobby.issuer())?));
        }
        for bus in buses {
            sinks.push(Arc::new(EventBridge::new(bus).await?));
        }
        for sink in &sinks {
            lobby.store().claim_delivery(&sink.subscription().name).await?;
        }
        let wake = Arc::new(watch::Sender::new(Some(0)));
        let names = sinks.iter().map(|sink| sink.subscription().name.clone()).collect();
        let mut tasks = vec![
            tokio::spawn(until_closed(wake.subscribe(), wake_on_changes(Arc::clone(lobby), Arc::clone(&wake)))),
            tokio::spawn(until_closed(wake.subscribe(), scheduled_metrics::run(Arc::clone(lobby), names))),
        ];
        for sink in sinks {
            let worker = DeliveryWorker::new(Arc::clone(lobby), sink, wake.subscribe());
            tasks.push(tokio::spawn(until_closed(wake.subscribe(), worker.run())));
        }
        Ok(Self { lobby: Arc::clone(lobby), wake, tasks: Mutex::new(tasks) })
    }

    /// The outbox, with its records and dead letters.
    pub fn outbox(&self) -> &dyn Outbox {
        self.lobby.store()
    }

    /// Notified when there may be something new; `None` at the end.
    pub fn subscribe(&self) -> watch::Receiver<Option<u64>> {
        self.wake.subscribe()
    }

    /// Ends the streams and the deliveries.
    pub fn close(&self) {
        self.wake.send_replace(None);
    }

    /// Waits for the end of the background tasks, after [`Notices::close`].
    pub async fn stop(&self) {
        self.close();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a notices task panicked; it is not restarted");
            }
        }
    }
}

/// A failed start, or a test without a stop, leaves no workers behind.
impl Drop for Notices {
    fn drop(&mut self) {
        self.close();
    }
}

async fn until_closed(mut wake: watch::Receiver<Option<u64>>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = wake.wait_for(Option::is_none) => {}
    }
}

/// Wakes subscribers whenever the feed announces outbox records, or may have dropped an announcement.
async fn wake_on_changes(lobby: Arc<Lobby>, wake: Arc<WakeSender>) {
    let mut changes = lobby.store().changes();
    // Records written between the claims and this subscription.
    let mut pending = true;
    loop {
        if pending {
            wake.send_if_modified(|count| count.as_mut().map(|count| *count += 1).is_some());
        }
        pending = match changes.recv().await {
            Ok(change) => change == crate::store::Change::Letters,
            Err(RecvError::Lagged(_)) => true,
            Err(RecvError::Closed) => return,
        };
    }
}
