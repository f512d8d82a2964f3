//! What the parts of a node depend on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;
use tokio::time::Instant;

use super::client::Tables;
use super::pubsub::Publisher;
use crate::ambient::{Clock, Entropy};
use crate::store::outbox::OutboxMode;
use crate::store::{Change, StoreError};

/// What all commit loops of this node depend on.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) tables: Tables,
    pub(super) publisher: Publisher,
    pub(super) outbox: OutboxMode,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) clock: Arc<dyn Clock>,
    /// The random name of this node.
    pub(super) node: String,
    pub(super) feed: broadcast::Sender<Change>,
}

/// The result of the work, or an error at the deadline.
pub(super) async fn in_time<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let late = |_| StoreError::Unavailable("DynamoDB does not answer in time".to_owned());
    tokio::time::timeout_at(deadline, work).await.map_err(late)?
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
