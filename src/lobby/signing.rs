//! The signing queue: a bounded queue before a few threads, in which logins have priority.
//!
//! Owns the threads and their jobs; must not know what is signed. An RSA signature takes about a millisecond of
//! processor time. There are as many threads as processors: more would only slow every signature down. A caller that
//! finds the queue full gets an error at once, before anything is used up.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use super::LobbyError;
use crate::policy;

/// The purpose of a signature; waiting jobs run in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// A login: a relying party waits for it.
    Login,
    /// The tokens of the REST calls.
    Rest,
}

impl Urgency {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 2] = [Self::Login, Self::Rest];

    /// Its name in the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Rest => "rest",
        }
    }

    /// The most jobs that may be in the queue at once.
    const fn limit(self) -> usize {
        match self {
            Self::Login => policy::SIGNING_LOGINS,
            Self::Rest => policy::SIGNING_REST,
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The waiting jobs. The lock is held for a push or a pop only.
#[derive(Default)]
struct JobQueue {
    jobs: [VecDeque<Job>; 2],
    ends: bool,
}

#[derive(Default)]
struct Shared {
    work: Mutex<JobQueue>,
    wake: Condvar,
    taken: [AtomicUsize; 2],
    refused: [AtomicU64; 2],
}

/// See the module's documentation. Dropping it ends its threads.
pub struct SigningQueue {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// A slot in the queue, freed when it is dropped.
pub struct SigningSlot {
    shared: Arc<Shared>,
    urgency: Urgency,
}

impl SigningQueue {
    /// Starts `threads` threads, at least one.
    pub(super) fn start(threads: usize) -> io::Result<Self> {
        let mut queue = Self { shared: Arc::default(), threads: Vec::new() };
        for number in 0..threads.max(1) {
            let shared = Arc::clone(&queue.shared);
            let thread = thread::Builder::new().name(format!("signing-{number}"));
            queue.threads.push(thread.spawn(move || shared.run_jobs())?);
        }
        Ok(queue)
    }

    /// Takes a slot in the queue, which is freed when it is dropped.
    ///
    /// # Errors
    /// [`LobbyError::Busy`] when the queue is full.
    pub fn reserve(&self, urgency: Urgency) -> Result<SigningSlot, LobbyError> {
        let taken = &self.shared.taken[urgency as usize];
        let more = |taken: usize| (taken < urgency.limit()).then_some(taken + 1);
        match taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(SigningSlot { shared: Arc::clone(&self.shared), urgency }),
            Err(_) => {
                self.shared.refused[urgency as usize].fetch_add(1, Ordering::Relaxed);
                Err(LobbyError::Busy)
            }
        }
    }

    /// The number of slots in use.
    pub fn slots_in_use(&self, urgency: Urgency) -> usize {
        self.shared.taken[urgency as usize].load(Ordering::Relaxed)
    }

    /// The number of refusals since the start.
    pub fn refused(&self, urgency: Urgency) -> u64 {
        self.shared.refused[urgency as usize].load(Ordering::Relaxed)
    }
}

impl Drop for SigningQueue {
    fn drop(&mut self) {
        let mut work = self.shared.lock();
        work.ends = true;
        // Dropping a job gives its caller an error. A job holds its slot, and so the shared state that holds the jobs.
        let left = std::mem::take(&mut work.jobs);
        drop(work);
        drop(left);
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // The thread ends by itself; a panic of a job was reported to its caller.
            drop(thread.join());
        }
    }
}

impl SigningSlot {
    /// Runs `job` on a thread and returns its result. A job whose caller has gone is skipped.
    ///
    /// # Errors
    /// When the service is stopping, or the job panicked.
    pub(super) async fn run<T: Send + 'static>(
        self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LobbyError> {
        let (sender, made) = oneshot::channel();
        let (shared, urgency) = (Arc::clone(&self.shared), self.urgency);
        let job = move || {
            let made = (!sender.is_closed()).then(job);
            // The slot is freed before the answer is sent, so that the receiver finds it free.
            drop(self);
            if let Some(made) = made {
                // The receiver may be gone.
                drop(sender.send(made));
            }
        };
        shared.push(urgency, Box::new(job));
        made.await.map_err(|_| LobbyError::Internal("nothing was signed"))
    }
}

impl Drop for SigningSlot {
    fn drop(&mut self) {
        self.shared.taken[self.urgency as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, JobQueue> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, urgency: Urgency, job: Job) {
        self.lock().jobs[urgency as usize].push_back(job);
        self.wake.notify_one();
    }

    fn run_jobs(&self) {
        while let Some(job) = self.next() {
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a signing job panicked; its caller gets an error");
            }
        }
    }

    /// The next job; `None` at the end.
    fn next(&self) -> Option<Job> {
        let mut work = self.lock();
        loop {
            if work.ends {
                return None;
            }
            if let Some(job) = work.jobs.iter_mut().find_map(VecDeque::pop_front) {
                return Some(job);
            }
            work = self.wake.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::future::join_all;

    use super::*;

    /// A queue whose only thread is blocked until the sender is dropped.
    async fn held() -> (SigningQueue, mpsc::Sender<()>, tokio::task::JoinHandle<Result<(), LobbyError>>) {
        let queue = SigningQueue::start(1).unwrap();
        let (free, held) = mpsc::channel::<()>();
        let (begun, begins) = oneshot::channel();
        let slot = queue.reserve(Urgency::Rest).unwrap();
        let first = tokio::spawn(slot.run(move || {
            begun.send(()).unwrap();
            let _freed = held.recv();
        }));
        begins.await.unwrap();
        (queue, free, first)
    }

    #[tokio::test]
    async fn logins_are_signed_before_all_other_jobs() {
        let (queue, free, first) = held().await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let jobs = [("r1", Urgency::Rest), ("r2", Urgency::Rest), ("l1", Urgency::Login), ("l2", Urgency::Login)];
        let mut waiting = Vec::new();
        for (name, urgency) in jobs {
            let order = Arc::clone(&order);
            let mut run = Box::pin(queue.reserve(urgency).unwrap().run(move || order.lock().unwrap().push(name)));
            // The job is queued at the first poll.
            assert!(futures_util::future::poll_immediate(&mut run).await.is_none());
            waiting.push(run);
        }
        assert_eq!((queue.slots_in_use(Urgency::Login), queue.slots_in_use(Urgency::Rest)), (2, 3));
        drop(free);
        assert!(join_all(waiting).await.iter().all(Result::is_ok));
        first.await.unwrap().unwrap();
        assert_eq!(*order.lock().unwrap(), ["l1", "l2", "r1", "r2"]);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_only_jobs_of_its_kind() {
        let queue = SigningQueue::start(1).unwrap();
        let mut slots: Vec<_> =
            (0..policy::SIGNING_REST).map(|_| queue.reserve(Urgency::Rest).unwrap_or_else(|_| panic!())).collect();
        assert!(matches!(queue.reserve(Urgency::Rest), Err(LobbyError::Busy)));
        assert_eq!((queue.refused(Urgency::Rest), queue.refused(Urgency::Login)), (1, 0));
        assert_eq!(queue.reserve(Urgency::Login).unwrap().run(|| 7).await.unwrap(), 7);
        slots.pop();
        assert!(queue.reserve(Urgency::Rest).is_ok());
    }

    #[tokio::test]
    async fn a_job_whose_caller_has_gone_is_skipped_and_frees_its_slot() {
        let (queue, free, first) = held().await;
        let mut abandoned = Box::pin(queue.reserve(Urgency::Login).unwrap().run(|| panic!("its caller has gone")));
        assert!(futures_util::future::poll_immediate(&mut abandoned).await.is_none());
        drop(abandoned);
        assert_eq!(queue.slots_in_use(Urgency::Login), 1, "the job holds its slot until it is skipped");
        drop(free);
        first.await.unwrap().unwrap();
        assert_eq!(queue.reserve(Urgency::Login).unwrap().run(|| 1).await.unwrap(), 1);
        assert_eq!(queue.slots_in_use(Urgency::Login), 0);
    }

    #[tokio::test]
    async fn a_panicking_job_fails_its_caller_and_the_thread_continues() {
        let queue = SigningQueue::start(1).unwrap();
        let outcome = queue.reserve(Urgency::Login).unwrap().run(|| panic!("on purpose")).await;
        assert!(matches!(outcome, Err::<(), _>(LobbyError::Internal(_))));
        assert_eq!(queue.reserve(Urgency::Login).unwrap().run(|| 1).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn dropping_the_queue_fails_waiting_jobs() {
        let (queue, free, first) = held().await;
        let mut waiting = Box::pin(queue.reserve(Urgency::Login).unwrap().run(|| 1));
        assert!(futures_util::future::poll_immediate(&mut waiting).await.is_none());
        queue.shared.lock().ends = true;
        drop(free);
        first.await.unwrap().unwrap();
        drop(queue);
        assert!(matches!(waiting.await, Err(LobbyError::Internal(_))));
    }
}
