//! Requirements on what is kept of a visitor (sessions), on documents, the feed and the store's end.

use std::time::Duration;

use super::{Shared, at, event, served_event, session, ticket};
use crate::room::SessionStatus::{Abandoned, Active, Completed};
use crate::room::{Counters, Generation, Opener, RequestId, Session};
use crate::store::{Change, Closed, Document, StoreError};

pub(in crate::store) async fn a_session_is_opened_once_and_then_found(store: Shared) {
    let event = served_event(&store).await;
    let (issuer, opener) = (Some("https://elsewhere.example".to_owned()), Some(Opener::named(&["a request"])));
    let first = Session { issuer, opener, ..session(&event, 1, 60) };
    assert_eq!(store.session(&event, &ticket(1)).await.unwrap(), None);
    let opened = store.open_session(&first).await.unwrap();
    assert!(opened.inserted);
    assert_eq!((&opened.session, opened.counters.sessions_opened), (&first, 1));
    let again = store.open_session(&session(&event, 1, 999)).await.unwrap();
    assert!(!again.inserted);
    assert_eq!((&again.session, again.counters), (&first, opened.counters), "the first opening counts");
    assert_eq!(store.session(&event, &ticket(1)).await.unwrap(), Some(first));
}

pub(in crate::store) async fn a_session_of_an_ended_generation_is_refused(store: Shared) {
    let event = event(&store).await;
    let old = session(&event, 1, 60);
    store.reset(&event).await.unwrap();
    assert!(matches!(store.open_session(&old).await, Err(StoreError::Outdated(name)) if name == event));
    assert_eq!(store.session(&event, &ticket(1)).await.unwrap(), None);
    store.advance(&event, 1, at(0)).await.unwrap();
    let new = Session { generation: Generation(1), ..old };
    assert!(store.open_session(&new).await.unwrap().inserted);
    assert_eq!(store.session(&event, &ticket(1)).await.unwrap(), Some(new));
}

pub(in crate::store) async fn a_session_is_closed_once(store: Shared) {
    let event = served_event(&store).await;
    assert_eq!(store.close_session(&event, &ticket(1), Completed).await.unwrap(), Closed::Unknown);
    for (number, status) in [(1, Completed), (2, Abandoned)] {
        store.open_session(&session(&event, number, 60)).await.unwrap();
        assert_eq!(store.close_session(&event, &ticket(number), Active).await.unwrap(), Closed::Before(Active));
        let Closed::Now(counters) = store.close_session(&event, &ticket(number), status).await.unwrap() else {
            panic!("it was active")
        };
        assert_eq!(store.counters(&event).await.unwrap(), counters);
        for other in [Completed, Abandoned, Active] {
            assert_eq!(store.close_session(&event, &ticket(number), other).await.unwrap(), Closed::Before(status));
        }
        assert_eq!(store.session(&event, &ticket(number)).await.unwrap().unwrap().status, status);
    }
    let Counters { sessions_opened, completed, abandoned, .. } = store.counters(&event).await.unwrap();
    assert_eq!((sessions_opened, completed, abandoned), (2, 1, 1));
}

pub(in crate::store) async fn active_sessions_end_now_or_later(store: Shared) {
    let event = served_event(&store).await;
    for (number, end) in [(1, 10), (2, 20), (3, 30), (4, 40)] {
        store.open_session(&session(&event, number, end)).await.unwrap();
    }
    store.close_session(&event, &ticket(4), Abandoned).await.unwrap();
    for (now, count) in [(0, 3), (10, 3), (11, 2), (30, 1), (31, 0)] {
        assert_eq!(store.active_sessions(&event, at(now)).await.unwrap(), count, "after {now} s");
    }
}

pub(in crate::store) async fn sessions_that_a_clock_ahead_opened_are_settled(store: Shared) {
    let event = served_event(&store).await;
    let (hour, day) = (Duration::from_secs(3_600), 86_400);
    let opened = |number, second| Session { opened_at: at(second), ..session(&event, number, second + 3_600) };
    let long = Session { expires_at: at(2 * day), ..opened(3, 0) };
    for session in [opened(1, 0), opened(2, day), long.clone(), opened(4, day), opened(5, 4)] {
        store.open_session(&session).await.unwrap();
    }
    store.close_session(&event, &ticket(4), Completed).await.unwrap();
    assert_eq!(store.settle_sessions(&event, at(100), hour).await.unwrap(), 1);
    assert_eq!(store.settle_sessions(&event, at(100), hour).await.unwrap(), 0);
    let found = async |number| store.session(&event, &ticket(number)).await.unwrap().unwrap();
    assert_eq!(found(2).await, opened(2, 100));
    assert_eq!((found(1).await, found(3).await, found(5).await), (opened(1, 0), long, opened(5, 4)));
    assert_eq!(found(4).await.opened_at, at(day), "what has ended stays as it was");
    assert_eq!(store.active_sessions(&event, at(3_701)).await.unwrap(), 1);
    assert_eq!(store.occupancy(&event, at(3_700)).await.unwrap().active, 2);
    assert_eq!(store.occupancy(&event, at(3_701)).await.unwrap().active, 1, "its place is free as well");
}

pub(in crate::store) async fn a_clock_behind_ends_no_session_of_another_node(store: Shared) {
    let event = served_event(&store).await;
    let opened = Session { opened_at: at(3_600), ..session(&event, 1, 7_200) };
    store.open_session(&opened).await.unwrap();
    assert_eq!(store.settle_sessions(&event, at(0), Duration::from_secs(3_600)).await.unwrap(), 0);
    assert_eq!(store.session(&event, &ticket(1)).await.unwrap(), Some(opened));
}

pub(in crate::store) async fn expired_sessions_come_in_pages_in_order(store: Shared) {
    let event = served_event(&store).await;
    for (number, end) in [(7, 10), (5, 10), (6, 10), (1, 30), (2, 20), (3, 40), (4, 50)] {
        store.open_session(&session(&event, number, end)).await.unwrap();
    }
    store.close_session(&event, &ticket(2), Completed).await.unwrap();
    let mut found: Vec<RequestId> = Vec::new();
    let mut after = None;
    loop {
        let page = store.expired_sessions(&event, at(40), after, 2).await.unwrap();
        assert!(page.len() <= 2);
        found.extend(page.iter().map(|session| session.request_id));
        let Some(last) = page.last() else { break };
        after = Some((last.expires_at, last.request_id));
    }
    assert_eq!(found, [5, 6, 7, 2, 1].map(ticket), "by end, then ticket; whatever their status");
    let whole = store.session(&event, &ticket(5)).await.unwrap().unwrap();
    assert_eq!(store.expired_sessions(&event, at(40), None, 1).await.unwrap(), [whole]);
}

pub(in crate::store) async fn a_document_is_replaced_only_from_the_version_that_was_read(store: Shared) {
    let read = async || store.document("keys").await.unwrap();
    assert_eq!(read().await, None);
    assert!(!store.replace_document("keys", 1, b"early").await.unwrap());
    assert!(store.replace_document("keys", 0, b"one").await.unwrap());
    assert!(!store.replace_document("keys", 0, b"twice").await.unwrap());
    assert_eq!(read().await, Some(Document { version: 1, body: b"one".to_vec() }));
    assert!(store.replace_document("keys", 1, b"\0two\xff").await.unwrap());
    assert_eq!(read().await, Some(Document { version: 2, body: b"\0two\xff".to_vec() }));
    assert_eq!(store.document("clients").await.unwrap(), None);
}

pub(in crate::store) async fn changes_are_told_after_the_commit_in_order(store: Shared) {
    let event = event(&store).await;
    let mut changes = store.changes();
    let taken = store.take_some(&event, 2, at(0)).await.unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::Counters(event.clone(), taken.counters));
    store.replace_document("keys", 0, b"one").await.unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::Document("keys".to_owned()));
    let counters = store.reset(&event).await.unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::Counters(event, counters));
}

pub(in crate::store) async fn health_is_well(store: Shared) {
    for _ in 0..3 {
        store.health().await.unwrap();
    }
}

pub(in crate::store) async fn a_closed_store_answers_unavailable(store: Shared) {
    let event = event(&store).await;
    store.close().await;
    store.close().await;
    let away = |error: Option<StoreError>| matches!(error, Some(StoreError::Unavailable(_)));
    assert!(away(store.ensure_event(&event).await.err()));
    assert!(away(store.counters(&event).await.err()));
    assert!(away(store.take_some(&event, 1, at(0)).await.err()));
    assert!(away(store.arrivals(&event, None).await.err()));
    assert!(away(store.session(&event, &ticket(1)).await.err()));
    assert!(away(store.document("keys").await.err()));
    assert!(away(store.health().await.err()));
}
