//! Signatures that take long: a bounded queue before a few threads, in which logins go first.
//!
//! Owns the threads and what they have to do; must not know what is signed. An RSA signature takes about a millisecond of
//! processor. There are as many threads as processors: more would only have all signatures take longer. Whoever
//! finds the queue full is told so at once, before anything was used up.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use super::Fault;
use crate::policy;

/// For whom something is signed; of those who wait, the first of this order goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// A login: a relying party waits for it.
    Login,
    /// The tokens of the REST calls.
    Rest,
}

impl Urgency {
    /// All of them, the first to go first.
    pub const ALL: [Self; 2] = [Self::Login, Self::Rest];

    /// Its name in the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Rest => "rest",
        }
    }

    /// How many may be in the queue at once.
    const fn limit(self) -> usize {
        match self {
            Self::Login => policy::SIGNING_LOGINS,
            Self::Rest => policy::SIGNING_REST,
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// What waits. Held for a push or a pop only.
#[derive(Default)]
struct Work {
    jobs: [VecDeque<Job>; 2],
    ends: bool,
}

#[derive(Default)]
struct Shared {
    work: Mutex<Work>,
    wake: Condvar,
    taken: [AtomicUsize; 2],
    refused: [AtomicU64; 2],
}

/// See the module's documentation. Its threads end with it.
pub struct SigningQueue {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// A place in the queue, to be used or given back.
pub struct Place {
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
            queue.threads.push(thread.spawn(move || shared.work_through())?);
        }
        Ok(queue)
    }

    /// Takes a place in the queue, which is free again when it is dropped.
    ///
    /// # Errors
    /// [`Fault::Busy`] when it is full.
    pub fn reserve(&self, urgency: Urgency) -> Result<Place, Fault> {
        let taken = &self.shared.taken[urgency as usize];
        let more = |taken: usize| (taken < urgency.limit()).then_some(taken + 1);
        match taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Place { shared: Arc::clone(&self.shared), urgency }),
            Err(_) => {
                self.shared.refused[urgency as usize].fetch_add(1, Ordering::Relaxed);
                Err(Fault::Busy)
            }
        }
    }

    /// How many places are taken.
    pub fn taken(&self, urgency: Urgency) -> usize {
        self.shared.taken[urgency as usize].load(Ordering::Relaxed)
    }

    /// How many were refused since the start.
    pub fn refused(&self, urgency: Urgency) -> u64 {
        self.shared.refused[urgency as usize].load(Ordering::Relaxed)
    }
}

impl Drop for SigningQueue {
    fn drop(&mut self) {
        let mut work = self.shared.lock();
        work.ends = true;
        // Whoever waits for one of these is told. A job holds a place, and so what holds the jobs.
        let left = std::mem::take(&mut work.jobs);
        drop(work);
        drop(left);
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // It ends by itself; what it did in vain was told to whoever waited.
            drop(thread.join());
        }
    }
}

impl Place {
    /// Has a thread do `job`, and answers what it made. What nobody waits for any more when its turn comes is left out.
    ///
    /// # Errors
    /// When the service is stopping, or the job panicked.
    pub(super) async fn run<T: Send + 'static>(self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
        let (sender, made) = oneshot::channel();
        let (shared, urgency) = (Arc::clone(&self.shared), self.urgency);
        let job = move || {
            let made = (!sender.is_closed()).then(job);
            // Free before the answer, so that whoever has the answer finds the place free.
            drop(self);
            if let Some(made) = made {
                // Nobody may be waiting any more.
                drop(sender.send(made));
            }
        };
        shared.push(urgency, Box::new(job));
        made.await.map_err(|_| Fault::Internal("nothing was signed"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.taken[self.urgency as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, urgency: Urgency, job: Job) {
        self.lock().jobs[urgency as usize].push_back(job);
        self.wake.notify_one();
    }

    fn work_through(&self) {
        while let Some(job) = self.next() {
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a signature panicked");
            }
        }
    }

    /// What is to be done next; `None` at the end.
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

    /// A queue whose only thread does nothing until the sender is dropped.
    async fn held() -> (SigningQueue, mpsc::Sender<()>, tokio::task::JoinHandle<Result<(), Fault>>) {
        let queue = SigningQueue::start(1).unwrap();
        let (free, held) = mpsc::channel::<()>();
        let (begun, begins) = oneshot::channel();
        let place = queue.reserve(Urgency::Rest).unwrap();
        let first = tokio::spawn(place.run(move || {
            begun.send(()).unwrap();
            let _freed = held.recv();
        }));
        begins.await.unwrap();
        (queue, free, first)
    }

    #[tokio::test]
    async fn logins_go_before_everything_that_waits() {
        let (queue, free, first) = held().await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let jobs = [("r1", Urgency::Rest), ("r2", Urgency::Rest), ("l1", Urgency::Login), ("l2", Urgency::Login)];
        let mut waiting = Vec::new();
        for (name, urgency) in jobs {
            let order = Arc::clone(&order);
            let mut run = Box::pin(queue.reserve(urgency).unwrap().run(move || order.lock().unwrap().push(name)));
            // It stands in the queue from the first look on.
            assert!(futures_util::future::poll_immediate(&mut run).await.is_none());
            waiting.push(run);
        }
        assert_eq!((queue.taken(Urgency::Login), queue.taken(Urgency::Rest)), (2, 3));
        drop(free);
        assert!(join_all(waiting).await.iter().all(Result::is_ok));
        first.await.unwrap().unwrap();
        assert_eq!(*order.lock().unwrap(), ["l1", "l2", "r1", "r2"]);
    }

    #[tokio::test]
    async fn who_finds_the_queue_full_is_refused_and_others_are_not() {
        let queue = SigningQueue::start(1).unwrap();
        let mut places: Vec<_> =
            (0..policy::SIGNING_REST).map(|_| queue.reserve(Urgency::Rest).unwrap_or_else(|_| panic!())).collect();
        assert!(matches!(queue.reserve(Urgency::Rest), Err(Fault::Busy)));
        assert_eq!((queue.refused(Urgency::Rest), queue.refused(Urgency::Login)), (1, 0));
        assert_eq!(queue.reserve(Urgency::Login).unwrap().run(|| 7).await.unwrap(), 7);
        places.pop();
        assert!(queue.reserve(Urgency::Rest).is_ok());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_left_out_and_frees_its_place() {
        let (queue, free, first) = held().await;
        let mut abandoned = Box::pin(queue.reserve(Urgency::Login).unwrap().run(|| panic!("nobody waits for it")));
        assert!(futures_util::future::poll_immediate(&mut abandoned).await.is_none());
        drop(abandoned);
        assert_eq!(queue.taken(Urgency::Login), 1, "until its turn has come");
        drop(free);
        first.await.unwrap().unwrap();
        assert_eq!(queue.reserve(Urgency::Login).unwrap().run(|| 1).await.unwrap(), 1);
        assert_eq!(queue.taken(Urgency::Login), 0);
    }

    #[tokio::test]
    async fn a_panic_is_told_and_the_thread_goes_on() {
        let queue = SigningQueue::start(1).unwrap();
        let told = queue.reserve(Urgency::Login).unwrap().run(|| panic!("on purpose")).await;
        assert!(matches!(told, Err::<(), _>(Fault::Internal(_))));
        assert_eq!(queue.reserve(Urgency::Login).unwrap().run(|| 1).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn the_end_of_the_queue_is_told_to_those_who_wait() {
        let (queue, free, first) = held().await;
        let mut waiting = Box::pin(queue.reserve(Urgency::Login).unwrap().run(|| 1));
        assert!(futures_util::future::poll_immediate(&mut waiting).await.is_none());
        queue.shared.lock().ends = true;
        drop(free);
        first.await.unwrap().unwrap();
        drop(queue);
        assert!(matches!(waiting.await, Err(Fault::Internal(_))));
    }
}
