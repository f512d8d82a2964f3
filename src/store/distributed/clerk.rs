//! The clerk of one event's desk: what waits there becomes a write of the event's item.
//!
//! Owns the order of this node's writes and how they are shared: all verbs that wait become one conditional write of
//! the whole item, which rests on the item that the clerk knows. If another node wrote meanwhile, the verbs run again
//! from what it wrote. Nodes take turns (`turns.rs`): so an item is never written more than a few hundred times a second,
//! however many join, and nobody goes without. A write that was not answered is looked up by its number, not repeated
//! blindly. While many join and only here, each write also reserves positions for the joins to come, which this node then
//! hands out from memory (`store/counter_cache.rs`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::client::{Condition, Table, Written};
use super::client::{number, text};
use super::desk::{Done, Message, Office, Step, collect, in_time, knock, lock, read};
use super::draft::Draft;
use super::journal::{LogRow, Mark, Reservation};
use super::log;
use super::state::EventState;
use super::turns::{Heard, Turns};
use crate::ambient::random;
use crate::policy::{
    DESK_DEADLINE, DESK_LONGEST_PAUSE, DESK_MAX_BATCH, DESK_NODE_MEMORY, LEASE_TIME, RESERVATION_PERIOD,
    TURN_ENDURANCE, TURN_PATIENCE,
};
use crate::room::EventId;
use crate::store::arrival_rate::ArrivalRate;
use crate::store::counter_cache::{CounterCache, Leasing};
use crate::store::{Change, StoreError};

/// What a clerk has in common with its desk.
pub(super) struct Shared {
    pub(super) cache: Arc<CounterCache>,
    pub(super) done: Done,
    pub(super) heard: Arc<Heard>,
}

/// See the module's documentation.
pub(super) struct Clerk {
    event: EventId,
    /// The item as this node saw it last.
    known: EventState,
    office: Office,
    shared: Shared,
    /// The number of this node's latest write.
    batch: u64,
    turns: Turns,
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

impl Clerk {
    pub(super) fn new(event: EventId, known: EventState, office: Office, shared: Shared) -> Self {
        let now = Instant::now();
        Self {
            event,
            arrivals: ArrivalRate::new(known.counters.queue, now),
            known,
            office,
            shared,
            batch: 0,
            turns: Turns::new(now),
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
            let Some(Message::Step(first)) = message else { return self.leave().await };
            self.wait_for_turn().await;
            let mut steps = vec![first];
            let mut stop = collect(&mut waiting, &mut steps, DESK_MAX_BATCH);
            let failure = self.commit(&mut steps, DESK_DEADLINE).await.err();
            if matches!(failure, Some(StoreError::Unavailable(_) | StoreError::Unusable(_))) && stop.is_none() {
                // Who came meanwhile has waited in vain, too.
                stop = collect(&mut waiting, &mut steps, usize::MAX);
            }
            for step in steps {
                step.answer(failure.as_ref());
            }
            if stop.is_some() {
                return self.leave().await;
            }
        }
    }

    /// Gives the reservation back.
    async fn leave(&mut self) {
        self.leaving = true;
        if self.shared.cache.is_open() || self.known.has_reservation(&self.office.node) {
            // If it fails, those positions are nobody's.
            drop(self.commit(&mut [], DESK_DEADLINE).await);
        }
    }

    /// Makes what the steps do durable, in one write; or says how the item stood, if none of them changes anything.
    async fn commit(&mut self, steps: &mut [Box<dyn Step>], patience: Duration) -> Result<(), StoreError> {
        self.drain_wait = None;
        self.listen();
        self.try_to_commit(steps, Instant::now() + patience).await?;
        if let Some(since) = self.drain_wait {
            tokio::time::sleep(LEASE_TIME).await;
            self.drained = Some(since);
        }
        Ok(())
    }

    async fn try_to_commit(&mut self, steps: &mut [Box<dyn Step>], deadline: Instant) -> Result<(), StoreError> {
        // Whether the item is known as it stood after the steps had come.
        let (mut seen, mut tidied) = (false, Vec::new());
        // A write of which it is not known whether it was done.
        let (mut doubtful, mut based): (Option<EventState>, _) = (None, self.known.seal);
        let mut trouble = None;
        self.batch += 1;
        for tries in 1.. {
            // An earlier try may have arrived, only its answer had not.
            if self.wrote() {
                self.finish_unanswered(&tidied);
                return Ok(());
            }
            // The commands have the answers of that write. It is repeated as it was, for as long as it may be done yet.
            let repeated =
                doubtful.take().filter(|next| next.revision == self.known.revision + 1 && based == self.known.seal);
            let next = match repeated {
                Some(next) => next,
                None => {
                    based = self.known.seal;
                    tidied.clone_from(&lock(&self.shared.done));
                    self.draft(steps, &tidied)
                }
            };
            let looks = next == self.known && !seen && !steps.is_empty();
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
                // What DynamoDB said says more than that it said nothing in the end.
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
                // If that takes too long, whoever waits is told below.
                false if !looks => {
                    let waiting = self.wait_to_try_again(tries, trouble.is_none());
                    drop(tokio::time::timeout_at(deadline, waiting).await);
                }
                false => {}
            }
        }
        Err(trouble.unwrap_or_else(|| StoreError::Unavailable(format!("event {} is written by too many", self.event))))
    }

    /// Waits for this node's turn; meanwhile the item is known as others write it.
    async fn wait_for_turn(&mut self) {
        let latest = Instant::now() + TURN_ENDURANCE;
        loop {
            self.listen();
            let turn = self.turns.mine(&self.known, &self.office.node).min(latest);
            if turn <= Instant::now() {
                return;
            }
            tokio::select! {
                biased;
                () = self.shared.heard.rings() => {}
                () = tokio::time::sleep_until(turn) => self.turns.missed(&self.known, &self.office.node),
            }
        }
    }

    /// The same after a write that was `refused`, or failed: the longer the more often.
    async fn wait_to_try_again(&mut self, tries: u32, refused: bool) {
        if tries > TURN_PATIENCE {
            let [dice] = random(&*self.office.entropy);
            let longest = Duration::from_millis(1 << tries.min(10)).min(DESK_LONGEST_PAUSE);
            tokio::time::sleep(longest * u32::from(dice) / u32::from(u8::MAX)).await;
        }
        if refused && tries >= TURN_PATIENCE && tries.is_power_of_two() {
            let (office, seal) = (&self.office, Mark::new(random(&*self.office.entropy)));
            // What fails here fails soon again where it is told.
            let knocked = knock(&office.tables, &self.event, &office.node, seal).await;
            if knocked.is_ok() && self.look().await.is_ok() {
                return;
            }
        }
        self.wait_for_turn().await;
    }

    /// Takes what other nodes said.
    fn listen(&mut self) {
        if let Some(latest) = self.shared.heard.take().filter(|latest| latest.revision > self.known.revision) {
            self.saw(latest);
        }
    }

    /// The item after all steps; equal to the known one if none changes anything.
    fn draft(&mut self, steps: &mut [Box<dyn Step>], tidied: &[(u64, LogRow)]) -> EventState {
        let taking = steps.iter().any(|step| step.takes());
        let mut state = self.known.clone();
        let life = state.life;
        state.journal.rows.retain(|row| !tidied.contains(&(life, *row)));
        let kept = self.take_back(&mut state, taking);
        let mut draft = Draft::new(&self.event, state, self.office.outbox.now());
        for step in steps {
            step.apply(&mut draft);
        }
        let mut next = draft.state;
        self.reserve(&mut next, kept);
        if next != self.known {
            self.sign(&mut next);
        }
        next
    }

    /// Has the queue counter say what was handed out since the last write. Answers through where this node goes on
    /// handing out while it writes, which it does not if it is `taking` positions in the same write.
    fn take_back(&mut self, state: &mut EventState, taking: bool) -> Option<u64> {
        if let Some(other) = state.reservation_of_another(&self.office.node) {
            let (through, since) = (other.through, other.since);
            self.shared.cache.settle(Leasing::Ends);
            if taking {
                state.counters.queue = state.counters.queue.max(through);
                if self.drained == Some(since) {
                    state.journal.reservation = None;
                } else {
                    self.drain_wait = Some(since);
                }
            }
            return None;
        }
        let mine = state.has_reservation(&self.office.node);
        if !mine && !taking && state.journal.reservation.is_some() && self.shared.cache.is_usable() {
            // Others stand behind what is left, and wait until nobody is given any of it any more.
            return None;
        }
        let kept = mine && !taking && self.wanted(state, self.shared.cache.counters().queue) > 0;
        let exact = self.shared.cache.settle(if kept { Leasing::GoesOn } else { Leasing::Ends });
        if mine && exact.generation == state.counters.generation {
            state.counters.queue = state.counters.queue.max(exact.queue);
        }
        state.journal.reservation.take().filter(|_| kept).map(|reservation| reservation.through)
    }

    /// Reserves positions for the joins until the next write.
    fn reserve(&mut self, next: &mut EventState, mut kept: Option<u64>) {
        if next.life != self.known.life {
            kept = None;
            // Until its lease has ended, another node may hand out positions of the old line.
            let other = self.known.reservation_of_another(&self.office.node).map(|other| other.since);
            self.drain_wait = other.filter(|since| self.drained != Some(*since)).or(self.drain_wait);
        }
        let wanted = self.wanted(next, next.counters.queue);
        // The item contains the reservation for as long as this node has a lease.
        if (wanted > 0 || kept.is_some()) && next.journal.reservation.is_none() && next.newest_arrival.is_some() {
            let through = next.counters.queue.saturating_add(wanted).max(kept.unwrap_or(0));
            let since = self.known.revision + 1;
            next.journal.reservation = Some(Reservation { node: self.office.node.clone(), through, since });
        }
        next.count_reservation();
    }

    fn wanted(&mut self, state: &EventState, queue: u64) -> u64 {
        let wanted = self.arrivals.wanted(queue, Instant::now());
        if self.leaving || state.has_rivals(&self.office.node) { 0 } else { wanted }
    }

    /// Makes it a write of this node.
    fn sign(&self, next: &mut EventState) {
        if next.counters != self.known.counters && next.counters.version == self.known.counters.version {
            next.counters.version += 1;
        }
        next.revision += 1;
        next.knock = None;
        next.seal = Mark::new(random(&*self.office.entropy));
        let revision = next.revision;
        let nodes = &mut next.journal.nodes;
        nodes.retain(|_, stamp| stamp.revision + DESK_NODE_MEMORY > revision);
        let stamp = nodes.entry(self.office.node.clone()).or_default();
        (stamp.batch, stamp.revision) = (self.batch, revision);
        if next.life == self.known.life && next.counters.queue != self.known.counters.queue {
            stamp.took = revision;
        }
    }

    async fn write(&mut self, next: &EventState) -> Result<bool, StoreError> {
        let unchanged = Condition::new("revision = :seen AND seal = :seal")
            .with(":seen", number(self.known.revision))
            .with(":seal", text(self.known.seal));
        self.begun = Instant::now();
        let written = self.office.tables.put(Table::Events, next.item(&self.event)?, unchanged).await?;
        self.turns.took(self.begun.elapsed());
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
        let state = read(&self.office.tables, &self.event).await?;
        self.saw(state);
        Ok(())
    }

    fn saw(&mut self, state: EventState) {
        self.shared.cache.learn(state.counters);
        self.known = state;
        if let Some(node) = self.known.knock.as_ref().filter(|node| **node != self.office.node) {
            self.turns.want(node, &self.known);
        }
        self.turns.begin(Instant::now());
    }

    /// Whether the write of the present steps is in the item.
    fn wrote(&self) -> bool {
        let stamp = self.known.journal.nodes.get(&self.office.node);
        stamp.is_some_and(|stamp| stamp.batch == self.batch)
    }

    /// Tells of a write, and sees to it that its rows reach their tables.
    fn finish(&mut self, next: EventState, tidied: &[(u64, LogRow)]) {
        lock(&self.shared.done).retain(|row| !tidied.contains(row));
        let fresh = next.journal.rows.iter().filter(|row| !self.known.journal.rows.contains(row));
        let fresh: Vec<LogRow> = fresh.copied().collect();
        let notes = next.journal.noted > self.known.journal.noted;
        if next.revision > self.known.revision {
            self.turns.begin(Instant::now());
            self.turns.wrote();
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
            let (tables, event, life) = (self.office.tables.clone(), self.event.clone(), self.known.life);
            tokio::spawn(log::put_all(tables, event, life, fresh, Arc::clone(&self.shared.done)));
        }
    }

    /// Tells of the item as it is known, and whole if others write it, too.
    fn tell(&self) {
        let counters = self.known.counters;
        let company = self.known.late_writers().any(|node| node != self.office.node);
        self.shared.cache.learn(counters);
        self.office.bell.ring_counters(&self.event, counters, company.then(|| self.known.clone()));
    }

    /// The same of a write whose answer was lost: the item, as it is known, has it already.
    fn finish_unanswered(&mut self, tidied: &[(u64, LogRow)]) {
        let seen = self.known.clone();
        self.finish(seen, tidied);
        self.tell();
        if !self.known.journal.notes.is_empty() {
            self.tell_of_letters();
        }
    }

    fn tell_of_letters(&self) {
        // Nobody may be listening.
        drop(self.office.feed.send(Change::Letters));
        self.office.bell.ring_letters();
    }
}
