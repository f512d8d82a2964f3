//! Delivery to one sink: in order for each event, at least once, with bounded retries.
//!
//! An unavailable sink delays everything for [`policy::NOTICE_PATIENCE`]; after that, notices of that age become dead
//! letters. A notice that an available sink rejects delays only its event, and becomes a dead letter sooner. An
//! operator can requeue dead letters.
//!
//! The store keeps the cursor through which the sink has everything. What the sink has beyond it, because an event is
//! held, only the worker knows: after a crash it is delivered again.

use std::collections::{HashMap, HashSet};
use std::iter::repeat_with;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::retry::{Backoff, RejectionPolicy, RetryState, SinkError, is_old};
use crate::ambient::Timestamp;
use crate::config::Subscription;
use crate::lobby::Lobby;
use crate::outbound::LogThrottle;
use crate::policy;
use crate::room::{EventId, Moment};
use crate::store::{Letter, Outbox, Resent, StoreError};

/// A receiver of notices.
#[async_trait]
pub(super) trait Sink: Send + Sync + 'static {
    /// What it subscribes to, and its name, under which the store keeps its cursor.
    fn subscription(&self) -> &Subscription;

    /// The largest batch of one delivery.
    fn batch(&self) -> usize {
        1
    }

    /// Delivers `letters`, in order, [`batch`](Sink::batch) at most, and returns the outcome of each.
    ///
    /// # Errors
    /// When it accepted none of them, and would not accept others either.
    async fn deliver(&self, letters: &[&Letter], now: Timestamp) -> Result<Vec<Result<(), SinkError>>, SinkError>;
}

/// The outcome of a round.
#[derive(PartialEq, Eq, Debug)]
enum Round {
    /// There may be more to deliver at once.
    More,
    /// Nothing is left to deliver now.
    Idle,
    /// Another node holds the lease.
    LeasedElsewhere,
    /// The sink is unavailable.
    Failed,
}

/// The sink is unavailable: nothing from `from` on was delivered.
struct SinkFailure {
    from: u64,
    error: SinkError,
}

/// An event whose next notice was not accepted.
struct HeldEvent {
    /// The first number of the event that is yet to be delivered, among those already read.
    from: u64,
    /// No delivery until this is over.
    pause: Option<Backoff>,
}

/// The progress of the delivery.
#[derive(Default)]
struct Progress {
    /// Everything up to this number was delivered, or is held.
    reach: u64,
    held: HashMap<EventId, HeldEvent>,
}

impl Progress {
    /// The number through which the sink has everything.
    fn cursor(&self) -> u64 {
        self.held.values().map(|held| held.from.saturating_sub(1)).fold(self.reach, u64::min)
    }

    fn is_pending(&self, letter: &Letter) -> bool {
        letter.seq > self.reach || self.held.get(&letter.event).is_some_and(|held| held.from <= letter.seq)
    }

    fn hold(&mut self, event: &EventId, from: u64, pause: Option<Backoff>) {
        self.held.insert(event.clone(), HeldEvent { from, pause });
    }

    /// Records that a notice is done, and all before it of its event.
    fn settle(&mut self, letter: &Letter) {
        if let Some(held) = self.held.get_mut(&letter.event) {
            held.from = letter.seq + 1;
        }
    }

    /// Records that everything through `seq` is done.
    fn skip(&mut self, seq: u64) {
        self.reach = self.reach.max(seq);
        self.held.values_mut().for_each(|held| held.from = held.from.max(seq + 1));
    }

    /// A held event whose backoff is over.
    fn due(&self, now: Timestamp) -> Option<EventId> {
        let is_due = |held: &HeldEvent| held.pause.as_ref().is_none_or(|pause| pause.is_over(now));
        self.held.iter().find(|(_, held)| is_due(held)).map(|(event, _)| event.clone())
    }
}

/// The error for a notice whose outcome the sink did not report.
fn missing_outcome() -> SinkError {
    SinkError::Unavailable("the sink reported no outcome for this notice".to_owned())
}

/// See the module's documentation.
pub(super) struct DeliveryWorker {
    lobby: Arc<Lobby>,
    sink: Arc<dyn Sink>,
    wake: watch::Receiver<Option<u64>>,
    progress: Progress,
    /// Retries of the sink as a whole, of single events, and of the outbox.
    sink_retry: RetryState,
    event_retries: HashMap<EventId, RetryState>,
    outbox_retry: RetryState,
    rejections: RejectionPolicy,
    log_throttle: LogThrottle,
    /// Throttles the log of dead letters; counts those that are not logged yet.
    dead_letter_throttle: LogThrottle,
    unlogged_dead_letters: usize,
}

impl DeliveryWorker {
    pub(super) fn new(lobby: Arc<Lobby>, sink: Arc<dyn Sink>, wake: watch::Receiver<Option<u64>>) -> Self {
        Self {
            lobby,
            sink,
            wake,
            progress: Progress::default(),
            sink_retry: RetryState::default(),
            event_retries: HashMap::new(),
            outbox_retry: RetryState::default(),
            rejections: RejectionPolicy::default(),
            log_throttle: LogThrottle::default(),
            dead_letter_throttle: LogThrottle::default(),
            unlogged_dead_letters: 0,
        }
    }

    fn name(&self) -> &str {
        &self.sink.subscription().name
    }

    fn outbox(&self) -> &dyn Outbox {
        self.lobby.store()
    }

    pub(super) async fn run(mut self) {
        loop {
            self.wake.borrow_and_update();
            let round = self.round().await;
            if round.is_ok() {
                self.outbox_retry = RetryState::default();
            }
            match round {
                Ok(Round::More) => {}
                Ok(Round::Idle) => self.rest(policy::NOTICE_LOOK).await,
                Ok(Round::LeasedElsewhere) => self.rest(policy::LEASE).await,
                Ok(Round::Failed) => self.pause(&self.sink_retry).await,
                Err(error) => {
                    tracing::warn!(sink = self.name(), %error, "the outbox cannot be used; it is retried");
                    // The state of the failed round is unknown: continue from the store's cursor.
                    self.progress = Progress::default();
                    self.outbox_retry
                        .record_failure(&SinkError::Unavailable(String::new()), self.lobby.moment().steady);
                    self.pause(&self.outbox_retry).await;
                }
            }
        }
    }

    async fn pause(&self, retry: &RetryState) {
        let wait = retry.wait(self.lobby.entropy(), self.lobby.moment().steady);
        let pause = Backoff::new(wait, self.lobby.now());
        while !pause.is_over(self.lobby.now()) {
            sleep(policy::CLOCK_POLL.min(wait)).await;
        }
    }

    /// Waits until there may be something new, or an event's backoff is over; `longest` at most.
    async fn rest(&mut self, longest: Duration) {
        let Self { lobby, wake, progress, .. } = self;
        let due = async {
            while progress.due(lobby.now()).is_none() {
                sleep(policy::CLOCK_POLL).await;
            }
        };
        tokio::select! {
            _ = timeout(longest, wake.changed()) => {}
            () = due, if !progress.held.is_empty() => {}
        }
    }

    /// Delivers a page of new notices, and one of held notices.
    async fn round(&mut self) -> Result<Round, StoreError> {
        let Some(cursor) = self.outbox().claim_delivery(self.name()).await? else {
            self.progress = Progress::default();
            return Ok(Round::LeasedElsewhere);
        };
        self.progress.skip(cursor);
        let again = self.send_requeued().await?;
        let due = self.progress.due(self.lobby.now());
        let held = match &due {
            Some(event) => self.deliver_held(event).await?,
            None => None,
        };
        let page = self.outbox().letters(self.progress.reach, policy::NOTICE_PAGE).await?;
        let stopped = if held.is_some() { held } else { self.deliver_new(&page).await? };
        if let Some(SinkFailure { error, .. }) = stopped {
            self.note_progress(cursor).await?;
            self.handle_unavailable(&error).await?;
            return Ok(Round::Failed);
        }
        self.note_progress(cursor).await?;
        let idle = !again && due.is_none() && page.is_empty();
        Ok(if idle { Round::Idle } else { Round::More })
    }

    async fn note_progress(&self, before: u64) -> Result<(), StoreError> {
        let cursor = self.progress.cursor();
        if cursor > before { self.outbox().note_delivered(self.name(), cursor).await } else { Ok(()) }
    }

    /// Delivers a page of new notices, except those of held events.
    async fn deliver_new(&mut self, page: &[Letter]) -> Result<Option<SinkFailure>, StoreError> {
        let Some(last) = page.last() else { return Ok(None) };
        let wants = |letter: &&Letter| self.sink.subscription().wants(letter);
        let new: Vec<_> =
            page.iter().filter(wants).filter(|letter| !self.progress.held.contains_key(&letter.event)).collect();
        let stopped = self.deliver(&new).await?;
        self.progress.reach = stopped.as_ref().map_or(last.seq, |stopped| stopped.from.saturating_sub(1));
        Ok(stopped)
    }

    /// Delivers a page of held notices of an event.
    async fn deliver_held(&mut self, event: &EventId) -> Result<Option<SinkFailure>, StoreError> {
        let Some(held) = self.progress.held.get_mut(event) else { return Ok(None) };
        let from = held.from;
        held.pause = None;
        let mut page = self.outbox().letters(from.saturating_sub(1), policy::NOTICE_PAGE).await?;
        page.retain(|letter| letter.seq <= self.progress.reach);
        let wants = |letter: &&Letter| letter.event == *event && self.sink.subscription().wants(letter);
        let letters: Vec<_> = page.iter().filter(wants).collect();
        // The first one alone, so that those behind it are not sent at each retry.
        let (first, rest) = letters.split_at(letters.len().min(1));
        for letters in [first, rest] {
            let stopped = self.deliver(letters).await?;
            let is_paused = self.progress.held.get(event).is_some_and(|held| held.pause.is_some());
            if stopped.is_some() || is_paused {
                return Ok(stopped);
            }
        }
        match page.last().filter(|last| last.seq < self.progress.reach) {
            Some(last) => self.progress.hold(event, last.seq + 1, None),
            None => drop(self.progress.held.remove(event)),
        }
        Ok(None)
    }

    /// Delivers notices in order; after a failure, no later ones of that event.
    async fn deliver(&mut self, letters: &[&Letter]) -> Result<Option<SinkFailure>, StoreError> {
        let mut stuck = HashSet::new();
        let mut rest = letters.iter().copied();
        loop {
            let open = rest.by_ref().filter(|letter| !stuck.contains(&letter.event));
            let batch: Vec<&Letter> = open.take(self.sink.batch().max(1)).collect();
            let Some(first) = batch.first() else { return Ok(None) };
            let now = self.lobby.now();
            let outcomes = match self.sink.deliver(&batch, now).await {
                Ok(outcomes) => outcomes,
                Err(error) => return Ok(Some(SinkFailure { from: first.seq, error })),
            };
            self.sink_retry = RetryState::default();
            let missing_outcome = repeat_with(|| Err(missing_outcome()));
            for (letter, outcome) in batch.into_iter().zip(outcomes.into_iter().chain(missing_outcome)) {
                // A notice that was accepted although its predecessor failed is delivered again after it.
                if !stuck.contains(&letter.event) && !self.settle(letter, outcome, now).await? {
                    stuck.insert(letter.event.clone());
                }
            }
        }
    }

    /// Handles the outcome of a notice. Returns whether its event may continue.
    async fn settle(
        &mut self,
        letter: &Letter,
        outcome: Result<(), SinkError>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let Err(error) = outcome else {
            self.event_retries.remove(&letter.event);
            self.rejections.record_delivery(letter.kind);
            self.progress.settle(letter);
            return Ok(true);
        };
        let retry = self.event_retries.entry(letter.event.clone()).or_default();
        let steady = self.lobby.moment().steady;
        retry.record_failure(&error, steady);
        let (failures, exhausted) = (retry.failures(), retry.is_exhausted(steady));
        let wait = retry.wait(self.lobby.entropy(), steady);
        self.log_failure(&error, failures, now);
        let refused = matches!(error, SinkError::Rejected(_));
        let enough = refused && self.rejections.gives_up(letter, failures, now);
        if !(enough || (exhausted && (refused || is_old(letter, now)))) {
            self.progress.hold(&letter.event, letter.seq, Some(Backoff::new(wait, now)));
            return Ok(false);
        }
        self.give_up(std::slice::from_ref(letter), self.progress.cursor(), &error).await?;
        if refused {
            self.event_retries.remove(&letter.event);
            self.rejections.record_rejection(letter.kind);
        }
        self.progress.settle(letter);
        Ok(true)
    }

    /// Handles an unavailable sink: notices that are too old become dead letters.
    async fn handle_unavailable(&mut self, error: &SinkError) -> Result<(), StoreError> {
        let Moment { wall: now, steady } = self.lobby.moment();
        self.sink_retry.record_failure(error, steady);
        self.log_failure(error, self.sink_retry.failures(), now);
        if !self.sink_retry.is_exhausted(steady) {
            return Ok(());
        }
        loop {
            let page = self.outbox().letters(self.progress.cursor(), policy::NOTICE_PAGE).await?;
            let old = page.iter().take_while(|letter| is_old(letter, now)).collect::<Vec<_>>();
            let Some(last) = old.last() else { return Ok(()) };
            let wanted = old.iter().filter(|letter| self.sink.subscription().wants(letter));
            let dead: Vec<_> = wanted.filter(|letter| self.progress.is_pending(letter)).copied().cloned().collect();
            self.give_up(&dead, last.seq, error).await?;
            self.progress.skip(last.seq);
        }
    }

    async fn give_up(&mut self, letters: &[Letter], through: u64, error: &SinkError) -> Result<(), StoreError> {
        let reason = error.reason();
        self.outbox().bury_letters(self.name(), letters, reason, through).await?;
        self.unlogged_dead_letters += letters.len();
        if self.unlogged_dead_letters > 0 && self.dead_letter_throttle.should_log(reason, self.lobby.now()) {
            let letters = std::mem::take(&mut self.unlogged_dead_letters);
            tracing::error!(
                sink = self.name(),
                reason,
                letters,
                "notices became dead letters: see /private/dead_letters"
            );
        }
        Ok(())
    }

    fn log_failure(&self, error: &SinkError, failures: u32, now: Timestamp) {
        let reason = error.reason();
        if self.log_throttle.should_log(reason, now) {
            tracing::warn!(sink = self.name(), reason, failures, "a notice was not accepted; it is retried");
        }
    }

    /// Delivers requeued dead letters. Returns whether there were any.
    async fn send_requeued(&self) -> Result<bool, StoreError> {
        let letters = self.outbox().revived_letters(self.name(), policy::NOTICE_PAGE).await?;
        for letter in &letters {
            let answer = self.sink.deliver(&[letter], self.lobby.now()).await;
            let outcome = match answer.and_then(|mut outcomes| outcomes.pop().unwrap_or_else(|| Err(missing_outcome())))
            {
                Ok(()) => Resent::Taken,
                Err(error) => {
                    tracing::warn!(
                        sink = self.name(),
                        reason = error.reason(),
                        "a requeued dead letter was rejected again; it stays a dead letter"
                    );
                    Resent::Refused
                }
            };
            self.outbox().settle_dead_letter(self.name(), letter.seq, outcome).await?;
        }
        Ok(!letters.is_empty())
    }
}

#[cfg(test)]
mod tests;
