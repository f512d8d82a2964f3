//! Events out: what is in the outbox goes to whoever listens.
//!
//! Owns the delivery: order, repetition, patience, and what is given up ([`courier`], [`trouble`]), the letters that no change of
//! state writes ([`figures`]), and the bell that wakes those who listen. It must not know how a change is written down
//! (`store`), nor HTTP's other side: streams are `web`'s.

mod courier;
mod eventbridge;
mod figures;
mod payload;
mod trouble;
mod webhook;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use payload::payload;
pub use webhook::WebhookError;

use courier::{Courier, Sink};
use eventbridge::EventBridge;
use webhook::Webhook;

use crate::aws::NoRegion;
use crate::config::{EventBridgeConfig, WebhookConfig};
use crate::lobby::Lobby;
use crate::store::{Outbox, StoreError};

/// Why nothing can be sent out.
#[derive(Debug, thiserror::Error)]
pub enum NoticesError {
    /// The outbox cannot be used.
    #[error("the outbox cannot be used: {0}")]
    Store(#[from] StoreError),
    /// A webhook cannot be called.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// A bus cannot be reached.
    #[error("the event bus cannot be used: {0}")]
    Region(#[from] NoRegion),
}

/// Whose turn it is: a number that grows with each ring; `None`: everything ends.
type Bell = watch::Sender<Option<u64>>;

/// Events out of a running deployment. Ends with [`Notices::close`] and [`Notices::stop`].
pub struct Notices {
    lobby: Arc<Lobby>,
    bell: Arc<Bell>,
    /// The background work, taken by who waits for its end.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Notices {
    /// Begins to deliver. What happens after this returns reaches every sink.
    ///
    /// # Errors
    /// When a webhook cannot be called by us at all, a bus be in no region, or the store is away.
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
        let bell = Arc::new(watch::Sender::new(Some(0)));
        let names = sinks.iter().map(|sink| sink.subscription().name.clone()).collect();
        let mut tasks = vec![
            tokio::spawn(until_closed(bell.subscribe(), ring(Arc::clone(lobby), Arc::clone(&bell)))),
            tokio::spawn(until_closed(bell.subscribe(), figures::tell(Arc::clone(lobby), names))),
        ];
        for sink in sinks {
            let courier = Courier::new(Arc::clone(lobby), sink, bell.subscribe());
            tasks.push(tokio::spawn(until_closed(bell.subscribe(), courier.run())));
        }
        Ok(Self { lobby: Arc::clone(lobby), bell, tasks: Mutex::new(tasks) })
    }

    /// Where letters and dead letters are read.
    pub fn outbox(&self) -> &dyn Outbox {
        self.lobby.store()
    }

    /// Rings when there may be something new; `None` when everything ends.
    pub fn listen(&self) -> watch::Receiver<Option<u64>> {
        self.bell.subscribe()
    }

    /// Ends the streams and the deliveries.
    pub fn close(&self) {
        self.bell.send_replace(None);
    }

    /// Waits for the end of the background work, after [`Notices::close`].
    pub async fn stop(&self) {
        self.close();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task that sends events out ended badly");
            }
        }
    }
}

/// A service that did not start, or a test that forgot to stop, leaves no couriers behind.
impl Drop for Notices {
    fn drop(&mut self) {
        self.close();
    }
}

async fn until_closed(mut bell: watch::Receiver<Option<u64>>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = bell.wait_for(Option::is_none) => {}
    }
}

/// Rings whenever the feed says that there are letters, or might have said so.
async fn ring(lobby: Arc<Lobby>, bell: Arc<Bell>) {
    let mut changes = lobby.store().changes();
    // What was written between the claims and this moment.
    let mut wake = true;
    loop {
        if wake {
            bell.send_if_modified(|rings| rings.as_mut().map(|rings| *rings += 1).is_some());
        }
        wake = match changes.recv().await {
            Ok(change) => change == crate::store::Change::Letters,
            Err(RecvError::Lagged(_)) => true,
            Err(RecvError::Closed) => return,
        };
    }
}
