//! The handle of an event on this node: the command queue of its commit loop, and the cached counters.
//!
//! Owns the queue and how commands are answered. It must not know how commands become a write (`commit_loop.rs`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;

use super::client::{Attributes, number, text};
use super::client::{Condition, Table, Tables};
use super::commit_loop::{CommitLoop, Shared};
use super::draft::Draft;
use super::intent_log::{IdempotencyKey, LogRow};
use super::log;
use super::pubsub::Publisher;
use super::state::EventState;
use super::write_schedule::PeerState;
use crate::ambient::{Clock, Entropy};
use crate::room::{EventId, FutureSessions};
use crate::store::counter_cache::CounterCache;
use crate::store::outbox::OutboxMode;
use crate::store::{Change, JoinBatch, StoreError, Taken};

/// What is queued.
pub(super) enum Message {
    Command(Box<dyn Command>),
    /// Finish the commands before it, answer, and stop.
    Stop(oneshot::Sender<()>),
}

/// A queued command.
pub(super) trait Command: Send {
    /// Applies it to the draft; again if the write is refused.
    fn apply(&mut self, draft: &mut Draft<'_>);
    /// Answers its caller, after the write or its failure.
    fn answer(self: Box<Self>, failure: Option<&StoreError>);
    /// Whether it takes positions.
    fn takes(&self) -> bool;
}

struct TypedCommand<F, T> {
    verb: F,
    takes: bool,
    answer: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: FnMut(&mut Draft<'_>) -> Result<T, StoreError> + Send> Command for TypedCommand<F, T> {
    fn apply(&mut self, draft: &mut Draft<'_>) {
        self.answer = Some((self.verb)(draft));
    }

    fn answer(self: Box<Self>, failure: Option<&StoreError>) {
        let answer = match (failure, self.answer) {
            (None, Some(answer)) => answer,
            (failure, _) => Err(failure.cloned().unwrap_or_else(closed)),
        };
        // The caller may have gone.
        drop(self.reply.send(answer));
    }

    fn takes(&self) -> bool {
        self.takes
    }
}

/// The error of a store that was closed.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}

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

/// Rows that are in their table, with their epoch.
pub(super) type Done = Arc<Mutex<Vec<(u64, LogRow)>>>;

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
        let command = TypedCommand { verb, takes, answer: None, reply };
        self.inbox.send(Message::Command(Box::new(command))).map_err(|_| closed())?;
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

/// Takes queued commands, up to `most`, or up to the stop: its reply is returned.
pub(super) fn collect(
    waiting: &mut mpsc::UnboundedReceiver<Message>,
    commands: &mut Vec<Box<dyn Command>>,
    most: usize,
) -> Option<oneshot::Sender<()>> {
    while commands.len() < most {
        match waiting.try_recv() {
            Ok(Message::Command(command)) => commands.push(command),
            Ok(Message::Stop(reply)) => return Some(reply),
            Err(_) => return None,
        }
    }
    None
}

/// The result of the work, or an error at the deadline.
pub(super) async fn in_time<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let late = |_| StoreError::Unavailable("DynamoDB does not answer in time".to_owned());
    tokio::time::timeout_at(deadline, work).await.map_err(late)?
}

/// The event's item as it is now.
pub(super) async fn read(tables: &Tables, event: &EventId) -> Result<EventState, StoreError> {
    let key = Attributes::new().with_text("event_id", event.as_str());
    match tables.get(Table::Events, key).await? {
        Some(item) => EventState::read(&item),
        None => Err(StoreError::UnknownEvent(event.clone())),
    }
}

/// Requests a slot: changes the event's item so that the next write of another node is refused and returns the request.
pub(super) async fn request_slot(
    tables: &Tables,
    event: &EventId,
    node: &str,
    write_id: IdempotencyKey,
) -> Result<(), StoreError> {
    let key = Attributes::new().with_text("event_id", event.as_str());
    let there = Condition::new("attribute_exists(event_id)").with(":node", text(node)).with(":seal", text(write_id));
    let there = there.with(":one", number(1));
    tables.update(Table::Events, key, "SET knock = :node, seal = :seal ADD revision :one", there).await.map(drop)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
