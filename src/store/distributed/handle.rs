//! The handle of an event on this node: the command queue of its commit loop, and the cached counters.
//!
//! Owns the queue and how commands are answered. It must not know how commands become a write (`commit_loop.rs`).

use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};

use super::command::{Done, Message, closed, command};
use super::commit_loop::{CommitLoop, Shared};
use super::context::{Context, lock};
use super::draft::Draft;
use super::intent_log::LogRow;
use super::log;
use super::state::EventState;
use super::write_schedule::PeerState;
use crate::room::{EventId, FutureSessions};
use crate::store::counter_cache::CounterCache;
use crate::store::{JoinBatch, StoreError, Taken};

/// See the module's documentation.
pub(super) struct EventHandle {
    pub(super) cache: Arc<CounterCache>,
    /// The newest serving records, as this node read them last.
    pub(super) records: Mutex<log::Memo>,
    /// When sessions that began in the future were first seen.
    pub(super) future: Mutex<FutureSessions>,
    /// What other nodes published.
    pub(super) heard: Arc<PeerState>,
    inbox: mpsc::UnboundedSender<Message>,
    done: Done,
}

impl EventHandle {
    /// Opens the handle of an event that stands as `known`. To be called on the engine's runtime.
    pub(super) fn open(event: EventId, known: EventState, context: Context) -> Self {
        let cache = Arc::new(CounterCache::new(event.clone(), known.counters, context.feed.clone()));
        let (inbox, waiting) = mpsc::unbounded_channel();
        let done = Done::default();
        let heard = Arc::new(PeerState::default());
        let shared = Shared { cache: Arc::clone(&cache), done: Arc::clone(&done), heard: Arc::clone(&heard) };
        tokio::spawn(CommitLoop::new(event, known, context, shared).run(waiting));
        Self { cache, heard, records: Mutex::default(), future: Mutex::default(), inbox, done }
    }

    /// Runs `verb` as a command: it is part of a write, and its answer is returned once that is durable. It may run more
    /// than once.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        verb: impl FnMut(&mut Draft<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(verb, false).await
    }

    /// Takes the next positions: from this node's lease, otherwise by a write.
    pub(super) async fn take_positions(&self, batch: Arc<dyn JoinBatch>) -> Result<Taken, StoreError> {
        if let Some(taken) = self.cache.allocate(&*batch) {
            return Ok(taken);
        }
        let verb = move |draft: &mut Draft<'_>| {
            let (count, at) = batch.close();
            draft.take_positions(count, at)
        };
        self.ask(verb, true).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        verb: impl FnMut(&mut Draft<'_>) -> Result<T, StoreError> + Send + 'static,
        takes: bool,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Message::Command(command(verb, takes, reply))).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Removes rows from the intent log with the next write: they are in their table.
    pub(super) fn rows_done(&self, epoch: u64, rows: impl IntoIterator<Item = LogRow>) {
        lock(&self.done).extend(rows.into_iter().map(|row| (epoch, row)));
    }

    /// Whether rows wait to be removed.
    pub(super) fn is_untidy(&self) -> bool {
        !lock(&self.done).is_empty()
    }

    /// Finishes the queued commands and stops.
    pub(super) async fn stop(&self) {
        let (reply, finished) = oneshot::channel();
        if self.inbox.send(Message::Stop(reply)).is_ok() {
            // It fails only if the commit loop has ended.
            drop(finished.await);
        }
    }
}
