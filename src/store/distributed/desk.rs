//! The desk of one event on this node: where verbs come that change the event's item, and where it is read of.
//!
//! Owns who waits and how they are answered. It must not know how verbs become a write (`clerk.rs`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;

use super::clerk::{Clerk, Shared};
use super::client::{Attributes, number, text};
use super::client::{Condition, Table, Tables};
use super::draft::Draft;
use super::journal::{LogRow, Mark};
use super::log;
use super::ring::Bell;
use super::state::EventState;
use super::turns::Heard;
use crate::ambient::{Clock, Entropy};
use crate::room::{EventId, FutureSessions};
use crate::store::counter_cache::CounterCache;
use crate::store::outbox::OutboxMode;
use crate::store::{Change, JoinBatch, StoreError, Taken};

/// What waits at a desk.
pub(super) enum Message {
    Step(Box<dyn Step>),
    /// Finish what came before, answer, and stop.
    Stop(oneshot::Sender<()>),
}

/// A verb that waits to be part of a write.
pub(super) trait Step: Send {
    /// Runs it; perhaps not for the first time.
    fn apply(&mut self, draft: &mut Draft<'_>);
    /// Says what came of it, after the write or its failure.
    fn answer(self: Box<Self>, failure: Option<&StoreError>);
    /// Whether it takes positions.
    fn takes(&self) -> bool;
}

struct Verb<F, T> {
    verb: F,
    takes: bool,
    answer: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: FnMut(&mut Draft<'_>) -> Result<T, StoreError> + Send> Step for Verb<F, T> {
    fn apply(&mut self, draft: &mut Draft<'_>) {
        self.answer = Some((self.verb)(draft));
    }

    fn answer(self: Box<Self>, failure: Option<&StoreError>) {
        let answer = match (failure, self.answer) {
            (None, Some(answer)) => answer,
            (failure, _) => Err(failure.cloned().unwrap_or_else(closed)),
        };
        // Who asked may have gone.
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
pub(super) struct Desk {
    pub(super) cache: Arc<CounterCache>,
    /// The newest serving records, as this node read them last.
    pub(super) records: Mutex<log::Memo>,
    /// When sessions that began in the future were first seen.
    pub(super) future: Mutex<FutureSessions>,
    /// What the clerk is told of other nodes.
    pub(super) heard: Arc<Heard>,
    inbox: mpsc::UnboundedSender<Message>,
    done: Done,
}

/// Rows that reached their table, with the life that they are of.
pub(super) type Done = Arc<Mutex<Vec<(u64, LogRow)>>>;

/// What a clerk works with.
#[derive(Clone)]
pub(super) struct Office {
    pub(super) tables: Tables,
    pub(super) bell: Bell,
    pub(super) outbox: OutboxMode,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) clock: Arc<dyn Clock>,
    /// This node, by lot.
    pub(super) node: String,
    pub(super) feed: broadcast::Sender<Change>,
}

impl Desk {
    /// Opens the desk of an event that stands as `known`. To be called on the engine's runtime.
    pub(super) fn open(event: EventId, known: EventState, office: Office) -> Self {
        let cache = Arc::new(CounterCache::new(event.clone(), known.counters, office.feed.clone()));
        let (inbox, waiting) = mpsc::unbounded_channel();
        let done = Done::default();
        let heard = Arc::new(Heard::default());
        let shared = Shared { cache: Arc::clone(&cache), done: Arc::clone(&done), heard: Arc::clone(&heard) };
        tokio::spawn(Clerk::new(event, known, office, shared).run(waiting));
        Self { cache, heard, records: Mutex::default(), future: Mutex::default(), inbox, done }
    }

    /// Has `verb` run as part of a write, and answers what it answered once that is durable. It may run more than once.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        verb: impl FnMut(&mut Draft<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(verb, false).await
    }

    /// Takes the next positions: from this node's lease at once, others by a write.
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
        let step = Verb { verb, takes, answer: None, reply };
        self.inbox.send(Message::Step(Box::new(step))).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Strikes rows out of the journal with the next write: they reached their table.
    pub(super) fn rows_done(&self, life: u64, rows: impl IntoIterator<Item = LogRow>) {
        lock(&self.done).extend(rows.into_iter().map(|row| (life, row)));
    }

    /// Whether rows wait to be struck out.
    pub(super) fn is_untidy(&self) -> bool {
        !lock(&self.done).is_empty()
    }

    /// Finishes what waits and stops.
    pub(super) async fn stop(&self) {
        let (reply, finished) = oneshot::channel();
        if self.inbox.send(Message::Stop(reply)).is_ok() {
            // It can only fail because the clerk has ended.
            drop(finished.await);
        }
    }
}

/// Adds to the steps what waits, up to so many or to the end; whoever waits for the end is told when that is dropped.
pub(super) fn collect(
    waiting: &mut mpsc::UnboundedReceiver<Message>,
    steps: &mut Vec<Box<dyn Step>>,
    most: usize,
) -> Option<oneshot::Sender<()>> {
    while steps.len() < most {
        match waiting.try_recv() {
            Ok(Message::Step(step)) => steps.push(step),
            Ok(Message::Stop(reply)) => return Some(reply),
            Err(_) => return None,
        }
    }
    None
}

/// Does the work, or says that it took too long.
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

/// Changes the event's item so that whoever writes it is refused once, and sees that the node asks for a turn.
pub(super) async fn knock(tables: &Tables, event: &EventId, node: &str, seal: Mark) -> Result<(), StoreError> {
    let key = Attributes::new().with_text("event_id", event.as_str());
    let there = Condition::new("attribute_exists(event_id)").with(":node", text(node)).with(":seal", text(seal));
    let there = there.with(":one", number(1));
    tables.update(Table::Events, key, "SET knock = :node, seal = :seal ADD revision :one", there).await.map(drop)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
