//! What holds of a line whatever is asked of it, and in whatever order.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::ambient::Timestamp;
use crate::room::{
    Arrival, Counters, DomainEvent, Inlet, Periodic, Position, RequestId, Rhythm, ServingRecord, SessionStatus,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// What is asked of a line, seconds after [`NOW`].
#[derive(Clone, Copy, Debug)]
enum Command {
    Join(u32),
    Advance(i64),
    AdvanceFrom { by: u64, outdated: bool },
    StepInlet,
    Expire { through: u64, refill: bool },
    Open(u64),
    Close(u64),
    Reset,
}

fn commands() -> impl Strategy<Value = Vec<(u64, Command)>> {
    let command = prop_oneof![
        4 => (1_u32..20).prop_map(Command::Join),
        3 => (1_i64..20).prop_map(Command::Advance),
        1 => (-10_i64..=0).prop_map(Command::Advance),
        1 => (0_u64..10, any::<bool>()).prop_map(|(by, outdated)| Command::AdvanceFrom { by, outdated }),
        3 => Just(Command::StepInlet),
        3 => (1_u64..60, any::<bool>()).prop_map(|(through, refill)| Command::Expire { through, refill }),
        6 => (1_u64..60).prop_map(Command::Open),
        3 => (1_u64..60).prop_map(Command::Close),
        1 => Just(Command::Reset),
    ];
    proptest::collection::vec((0_u64..4, command), 0..80)
}

/// A line, and what is known of it beside its state.
#[derive(Default)]
struct Model {
    line: LineState,
    /// The sessions of this generation by position, and whether they are open.
    sessions: BTreeMap<u64, bool>,
    /// The latest position that was given up.
    given_up: u64,
    arrivals: Vec<Arrival>,
    serving_records: BTreeMap<u64, ServingRecord>,
}

impl Model {
    /// Does what the decision says, and checks what holds of all.
    fn carry_out<Reply>(&mut self, decision: Decision<Reply>) -> Reply {
        let Decision { state, reply, records, events } = decision;
        let (before, after) = (self.line.counters, state.counters);
        assert!(after == before || after.version > before.version, "the newer counters have the higher version");
        for record in records {
            match record {
                Record::Arrival(arrival) => {
                    let newest = self.arrivals.last();
                    assert!(newest.is_none_or(|newest| newest.first < arrival.first));
                    self.arrivals.push(arrival);
                }
                Record::Serving(record) => {
                    self.serving_records.entry(record.serving).or_insert(record);
                }
                Record::RemoveServingAbove(serving) => drop(self.serving_records.split_off(&(serving + 1))),
            }
        }
        let mut serving = before.serving;
        for event in &events {
            if let DomainEvent::ServingCounterChanged { previous, current } = event {
                assert_eq!(*previous, serving, "moves are told without a gap");
                serving = *current;
            }
        }
        if after.generation == before.generation {
            assert_eq!(serving, after.serving, "every move is told");
        } else {
            assert!(
                matches!(events.as_slice(), [DomainEvent::RoomReset { generation }] if *generation == after.generation)
            );
        }
        assert!(
            after.serving == 0 || before.serving == after.serving || self.serving_records.contains_key(&after.serving)
        );
        self.line = state;
        reply
    }

    /// Checks what holds between the commands.
    fn check(&self) {
        let counters = self.line.counters;
        assert_eq!(counters.sessions_opened, self.sessions.len() as u64);
        assert_eq!(counters.completed, self.sessions.values().filter(|open| !**open).count() as u64);
        // Not even before it is cut off at zero.
        assert!(counters.sessions_opened + counters.expired_positions <= counters.queue, "{counters:?}");
        assert!(counters.waiting() <= counters.queue);
        assert_eq!(counters.max_expired, self.given_up);
        assert_eq!(self.line.newest_arrival, self.arrivals.last().copied());
    }
}

fn inlet() -> Inlet {
    Inlet::Periodic(Periodic {
        increment_by: 3,
        every: Duration::from_secs(1),
        rhythm: Rhythm::AtOnce,
        start: None,
        end: None,
    })
}

fn ticket(position: u64) -> RequestId {
    RequestId::from_bytes(u128::from(position).to_be_bytes())
}

fn run(model: &mut Model, now: Timestamp, command: Command) {
    let before = model.line.counters;
    match command {
        Command::Join(count) => {
            let taken = model.carry_out(model.line.take_positions(count, now).unwrap());
            assert_eq!((taken.first.get(), taken.last.get()), (before.queue + 1, before.queue + u64::from(count)));
            assert_eq!(taken.entry, model.line.newest_arrival.unwrap().at, "the log says when they came");
        }
        Command::Advance(by) => {
            let moved = model.carry_out(model.line.advance(by, now));
            match before.serving.checked_add_signed(by) {
                Some(serving) => assert_eq!(moved, Advance::Moved(Counters { serving, ..model.line.counters })),
                None => assert_eq!((moved, model.line.counters), (Advance::OutOfRange, before)),
            }
        }
        Command::AdvanceFrom { by, outdated } => {
            let saw = Counters { serving: before.serving + u64::from(outdated), ..before };
            let moved = model.carry_out(model.line.advance_from(&saw, by, now));
            let expected = if outdated { before.serving } else { before.serving + by };
            assert_eq!((moved == AdvanceFrom::Changed, model.line.counters.serving), (outdated, expected));
        }
        Command::StepInlet => step_inlet(model, now),
        Command::Expire { through, refill } => {
            expire(model, now, through, if refill { Refill::Next } else { Refill::None });
        }
        Command::Open(number) => open(model, number),
        Command::Close(number) => {
            if let Some(open) = model.sessions.get_mut(&number).filter(|open| **open) {
                *open = false;
                model.carry_out(model.line.session_closed(ticket(number), SessionStatus::Completed));
            }
        }
        Command::Reset => {
            let counters = model.carry_out(model.line.reset());
            let generation = before.generation.next();
            let empty = Counters { version: before.version + 1, generation, ..Counters::default() };
            assert_eq!(counters, empty);
            *model = Model { line: model.line, ..Model::default() };
        }
    }
}

fn step_inlet(model: &mut Model, now: Timestamp) {
    let (before, latest) = (model.line.counters.serving, model.line.inlet_tick);
    let step = model.line.step_inlet(&inlet(), None, now);
    assert_eq!(step.is_none(), latest.is_some_and(|latest| latest >= now), "each step is done once");
    if let Some(step) = step {
        let counters = model.carry_out(step);
        assert!(counters.serving >= before && counters.serving <= before + 3);
        assert!(model.line.step_inlet(&inlet(), None, now).is_none());
    }
}

fn expire(model: &mut Model, now: Timestamp, through: u64, refill: Refill) {
    let before = model.line.counters;
    let Some(begun) = model.line.begin_expiry(Position::new(through).unwrap()) else { return };
    let expiry = model.carry_out(begun);
    assert_eq!(expiry.from, model.given_up, "each place is given up once");
    assert!(expiry.through <= before.serving && expiry.through <= before.queue);
    model.given_up = expiry.through;
    let used = model.sessions.range(expiry.from + 1..=expiry.through).count() as u64;
    let unused = model.carry_out(model.line.end_expiry(expiry, used, refill, now));
    assert_eq!(unused, expiry.through - expiry.from - used);
    let admitted = if refill == Refill::Next { unused } else { 0 };
    assert_eq!(model.line.counters.serving, before.serving + admitted);
}

fn open(model: &mut Model, number: u64) {
    let (before, position) = (model.line.counters, Position::new(number).unwrap());
    let in_time = number <= before.serving && number > before.max_expired;
    let admitted = model.line.admit(before.generation, position);
    assert_eq!(admitted.is_ok(), in_time, "nobody enters who is not served, or whose place is given up");
    assert_eq!(model.line.admit(before.generation.next(), position), Err(LineError::Outdated));
    if in_time && number <= before.queue && !model.sessions.contains_key(&number) {
        model.carry_out(model.line.session_opened(ticket(number)));
        model.sessions.insert(number, true);
    }
}

proptest! {
    #[test]
    fn the_rules_hold_whatever_is_asked(commands in commands()) {
        let (mut model, mut now) = (Model::default(), NOW);
        for (pause, command) in commands {
            now = now + Duration::from_secs(pause);
            let (before, generation) = (model.line.counters.serving, model.line.counters.generation);
            run(&mut model, now, command);
            model.check();
            let back = model.line.counters.serving < before && model.line.counters.generation == generation;
            prop_assert!(!back || matches!(command, Command::Advance(..0)), "operators alone move the counter back");
        }
    }

    #[test]
    fn entry_times_never_go_back_by_less_than_a_wrong_clock_would(joins in proptest::collection::vec((1_u32..5, 0_u64..100), 1..40)) {
        let mut model = Model::default();
        let mut latest = Timestamp::default();
        for (count, second) in joins {
            let at = NOW + Duration::from_secs(second);
            let taken = model.carry_out(model.line.take_positions(count, at).unwrap());
            let set_back = latest.since(at) >= crate::policy::CLOCK_SET_BACK;
            prop_assert!(taken.entry >= latest || set_back);
            latest = taken.entry;
        }
    }
}

#[test]
fn what_is_refused_or_nothing_changes_nothing() {
    let exhausted = Counters { queue: Position::LAST.get(), serving: Counters::MAX, ..Counters::default() };
    let line = LineState { counters: exhausted, ..LineState::default() };
    assert_eq!(line.take_positions(1, NOW), Err(LineError::Exhausted));
    assert_eq!(LineState::default().take_positions(0, NOW), Err(LineError::NoPositions));
    for by in [0, 1, i64::MIN] {
        let decision = line.advance(by, NOW);
        assert_eq!((decision.state, decision.records.len(), decision.events.len()), (line, 0, 0), "{by}");
    }
    let far = line.advance_from(&exhausted, u64::MAX, NOW);
    assert_eq!((far.state, far.reply), (line, AdvanceFrom::OutOfRange));
}

#[test]
fn joins_are_announced_once_a_second_unless_at_once() {
    let line = LineState { counters: Counters { queue: 7, ..Counters::default() }, ..LineState::default() };
    let announced = AnnouncedJoins { queue: 7, at: NOW };
    let told = Some((announced, DomainEvent::VisitorJoined { count: 3, queue_counter: 7 }));
    let last = AnnouncedJoins { queue: 4, at: NOW };
    assert_eq!(line.announce_joins(last, NOW, false), None);
    assert_eq!(line.announce_joins(last, NOW, true), told);
    assert_eq!(line.announce_joins(AnnouncedJoins { at: Timestamp::default(), ..last }, NOW, false), told);
    assert_eq!(line.announce_joins(announced, NOW, true), None);
}

#[test]
fn a_step_of_a_clock_that_was_a_minute_ahead_binds_nobody() {
    let line = LineState { inlet_tick: Some(NOW + crate::policy::CLOCK_SET_BACK), ..LineState::default() };
    assert!(line.step_inlet(&inlet(), None, NOW).is_some());
    assert!(line.step_inlet(&inlet(), None, NOW + Duration::from_secs(1)).is_none());
}
