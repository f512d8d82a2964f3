//! The end of all connections, in good order: answers say that the connection ends while others may still come, then
//! nobody can connect any more, and connections on which nothing happens are closed last.

use std::pin::pin;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use futures_util::future::{join, join_all};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::policy;

/// How often the connections are looked at while they end.
const LOOK: Duration = Duration::from_millis(25);

/// How long no request must have come before the next step is taken.
const LULL: Duration = Duration::from_millis(100);

const OPEN: u8 = 0;
const STOPPING: u8 = 1;
const CLOSING: u8 = 2;

/// How long the end may take.
#[derive(Clone, Copy, Debug)]
pub struct StopTimes {
    /// How long answers announce at most that their connection ends, before nobody can connect any more.
    pub announced: Duration,
    /// How long requests under way may take after that. Zero: they are broken off.
    pub drain: Duration,
}

impl StopTimes {
    /// For tests that ask nothing while they stop a service.
    pub const NONE: Self = Self { announced: Duration::ZERO, drain: Duration::ZERO };
}

impl Default for StopTimes {
    fn default() -> Self {
        Self { announced: policy::STOP_ANNOUNCED, drain: policy::DRAIN }
    }
}

/// What the connections of all listeners are told of the end.
#[derive(Default)]
pub struct Shutdown {
    phase: Arc<AtomicU8>,
    workers: Mutex<Vec<Arc<Worker>>>,
}

/// What the connections of one thread say and hear. Threads do not share it, so that a request costs no contention.
pub(super) struct Worker {
    phase: Arc<AtomicU8>,
    closing: Notify,
    /// Requests that are being handled or answered.
    busy: AtomicUsize,
    /// All requests so far.
    requests: AtomicU64,
}

/// A request that is being answered.
pub(super) struct Busy<'a>(&'a AtomicUsize);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    /// Counts a request until it is answered.
    pub(super) fn begin(&self) -> Busy<'_> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(&self.busy)
    }

    /// Whether answers say that they are the last of their connection.
    pub(super) fn is_stopping(&self) -> bool {
        self.phase.load(Ordering::Relaxed) != OPEN
    }

    /// Ends when connections on which nothing happens are to be closed.
    pub(super) async fn closing(&self) {
        let notified = pin!(self.closing.notified());
        if self.phase.load(Ordering::Acquire) != CLOSING {
            notified.await;
        }
    }
}

impl Shutdown {
    /// Begins to watch the connections of one more thread.
    pub(super) fn worker(&self) -> Arc<Worker> {
        let worker = Arc::new(Worker {
            phase: Arc::clone(&self.phase),
            closing: Notify::new(),
            busy: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
        });
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&worker));
        worker
    }

    /// Ends all connections and their servers: within [`StopTimes::drain`] after the announcement.
    pub async fn run(&self, servers: &[ServerHandle], times: StopTimes) {
        self.phase.store(STOPPING, Ordering::Release);
        self.lull(times.announced, || true).await;
        // Closes the listeners at once, and ends when no connection is left, or after the servers' own patience.
        let stopped = join_all(servers.iter().map(|server| server.stop(!times.drain.is_zero())));
        join(stopped, self.close_idle(times.drain)).await;
    }

    async fn close_idle(&self, drain: Duration) {
        self.lull(drain / 2, || self.busy() == 0).await;
        self.phase.store(CLOSING, Ordering::Release);
        self.each(|worker| worker.closing.notify_waiters());
    }

    /// Waits until no request has come for a while and `quiet` agrees, or for `longest`.
    async fn lull(&self, longest: Duration, quiet: impl Fn() -> bool) {
        let began = Instant::now();
        let (mut requests, mut since) = (self.requests(), began);
        while began.elapsed() < longest {
            sleep(LOOK).await;
            let now = self.requests();
            if now != requests || !quiet() {
                (requests, since) = (now, Instant::now());
            }
            if since.elapsed() >= LULL {
                return;
            }
        }
    }

    fn busy(&self) -> usize {
        let mut busy = 0;
        self.each(|worker| busy += worker.busy.load(Ordering::Relaxed));
        busy
    }

    fn requests(&self) -> u64 {
        let mut requests = 0;
        self.each(|worker| requests += worker.requests.load(Ordering::Relaxed));
        requests
    }

    fn each(&self, look: impl FnMut(&Arc<Worker>)) {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(look);
    }
}
