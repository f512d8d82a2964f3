//! The estimate against lines whose future is known, and against records that no line would write.

use proptest::prelude::*;

use super::*;
use crate::room::{Counters, Inlet, Periodic, Rhythm};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

/// Records of moves: (seconds since the move before, positions served).
fn records(moves: &[(u64, u64)]) -> Vec<ServingRecord> {
    let mut state = (1_000_000, 0);
    let record = |&(after, served): &(u64, u64)| {
        state = (state.0 + after, state.1 + served);
        ServingRecord { serving: state.1, issued_at: at(state.0), served }
    };
    moves.iter().map(record).collect()
}

fn last(records: &[ServingRecord]) -> Timestamp {
    records.last().unwrap().issued_at
}

fn pace_at_last(moves: &[(u64, u64)]) -> Option<Pace> {
    let records = records(moves);
    Pace::observe(&records, last(&records))
}

fn near(one: f64, other: f64) -> bool {
    (one - other).abs() <= other.abs() * 1e-9
}

#[test]
fn a_line_that_never_moved_or_moved_once_has_no_pace() {
    assert_eq!(Pace::observe(&[], at(5)), None);
    assert_eq!(pace_at_last(&[(0, 100)]), None);
    assert_eq!(pace_at_last(&[(0, 100), (0, 100)]), None);
}

#[test]
fn two_moves_have_a_pace_and_the_first_ones_size_says_nothing() {
    let pace = pace_at_last(&[(0, 1_000_000), (60, 100)]).unwrap();
    assert_eq!(pace.seconds_per_position(), (0.6, 0.6));
    assert_eq!(pace.seconds_between_moves(), 60.0);
}

#[test]
fn a_hundred_a_minute_is_a_minute_for_each_hundred_ahead_give_or_take_one() {
    let pace = pace_at_last(&[(60, 100); 10]).unwrap();
    let estimate = pace.wait(999);
    assert_eq!(estimate, Estimate { at_least: Duration::from_secs(540), at_most: Duration::from_secs(660) });
    assert_eq!(pace.wait(0).at_least, Duration::ZERO);
}

#[test]
fn a_smooth_line_is_known_to_the_second() {
    let pace = pace_at_last(&[(1, 2); 10]).unwrap();
    assert_eq!(pace.wait(99), Estimate { at_least: Duration::from_secs(49), at_most: Duration::from_secs(51) });
}

#[test]
fn a_clock_that_was_ahead_for_a_while_or_is_put_back_does_not_silence_the_estimate() {
    let mut ahead = records(&[(10, 10); 20]);
    let now = last(&ahead);
    for record in &mut ahead[5..8] {
        record.issued_at = record.issued_at + Duration::from_secs(86_400);
    }
    let pace = Pace::observe(&ahead, now).unwrap();
    let (quick, slow) = pace.seconds_per_position();
    assert!(quick >= 0.7 && slow <= 1.5, "{quick} {slow}");
    // The newest moves alone lie ahead: the line moved until now.
    for record in &mut ahead[17..] {
        record.issued_at = record.issued_at + Duration::from_secs(86_400);
    }
    assert!(Pace::observe(&ahead, now).is_some());
}

#[test]
fn a_silence_no_longer_than_usual_changes_nothing() {
    let records = records(&[(60, 100), (45, 100), (60, 80)]);
    let fresh = Pace::observe(&records, last(&records));
    for silence in 0..=60 {
        assert_eq!(Pace::observe(&records, last(&records) + Duration::from_secs(silence)), fresh, "{silence}");
    }
}

#[test]
fn in_a_paused_line_the_longest_wait_grows_until_none_is_known() {
    let records = records(&[(10, 10); 30]);
    let after = |silence| Pace::observe(&records, last(&records) + Duration::from_secs(silence));
    let mut before = after(10).unwrap();
    for silence in 11..=300 {
        let now = after(silence).unwrap();
        assert_eq!(now.wait(1_000).at_least, before.wait(1_000).at_least);
        assert!(now.wait(1_000).at_most > before.wait(1_000).at_most, "{silence}");
        // The smallest witness, the newest minute, has 60 positions, which share the second between them.
        assert!(near(now.slow - before.slow, 1.0 / 60.0), "{silence}");
        before = now;
    }
    assert_eq!(after(301), None);
}

#[test]
fn a_jump_by_hand_widens_the_range_and_does_not_drive_out_the_steady_pace() {
    for jump in [1, 150, 290, 299] {
        let mut moves = vec![(1, 1); 300];
        moves[jump] = (1, 5_000);
        let (quick, slow) = pace_at_last(&moves).unwrap().seconds_per_position();
        assert!(near(slow, 1.0), "{slow}");
        assert!(quick < 0.1);
    }
}

#[test]
fn a_change_of_pace_shows_within_a_minute() {
    let mut moves = vec![(1, 1); 300];
    moves.extend([(1, 10); 60]);
    let (quick, slow) = pace_at_last(&moves).unwrap().seconds_per_position();
    assert!(near(quick, 0.1), "{quick}");
    assert!(slow > 0.3);
}

#[test]
fn after_a_whole_window_the_old_pace_is_forgotten() {
    let mut moves = vec![(1, 1); 300];
    moves.extend([(1, 10); 301]);
    let (quick, slow) = pace_at_last(&moves).unwrap().seconds_per_position();
    assert!(near(quick, 0.1) && near(slow, 0.1));
}

#[test]
fn a_step_every_ten_minutes_has_a_pace_too() {
    let records = records(&[(600, 600), (600, 600), (600, 600)]);
    let after = |silence| Pace::observe(&records, last(&records) + Duration::from_secs(silence));
    assert_eq!(after(600).unwrap().seconds_per_position(), (1.0, 1.0));
    assert!(after(1_200).is_some());
    assert_eq!(after(1_201), None);
}

#[test]
fn what_happened_hours_ago_says_nothing() {
    assert_eq!(pace_at_last(&[(0, 100), (4_000, 100)]), None);
}

#[test]
fn a_counter_that_went_back_is_judged_by_its_moves_forward() {
    let forward = pace_at_last(&[(60, 100), (60, 100), (60, 100)]);
    let mut there_and_back = records(&[(60, 100), (60, 100), (30, 0), (30, 100)]);
    there_and_back[2].serving -= 50;
    assert_eq!(Pace::observe(&there_and_back, last(&there_and_back)), forward);
}

#[test]
fn clocks_that_disagree_do_no_harm() {
    let mut records = records(&[(60, 100), (60, 100), (60, 100)]);
    records[1].issued_at = at(0);
    let pace = Pace::observe(&records, last(&records)).unwrap();
    assert_eq!(pace.seconds_per_position(), (1.2, 1.2));
    assert_eq!(Pace::observe(&records, at(0)), None, "all of it is to come yet");
}

fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..5, any::<u64>(), Just(u64::MAX)]
}

proptest! {
    #[test]
    fn a_regular_line_is_told_the_truth(
        step in 1_u64..500, beat in 1_u64..600, moves in 2_usize..50, phase in 0_u64..600, ahead in 0_u64..100_000,
    ) {
        let records = records(&vec![(beat, step); moves]);
        let phase = phase % beat;
        let pace = Pace::observe(&records, last(&records) + Duration::from_secs(phase)).unwrap();
        let truth = Duration::from_secs((ahead + 1).div_ceil(step) * beat - phase);
        let Estimate { at_least, at_most } = pace.wait(ahead);
        let rounding = Duration::from_micros(1);
        prop_assert!(at_least <= truth + rounding && truth <= at_most + rounding, "{:?} {:?}", truth, pace);
    }

    #[test]
    fn one_more_move_at_the_same_pace_changes_nothing(step in 1_u64..1_000, beat in 1_u64..600, moves in 2_usize..400) {
        let before = pace_at_last(&vec![(beat, step); moves]).unwrap();
        let after = pace_at_last(&vec![(beat, step); moves + 1]).unwrap();
        prop_assert!(near(before.quick, after.quick) && near(before.slow, after.slow));
        prop_assert!(near(before.beat, after.beat));
    }

    #[test]
    fn the_range_never_exceeds_what_single_moves_show(
        moves in prop::collection::vec((1_u64..200, 1_u64..1_000), 2..60)
    ) {
        let pace = pace_at_last(&moves).unwrap();
        let each = || moves[1..].iter().map(|&(time, served)| ratio(time, u128::from(served)));
        let (least, most) = (each().fold(f64::INFINITY, f64::min), each().fold(0.0, f64::max));
        prop_assert!(pace.quick >= least * (1.0 - 1e-9) && pace.slow <= most * (1.0 + 1e-9), "{:?}", pace);
    }

    #[test]
    fn a_longer_line_is_never_a_shorter_wait(
        moves in prop::collection::vec((1_u64..200, 1_u64..1_000), 2..20), silence in 0_u64..300, ahead: u64, more: u64,
    ) {
        let records = records(&moves);
        let pace = Pace::observe(&records, last(&records) + Duration::from_secs(silence)).unwrap();
        let (near, far) = (pace.wait(ahead), pace.wait(ahead.saturating_add(more)));
        prop_assert!(near.at_least <= near.at_most);
        prop_assert!(near.at_least <= far.at_least && near.at_most <= far.at_most);
    }

    #[test]
    fn no_records_however_odd_make_an_odd_number(
        odd in prop::collection::vec((any::<u64>(), sizes(), any::<u64>()), 0..20), close: bool, now: u64, ahead: u64,
    ) {
        let time = |seconds: u64| if close { seconds % 1_000 } else { seconds };
        let record = |&(serving, served, issued): &(u64, u64, u64)| {
            ServingRecord { serving, issued_at: at(time(issued)), served }
        };
        let records: Vec<_> = odd.iter().map(record).collect();
        if let Some(pace) = Pace::observe(&records, at(time(now))) {
            let (quick, slow) = pace.seconds_per_position();
            prop_assert!(0.0 < quick && quick <= slow && slow.is_finite(), "{:?}", pace);
            prop_assert!(1.0 <= pace.seconds_between_moves() && pace.seconds_between_moves() <= 3_600.0);
            let estimate = pace.wait(ahead);
            prop_assert!(estimate.at_least <= estimate.at_most);
        }
    }
}

/// The records that an inlet leaves in front of a long line, ticked each second of `seconds`.
fn run(inlet: &Inlet, seconds: std::ops::Range<u64>) -> Vec<ServingRecord> {
    let mut counters = Counters { queue: 1 << 40, ..Counters::default() };
    let mut tick = |second: u64| {
        let served = inlet.due(Some(at(second - 1)), at(second), &counters);
        counters.serving += served;
        (served > 0).then_some(ServingRecord { serving: counters.serving, issued_at: at(second), served })
    };
    seconds.filter_map(&mut tick).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn the_estimate_foretells_what_an_inlet_then_does(
        increment_by in 1_u64..300, every in 1_u64..200, smooth: bool, begin in 1_000_u64..100_000, ahead in 0_u64..2_000,
    ) {
        let rhythm = if smooth { Rhythm::Smooth } else { Rhythm::AtOnce };
        let every = Duration::from_secs(every);
        let inlet = Inlet::Periodic(Periodic { increment_by, every, rhythm, start: None, end: None });
        let (now, horizon) = (begin + 1_000, begin + 4_000);
        let records = run(&inlet, begin..horizon);
        let (past, _) = records.split_at(records.partition_point(|record| record.issued_at <= at(now)));
        let mine = past.last().unwrap().serving + ahead + 1;
        if let Some(turn) = records.iter().find(|record| record.serving >= mine) {
            let waited = turn.issued_at.since(at(now)).as_secs_f64();
            let told = Pace::observe(past, at(now)).unwrap().wait(ahead);
            prop_assert!(told.at_least.as_secs_f64() <= waited * 1.02, "{:?} {}", told, waited);
            prop_assert!(waited <= told.at_most.as_secs_f64() * 1.02, "{:?} {}", told, waited);
        }
    }
}
