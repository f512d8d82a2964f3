//! Requirements on what is forgotten, and on what it leaves: no ticket opens a second session, no counter changes.

use super::{Shared, at, event, position, served_event, session, ticket};
use crate::policy::{DEAD_LETTER_RETENTION, SESSION_RETENTION};
use crate::room::{Counters, EventId, SessionStatus};
use crate::store::{Closed, Refill, StoreError};

const DAY: u64 = SESSION_RETENTION.as_secs();

/// Opens the sessions of these positions, each for a minute.
async fn open(store: &Shared, event: &EventId, positions: &[u64]) {
    for number in positions {
        assert!(store.open_session(&session(event, *number, 60)).await.unwrap().inserted, "{number}");
    }
}

/// Whether the ticket opens a session now; if not, why.
async fn refusal(store: &Shared, event: &EventId, number: u64) -> Option<StoreError> {
    let late = crate::room::Session { opened_at: at(3 * DAY), ..session(event, number, 4 * DAY) };
    store.open_session(&late).await.err()
}

pub(in crate::store) async fn a_session_is_forgotten_a_day_after_its_end_and_its_ticket_opens_none(store: Shared) {
    let event = served_event(&store).await;
    store.take_some(&event, 100, at(0)).await.unwrap();
    open(&store, &event, &[1, 2]).await;
    store.close_session(&event, &ticket(2), SessionStatus::Completed).await.unwrap();
    let expired = store.expire_positions(&event, position(3), Refill::None, at(900)).await.unwrap();
    store.sweep(at(60 + DAY - 1)).await.unwrap();
    assert!(store.session(&event, &ticket(1)).await.unwrap().is_some(), "not a second too early");
    store.sweep(at(60 + DAY)).await.unwrap();
    for number in [1, 2] {
        assert_eq!(store.session(&event, &ticket(number)).await.unwrap(), None);
        assert!(matches!(refusal(&store, &event, number).await, Some(StoreError::Outdated(_))));
    }
    let closed = store.close_session(&event, &ticket(1), SessionStatus::Completed).await.unwrap();
    assert_eq!(closed, Closed::Unknown);
    assert_eq!(store.counters(&event).await.unwrap(), expired.counters, "what was counted stays counted");
    assert!(store.expired_sessions(&event, at(60 + DAY), None, 10).await.unwrap().is_empty());
}

pub(in crate::store) async fn a_used_position_that_is_not_given_up_stays_used(store: Shared) {
    let event = served_event(&store).await;
    store.take_some(&event, 100, at(0)).await.unwrap();
    // 2 stays away: what follows it is not given up.
    open(&store, &event, &[1, 3, 4, 99]).await;
    let before = store.counters(&event).await.unwrap();
    let counted = store.occupancy(&event, at(61)).await.unwrap();
    store.sweep(at(60 + DAY)).await.unwrap();
    store.sweep(at(60 + DAY)).await.unwrap();
    let after = store.counters(&event).await.unwrap();
    let still = |counters: Counters| Counters { version: before.version, max_expired: 0, ..counters };
    assert_eq!(still(after), before);
    assert!(after.max_expired <= 1, "who may still come keeps the place");
    let occupied = store.occupancy(&event, at(60 + DAY)).await.unwrap();
    assert_eq!((occupied.active, occupied.expected), (0, counted.expected));
    for number in [1, 3, 4, 99] {
        assert_eq!(store.session(&event, &ticket(number)).await.unwrap(), None);
        let refusal = refusal(&store, &event, number).await;
        assert!(matches!(refusal, Some(StoreError::SessionOver(_) | StoreError::Outdated(_))), "{number}: {refusal:?}");
    }
    assert_eq!(refusal(&store, &event, 2).await, None, "who never came can come");
    assert_eq!(store.occupancy(&event, at(60 + DAY)).await.unwrap().expected, counted.expected - 1);
    // A session of a later day, beside the forgotten ones.
    let expired = store.expire_positions(&event, position(100), Refill::None, at(4 * DAY)).await.unwrap();
    assert_eq!(expired.positions, 95, "1, 2, 3, 4 and 99 were used");
}

pub(in crate::store) async fn a_reset_forgets_which_positions_were_used(store: Shared) {
    let event = served_event(&store).await;
    store.take_some(&event, 100, at(0)).await.unwrap();
    open(&store, &event, &[2, 3]).await;
    store.sweep(at(60 + DAY)).await.unwrap();
    let counters = store.reset(&event).await.unwrap();
    store.take_some(&event, 100, at(DAY)).await.unwrap();
    store.advance(&event, 100, at(DAY)).await.unwrap();
    let new = crate::room::Session { generation: counters.generation, ..session(&event, 2, 2 * DAY) };
    assert!(store.open_session(&new).await.unwrap().inserted);
    store.sweep(at(DAY)).await.unwrap();
    assert_eq!(store.session(&event, &ticket(2)).await.unwrap(), Some(new));
}

pub(in crate::store) async fn the_rows_of_positions_that_are_given_up_are_forgotten(store: Shared) {
    let event = event(&store).await;
    for second in 0..20 {
        store.take_some(&event, 1, at(second)).await.unwrap();
        if second < 10 {
            store.advance(&event, 1, at(second)).await.unwrap();
        }
    }
    assert_eq!(store.oldest_arrival(&event).await.unwrap().unwrap().first, position(1));
    store.expire_positions(&event, position(8), Refill::None, at(1_000)).await.unwrap();
    for day in 1..20 {
        store.sweep(at(day * DAY)).await.unwrap();
    }
    let arrivals = store.arrivals(&event, None).await.unwrap();
    assert_eq!(arrivals.first().map(|row| (row.first, row.at)), Some((position(9), at(8))), "9 may still come");
    assert_eq!((arrivals.len(), store.oldest_arrival(&event).await.unwrap()), (12, arrivals.first().copied()));
    let records = store.recent_serving_records(&event, 100).await.unwrap();
    assert_eq!(records.iter().map(|record| record.serving).collect::<Vec<_>>(), [9, 10]);
    assert_eq!(store.serving_record_at(&event, position(9)).await.unwrap().unwrap().issued_at, at(8));
    // Nothing is left that could go; whoever joins comes after all others.
    store.advance(&event, 10, at(2_000)).await.unwrap();
    store.expire_positions(&event, position(20), Refill::None, at(3_000)).await.unwrap();
    for day in 20..40 {
        store.sweep(at(day * DAY)).await.unwrap();
    }
    assert_eq!(store.arrivals(&event, None).await.unwrap().len(), 1, "the newest stays");
    let taken = store.take_some(&event, 1, at(0)).await.unwrap();
    assert_eq!((taken.first, taken.entry), (position(21), at(19)));
}

pub(in crate::store) async fn a_visitors_arrival_is_kept_as_long_as_the_session(store: Shared) {
    let event = event(&store).await;
    for second in 0..5 {
        store.take_some(&event, 1, at(second)).await.unwrap();
    }
    store.advance(&event, 5, at(0)).await.unwrap();
    store.open_session(&session(&event, 2, 7 * DAY)).await.unwrap();
    store.expire_positions(&event, position(5), Refill::None, at(1_000)).await.unwrap();
    for day in 1..=7 {
        store.sweep(at(day * DAY)).await.unwrap();
    }
    let arrivals = store.arrivals(&event, None).await.unwrap();
    assert!(arrivals.iter().any(|row| (row.first, row.at) == (position(2), at(1))), "{arrivals:?}");
}

pub(in crate::store) async fn dead_letters_are_forgotten_after_a_month(store: Shared) {
    let event = event(&store).await;
    store.claim_delivery("hook").await.unwrap();
    store.advance(&event, 1, at(0)).await.unwrap();
    let letters = store.letters(0, 10).await.unwrap();
    store.bury_letters("hook", &letters, "it refuses", letters[0].seq).await.unwrap();
    store.sweep(at(DEAD_LETTER_RETENTION.as_secs() - 7_200)).await.unwrap();
    assert_eq!(store.dead_letters(None, 10).await.unwrap().len(), 1);
    store.sweep(at(DEAD_LETTER_RETENTION.as_secs())).await.unwrap();
    assert!(store.dead_letters(None, 10).await.unwrap().is_empty());
}
