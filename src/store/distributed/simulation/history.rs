//! What happened in a schedule, and whether the invariants hold.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tokio::time::Instant;

use super::super::client::{Attributes, Table};
use super::super::state::{EventState, epoch_key};
use super::world::World;
use crate::policy::RESERVATION_MOST;
use crate::room::{Counters, EventKind, Generation, Position, SessionStatus};
use crate::store::outbox::Letter;
use crate::store::{Closed, Outbox as _, Taken};

/// A call of the store.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Operation {
    Join(u32),
    Open(Generation, Position),
    Close(Generation, Position, SessionStatus),
    Advance(i64),
    Expire(Position, bool),
    Step(u64),
    Reset,
    Tell(u64),
}

/// What was answered.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Answer {
    /// Nothing, as the node crashed.
    None,
    /// That it was not done, or perhaps not.
    Refused,
    Taken(Taken),
    Opened(bool),
    Closed(Closed),
    Stepped(bool),
    Reset(Generation),
    Done,
}

#[derive(Debug)]
struct Call {
    #[expect(dead_code, reason = "for whoever reads a history")]
    node: u64,
    operation: Operation,
    /// In the order of all beginnings and ends; the end: `None` until it is there.
    begun: u64,
    ended: Option<u64>,
    answer: Answer,
}

/// See the module's documentation.
pub(super) struct History {
    calls: Vec<Call>,
    moment: u64,
    began: Instant,
    pub(super) latest_tick: u64,
    pub(super) crashes: u64,
}

impl Default for History {
    fn default() -> Self {
        Self { calls: Vec::new(), moment: 0, began: Instant::now(), latest_tick: 1, crashes: 0 }
    }
}

impl History {
    /// Seconds since the beginning.
    pub(super) fn now(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    pub(super) fn begin(&mut self, node: u64, operation: Operation) -> usize {
        if let Operation::Step(tick) = operation {
            self.latest_tick = self.latest_tick.max(tick);
        }
        self.moment += 1;
        self.calls.push(Call { node, operation, begun: self.moment, ended: None, answer: Answer::None });
        self.calls.len() - 1
    }

    pub(super) fn end(&mut self, call: usize, answer: Answer) {
        self.moment += 1;
        let call = &mut self.calls[call];
        (call.ended, call.answer) = (Some(self.moment), answer);
    }

    /// One of the positions that were answered.
    pub(super) fn some_position(&self, choice: u64) -> Option<(Generation, Position)> {
        let taken: Vec<_> = self.taken().map(|(_, taken)| taken).collect();
        let chosen = taken.get(usize::try_from(choice % taken.len().max(1) as u64).unwrap())?;
        Some((chosen.counters.generation, chosen.first))
    }

    fn taken(&self) -> impl Iterator<Item = (&Call, Taken)> {
        self.calls.iter().filter_map(|call| match &call.answer {
            Answer::Taken(taken) => Some((call, *taken)),
            _ => None,
        })
    }

    fn check_positions(&self, counters: &Counters) {
        let joins: Vec<_> = self.taken().collect();
        for (index, (call, taken)) in joins.iter().enumerate() {
            let Operation::Join(count) = call.operation else { panic!("{call:?}") };
            assert_eq!(taken.last.get() - taken.first.get() + 1, u64::from(count), "{call:?}");
            for (other, also) in &joins[index + 1..] {
                if taken.counters.generation != also.counters.generation {
                    continue;
                }
                let before = taken.last < also.first;
                assert!(before || also.last < taken.first, "one position for two: {call:?}, {other:?}");
                let (earlier, later) = if before { (taken, also) } else { (also, taken) };
                assert!(earlier.entry <= later.entry, "entry times go back: {call:?}, {other:?}");
                let answered_first = call.ended.unwrap() < other.begun;
                assert!(!answered_first || before, "a later join is before an earlier one: {call:?}, {other:?}");
                let answered_first = other.ended.unwrap() < call.begun;
                assert!(!answered_first || !before, "a later join is before an earlier one: {other:?}, {call:?}");
            }
            assert!(
                taken.counters.generation != counters.generation || taken.last.get() <= counters.queue,
                "a position that was answered is not durable: {call:?}, {counters:?}"
            );
        }
    }

    /// After a reset was answered, no join that begins gets a position of an older generation.
    fn check_generations(&self) {
        for reset in &self.calls {
            let Answer::Reset(generation) = reset.answer else { continue };
            for (call, taken) in self.taken().filter(|(call, _)| call.begun > reset.ended.unwrap()) {
                assert!(!generation.is_after(taken.counters.generation), "{call:?} after {reset:?}");
            }
        }
    }

    /// What was handed out to nobody is what was not answered, or was reserved by a node that left it.
    fn check_leftovers(&self, counters: &Counters, drains: bool) {
        let current = |taken: &Taken| taken.counters.generation == counters.generation;
        let answered: u64 = self
            .taken()
            .filter(|(_, taken)| current(taken))
            .map(|(_, taken)| taken.last.get() - taken.first.get() + 1)
            .sum();
        let unanswered: u64 = self
            .calls
            .iter()
            .map(|call| match (call.operation, &call.answer) {
                (Operation::Join(count), Answer::None | Answer::Refused) => u64::from(count),
                _ => 0,
            })
            .sum();
        assert!(answered <= counters.queue, "{answered} of {counters:?}");
        let reserved = (self.crashes + u64::from(drains) * 20) * RESERVATION_MOST;
        let left = counters.queue - answered;
        assert!(left <= unanswered + reserved, "{left} positions are left over: {unanswered}, {counters:?}");
    }

    /// Each tick of the inlet is done once.
    fn check_steps(&self) {
        let mut done = BTreeMap::<u64, u64>::new();
        for call in &self.calls {
            if let (Operation::Step(tick), Answer::Stepped(true)) = (call.operation, &call.answer) {
                *done.entry(tick).or_default() += 1;
            }
        }
        assert!(done.values().all(|times| *times == 1), "{done:?}");
    }

    /// Each session is opened and closed by one call at most.
    fn check_sessions(&self, sessions: &[Attributes]) {
        let (mut opened, mut closed) = (BTreeMap::<_, u64>::new(), BTreeMap::<_, u64>::new());
        for call in &self.calls {
            match (call.operation, &call.answer) {
                (Operation::Open(generation, position), Answer::Opened(true)) => {
                    *opened.entry((generation.0, position)).or_default() += 1;
                }
                (Operation::Close(generation, position, _), Answer::Closed(Closed::Now(_))) => {
                    *closed.entry((generation.0, position)).or_default() += 1;
                }
                _ => {}
            }
        }
        assert!(opened.values().chain(closed.values()).all(|times| *times == 1), "{opened:?} {closed:?}");
        for ((generation, position), _) in opened {
            let ticket = super::clients::ticket(Generation(generation), position.get());
            let there = |row: &Attributes| row.text("request_id").unwrap() == ticket.to_string();
            assert!(sessions.iter().any(there), "a session that was answered is lost: {generation} {position}");
        }
    }
}

impl World {
    /// Checks everything. To be called when recovery is done.
    pub(super) async fn check(&self) -> String {
        let node = self.nodes.borrow().iter().rfind(|node| node.is_alive()).cloned().unwrap();
        let state = node.store.engine.state(&self.event).await.unwrap();
        let sessions = self.items.all(Table::Tokens);
        let letters = node.store.letters(0, 100_000).await.unwrap();
        let (history, counters) = (self.history.borrow(), state.counters.settled());
        let checked = std::panic::AssertUnwindSafe(|| {
            history.check_positions(&counters);
            history.check_generations();
            history.check_leftovers(&counters, self.nodes.borrow().len() > 1);
            history.check_steps();
            history.check_sessions(&sessions);
            check_counters(self, &state, &sessions);
            check_letters(&state, &letters);
        });
        let mut told = String::new();
        for call in &history.calls {
            writeln!(told, "{call:?}").unwrap();
        }
        writeln!(told, "{counters:?}, {} letters, {} crashes", letters.len(), history.crashes).unwrap();
        if let Err(failed) = std::panic::catch_unwind(checked) {
            eprintln!("seed {}:\n{told}", self.seed);
            std::panic::resume_unwind(failed);
        }
        told
    }
}

/// The counters of the current generation say what its rows say.
fn check_counters(world: &World, state: &EventState, sessions: &[Attributes]) {
    let counters = &state.counters;
    let event = epoch_key(&world.event, state.epoch);
    let ours: Vec<_> = sessions.iter().filter(|row| row.text("event_id").unwrap() == event).collect();
    assert_eq!(counters.sessions_opened, ours.len() as u64, "sessions that were opened");
    let ended = |status: SessionStatus| {
        ours.iter().filter(|row| row.signed("session_status").unwrap() == i64::from(status.code())).count() as u64
    };
    assert_eq!(counters.completed, ended(SessionStatus::Completed), "completed sessions");
    assert_eq!(counters.abandoned, ended(SessionStatus::Abandoned), "abandoned sessions");
    let used = ours.iter().filter(|row| row.number("queue_number").unwrap() <= counters.max_expired).count() as u64;
    assert_eq!(counters.expired_positions, counters.max_expired - used, "each position is given up once, or used");
    assert!(counters.queue >= counters.sessions_opened + counters.expired_positions, "{counters:?}");
    // The arrival log begins each second once, in order.
    let mut arrivals: Vec<_> = world
        .items
        .all(Table::Arrivals)
        .into_iter()
        .filter(|row| row.text("event_id").unwrap() == event)
        .map(|row| (row.position("queue_position").unwrap(), row.time("entry_time").unwrap()))
        .collect();
    arrivals.sort_unstable();
    assert!(arrivals.windows(2).all(|pair| pair[0].1 < pair[1].1), "{arrivals:?}");
}

/// What happened is told once, in order.
fn check_letters(state: &EventState, letters: &[Letter]) {
    assert!((1..).zip(letters).all(|(number, letter)| letter.seq == number), "numbers without a gap");
    let reset = letters.iter().rposition(|letter| letter.kind == EventKind::RoomReset);
    let current = &letters[reset.map_or(0, |reset| reset + 1)..];
    let of = |kind: EventKind| current.iter().filter(move |letter| letter.kind == kind);
    let number = |letter: &Letter, name: &str| {
        let body: serde_json::Value = serde_json::from_str(&letter.body).unwrap();
        body[name].as_u64().unwrap_or_else(|| panic!("no {name} in {body}"))
    };
    let counters = &state.counters;
    assert_eq!(of(EventKind::TokenGenerated).count() as u64, counters.sessions_opened);
    assert_eq!(of(EventKind::SessionUpdated).count() as u64, counters.completed + counters.abandoned);
    let joined: u64 = of(EventKind::VisitorJoined).map(|letter| number(letter, "count")).sum();
    assert!(joined <= counters.queue, "{joined} of {counters:?}");
    let mut serving = 0;
    for letter in of(EventKind::ServingCounterChanged) {
        assert_eq!(number(letter, "previous"), serving, "the moves follow one another");
        serving = number(letter, "current");
    }
    assert_eq!(serving, counters.serving);
}
