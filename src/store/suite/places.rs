//! Requirements on rooms that hold so many: who is counted, and that a move rests on what was counted.

use std::sync::Arc;

use super::{Shared, all_at_once, at, event, position, session, ticket};
use crate::room::{Counters, SessionStatus};
use crate::store::{AdvanceFrom, Refill, StoreError};

pub(in crate::store) async fn a_conditional_move_happens_only_from_where_it_was_seen(store: Shared) {
    let event = event(&store).await;
    let seen = store.counters(&event).await.unwrap();
    store.take_some(&event, 3, at(0)).await.unwrap();
    // Joins are no reason to count anew.
    let AdvanceFrom::Moved(moved) = store.advance_from(&event, &seen, 5, at(1)).await.unwrap() else { panic!() };
    assert_eq!((moved.serving, moved.queue), (5, 3));
    assert_eq!(store.serving_record_at(&event, position(5)).await.unwrap().unwrap().issued_at, at(1));
    assert_eq!(store.advance_from(&event, &seen, 5, at(2)).await.unwrap(), AdvanceFrom::Changed);
    assert_eq!(store.advance_from(&event, &moved, Counters::MAX, at(2)).await.unwrap(), AdvanceFrom::OutOfRange);
    store.reset(&event).await.unwrap();
    assert_eq!(store.advance_from(&event, &seen, 5, at(3)).await.unwrap(), AdvanceFrom::Changed);
}

pub(in crate::store) async fn places_are_counted_by_who_is_inside_and_who_may_come(store: Shared) {
    let event = event(&store).await;
    store.take_some(&event, 10, at(0)).await.unwrap();
    store.advance(&event, 6, at(0)).await.unwrap();
    for (number, end) in [(1, 60), (2, 60), (3, 10)] {
        store.open_session(&session(&event, number, end)).await.unwrap();
    }
    store.close_session(&event, &ticket(2), SessionStatus::Completed).await.unwrap();
    let counted = store.occupancy(&event, at(10)).await.unwrap();
    assert_eq!((counted.active, counted.expected), (2, 3), "one was completed; 4, 5 and 6 may come");
    assert_eq!(counted.counters, store.counters(&event).await.unwrap());
    assert_eq!(store.occupancy(&event, at(11)).await.unwrap().active, 1);
    store.expire_positions(&event, position(5), Refill::None, at(20)).await.unwrap();
    assert_eq!(store.occupancy(&event, at(20)).await.unwrap().expected, 1, "4 and 5 did not come");
    store.expire_positions(&event, position(6), Refill::Next, at(30)).await.unwrap();
    assert_eq!(store.occupancy(&event, at(30)).await.unwrap().expected, 1, "7 has the place of 6");
}

pub(in crate::store) async fn a_position_that_was_given_up_opens_no_session(store: Shared) {
    let event = event(&store).await;
    store.take_some(&event, 2, at(0)).await.unwrap();
    store.advance(&event, 2, at(0)).await.unwrap();
    store.open_session(&session(&event, 1, 60)).await.unwrap();
    store.expire_positions(&event, position(2), Refill::None, at(9)).await.unwrap();
    let late = store.open_session(&session(&event, 2, 60)).await;
    assert!(matches!(late, Err(StoreError::Outdated(_))), "{late:?}");
    assert!(!store.open_session(&session(&event, 1, 60)).await.unwrap().inserted, "who came in time keeps the session");
}

pub(in crate::store) async fn a_position_that_is_not_served_opens_no_session(store: Shared) {
    let event = event(&store).await;
    store.take_some(&event, 3, at(0)).await.unwrap();
    let outdated = async |number| {
        let opened = store.open_session(&session(&event, number, 60)).await;
        matches!(opened, Err(StoreError::Outdated(_)))
    };
    assert!(outdated(1).await, "nobody is served");
    store.advance(&event, 2, at(0)).await.unwrap();
    assert!(!outdated(1).await);
    store.advance(&event, -2, at(1)).await.unwrap();
    assert!(outdated(2).await, "the line went back");
    assert!(!store.open_session(&session(&event, 1, 60)).await.unwrap().inserted, "who is in stays in");
    assert_eq!(store.counters(&event).await.unwrap().sessions_opened, 1);
}

pub(in crate::store) async fn one_of_many_moves_from_the_same_view(store: Shared) {
    const CALLERS: u64 = 100;
    let event = event(&store).await;
    let seen = store.counters(&event).await.unwrap();
    let answers = all_at_once(CALLERS, |_| {
        let (store, event) = (Arc::clone(&store), event.clone());
        async move { store.advance_from(&event, &seen, 10, at(0)).await.unwrap() }
    })
    .await;
    let moved = |answer: &&AdvanceFrom| matches!(answer, AdvanceFrom::Moved(_));
    assert_eq!(answers.iter().filter(moved).count(), 1);
    assert_eq!(store.counters(&event).await.unwrap().serving, 10);
}
