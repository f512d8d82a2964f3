//! The desk of one event on this node: everything that changes the event's item passes over it.
//!
//! Owns the order of this node's writes and how they are shared: all verbs that wait become one conditional write of
//! the whole item, which rests on the revision that the clerk saw. If another node wrote meanwhile, the verbs run
//! again from what it wrote, and the clerk waits a little longer for company next time: so an item is never written
//! more than a few hundred times a second, however many join. Between two writes of its own it leaves each other node
//! the time for one: nobody goes without. A write that was not answered is looked up by its number, not repeated
//! blindly.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;

use super::draft::Draft;
use super::fields::number;
use super::log;
use super::ring::Bell;
use super::state::{EventState, LogRow, Stamp};
use super::tables::{Condition, Table, Tables, Written};
use crate::ambient::{Entropy, random};
use crate::policy::{DESK_DEADLINE, DESK_MAX_BATCH, DESK_MAX_WINDOW, DESK_MIN_WINDOW, DESK_NODE_MEMORY};
use crate::room::{Counters, EventId};
use crate::store::outbox::OutboxMode;
use crate::store::{Change, StoreError};

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
}

struct Verb<F, T> {
    verb: F,
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
}

/// The error of a store that was closed.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}

/// What everybody on this node may read of an event.
pub(super) struct Slate {
    event: EventId,
    counters: Mutex<Counters>,
    feed: broadcast::Sender<Change>,
}

impl Slate {
    pub(super) fn counters(&self) -> Counters {
        *lock(&self.counters)
    }

    /// Takes newer counters, wherever they come from, and tells who listens on this node.
    pub(super) fn learn(&self, counters: Counters) -> bool {
        let mut known = lock(&self.counters);
        if counters.version <= known.version {
            return false;
        }
        *known = counters;
        // Told under the lock, so that listeners hear of versions in their order; nobody may be listening.
        drop(self.feed.send(Change::Counters(self.event.clone(), counters)));
        true
    }
}

/// See the module's documentation.
pub(super) struct Desk {
    pub(super) slate: Arc<Slate>,
    /// The newest serving records, as this node read them last.
    pub(super) records: Mutex<log::Memo>,
    inbox: mpsc::UnboundedSender<Message>,
    done: Done,
}

/// Rows that reached their table, with the life that they are of.
type Done = Arc<Mutex<Vec<(u64, LogRow)>>>;

/// What a clerk works with.
#[derive(Clone)]
pub(super) struct Office {
    pub(super) tables: Tables,
    pub(super) bell: Bell,
    pub(super) outbox: OutboxMode,
    pub(super) entropy: Arc<dyn Entropy>,
    /// This node, by lot.
    pub(super) node: String,
    pub(super) feed: broadcast::Sender<Change>,
}

impl Desk {
    /// Opens the desk of an event that stands as `known`. To be called on the engine's runtime.
    pub(super) fn open(event: EventId, known: EventState, office: Office) -> Self {
        let feed = office.feed.clone();
        let slate = Arc::new(Slate { event: event.clone(), counters: Mutex::new(known.counters), feed });
        let (inbox, waiting) = mpsc::unbounded_channel();
        let done = Done::default();
        let clerk = Clerk {
            event,
            known,
            office,
            slate: Arc::clone(&slate),
            done: Arc::clone(&done),
            batch: 0,
            window: Duration::ZERO,
            yielded: Instant::now(),
        };
        tokio::spawn(clerk.run(waiting));
        Self { slate, records: Mutex::default(), inbox, done }
    }

    /// Has `verb` run as part of a write, and answers what it answered once that is durable. It may run more than once.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        verb: impl FnMut(&mut Draft<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let step = Verb { verb, answer: None, reply };
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

struct Clerk {
    event: EventId,
    /// The item as this node saw it last.
    known: EventState,
    office: Office,
    slate: Arc<Slate>,
    done: Done,
    /// The number of this node's latest write.
    batch: u64,
    /// How long to wait for company before a write.
    window: Duration,
    /// Until when the item is left to the other nodes.
    yielded: Instant,
}

impl Clerk {
    async fn run(mut self, mut waiting: mpsc::UnboundedReceiver<Message>) {
        while let Some(message) = waiting.recv().await {
            let Message::Step(first) = message else { return };
            let ready = self.yielded.max(Instant::now() + self.window);
            if ready > Instant::now() {
                tokio::time::sleep_until(ready).await;
            }
            let (mut steps, mut stop) = (vec![first], None);
            while steps.len() < DESK_MAX_BATCH {
                match waiting.try_recv() {
                    Ok(Message::Step(step)) => steps.push(step),
                    Ok(Message::Stop(reply)) => {
                        stop = Some(reply);
                        break;
                    }
                    Err(_) => break,
                }
            }
            let failure = self.commit(&mut steps).await.err();
            for step in steps {
                step.answer(failure.as_ref());
            }
            if stop.is_some() {
                return;
            }
        }
    }

    /// Makes what the steps do durable, in one write; or says how the item stood, if none of them changes anything.
    async fn commit(&mut self, steps: &mut [Box<dyn Step>]) -> Result<(), StoreError> {
        let deadline = Instant::now() + DESK_DEADLINE;
        // Whether the item is known as it stood after the steps had come, and whether that was only just.
        let (mut seen, mut disturbed, mut at_once) = (false, false, false);
        self.batch += 1;
        loop {
            let tidied = lock(&self.done).clone();
            let next = self.draft(steps, &tidied);
            let tried = match (next == self.known, seen) {
                (true, true) => Ok(true),
                (true, false) => self.look().await.map(|()| false),
                (false, _) => self.write(&next).await,
            };
            match tried {
                Ok(true) => {
                    self.finish(next, &tidied);
                    self.widen(disturbed);
                    return Ok(());
                }
                // An earlier try had arrived, only its answer had not.
                Ok(false) if self.wrote() => {
                    self.finish_unanswered(&tidied);
                    return Ok(());
                }
                Ok(false) => {
                    // What is known now is new, and soon old: trying again at once is the fair chance of a node among
                    // others that write all the time.
                    (seen, at_once) = (true, !at_once);
                }
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => {
                    at_once = false;
                    if self.look().await.is_ok() && self.wrote() {
                        self.finish_unanswered(&tidied);
                        return Ok(());
                    }
                }
            }
            if Instant::now() >= deadline {
                return Err(StoreError::Unavailable(format!("event {} is written by too many", self.event)));
            }
            if !at_once {
                disturbed = true;
                self.widen(true);
                let [dice] = random(&*self.office.entropy);
                tokio::time::sleep(self.window * u32::from(dice) / u32::from(u8::MAX)).await;
            }
        }
    }

    /// The item after all steps; equal to the known one if none changes anything.
    fn draft(&self, steps: &mut [Box<dyn Step>], tidied: &[(u64, LogRow)]) -> EventState {
        let mut draft = Draft { event: &self.event, state: self.known.clone(), pen: self.office.outbox.now() };
        let life = draft.state.life;
        draft.state.journal.rows.retain(|row| !tidied.contains(&(life, *row)));
        for step in steps {
            step.apply(&mut draft);
        }
        let mut next = draft.state;
        if next != self.known {
            next.revision += 1;
            let revision = next.revision;
            let nodes = &mut next.journal.nodes;
            nodes.retain(|_, stamp| stamp.revision + DESK_NODE_MEMORY > revision);
            nodes.insert(self.office.node.clone(), Stamp { batch: self.batch, revision });
        }
        next
    }

    async fn write(&mut self, next: &EventState) -> Result<bool, StoreError> {
        let unchanged = Condition::new("revision = :seen").with(":seen", number(self.known.revision));
        let begun = Instant::now();
        match self.office.tables.put(Table::Events, next.item(&self.event)?, unchanged).await? {
            Written::Done => {
                let others = u32::try_from(next.others(&self.office.node)).unwrap_or(u32::MAX);
                let turns = begun.elapsed().saturating_mul(others);
                self.yielded = Instant::now() + turns.min(DESK_MAX_WINDOW);
                Ok(true)
            }
            Written::Refused(item) if item.0.is_empty() => Err(StoreError::UnknownEvent(self.event.clone())),
            Written::Refused(item) => {
                self.saw(EventState::read(&item)?);
                Ok(false)
            }
        }
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let state = read(&self.office.tables, &self.event).await?;
        self.saw(state);
        Ok(())
    }

    fn saw(&mut self, state: EventState) {
        self.slate.learn(state.counters);
        self.known = state;
    }

    /// Whether the write of the present steps is in the item.
    fn wrote(&self) -> bool {
        let stamp = self.known.journal.nodes.get(&self.office.node);
        stamp.is_some_and(|stamp| stamp.batch == self.batch)
    }

    /// Tells of a write, and sees to it that its rows reach their tables.
    fn finish(&mut self, next: EventState, tidied: &[(u64, LogRow)]) {
        lock(&self.done).retain(|row| !tidied.contains(row));
        let fresh = next.journal.rows.iter().filter(|row| !self.known.journal.rows.contains(row)).copied();
        let fresh: Vec<LogRow> = fresh.collect();
        let notes = next.journal.noted > self.known.journal.noted;
        self.known = next;
        if self.slate.learn(self.known.counters) {
            self.office.bell.ring_counters(&self.event, self.known.counters);
        }
        if notes {
            drop(self.office.feed.send(Change::Letters));
            self.office.bell.ring_letters();
        }
        if !fresh.is_empty() {
            let (tables, event, life) = (self.office.tables.clone(), self.event.clone(), self.known.life);
            let done = Arc::clone(&self.done);
            tokio::spawn(async move {
                for row in fresh {
                    // What fails stays in the journal, where whoever looks after the event finds it.
                    if log::put(&tables, &event, life, row).await.is_ok() {
                        lock(&done).push((life, row));
                    }
                }
            });
        }
    }

    /// The same of a write whose answer was lost: the item, as it is known, has it already.
    fn finish_unanswered(&mut self, tidied: &[(u64, LogRow)]) {
        let seen = self.known.clone();
        self.finish(seen, tidied);
        self.office.bell.ring_counters(&self.event, self.known.counters);
        if !self.known.journal.notes.is_empty() {
            drop(self.office.feed.send(Change::Letters));
            self.office.bell.ring_letters();
        }
    }

    /// Waits longer for company after a disturbance, shorter without.
    fn widen(&mut self, disturbed: bool) {
        self.window = match disturbed {
            true => (self.window * 2).clamp(DESK_MIN_WINDOW, DESK_MAX_WINDOW),
            false if self.window <= DESK_MIN_WINDOW => Duration::ZERO,
            false => self.window / 2,
        };
    }
}

/// The event's item as it is now.
pub(super) async fn read(tables: &Tables, event: &EventId) -> Result<EventState, StoreError> {
    let key = super::fields::Fields::new().with_text("event_id", event.as_str());
    match tables.get(Table::Events, key).await? {
        Some(item) => EventState::read(&item),
        None => Err(StoreError::UnknownEvent(event.clone())),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
