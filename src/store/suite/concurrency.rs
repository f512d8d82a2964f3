//! Requirements on many callers at once: what is given once is given to one of them, what is counted adds up.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Shared, all_at_once, at, each_second, event, redemption, served_event, session, ticket};
use crate::room::SessionStatus;
use crate::store::{Closed, GrantId, GrantStanding, Redeemed};

const CALLERS: u64 = 100;

pub(in crate::store) async fn joins_at_once_get_distinct_consecutive_positions(store: Shared) {
    let event = event(&store).await;
    let mut positions = all_at_once(CALLERS, |_| {
        let (store, event) = (Arc::clone(&store), event.clone());
        async move { store.take_some(&event, 1, at(0)).await.unwrap().first.get() }
    })
    .await;
    positions.sort_unstable();
    assert!(positions.into_iter().eq(1..=CALLERS));
}

pub(in crate::store) async fn joins_of_mixed_counts_at_once_never_overlap(store: Shared) {
    let event = event(&store).await;
    let mut taken = all_at_once(CALLERS, |number| {
        let (store, event, count) = (Arc::clone(&store), event.clone(), number as u32 % 7 + 1);
        async move { (count, store.take_some(&event, count, at(0)).await.unwrap()) }
    })
    .await;
    taken.sort_unstable_by_key(|(_, taken)| taken.first);
    let mut next = 1;
    for (count, taken) in taken {
        assert_eq!((taken.first.get(), taken.last.get()), (next, next + u64::from(count) - 1));
        assert!(taken.counters.queue >= taken.last.get());
        next = taken.last.get() + 1;
    }
    assert_eq!(store.counters(&event).await.unwrap().queue, next - 1);
}

pub(in crate::store) async fn one_of_many_redeems_the_code(store: Shared) {
    let event = event(&store).await;
    let answers = all_at_once(CALLERS, |_| {
        let store = Arc::clone(&store);
        async move { store.redeem(&redemption(1)).await.unwrap() }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| **answer == Redeemed::Now).count(), 1);
    assert_eq!(answers.iter().filter(|answer| **answer == Redeemed::Before).count() as u64, CALLERS - 1);
    let standing = store.token_standing(&event, &ticket(1), &GrantId([1; 16])).await.unwrap();
    assert_eq!(standing.grant, GrantStanding::Revoked);
}

pub(in crate::store) async fn one_of_many_opens_the_session(store: Shared) {
    let event = served_event(&store).await;
    let answers = all_at_once(CALLERS, |number| {
        let (store, session) = (Arc::clone(&store), session(&event, 1, 60 + number));
        async move { store.open_session(&session).await.unwrap() }
    })
    .await;
    assert_eq!(answers.iter().filter(|opened| opened.inserted).count(), 1);
    let kept = store.session(&event, &ticket(1)).await.unwrap().unwrap();
    assert!(answers.iter().all(|opened| opened.session == kept), "all were told of the same session");
    assert_eq!(store.counters(&event).await.unwrap().sessions_opened, 1);
}

pub(in crate::store) async fn one_of_many_closes_the_session(store: Shared) {
    let event = served_event(&store).await;
    store.open_session(&session(&event, 1, 60)).await.unwrap();
    let answers = all_at_once(CALLERS, |number| {
        let (store, event) = (Arc::clone(&store), event.clone());
        let status = if number % 2 == 0 { SessionStatus::Completed } else { SessionStatus::Abandoned };
        async move { store.close_session(&event, &ticket(1), status).await.unwrap() }
    })
    .await;
    assert_eq!(answers.iter().filter(|closed| matches!(closed, Closed::Now(_))).count(), 1);
    let counters = store.counters(&event).await.unwrap();
    assert_eq!(counters.completed + counters.abandoned, 1);
}

pub(in crate::store) async fn one_of_many_steps_the_inlet(store: Shared) {
    let event = event(&store).await;
    store.take_some(&event, 9, at(0)).await.unwrap();
    let answers = all_at_once(CALLERS, |_| {
        let (store, event) = (Arc::clone(&store), event.clone());
        async move { store.step_inlet(&event, &each_second(), None, at(60)).await.unwrap() }
    })
    .await;
    assert_eq!(answers.iter().flatten().count(), 1);
    assert_eq!(store.counters(&event).await.unwrap().serving, 1);
}

pub(in crate::store) async fn one_of_many_replaces_the_document(store: Shared) {
    let answers = all_at_once(CALLERS, |number| {
        let store = Arc::clone(&store);
        async move { store.replace_document("keys", 0, &number.to_be_bytes()).await.unwrap().then_some(number) }
    })
    .await;
    let winners: Vec<u64> = answers.into_iter().flatten().collect();
    let kept = store.document("keys").await.unwrap().unwrap();
    assert_eq!((winners.len(), kept.version), (1, 1));
    assert_eq!(kept.body, winners[0].to_be_bytes());
}

pub(in crate::store) async fn moves_at_once_add_up(store: Shared) {
    let event = event(&store).await;
    all_at_once(CALLERS, |number| {
        let (store, event) = (Arc::clone(&store), event.clone());
        async move { store.advance(&event, number as i64 + 1, at(0)).await.unwrap() }
    })
    .await;
    let sum = CALLERS * (CALLERS + 1) / 2;
    assert_eq!(store.counters(&event).await.unwrap().serving, sum);
    let records = store.recent_serving_records(&event, u32::MAX).await.unwrap();
    assert_eq!(records.iter().map(|record| record.served).sum::<u64>(), sum);
    assert_eq!(records.len() as u64, CALLERS);
}

pub(in crate::store) async fn a_reset_among_joins_leaves_no_position_in_two_lives(store: Shared) {
    let event = event(&store).await;
    let answers = all_at_once(CALLERS, |number| {
        let (store, event) = (Arc::clone(&store), event.clone());
        async move {
            if number == CALLERS / 2 {
                store.reset(&event).await.unwrap();
                return None;
            }
            let taken = store.take_some(&event, 1, at(0)).await.unwrap();
            Some((taken.counters.generation.0, taken.first))
        }
    })
    .await;
    let places: HashSet<_> = answers.iter().flatten().collect();
    assert_eq!(places.len() as u64, CALLERS - 1, "each has a place of their own in one life or the other");
    let after = answers.iter().flatten().filter(|(generation, _)| *generation == 1).count() as u64;
    assert_eq!(store.counters(&event).await.unwrap().queue, after);
}
