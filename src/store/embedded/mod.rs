//! The embedded engine: SQLite in a directory of its own, for one process.
//!
//! Owns the data directory, one thread that writes (`writer.rs`: group commit) and a few connections that
//! read beside it (`reads.rs`). It must not know what a login or a line is: it implements the port's verbs
//! (`counters.rs`, `records.rs`) and keeps its promise that whatever was answered is on disk.

mod committed;
mod counters;
mod directory;
#[cfg(test)]
mod full_disk;
mod grants;
mod ledger;
mod outbox;
mod reads;
mod records;
mod reservations;
mod reserve;
mod retention;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod transfer;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Error};
use tokio::sync::{broadcast, oneshot};

pub use directory::OpenError;

use committed::CommittedCounters;
use directory::DataDirectory;
use grants::Sweeps;
use ledger::{Failure, Ledger};
use reads::Readers;
use reserve::Reserve;
use writer::{Command, Standing, Take, Writer, closed, work};

use super::{
    Advance, AdvanceFrom, Change, Closed, Document, Expired, FEED_CAPACITY, GrantId, JoinBatch, LongGrant, Opened,
    OutboxMode, Redeemed, Redemption, Refill, Store, StoreError, Taken, TokenStanding,
};
use crate::ambient::Timestamp;
use crate::policy::{STORE_READERS, SWEEP_STEP};
use crate::room::{
    Arrival, Counters, EventId, Inlet, Occupancy, Position, RequestId, ServingRecord, Session, SessionStatus,
};

/// The store in a directory of this machine. Dropping it closes it, and waits for that.
pub struct EmbeddedStore {
    /// To the writer. Unbounded, because each command belongs to a request that waits for it, and the
    /// server bounds those.
    commands: Sender<Command>,
    committed: Arc<CommittedCounters>,
    feed: broadcast::Sender<Change>,
    readers: Arc<Readers>,
    sweeps: Sweeps,
    /// The writer, joined at the end; the lock guards who joins it.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedStore {
    /// Opens the store in `data_dir`, and makes the directory (for its owner alone) and all that is in it
    /// where they are missing. The directory belongs to this process until the store is closed.
    ///
    /// # Errors
    /// [`OpenError`] says by name what is wrong with the directory or the database in it.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        Self::open_with(data_dir, OutboxMode::Off)
    }

    /// Opens the store with or without an outbox.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`].
    pub fn open_with(data_dir: &Path, outbox: OutboxMode) -> Result<Self, OpenError> {
        let directory = DataDirectory::hold(data_dir)?;
        let (path, database) = directory.database()?;
        let refused = |reason: String| OpenError::Refused { path: path.clone(), reason };
        let refusal = |error: Error| schema::refusal(&path, &error);
        let connection = schema::open_writer(&path)?;
        let reserve = Reserve::open(&connection, database, log_of(&path)).map_err(refusal)?;
        let (feed, _) = broadcast::channel(FEED_CAPACITY);
        let ledger = Ledger::open(connection, reserve, outbox, feed.clone()).map_err(refusal)?;
        let committed = ledger.committed();
        let lookups = (0..STORE_READERS).map(|_| schema::open_reader(&path)).collect::<Result<_, _>>()?;
        let readers = Arc::new(Readers::new(schema::open_reader(&path)?, lookups));
        let (commands, inbox) = channel();
        let writer = Writer {
            ledger,
            committed: Arc::clone(&committed),
            feed: feed.clone(),
            readers: Arc::clone(&readers),
            directory,
        };
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(inbox))
            .map_err(|error| refused(error.to_string()))?;
        let sweeps = Sweeps::default();
        Ok(Self { commands, committed, feed, readers, sweeps, thread: Mutex::new(Some(thread)) })
    }

    /// Has the writer do `verb` for visitors, and waits until that is on disk. A full disk refuses it.
    async fn write<T: Send + 'static>(
        &self,
        verb: impl Fn(&mut Ledger) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.command(Standing::Visitor, verb).await
    }

    /// The same for operators, and for what frees space: done on a full disk as well, so it must not add much.
    async fn operate<T: Send + 'static>(
        &self,
        verb: impl Fn(&mut Ledger) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.command(Standing::Operator, verb).await
    }

    async fn command<T: Send + 'static>(
        &self,
        standing: Standing,
        verb: impl Fn(&mut Ledger) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Work(standing, work(verb, reply))).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Has the writer do `step` until that finds nothing more to do, and others what they ask in between. Answers the sum of
    /// what it answered.
    async fn in_steps(
        &self,
        step: impl Fn(&mut Ledger) -> Result<u64, Failure> + Copy + Send + 'static,
    ) -> Result<u64, StoreError> {
        let mut sum = 0;
        loop {
            match self.operate(step).await? {
                0 => return Ok(sum),
                done => sum += done,
            }
        }
    }

    /// Reads what may take long, on a thread that may block.
    async fn list<T: Send + 'static>(
        &self,
        event: &EventId,
        query: impl FnOnce(&Connection, &EventId) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.committed.read(event)?;
        let (event, readers) = (event.clone(), Arc::clone(&self.readers));
        let reading = tokio::task::spawn_blocking(move || readers.list(|connection| query(connection, &event)));
        reading.await.map_err(|error| StoreError::Unavailable(error.to_string()))?
    }

    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the store's writer thread had died");
        }
    }
}

/// Where SQLite keeps the write-ahead log of the database at `path`.
fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        // An error says that the writer has ended already.
        drop(self.commands.send(Command::Stop(None)));
        self.join();
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn ensure_event(&self, event: &EventId) -> Result<Counters, StoreError> {
        match self.committed.read(event) {
            Err(StoreError::UnknownEvent(event)) => self.operate(move |ledger| ledger.ensure_event(&event)).await,
            known => known,
        }
    }

    async fn counters(&self, event: &EventId) -> Result<Counters, StoreError> {
        self.committed.read(event)
    }

    async fn take_positions(&self, event: &EventId, batch: Arc<dyn JoinBatch>) -> Result<Taken, StoreError> {
        if let Some(taken) = self.committed.of(event)?.allocate(&*batch) {
            return Ok(taken);
        }
        let (reply, answer) = oneshot::channel();
        let take = Take { event: event.clone(), batch, reply };
        self.commands.send(Command::Take(take)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    async fn arrivals(&self, event: &EventId, from: Option<Position>) -> Result<Vec<Arrival>, StoreError> {
        self.list(event, move |connection, event| reads::arrivals(connection, event, from)).await
    }

    async fn oldest_arrival(&self, event: &EventId) -> Result<Option<Arrival>, StoreError> {
        self.committed.read(event)?;
        self.readers.look_up(|connection| reads::oldest_arrival(connection, event))
    }

    async fn advance(&self, event: &EventId, by: i64, at: Timestamp) -> Result<Advance, StoreError> {
        let event = event.clone();
        self.operate(move |ledger| ledger.advance(&event, by, at)).await
    }

    async fn advance_from(
        &self,
        event: &EventId,
        seen: &Counters,
        by: u64,
        at: Timestamp,
    ) -> Result<AdvanceFrom, StoreError> {
        let (event, seen) = (event.clone(), *seen);
        self.operate(move |ledger| ledger.advance_from(&event, &seen, by, at)).await
    }

    async fn occupancy(&self, event: &EventId, now: Timestamp) -> Result<Occupancy, StoreError> {
        self.list(event, move |connection, event| reads::occupancy(connection, event, now)).await
    }

    async fn recent_serving_records(&self, event: &EventId, limit: u32) -> Result<Vec<ServingRecord>, StoreError> {
        self.list(event, move |connection, event| reads::recent_serving_records(connection, event, limit)).await
    }

    async fn serving_record_at(
        &self,
        event: &EventId,
        position: Position,
    ) -> Result<Option<ServingRecord>, StoreError> {
        self.committed.read(event)?;
        self.readers.look_up(|connection| reads::serving_record_at(connection, event, position))
    }

    async fn expire_positions(
        &self,
        event: &EventId,
        through: Position,
        refill: Refill,
        at: Timestamp,
    ) -> Result<Expired, StoreError> {
        let event = event.clone();
        self.write(move |ledger| ledger.expire_positions(&event, through, refill, at)).await
    }

    async fn step_inlet(
        &self,
        event: &EventId,
        inlet: &Inlet,
        known: Option<Timestamp>,
        tick: Timestamp,
    ) -> Result<Option<Counters>, StoreError> {
        let (event, inlet) = (event.clone(), *inlet);
        self.write(move |ledger| ledger.step_inlet(&event, &inlet, known, tick)).await
    }

    async fn open_session(&self, session: &Session) -> Result<Opened, StoreError> {
        let session = session.clone();
        self.write(move |ledger| ledger.open_session(&session)).await
    }

    async fn open_session_for(&self, session: &Session) -> Result<Opened, StoreError> {
        let session = session.clone();
        self.command(Standing::Proxy, move |ledger| ledger.open_session(&session)).await
    }

    async fn session(&self, event: &EventId, request_id: &RequestId) -> Result<Option<Session>, StoreError> {
        let found = self.readers.look_up(|connection| reads::find_session(connection, event, request_id))?;
        found.ok_or_else(|| StoreError::UnknownEvent(event.clone()))
    }

    async fn close_session(
        &self,
        event: &EventId,
        request_id: &RequestId,
        status: SessionStatus,
    ) -> Result<Closed, StoreError> {
        let (event, request_id) = (event.clone(), *request_id);
        self.operate(move |ledger| ledger.close_session(&event, &request_id, status)).await
    }

    async fn settle_sessions(&self, event: &EventId, now: Timestamp, within: Duration) -> Result<u64, StoreError> {
        let event = event.clone();
        self.write(move |ledger| ledger.settle_sessions(&event, now, within)).await
    }

    async fn active_sessions(&self, event: &EventId, now: Timestamp) -> Result<u64, StoreError> {
        self.list(event, move |connection, event| reads::active_sessions(connection, event, now)).await
    }

    async fn expired_sessions(
        &self,
        event: &EventId,
        now: Timestamp,
        after: Option<(Timestamp, RequestId)>,
        limit: u32,
    ) -> Result<Vec<Session>, StoreError> {
        self.list(event, move |connection, event| reads::expired_sessions(connection, event, now, after, limit)).await
    }

    async fn redeem(&self, redemption: &Redemption) -> Result<Redeemed, StoreError> {
        let redemption = *redemption;
        self.write(move |ledger| ledger.redeem(&redemption)).await
    }

    async fn put_long_grant(&self, grant: &LongGrant) -> Result<(), StoreError> {
        let grant = grant.clone();
        self.write(move |ledger| ledger.put_long_grant(&grant)).await
    }

    async fn long_grant(&self, request_id: &RequestId, id: &GrantId) -> Result<Option<Vec<u8>>, StoreError> {
        self.readers.look_up(|connection| grants::long_grant(connection, request_id, id))
    }

    async fn token_standing(
        &self,
        event: &EventId,
        request_id: &RequestId,
        grant: &GrantId,
    ) -> Result<TokenStanding, StoreError> {
        let found = self.readers.look_up(|connection| reads::token_standing(connection, event, request_id, grant))?;
        found.ok_or_else(|| StoreError::UnknownEvent(event.clone()))
    }

    async fn reset(&self, event: &EventId) -> Result<Counters, StoreError> {
        let event = event.clone();
        self.operate(move |ledger| ledger.reset(&event)).await
    }

    async fn document(&self, name: &str) -> Result<Option<Document>, StoreError> {
        self.readers.look_up(|connection| reads::document(connection, name))
    }

    async fn replace_document(&self, name: &str, expected: u64, body: &[u8]) -> Result<bool, StoreError> {
        let (name, body) = (name.to_owned(), body.to_owned());
        self.operate(move |ledger| ledger.replace_document(&name, expected, &body)).await
    }

    async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        if let Some(before) = self.sweeps.note(now) {
            forgotten += self.in_steps(move |ledger| ledger.forget_redemptions(before)).await?;
            forgotten += self.in_steps(move |ledger| ledger.forget_revocations(before)).await?;
        }
        forgotten += self.in_steps(move |ledger| ledger.forget_long_grants(now)).await?;
        self.in_steps(|ledger| ledger.forget_ended_lives(SWEEP_STEP)).await?;
        self.forget(now).await?;
        Ok(forgotten)
    }

    async fn health(&self) -> Result<(), StoreError> {
        self.write(Ledger::beat).await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.feed.subscribe()
    }

    async fn close(&self) {
        let (done, finished) = oneshot::channel();
        // Neither can fail but for one reason: the writer has ended already.
        if self.commands.send(Command::Stop(Some(done))).is_ok() {
            drop(finished.await);
        }
        self.join();
    }
}
