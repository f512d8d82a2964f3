//! The one thread that writes: whatever waits for it becomes one transaction, and nobody is answered
//! before that is on disk (group commit).
//!
//! An fsync costs far more than a join, so the joins that arrive during one share the next: no timer, no
//! delay when idle, and a throughput that grows with the crowd. It must not know what a command means
//! (`counters.rs`, `records.rs`), only that a batch happens as a whole or not at all, and whose commands wait when the
//! disk is full.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use rusqlite::Error;
use tokio::sync::{broadcast, oneshot};

use super::committed::CommittedCounters;
use super::directory::DataDirectory;
use super::ledger::{Failure, Ledger};
use super::reads::Readers;
use super::reserve::is_want_of_space;
use super::rows::store_error;
use crate::policy::{RESERVATION_PERIOD, STORE_BATCH};
use crate::room::EventId;
use crate::store::{Change, JoinBatch, StoreError, Taken};

/// On which a join waits.
pub(super) type Reply = oneshot::Sender<Result<Taken, StoreError>>;

/// What the writer is told to do.
pub(super) enum Command {
    /// A join. Not a [`Command::Work`], for it is the one command that comes in tens of thousands a second.
    Take(Take),
    /// Any other verb.
    Work(Standing, Box<dyn Work>),
    /// Finish what came before, close the database, tell the sender, end.
    Stop(Option<oneshot::Sender<()>>),
}

/// Whose command it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// A visitor's, or the clock's: refused while the disk is full.
    Visitor,
    /// An operator's for a visitor: as many come as visitors do, so they are refused when half of the reserve is used.
    Proxy,
    /// An operator's, or one that frees space: done on a full disk as well.
    Operator,
}

/// A join that waits for its turn and then for the commit.
pub(super) struct Take {
    pub(super) event: EventId,
    pub(super) batch: Arc<dyn JoinBatch>,
    pub(super) reply: Reply,
}

/// A verb that waits for its turn and then for the commit.
pub(super) trait Work: Send {
    /// Does it, as often as its batch has to be run. Answers how the engine fared.
    fn run(&mut self, ledger: &mut Ledger) -> Result<(), Error>;

    /// Notes that it is not to be done.
    fn refuse(&mut self, error: StoreError);

    /// Tells the caller how the commit ended. A refusal waits for it as well, for it may rest on what an earlier verb of
    /// the batch did.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Verb<T, V> {
    verb: V,
    outcome: Result<T, StoreError>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

/// Wraps a verb of the ledger and the channel on which its caller waits.
pub(super) fn work<T: Send + 'static>(
    verb: impl Fn(&mut Ledger) -> Result<T, Failure> + Send + 'static,
    reply: oneshot::Sender<Result<T, StoreError>>,
) -> Box<dyn Work> {
    Box::new(Verb { verb, outcome: Err(closed()), reply })
}

impl<T: Send, V: Fn(&mut Ledger) -> Result<T, Failure> + Send> Work for Verb<T, V> {
    fn run(&mut self, ledger: &mut Ledger) -> Result<(), Error> {
        let (outcome, engine) = settle((self.verb)(ledger));
        self.outcome = outcome;
        engine
    }

    fn refuse(&mut self, error: StoreError) {
        self.outcome = Err(error);
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        // A caller that gave up is not told; what it asked for happened all the same.
        drop(self.reply.send(committed.and(self.outcome)));
    }
}

/// What the caller is told of it, and what the batch is.
fn settle<T>(done: Result<T, Failure>) -> (Result<T, StoreError>, Result<(), Error>) {
    match done {
        Ok(value) => (Ok(value), Ok(())),
        Err(Failure::Refused(error)) => (Err(error), Ok(())),
        Err(Failure::Engine(error)) => (Err(store_error(&error)), Err(error)),
    }
}

/// The answer to every call after [`crate::store::Store::close`].
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

/// What the thread owns.
pub(super) struct Writer {
    pub(super) ledger: Ledger,
    pub(super) committed: Arc<CommittedCounters>,
    pub(super) feed: broadcast::Sender<Change>,
    pub(super) readers: Arc<Readers>,
    /// Held until the database is closed, so that no second process begins before this one ended.
    pub(super) directory: DataDirectory,
}

/// The commands of one transaction that wait for its commit, in their order.
#[derive(Default)]
struct Batch {
    jobs: Vec<Job>,
    /// The first failure of the engine dooms the batch.
    failure: Option<Error>,
    /// What is told to visitors, while the disk is full.
    closed: Option<StoreError>,
}

enum Job {
    Take(Take, Result<Taken, StoreError>),
    Work(Standing, Box<dyn Work>),
}

impl Batch {
    /// Runs a command, unless the batch failed before it or is closed to it.
    fn run(&mut self, ledger: &mut Ledger, job: &mut Job) {
        if self.failure.is_some() {
            return;
        }
        let engine = match (job, &self.closed) {
            (Job::Take(_, outcome), Some(refusal)) => {
                *outcome = Err(refusal.clone());
                Ok(())
            }
            (Job::Work(Standing::Visitor, work), Some(refusal)) => {
                work.refuse(refusal.clone());
                Ok(())
            }
            (Job::Work(Standing::Proxy, work), Some(refusal)) if !ledger.has_half_the_reserve() => {
                work.refuse(refusal.clone());
                Ok(())
            }
            (Job::Take(take, outcome), None) => {
                let (count, at) = take.batch.close();
                let (taken, engine) = settle(ledger.take_positions(&take.event, count, at));
                *outcome = taken;
                engine
            }
            (Job::Work(_, work), _) => work.run(ledger),
        };
        self.failure = engine.err();
    }

    fn has_operators(&self) -> bool {
        self.jobs.iter().any(|job| matches!(job, Job::Work(Standing::Operator | Standing::Proxy, _)))
    }
}

impl Writer {
    /// Serves commands until told to stop or until nobody can send any more.
    pub(super) fn run(mut self, inbox: Receiver<Command>) {
        let mut batch = Batch::default();
        let mut done = None;
        while let Ok(command) = self.receive(&inbox) {
            if let ControlFlow::Break(asked) = self.serve(command, &inbox, &mut batch) {
                done = asked;
                break;
            }
        }
        self.return_reservations(&mut batch);
        self.readers.close();
        self.committed.close();
        self.ledger.close();
        drop(self.directory);
        // Whoever sent a command too late learns it from here on, not before everything is closed.
        drop(inbox);
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// The next command. `None`: the reservations have to be renewed, or returned.
    fn receive(&self, inbox: &Receiver<Command>) -> Result<Option<Command>, RecvTimeoutError> {
        if !self.ledger.has_leases() {
            return inbox.recv().map(Some).map_err(|_| RecvTimeoutError::Disconnected);
        }
        match inbox.recv_timeout(RESERVATION_PERIOD) {
            Err(RecvTimeoutError::Timeout) => Ok(None),
            received => received.map(Some),
        }
    }

    /// Has the disk say exactly which positions were handed out.
    fn return_reservations(&mut self, batch: &mut Batch) {
        if self.ledger.has_leases() {
            self.ledger.stop_leasing();
            self.begin(batch);
            self.conclude(batch);
        }
    }

    fn serve(
        &mut self,
        first: Option<Command>,
        inbox: &Receiver<Command>,
        batch: &mut Batch,
    ) -> ControlFlow<Option<oneshot::Sender<()>>> {
        let mut flow = ControlFlow::Continue(());
        self.begin(batch);
        let mut next = first;
        while let Some(command) = next.take() {
            let mut job = match command {
                Command::Take(take) => Job::Take(take, Err(closed())),
                Command::Work(standing, work) => Job::Work(standing, work),
                Command::Stop(done) => {
                    flow = ControlFlow::Break(done);
                    break;
                }
            };
            batch.run(&mut self.ledger, &mut job);
            batch.jobs.push(job);
            if batch.jobs.len() < STORE_BATCH && batch.failure.is_none() {
                next = inbox.try_recv().ok();
            }
        }
        self.conclude(batch);
        flow
    }

    fn begin(&mut self, batch: &mut Batch) {
        batch.closed = self.ledger.look_for_space();
        batch.failure = self.ledger.begin().err();
    }

    /// Commits and answers; or undoes and refuses.
    fn conclude(&mut self, batch: &mut Batch) {
        let mut outcome = self.commit(batch);
        if matches!(&outcome, Err(error) if is_want_of_space(error)) && self.ledger.find_space() {
            outcome = self.again(batch);
        }
        if let Err(error) = &outcome
            && is_want_of_space(error)
            && self.ledger.release_reserve(error)
            && batch.has_operators()
        {
            outcome = self.again(batch);
        }
        let outcome = outcome.map(|changes| self.publish(changes)).map_err(|error| store_error(&error));
        for job in batch.jobs.drain(..) {
            match job {
                Job::Take(take, taken) => drop(take.reply.send(outcome.clone().and(taken))),
                Job::Work(_, work) => work.answer(outcome.clone()),
            }
        }
    }

    /// Runs the batch once more.
    fn again(&mut self, batch: &mut Batch) -> Result<Vec<Change>, Error> {
        self.begin(batch);
        let mut jobs = std::mem::take(&mut batch.jobs);
        for job in &mut jobs {
            batch.run(&mut self.ledger, job);
        }
        batch.jobs = jobs;
        self.commit(batch)
    }

    fn commit(&mut self, batch: &mut Batch) -> Result<Vec<Change>, Error> {
        let committed = batch.failure.take().map_or_else(|| self.ledger.commit(), Err);
        if let Err(error) = &committed {
            tracing::error!(%error, "a batch of writes failed and was undone");
            self.ledger.abandon();
        }
        committed
    }

    fn publish(&self, changes: Vec<Change>) {
        for change in changes {
            // There may be no subscribers.
            drop(self.feed.send(change));
        }
    }
}
