//! The commit loop of an event on this node: queued commands become one conditional write of the event's item.
//!
//! Owns the order of this node's writes. All queued commands share a write of the whole item, on the condition that no
//! other node wrote it since this node read it; if one did, the commands are applied again to what it wrote. Nodes write
//! in rounds (`write_schedule.rs`). A write without an answer is looked up by its number, and repeated unchanged for as
//! long as it may still be done. While joins come to this node only, each write also reserves positions for the next
//! ones, which are handed out from memory (`store/counter_cache.rs`).

mod reservation;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::client::{Condition, Table, Written};
use super::client::{number, text};
use super::command::{Command, Done, Message, collect};
use super::context::{Context, in_time, lock};
use super::draft::Draft;
use super::intent_log::{IdempotencyKey, LogRow};
use super::item::{read, request_slot};
use super::log;
use super::state::EventState;
use super::write_schedule::{PeerState, WriteSchedule};
use crate::ambient::random;
use crate::policy::{
    COMMIT_BATCH, COMMIT_DEADLINE, COMMIT_LONGEST_PAUSE, LEASE_TIME, RESERVATION_PERIOD, SCHEDULE_PATIENCE,
    SLOT_REQUEST_AFTER, WRITER_MEMORY,
};
use crate::room::EventId;
use crate::store::arrival_rate::ArrivalRate;
use crate::store::counter_cache::CounterCache;
use crate::store::{Change, StoreError};

/// What a commit loop shares with its handle.
pub(super) struct Shared {
    pub(super) cache: Arc<CounterCache>,
    pub(super) done: Done,
    pub(super) heard: Arc<PeerState>,
}

/// See the module's documentation.
pub(super) struct CommitLoop {
    event: EventId,
    /// The newest item that this node knows.
    known: EventState,
    context: Context,
    shared: Shared,
    /// The number of this node's latest write.
    commit_number: u64,
    schedule: WriteSchedule,
    arrivals: ArrivalRate,
    /// When the latest write began, and when this node last tried to renew its reservation.
    begun: Instant,
    renewed: Instant,
    /// The revision of another node's reservation after which this node took positions: the answers wait until its lease
    /// has ended.
    drain_wait: Option<u64>,
    /// The latest such revision whose lease has ended.
    drained: Option<u64>,
    /// Nothing is reserved any more.
    leaving: bool,
}

impl CommitLoop {
    pub(super) fn new(event: EventId, known: EventState, context: Context, shared: Shared) -> Self {
        let now = Instant::now();
        Self {
            event,
            arrivals: ArrivalRate::new(known.counters.queue, now),
            known,
            context,
            shared,
            commit_number: 0,
            schedule: WriteSchedule::new(now),
            begun: now,
            renewed: now,
            drain_wait: None,
            drained: None,
            leaving: false,
        }
    }

    pub(super) async fn run(mut self, mut waiting: mpsc::UnboundedReceiver<Message>) {
        loop {
            let message = tokio::select! {
                biased;
                message = waiting.recv() => message,
                () = tokio::time::sleep_until(self.begun.max(self.renewed) + RESERVATION_PERIOD),
                    if self.shared.cache.is_open() =>
                {
                    self.renewed = Instant::now();
                    // A failure is retried a period later; once the lease has ended, nothing is handed out from it.
                    drop(self.commit(&mut [], LEASE_TIME).await);
                    continue;
                }
            };
            let Some(Message::Command(first)) = message else { return self.leave().await };
            self.wait_for_turn().await;
            let mut commands = vec![first];
            let mut stop = collect(&mut waiting, &mut commands, COMMIT_BATCH);
            let failure = self.commit(&mut commands, COMMIT_DEADLINE).await.err();
            if matches!(failure, Some(StoreError::Unavailable(_) | StoreError::Unusable(_))) && stop.is_none() {
                // Commands that were queued meanwhile fail as well.
                stop = collect(&mut waiting, &mut commands, usize::MAX);
            }
            for command in commands {
                command.answer(failure.as_ref());
            }
            if stop.is_some() {
                return self.leave().await;
            }
        }
    }

    /// Returns the reservation.
    async fn leave(&mut self) {
        self.leaving = true;
        if self.shared.cache.is_open() || self.known.has_reservation(&self.context.node) {
            // If it fails, the reserved positions are lost.
            drop(self.commit(&mut [], COMMIT_DEADLINE).await);
        }
    }

    /// Makes the effect of the commands durable, in one write. If none of them changes anything, nothing is written, but
    /// the item is read, so that their answers are current.
    async fn commit(&mut self, commands: &mut [Box<dyn Command>], patience: Duration) -> Result<(), StoreError> {
        self.drain_wait = None;
        self.listen();
        self.try_to_commit(commands, Instant::now() + patience).await?;
        if let Some(since) = self.drain_wait {
            tokio::time::sleep(LEASE_TIME).await;
            self.drained = Some(since);
        }
        Ok(())
    }

    async fn try_to_commit(&mut self, commands: &mut [Box<dyn Command>], deadline: Instant) -> Result<(), StoreError> {
        // Whether the item was read after the commands were queued.
        let (mut seen, mut tidied) = (false, Vec::new());
        // A write without an answer, which may have been done.
        let (mut doubtful, mut based): (Option<EventState>, _) = (None, self.known.write_id);
        let mut trouble = None;
        self.commit_number += 1;
        for tries in 1.. {
            // An earlier attempt was done, but its answer was lost.
            if self.wrote() {
                self.finish_unanswered(&tidied);
                return Ok(());
            }
            // The commands have their answers from that write. It is repeated unchanged for as long as it may still be done.
            let repeated =
                doubtful.take().filter(|next| next.revision == self.known.revision + 1 && based == self.known.write_id);
            let next = match repeated {
                Some(next) => next,
                None => {
                    based = self.known.write_id;
                    tidied.clone_from(&lock(&self.shared.done));
                    self.draft(commands, &tidied)
                }
            };
            let looks = next == self.known && !seen && !commands.is_empty();
            let tried = match next == self.known {
                true if looks => in_time(deadline, self.look()).await.map(|()| false),
                true => Ok(true),
                false => in_time(deadline, self.write(&next)).await,
            };
            match tried {
                Ok(true) => {
                    self.finish(next, &tidied);
                    return Ok(());
                }
                Ok(false) => (seen, trouble) = (true, None),
                Err(error @ (StoreError::Corrupt(_) | StoreError::UnknownEvent(_))) => return Err(error),
                // An earlier error of DynamoDB is more helpful than a timeout.
                Err(error) if Instant::now() >= deadline => return Err(trouble.unwrap_or(error)),
                Err(error) => {
                    trouble = Some(error);
                    doubtful = (next != self.known).then_some(next);
                    seen = in_time(deadline, self.look()).await.is_ok();
                }
            }
            match self.wrote() {
                true => continue,
                false if Instant::now() >= deadline => break,
                // The deadline is checked below.
                false if !looks => {
                    let waiting = self.wait_to_try_again(tries, trouble.is_none());
                    drop(tokio::time::timeout_at(deadline, waiting).await);
                }
                false => {}
            }
        }
        Err(trouble.unwrap_or_else(|| StoreError::Unavailable(format!("event {} is written by too many", self.event))))
    }

    /// Waits for this node's slot in the write schedule. Writes of other nodes that are published meanwhile are noted.
    async fn wait_for_turn(&mut self) {
        let latest = Instant::now() + SCHEDULE_PATIENCE;
        loop {
            self.listen();
            let turn = self.schedule.mine(&self.known, &self.context.node).min(latest);
            if turn <= Instant::now() {
                return;
            }
            tokio::select! {
                biased;
                () = self.shared.heard.rings() => {}
                () = tokio::time::sleep_until(turn) => self.schedule.missed(&self.known, &self.context.node),
            }
        }
    }

    /// The same after a write that was `refused`, or failed: longer with each attempt.
    async fn wait_to_try_again(&mut self, tries: u32, refused: bool) {
        if tries > SLOT_REQUEST_AFTER {
            let [dice] = random(&*self.context.entropy);
            let longest = Duration::from_millis(1 << tries.min(10)).min(COMMIT_LONGEST_PAUSE);
            tokio::time::sleep(longest * u32::from(dice) / u32::from(u8::MAX)).await;
        }
        if refused && tries >= SLOT_REQUEST_AFTER && tries.is_power_of_two() {
            let (context, write_id) = (&self.context, IdempotencyKey::new(random(&*self.context.entropy)));
            // An error recurs at the next write, which reports it.
            let requested = request_slot(&context.tables, &self.event, &context.node, write_id).await;
            if requested.is_ok() && self.look().await.is_ok() {
                return;
            }
        }
        self.wait_for_turn().await;
    }

    /// Takes the newest item that other nodes published.
    fn listen(&mut self) {
        if let Some(latest) = self.shared.heard.take().filter(|latest| latest.revision > self.known.revision) {
            self.saw(latest);
        }
    }

    /// The item after all commands; equal to the known one if none changes anything.
    fn draft(&mut self, commands: &mut [Box<dyn Command>], tidied: &[(u64, LogRow)]) -> EventState {
        let taking = commands.iter().any(|command| command.takes());
        let mut state = self.known.clone();
        let epoch = state.epoch;
        state.intent_log.rows.retain(|row| !tidied.contains(&(epoch, *row)));
        let kept = self.take_back(&mut state, taking);
        let mut draft = Draft::new(&self.event, state, self.context.outbox.now());
        for command in commands {
            command.apply(&mut draft);
        }
        let mut next = draft.state;
        self.reserve(&mut next, kept);
        if next != self.known {
            self.sign(&mut next);
        }
        next
    }

    /// Marks it as a write of this node.
    fn sign(&self, next: &mut EventState) {
        if next.counters != self.known.counters && next.counters.version == self.known.counters.version {
            next.counters.version += 1;
        }
        next.revision += 1;
        next.slot_request = None;
        next.write_id = IdempotencyKey::new(random(&*self.context.entropy));
        let revision = next.revision;
        let nodes = &mut next.intent_log.nodes;
        nodes.retain(|_, writer| writer.revision + WRITER_MEMORY > revision);
        let writer = nodes.entry(self.context.node.clone()).or_default();
        (writer.commit, writer.revision) = (self.commit_number, revision);
        if next.epoch == self.known.epoch && next.counters.queue != self.known.counters.queue {
            writer.took = revision;
        }
    }

    async fn write(&mut self, next: &EventState) -> Result<bool, StoreError> {
        let unchanged = Condition::new("revision = :seen AND seal = :seal")
            .with(":seen", number(self.known.revision))
            .with(":seal", text(self.known.write_id));
        self.begun = Instant::now();
        let written = self.context.tables.put(Table::Events, next.item(&self.event)?, unchanged).await?;
        self.schedule.took(self.begun.elapsed());
        match written {
            Written::Done => Ok(true),
            Written::Refused(item) if item.0.is_empty() => Err(StoreError::UnknownEvent(self.event.clone())),
            Written::Refused(item) => {
                self.saw(EventState::read(&item)?);
                Ok(false)
            }
        }
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let state = read(&self.context.tables, &self.event).await?;
        self.saw(state);
        Ok(())
    }

    fn saw(&mut self, state: EventState) {
        self.shared.cache.learn(state.counters);
        self.known = state;
        if let Some(node) = self.known.slot_request.as_ref().filter(|node| **node != self.context.node) {
            self.schedule.want(node, &self.known);
        }
        self.schedule.begin(Instant::now());
    }

    /// Whether the item contains the present commit.
    fn wrote(&self) -> bool {
        let writer = self.known.intent_log.nodes.get(&self.context.node);
        writer.is_some_and(|writer| writer.commit == self.commit_number)
    }

    /// Publishes a write, and copies its rows into their tables.
    fn finish(&mut self, next: EventState, tidied: &[(u64, LogRow)]) {
        lock(&self.shared.done).retain(|row| !tidied.contains(row));
        let fresh = next.intent_log.rows.iter().filter(|row| !self.known.intent_log.rows.contains(row));
        let fresh: Vec<LogRow> = fresh.copied().collect();
        let notes = next.intent_log.noted > self.known.intent_log.noted;
        if next.revision > self.known.revision {
            self.schedule.begin(Instant::now());
            self.schedule.wrote();
            self.known = next;
            self.tell();
            if let Some((lease, end)) = self.known.lease(self.begun) {
                self.shared.cache.open(lease, end);
            }
        }
        if notes {
            self.tell_of_letters();
        }
        if !fresh.is_empty() {
            let (tables, event, epoch) = (self.context.tables.clone(), self.event.clone(), self.known.epoch);
            tokio::spawn(log::put_all(tables, event, epoch, fresh, Arc::clone(&self.shared.done)));
        }
    }

    /// Publishes the counters, and the whole item if other nodes write it as well.
    fn tell(&self) {
        let counters = self.known.counters;
        let company = self.known.late_writers().any(|node| node != self.context.node);
        self.shared.cache.learn(counters);
        self.context.publisher.announce_counters(&self.event, counters, company.then(|| self.known.clone()));
    }

    /// The same for a write whose answer was lost: the known item contains it.
    fn finish_unanswered(&mut self, tidied: &[(u64, LogRow)]) {
        let seen = self.known.clone();
        self.finish(seen, tidied);
        self.tell();
        if !self.known.intent_log.notes.is_empty() {
            self.tell_of_letters();
        }
    }

    fn tell_of_letters(&self) {
        // There may be no subscribers.
        drop(self.context.feed.send(Change::Letters));
        self.context.publisher.announce_outbox();
    }
}
