//! Requirements on the line itself: positions, arrivals, the serving counter, expiry, resets.

use super::{Shared, at, each_second, event, position, session, ticket};
use crate::room::{Arrival, Counters, EventId, Generation, Inlet, ServingRecord};
use crate::store::{Advance, Expired, GrantId, Refill, StoreError};

pub(in crate::store) async fn an_event_is_created_once_and_starts_at_zero(store: Shared) {
    let event = event(&store).await;
    assert_eq!(store.counters(&event).await.unwrap(), Counters { version: 0, ..Counters::default() });
    store.take_some(&event, 3, at(0)).await.unwrap();
    assert_eq!(store.ensure_event(&event).await.unwrap().queue, 3);
}

pub(in crate::store) async fn an_unknown_event_is_named_by_every_verb(store: Shared) {
    let event: EventId = "Nowhere".parse().unwrap();
    let named = |error: Option<StoreError>| matches!(error, Some(StoreError::UnknownEvent(name)) if name == event);
    assert!(named(store.counters(&event).await.err()));
    assert!(named(store.take_some(&event, 1, at(0)).await.err()));
    assert!(named(store.arrivals(&event, None).await.err()));
    assert!(named(store.advance(&event, 1, at(0)).await.err()));
    assert!(named(store.recent_serving_records(&event, 1).await.err()));
    assert!(named(store.serving_record_at(&event, position(1)).await.err()));
    assert!(named(store.expire_positions(&event, position(1), Refill::None, at(0)).await.err()));
    assert!(named(store.step_inlet(&event, &Inlet::Manual, None, at(0)).await.err()));
    assert!(named(store.open_session(&session(&event, 1, 60)).await.err()));
    assert!(named(store.session(&event, &ticket(1)).await.err()));
    assert!(named(store.close_session(&event, &ticket(1), crate::room::SessionStatus::Completed).await.err()));
    assert!(named(store.active_sessions(&event, at(0)).await.err()));
    assert!(named(store.expired_sessions(&event, at(0), None, 1).await.err()));
    assert!(named(store.token_standing(&event, &ticket(1), &GrantId([1; 16])).await.err()));
    assert!(named(store.reset(&event).await.err()));
}

pub(in crate::store) async fn positions_are_handed_out_in_order(store: Shared) {
    let event = event(&store).await;
    for (count, first, last) in [(1, 1, 1), (5, 2, 6), (1, 7, 7)] {
        let taken = store.take_some(&event, count, at(0)).await.unwrap();
        assert_eq!((taken.first, taken.last, taken.entry), (position(first), position(last), at(0)));
        assert_eq!(taken.counters.queue, last);
        assert_eq!(store.counters(&event).await.unwrap(), taken.counters);
    }
}

pub(in crate::store) async fn a_join_of_nobody_is_refused(store: Shared) {
    let event = event(&store).await;
    let before = store.counters(&event).await.unwrap();
    assert!(store.take_some(&event, 0, at(0)).await.is_err());
    assert_eq!(store.counters(&event).await.unwrap(), before);
}

pub(in crate::store) async fn the_arrival_log_has_one_row_a_second(store: Shared) {
    let event = event(&store).await;
    for second in [0, 0, 0, 1, 1, 4] {
        store.take_some(&event, 2, at(second)).await.unwrap();
    }
    let rows = [(1, 0), (7, 1), (11, 4)].map(|(first, second)| Arrival { first: position(first), at: at(second) });
    assert_eq!(store.arrivals(&event, None).await.unwrap(), rows);
}

pub(in crate::store) async fn entry_times_never_decrease(store: Shared) {
    let event = event(&store).await;
    store.take_some(&event, 1, at(10)).await.unwrap();
    let taken = store.take_some(&event, 1, at(3)).await.unwrap();
    assert_eq!(taken.entry, at(10), "a clock that went back does not move anybody forward");
    assert_eq!(store.arrivals(&event, None).await.unwrap().len(), 1);
}

pub(in crate::store) async fn entry_times_go_back_with_a_clock_that_is_set_back(store: Shared) {
    let event = event(&store).await;
    let day = 86_400;
    for (second, entry) in [(10, 10), (day, day), (day - 59, day), (day - 60, day - 60), (11, 11), (11, 11), (12, 12)] {
        assert_eq!(store.take_some(&event, 2, at(second)).await.unwrap().entry, at(entry), "at {second}");
    }
    let rows = store.arrivals(&event, None).await.unwrap();
    let rows: Vec<_> = rows.iter().map(|row| (row.first.get(), row.at)).collect();
    assert_eq!(rows, [(1, at(10)), (3, at(day)), (7, at(day - 60)), (9, at(11)), (13, at(12))]);
    assert_eq!(store.arrivals(&event, Some(position(8))).await.unwrap().len(), 3);
}

pub(in crate::store) async fn arrivals_are_read_from_the_row_that_covers_a_position(store: Shared) {
    let event = event(&store).await;
    for second in 0..4 {
        store.take_some(&event, 10, at(second)).await.unwrap();
    }
    for (from, first) in [(1, 1), (10, 1), (11, 11), (25, 21), (40, 31), (99, 31)] {
        let rows = store.arrivals(&event, Some(position(from))).await.unwrap();
        assert_eq!(rows.first().unwrap().first, position(first), "from {from}");
        assert_eq!(rows.last().unwrap().first, position(31), "from {from}");
    }
}

fn record(serving: u64, second: u64, served: u64) -> ServingRecord {
    ServingRecord { serving, issued_at: at(second), served }
}

async fn advance(store: &Shared, event: &EventId, moves: &[(i64, u64)]) {
    for (by, second) in moves {
        assert!(matches!(store.advance(event, *by, at(*second)).await, Ok(Advance::Moved(_))));
    }
}

pub(in crate::store) async fn the_serving_counter_moves_and_leaves_records(store: Shared) {
    let event = event(&store).await;
    let Advance::Moved(counters) = store.advance(&event, 5, at(1)).await.unwrap() else { panic!("it is in range") };
    assert_eq!((counters.serving, counters.version), (5, 1));
    advance(&store, &event, &[(10, 2), (1, 9)]).await;
    let records = [record(5, 1, 5), record(15, 2, 10), record(16, 9, 1)];
    assert_eq!(store.recent_serving_records(&event, 10).await.unwrap(), records);
    assert_eq!(store.recent_serving_records(&event, 2).await.unwrap(), records[1..]);
    for (number, expected) in [(1, Some(0)), (5, Some(0)), (6, Some(1)), (15, Some(1)), (16, Some(2)), (17, None)] {
        let found = store.serving_record_at(&event, position(number)).await.unwrap();
        assert_eq!(found, expected.map(|index: usize| records[index]), "position {number}");
    }
}

pub(in crate::store) async fn going_back_removes_the_records_above(store: Shared) {
    let event = event(&store).await;
    advance(&store, &event, &[(5, 1), (5, 2), (5, 3), (-15, 4), (3, 5)]).await;
    assert_eq!(store.counters(&event).await.unwrap().serving, 3);
    assert_eq!(store.serving_record_at(&event, position(1)).await.unwrap(), Some(record(3, 5, 3)));
    assert_eq!(store.serving_record_at(&event, position(4)).await.unwrap(), None);
}

pub(in crate::store) async fn going_back_between_two_records_leaves_one_at_the_new_value(store: Shared) {
    let event = event(&store).await;
    advance(&store, &event, &[(10, 1), (10, 2), (-5, 3)]).await;
    let records = [record(10, 1, 10), record(15, 3, 0)];
    assert_eq!(store.recent_serving_records(&event, 10).await.unwrap(), records);
}

pub(in crate::store) async fn going_back_to_a_record_keeps_its_time(store: Shared) {
    let event = event(&store).await;
    advance(&store, &event, &[(10, 1), (10, 2), (-10, 3)]).await;
    assert_eq!(store.recent_serving_records(&event, 10).await.unwrap(), [record(10, 1, 10)]);
}

pub(in crate::store) async fn the_serving_counter_stays_in_range(store: Shared) {
    let event = event(&store).await;
    advance(&store, &event, &[(7, 1)]).await;
    let before = store.counters(&event).await.unwrap();
    for by in [-8, i64::MIN, i64::MAX] {
        assert_eq!(store.advance(&event, by, at(2)).await.unwrap(), Advance::OutOfRange, "{by}");
    }
    assert_eq!(store.counters(&event).await.unwrap(), before);
    assert_eq!(store.recent_serving_records(&event, 10).await.unwrap().len(), 1);
    advance(&store, &event, &[(i64::MAX - 7, 3)]).await;
    assert_eq!(store.counters(&event).await.unwrap().serving, Counters::MAX);
    assert_eq!(store.advance(&event, 1, at(4)).await.unwrap(), Advance::OutOfRange);
    advance(&store, &event, &[(-i64::MAX, 5)]).await;
    assert_eq!(store.counters(&event).await.unwrap().serving, 0);
}

pub(in crate::store) async fn a_move_by_nothing_writes_nothing(store: Shared) {
    let event = event(&store).await;
    let before = store.counters(&event).await.unwrap();
    assert_eq!(store.advance(&event, 0, at(1)).await.unwrap(), Advance::Moved(before));
    assert!(store.recent_serving_records(&event, 10).await.unwrap().is_empty());
}

pub(in crate::store) async fn expiry_counts_positions_that_never_had_a_session(store: Shared) {
    let event = event(&store).await;
    store.take_some(&event, 20, at(0)).await.unwrap();
    advance(&store, &event, &[(10, 1)]).await;
    for number in [2, 3, 9] {
        store.open_session(&session(&event, number, 60)).await.unwrap();
    }
    let Expired { positions, counters } =
        store.expire_positions(&event, position(5), Refill::None, at(9)).await.unwrap();
    assert_eq!((positions, counters.expired_positions, counters.max_expired, counters.serving), (3, 3, 5, 10));
    let again = store.expire_positions(&event, position(5), Refill::None, at(9)).await.unwrap();
    assert_eq!(again, Expired { positions: 0, counters }, "nobody expires twice");
    let rest = store.expire_positions(&event, position(10), Refill::None, at(9)).await.unwrap();
    assert_eq!((rest.positions, rest.counters.expired_positions, rest.counters.max_expired), (4, 7, 10));
}

pub(in crate::store) async fn expiry_can_admit_as_many_more(store: Shared) {
    let event = event(&store).await;
    store.take_some(&event, 20, at(0)).await.unwrap();
    advance(&store, &event, &[(10, 1)]).await;
    store.open_session(&session(&event, 4, 60)).await.unwrap();
    let expired = store.expire_positions(&event, position(10), Refill::Next, at(9)).await.unwrap();
    assert_eq!((expired.positions, expired.counters.serving), (9, 19));
    assert_eq!(store.serving_record_at(&event, position(11)).await.unwrap(), Some(record(19, 9, 9)));
}

pub(in crate::store) async fn expiry_never_passes_the_line_or_the_served(store: Shared) {
    let event = event(&store).await;
    advance(&store, &event, &[(10, 1)]).await;
    let nobody = store.expire_positions(&event, position(10), Refill::Next, at(9)).await.unwrap();
    assert_eq!((nobody.positions, nobody.counters.max_expired), (0, 0), "nobody stands in line yet");
    store.take_some(&event, 30, at(2)).await.unwrap();
    let expired = store.expire_positions(&event, position(30), Refill::None, at(9)).await.unwrap();
    assert_eq!((expired.positions, expired.counters.max_expired), (10, 10), "only ten are served");
}

pub(in crate::store) async fn an_inlet_steps_once_a_tick_and_never_backwards(store: Shared) {
    let event = event(&store).await;
    store.take_some(&event, 500, at(0)).await.unwrap();
    let step = async |known: Option<u64>, second| {
        let stepped = store.step_inlet(&event, &each_second(), known.map(at), at(second)).await.unwrap();
        stepped.map(|counters| counters.serving)
    };
    assert_eq!(step(None, 60).await, Some(1), "nobody knows of an earlier step");
    assert_eq!((step(None, 60).await, step(None, 1).await), (None, None));
    assert_eq!(step(None, 63).await, Some(4), "three seconds since the step before");
    assert_eq!(step(Some(65), 66).await, Some(5), "one since the caller knows that nothing was due");
    assert_eq!(store.serving_record_at(&event, position(5)).await.unwrap(), Some(record(5, 66, 1)));
    assert!(step(None, 126).await.is_some());
    assert_eq!(step(None, 67).await, None);
    let before = store.counters(&event).await.unwrap();
    assert_eq!(step(None, 66).await, Some(before.serving), "the clock was set back: done, and nothing is due");
    assert_eq!(step(None, 67).await, Some(before.serving + 1));
    store.reset(&event).await.unwrap();
    assert_eq!(step(None, 67).await, None, "time does not go back with the line");
}

pub(in crate::store) async fn a_reset_begins_the_next_generation_with_nothing_left(store: Shared) {
    let event = event(&store).await;
    store.take_some(&event, 9, at(50)).await.unwrap();
    advance(&store, &event, &[(9, 51)]).await;
    store.open_session(&session(&event, 1, 60)).await.unwrap();
    store.open_session(&session(&event, 2, 60)).await.unwrap();
    store.close_session(&event, &ticket(2), crate::room::SessionStatus::Abandoned).await.unwrap();
    let before = store.expire_positions(&event, position(9), Refill::None, at(59)).await.unwrap().counters;
    for swept in [false, true] {
        if swept {
            store.sweep(at(0)).await.unwrap();
        } else {
            let counters = store.reset(&event).await.unwrap();
            let zero = Counters { version: before.version + 1, generation: Generation(1), ..Counters::default() };
            assert_eq!(counters, zero);
        }
        assert!(store.arrivals(&event, None).await.unwrap().is_empty());
        assert!(store.recent_serving_records(&event, 10).await.unwrap().is_empty());
        assert_eq!(store.serving_record_at(&event, position(1)).await.unwrap(), None);
        assert_eq!(store.session(&event, &ticket(1)).await.unwrap(), None);
        assert_eq!(store.active_sessions(&event, at(0)).await.unwrap(), 0);
        assert!(store.expired_sessions(&event, at(9999), None, 10).await.unwrap().is_empty());
    }
    let taken = store.take_some(&event, 1, at(3)).await.unwrap();
    assert_eq!((taken.first, taken.entry), (position(1), at(3)), "the new line has its own times");
}

pub(in crate::store) async fn the_version_grows_with_every_change(store: Shared) {
    let event = event(&store).await;
    let mut seen = store.counters(&event).await.unwrap().version;
    let mut grown = async |what: &str| {
        let version = store.counters(&event).await.unwrap().version;
        assert!(version > seen, "{what}");
        seen = version;
    };
    store.take_some(&event, 1, at(0)).await.unwrap();
    grown("a join").await;
    store.advance(&event, 1, at(0)).await.unwrap();
    grown("a move").await;
    store.open_session(&session(&event, 1, 60)).await.unwrap();
    grown("a session").await;
    store.close_session(&event, &ticket(1), crate::room::SessionStatus::Completed).await.unwrap();
    grown("its end").await;
    store.expire_positions(&event, position(1), Refill::None, at(0)).await.unwrap();
    grown("expiry").await;
    store.reset(&event).await.unwrap();
    grown("a reset").await;
}
