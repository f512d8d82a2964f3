//! The one thread that writes: whatever waits for it becomes one transaction, and nobody is answered
//! before that is on disk (group commit).
//!
//! An fsync costs far more than a join, so the joins that arrive during one share the next: no timer, no
//! delay when idle, and a throughput that grows with the crowd. It must not know what a command means
//! (`counters.rs`, `records.rs`), only that a batch happens as a whole or not at all.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, PoisonError, RwLock};

use rusqlite::Error;
use tokio::sync::{broadcast, oneshot};

use super::directory::DataDirectory;
use super::ledger::{Failure, Ledger};
use super::reads::Readers;
use super::rows::store_error;
use crate::policy::STORE_BATCH;
use crate::room::{Counters, EventId};
use crate::store::{Change, Party, StoreError, Taken};

/// On which a join waits.
pub(super) type Reply = oneshot::Sender<Result<Taken, StoreError>>;

/// What the writer is told to do.
pub(super) enum Command {
    /// A join. Not a [`Command::Work`], for it is the one command that comes in tens of thousands a second.
    Take { event: EventId, party: Arc<dyn Party>, reply: Reply },
    /// Any other verb.
    Work(Work),
    /// Finish what came before, close the database, tell the sender, end.
    Stop(Option<oneshot::Sender<()>>),
}

/// A verb that waits for its turn: given the ledger, or nothing where the batch failed before it began.
/// Answers how the engine fared, and what will tell its caller.
pub(super) type Work = Box<dyn FnOnce(Option<&mut Ledger>) -> (Answer, Result<(), Error>) + Send>;

/// Tells a caller how the commit ended that its verb was part of. A refusal waits for it as well, for it may
/// rest on what an earlier verb of the batch did.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Wraps a verb of the ledger and the channel on which its caller waits.
pub(super) fn work<T: Send + 'static>(
    verb: impl FnOnce(&mut Ledger) -> Result<T, Failure> + Send + 'static,
    reply: oneshot::Sender<Result<T, StoreError>>,
) -> Work {
    Box::new(move |ledger| {
        let (outcome, engine) = match ledger.map(verb) {
            Some(Ok(value)) => (Ok(value), Ok(())),
            Some(Err(Failure::Refused(error))) => (Err(error), Ok(())),
            Some(Err(Failure::Engine(error))) => (Err(store_error(&error)), Err(error)),
            None => (Err(closed()), Ok(())),
        };
        // A caller that gave up is not told; what it asked for happened all the same.
        (Box::new(move |committed| drop(reply.send(committed.and(outcome)))), engine)
    })
}

/// Every event's counters as last committed; `None` once the store is closed. The lock guards the map for
/// the nanoseconds of a look-up or of the writer's update after a commit.
#[derive(Default)]
pub(super) struct Board(RwLock<Option<HashMap<EventId, Counters>>>);

impl Board {
    /// A board that shows these.
    pub(super) fn new(events: HashMap<EventId, Counters>) -> Self {
        Self(RwLock::new(Some(events)))
    }

    /// The event's counters as last committed.
    pub(super) fn read(&self, event: &EventId) -> Result<Counters, StoreError> {
        let board = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let events = board.as_ref().ok_or_else(closed)?;
        events.get(event).copied().ok_or_else(|| StoreError::UnknownEvent(event.clone()))
    }

    fn show(&self, event: &EventId, counters: Counters) {
        let mut board = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(events) = board.as_mut() else { return };
        match events.get_mut(event) {
            Some(shown) => *shown = counters,
            None => drop(events.insert(event.clone(), counters)),
        }
    }

    fn replace(&self, events: Option<HashMap<EventId, Counters>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = events;
    }
}

/// The answer to every call after [`crate::store::Store::close`].
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

/// What the thread owns.
pub(super) struct Writer {
    pub(super) ledger: Ledger,
    pub(super) board: Arc<Board>,
    pub(super) feed: broadcast::Sender<Change>,
    pub(super) readers: Arc<Readers>,
    /// Held until the database is closed, so that no second process begins before this one ended.
    pub(super) directory: DataDirectory,
}

/// The commands of one transaction that wait for its commit.
#[derive(Default)]
struct Batch {
    takes: Vec<(Reply, Result<Taken, StoreError>)>,
    answers: Vec<Answer>,
    failure: Option<StoreError>,
}

impl Batch {
    /// The first failure of the engine dooms the batch.
    fn note(&mut self, engine: Result<(), Error>) {
        if let (None, Err(error)) = (&self.failure, engine) {
            self.failure = Some(store_error(&error));
        }
    }
}

impl Writer {
    /// Serves commands until told to stop or until nobody can send any more.
    pub(super) fn run(mut self, inbox: Receiver<Command>) {
        let mut batch = Batch::default();
        let mut done = None;
        while let Ok(command) = inbox.recv() {
            if let ControlFlow::Break(asked) = self.serve(command, &inbox, &mut batch) {
                done = asked;
                break;
            }
        }
        self.readers.close();
        self.board.replace(None);
        self.ledger.close();
        drop(self.directory);
        // Whoever sent a command too late learns it from here on, not before everything is closed.
        drop(inbox);
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    fn serve(
        &mut self,
        first: Command,
        inbox: &Receiver<Command>,
        batch: &mut Batch,
    ) -> ControlFlow<Option<oneshot::Sender<()>>> {
        let mut flow = ControlFlow::Continue(());
        batch.failure = self.ledger.begin().err().map(|error| store_error(&error));
        let mut next = Some(first);
        let mut size = 0;
        while let Some(command) = next.take() {
            match command {
                Command::Take { event, party, reply } => {
                    let taken = self.take(batch, &event, &*party);
                    batch.takes.push((reply, taken));
                }
                Command::Work(work) => {
                    let ledger = batch.failure.is_none().then_some(&mut self.ledger);
                    let (answer, engine) = work(ledger);
                    batch.answers.push(answer);
                    batch.note(engine);
                }
                Command::Stop(done) => {
                    flow = ControlFlow::Break(done);
                    break;
                }
            }
            size += 1;
            if size < STORE_BATCH && batch.failure.is_none() {
                next = inbox.try_recv().ok();
            }
        }
        self.conclude(batch);
        flow
    }

    fn take(&mut self, batch: &mut Batch, event: &EventId, party: &dyn Party) -> Result<Taken, StoreError> {
        if let Some(error) = &batch.failure {
            return Err(error.clone());
        }
        let (count, at) = party.close();
        self.ledger.take_positions(event, count, at).map_err(|failure| match failure {
            Failure::Refused(error) => error,
            Failure::Engine(error) => {
                let told = store_error(&error);
                batch.note(Err(error));
                told
            }
        })
    }

    /// Commits and answers; or undoes and refuses.
    fn conclude(&mut self, batch: &mut Batch) {
        let outcome = match batch.failure.take() {
            Some(error) => Err(error),
            None => self.ledger.commit().map_err(|error| store_error(&error)),
        };
        let outcome = match outcome {
            Ok(changes) => {
                self.publish(changes);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "a batch of writes failed and was undone");
                self.ledger.abandon();
                self.board.replace(Some(self.ledger.committed()));
                Err(error)
            }
        };
        for (reply, taken) in batch.takes.drain(..) {
            drop(reply.send(outcome.clone().and(taken)));
        }
        for answer in batch.answers.drain(..) {
            answer(outcome.clone());
        }
    }

    /// Shows the change to readers before anybody is told: whoever has an answer can read what it says.
    fn publish(&self, changes: Vec<Change>) {
        for change in changes {
            if let Change::Counters(event, counters) = &change {
                self.board.show(event, *counters);
            }
            // Without listeners there is nobody to tell.
            drop(self.feed.send(change));
        }
    }
}
