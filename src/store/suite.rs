//! The tests of the port: what any engine must do, run against each of them.
//!
//! An engine's test module calls [`store_suite!`] with a function that opens an empty store; it gets one
//! test for each requirement. Time is always an argument of the port, so it stands still here. Nothing in
//! these files knows an engine.

mod concurrency;
mod grants;
mod line;
mod outbox;
mod places;
mod retention;
mod visitors;

use std::sync::Arc;
use std::time::Duration;

use super::{CodeAge, GrantId, Redemption, Store};
use crate::ambient::Timestamp;
use crate::policy::{CODE_MEMORY, HOUSEKEEPING};
use crate::room::{EventId, Generation, Inlet, Periodic, Position, RequestId, Rhythm, Session, SessionStatus};

pub(super) use {concurrency::*, grants::*, line::*, outbox::*, places::*, retention::*, visitors::*};

/// The store under test, shared by the tasks of a test.
pub(super) type Shared = Arc<dyn Store>;

/// A moment in 2096; the tests count seconds from here. No engine's own clock is there yet: DynamoDB sweeps by itself what
/// is over by its clock.
pub(super) const START: u64 = 4_000_000_000;

/// `seconds` after [`START`].
pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(START + seconds)
}

/// Lets one in each second.
pub(super) const fn each_second() -> Inlet {
    let every = Duration::from_secs(1);
    Inlet::Periodic(Periodic { increment_by: 1, every, rhythm: Rhythm::Smooth, start: None, end: None })
}

/// The position with this number.
pub(super) fn position(number: u64) -> Position {
    Position::new(number).unwrap()
}

/// The ticket with this number.
pub(super) fn ticket(number: u64) -> RequestId {
    RequestId::from_bytes(u128::from(number).to_be_bytes())
}

/// A fresh event.
pub(super) async fn event(store: &Shared) -> EventId {
    let event: EventId = "Sample".parse().unwrap();
    store.ensure_event(&event).await.unwrap();
    event
}

/// The same; the first hundred are served.
pub(super) async fn served_event(store: &Shared) -> EventId {
    let event = event(store).await;
    store.advance(&event, 100, at(0)).await.unwrap();
    event
}

/// A session of the visitor at position `number`, open from [`START`] until `end` seconds later.
pub(super) fn session(event: &EventId, number: u64, end: u64) -> Session {
    Session {
        event: event.clone(),
        generation: Generation(0),
        request_id: ticket(number),
        position: position(number),
        opened_at: at(0),
        expires_at: at(end),
        status: SessionStatus::Active,
        issuer: None,
        opener: None,
    }
}

/// The redemption, in time, of a code that was issued at [`START`] for a session of 3600 s.
pub(super) fn redemption(name: u8) -> Redemption {
    Redemption { id: GrantId([name; 16]), issued_at: at(0), session_end: at(3600), code: CodeAge::Good }
}

/// Sweeps as often as anything is remembered for; answers how much was forgotten.
pub(super) async fn swept(store: &Shared, now: Timestamp) -> u64 {
    let mut forgotten = 0;
    for _ in 0..=CODE_MEMORY.as_secs() / HOUSEKEEPING.as_secs() {
        forgotten += store.sweep(now).await.unwrap();
    }
    forgotten
}

/// Runs `count` tasks at the same time and answers what they answered.
pub(super) async fn all_at_once<T, F>(count: u64, task: impl Fn(u64) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..count).map(|number| tokio::spawn(task(number))).collect();
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

/// One test for each requirement of the port; `$open` is an async function without arguments that answers
/// an empty store and whatever must live as long as it; `None` where what the engine needs is not installed, and may be
/// left out.
macro_rules! store_suite {
    ($open:path) => {
        $crate::store::suite::store_suite! { $open;
            an_event_is_created_once_and_starts_at_zero
            an_unknown_event_is_named_by_every_verb
            positions_are_handed_out_in_order
            a_join_of_nobody_is_refused
            the_arrival_log_has_one_row_a_second
            entry_times_never_decrease
            entry_times_go_back_with_a_clock_that_is_set_back
            arrivals_are_read_from_the_row_that_covers_a_position
            the_serving_counter_moves_and_leaves_records
            going_back_removes_the_records_above
            going_back_between_two_records_leaves_one_at_the_new_value
            going_back_to_a_record_keeps_its_time
            the_serving_counter_stays_in_range
            a_move_by_nothing_writes_nothing
            a_conditional_move_happens_only_from_where_it_was_seen
            places_are_counted_by_who_is_inside_and_who_may_come
            a_position_that_was_given_up_opens_no_session
            a_position_that_is_not_served_opens_no_session
            expiry_counts_positions_that_never_had_a_session
            expiry_can_admit_as_many_more
            expiry_never_passes_the_line_or_the_served
            an_inlet_steps_once_a_tick_and_never_backwards
            a_reset_begins_the_next_generation_with_nothing_left
            the_version_grows_with_every_change
            a_session_is_opened_once_and_then_found
            a_session_of_an_ended_generation_is_refused
            a_session_is_closed_once
            active_sessions_end_now_or_later
            expired_sessions_come_in_pages_in_order
            a_code_is_redeemed_once_and_its_reuse_revokes
            reuse_revokes_whatever_the_clock_makes_of_the_codes_age
            a_code_of_the_wrong_age_is_never_redeemed_and_not_used_up
            a_redemption_is_remembered_for_ten_minutes_and_then_forgotten
            a_revocation_is_remembered_until_the_session_ends
            a_sweep_by_a_clock_an_hour_ahead_forgets_no_redemption
            a_long_grant_is_kept_for_its_session_until_it_expires
            a_session_has_at_most_four_long_grants_and_the_next_replaces_the_oldest
            a_session_is_forgotten_a_day_after_its_end_and_its_ticket_opens_none
            a_used_position_that_is_not_given_up_stays_used
            a_reset_forgets_which_positions_were_used
            the_rows_of_positions_that_are_given_up_are_forgotten
            a_visitors_arrival_is_kept_as_long_as_the_session
            no_ticket_opens_a_second_session_whatever_is_forgotten
            a_document_is_replaced_only_from_the_version_that_was_read
            changes_are_told_after_the_commit_in_order
            health_is_well
            a_closed_store_answers_unavailable
            joins_at_once_get_distinct_consecutive_positions
            joins_of_mixed_counts_at_once_never_overlap
            one_of_many_redeems_the_code
            one_of_many_opens_the_session
            one_of_many_closes_the_session
            one_of_many_steps_the_inlet
            one_of_many_replaces_the_document
            moves_at_once_add_up
            one_of_many_moves_from_the_same_view
            a_reset_among_joins_leaves_no_position_in_two_lives
        }
    };
    ($open:path; $($name:ident)+) => {
        $(#[tokio::test]
        async fn $name() {
            let Some((store, _guard)) = $open().await else { return };
            $crate::store::suite::$name(store).await;
        })+
    };
}
pub(super) use store_suite;

/// As [`store_suite!`], for a store with an outbox whose clock stands at [`START`].
macro_rules! outbox_suite {
    ($open:path) => {
        $crate::store::suite::store_suite! { $open;
            every_change_is_told_in_the_order_of_the_changes
            joins_are_told_once_a_second_and_not_for_nobody
            one_of_many_posts_for_a_tick
            letters_come_in_pages
            a_sink_begins_with_what_comes_after_its_first_claim
            letters_are_forgotten_when_they_are_old_and_all_are_done
            a_dead_letter_is_kept_until_it_is_taken
            dead_letters_are_forgotten_after_a_month
            of_dead_letters_the_newest_ten_thousand_are_kept
        }
    };
}
pub(super) use outbox_suite;
