//! Requirements on the outbox, for a store that keeps one and whose clock stands at [`START`](super::START).

use std::sync::Arc;

use super::{Shared, all_at_once, at, event, position, session, ticket};
use crate::room::SessionStatus::Completed;
use crate::room::{DomainEvent, EventKind};
use crate::store::{Change, Refill, Resent};

/// What the outbox says after number `after`.
async fn told(store: &Shared, after: u64) -> Vec<(EventKind, serde_json::Value)> {
    let letters = store.letters(after, 100).await.unwrap();
    assert!(letters.is_sorted_by(|one, next| one.seq < next.seq), "{letters:?}");
    letters.into_iter().map(|letter| (letter.kind, serde_json::from_str(&letter.body).unwrap())).collect()
}

async fn moves(store: &Shared, count: u32) {
    let event = event(store).await;
    for _ in 0..count {
        store.advance(&event, 1, at(0)).await.unwrap();
    }
}

pub(in crate::store) async fn every_change_is_told_in_the_order_of_the_changes(store: Shared) {
    let event = event(&store).await;
    let mut changes = store.changes();
    store.take_some(&event, 20, at(0)).await.unwrap();
    store.advance(&event, 10, at(0)).await.unwrap();
    store.open_session(&session(&event, 1, 60)).await.unwrap();
    store.open_session(&session(&event, 1, 60)).await.unwrap();
    store.close_session(&event, &ticket(1), Completed).await.unwrap();
    store.close_session(&event, &ticket(1), Completed).await.unwrap();
    store.expire_positions(&event, position(10), Refill::Next, at(9)).await.unwrap();
    store.advance(&event, 0, at(9)).await.unwrap();
    store.reset(&event).await.unwrap();
    let told = told(&store, 0).await;
    let kinds: Vec<EventKind> = told.iter().map(|(kind, _)| *kind).collect();
    let expected = [
        EventKind::ServingCounterChanged,
        EventKind::TokenGenerated,
        EventKind::SessionUpdated,
        EventKind::AutomaticServingCounterIncr,
        EventKind::ServingCounterChanged,
        EventKind::VisitorJoined,
        EventKind::RoomReset,
    ];
    assert_eq!(kinds, expected);
    assert!(told.iter().all(|(_, body)| body["event_id"] == "Sample"));
    assert_eq!((&told[0].1["previous"], &told[0].1["current"]), (&0.into(), &10.into()));
    assert_eq!(told[2].1["status"], "completed");
    assert_eq!(told[3].1["increment_by"], 9);
    assert_eq!(told[5].1["count"], 20, "who joined before the reset is told before it");
    assert!(std::iter::from_fn(|| changes.try_recv().ok()).any(|change| change == Change::Letters));
}

pub(in crate::store) async fn joins_are_told_once_a_second_and_not_for_nobody(store: Shared) {
    let event = event(&store).await;
    assert!(!store.tell_joins(&event).await.unwrap());
    store.take_some(&event, 3, at(0)).await.unwrap();
    assert!(store.tell_joins(&event).await.unwrap());
    store.take_some(&event, 2, at(0)).await.unwrap();
    assert!(!store.tell_joins(&event).await.unwrap(), "the second is not over");
    let told = told(&store, 0).await;
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0].1["count"], &told[0].1["queue_counter"]), (&3.into(), &3.into()));
}

pub(in crate::store) async fn one_of_many_posts_for_a_tick(store: Shared) {
    let event = event(&store).await;
    let paused = DomainEvent::InletPaused { reason: "closed".to_owned() };
    let posted = all_at_once(20, |_| {
        let (store, event, paused) = (Arc::clone(&store), event.clone(), paused.clone());
        async move { store.post_letter(&event, at(60), &paused).await.unwrap() }
    });
    assert_eq!(posted.await.into_iter().filter(|&posted| posted).count(), 1);
    assert!(store.post_letter(&event, at(120), &paused).await.unwrap());
    assert_eq!(told(&store, 0).await.len(), 2);
}

pub(in crate::store) async fn letters_come_in_pages(store: Shared) {
    moves(&store, 5).await;
    let first = store.letters(0, 2).await.unwrap();
    let rest = store.letters(first[1].seq, 100).await.unwrap();
    assert_eq!((first.len(), rest.len()), (2, 3));
    assert_eq!(store.newest_letter().await.unwrap(), rest[2].seq);
    assert_eq!(first[0].at, at(0));
}

pub(in crate::store) async fn a_sink_begins_with_what_comes_after_its_first_claim(store: Shared) {
    moves(&store, 2).await;
    let begin = store.claim_delivery("hook").await.unwrap().unwrap();
    assert_eq!(begin, store.newest_letter().await.unwrap());
    moves(&store, 2).await;
    assert_eq!(store.claim_delivery("hook").await.unwrap(), Some(begin));
    store.note_delivered("hook", begin + 1).await.unwrap();
    store.note_delivered("hook", begin).await.unwrap();
    assert_eq!(store.claim_delivery("hook").await.unwrap(), Some(begin + 1), "a cursor never goes back");
}

pub(in crate::store) async fn letters_are_forgotten_when_they_are_old_and_all_are_done(store: Shared) {
    let sinks = ["one".to_owned(), "two".to_owned()];
    for sink in &sinks {
        store.claim_delivery(sink).await.unwrap();
    }
    moves(&store, 100).await;
    let newest = store.newest_letter().await.unwrap();
    store.note_delivered("one", newest).await.unwrap();
    store.note_delivered("two", newest - 1).await.unwrap();
    assert_eq!(store.forget_letters(&sinks, at(0)).await.unwrap(), 0, "they are not old");
    assert_eq!(store.forget_letters(&sinks, at(1)).await.unwrap(), 99);
    assert_eq!(store.letters(0, 10).await.unwrap().len(), 1);
    assert_eq!(store.forget_letters(&[], at(1)).await.unwrap(), 1, "without sinks, age alone counts");
    moves(&store, 1).await;
    assert_eq!(store.letters(0, 10).await.unwrap()[0].seq, newest + 1, "a number is never used twice");
}

pub(in crate::store) async fn a_dead_letter_is_kept_until_it_is_taken(store: Shared) {
    store.claim_delivery("hook").await.unwrap();
    moves(&store, 3).await;
    let letters = store.letters(0, 10).await.unwrap();
    let before = store.claim_delivery("hook").await.unwrap().unwrap();
    store.bury_letters("hook", &letters[1..2], "no", before).await.unwrap();
    assert_eq!(store.claim_delivery("hook").await.unwrap(), Some(before), "the first is yet to be told");
    store.bury_letters("hook", &letters[..2], "no", letters[1].seq).await.unwrap();
    assert_eq!(store.claim_delivery("hook").await.unwrap(), Some(letters[1].seq));
    let dead = store.dead_letters(None, 10).await.unwrap();
    assert_eq!(dead.iter().map(|dead| &dead.letter).collect::<Vec<_>>(), [&letters[0], &letters[1]]);
    assert_eq!((dead[0].sink.as_str(), dead[0].reason.as_str(), dead[0].again), ("hook", "no", false));
    let next = store.dead_letters(Some(("hook".to_owned(), letters[0].seq)), 10).await.unwrap();
    assert_eq!(next, dead[1..]);
    assert_eq!(store.revive_dead_letters(Some("another")).await.unwrap(), 0);
    assert!(store.revived_letters("hook", 10).await.unwrap().is_empty());
    assert_eq!(store.revive_dead_letters(None).await.unwrap(), 2);
    assert_eq!(store.revived_letters("hook", 1).await.unwrap(), letters[..1]);
    store.settle_dead_letter("hook", letters[0].seq, Resent::Taken).await.unwrap();
    store.settle_dead_letter("hook", letters[1].seq, Resent::Refused).await.unwrap();
    assert!(store.revived_letters("hook", 10).await.unwrap().is_empty());
    assert_eq!(store.dead_letters(None, 10).await.unwrap(), dead[1..]);
}
