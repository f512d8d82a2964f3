//! What a full disk refuses, and what it does not: the disk has space for so many pages, and no more.

use std::fs;
use std::sync::Arc;

use super::tests::{open_engine, unavailable};
use super::{EmbeddedStore, Ledger};
use crate::policy::{RESERVE_HEADROOM_PAGES, RESERVE_LOG_PAGES, RESERVE_PAGES};
use crate::room::{EventId, SessionStatus};
use crate::store::suite::{Shared, all_at_once, at, session, ticket};
use crate::store::{Advance, Closed, StoreError};

/// Visitors of one batch.
const CROWD: u64 = 200;

/// More batches than the disk has space for.
const CROWDS: u64 = 150;

impl EmbeddedStore {
    /// Has the disk have space for `more` pages than are in use now.
    async fn shrink_disk(&self, more: u64) {
        let pages = self.ask("SELECT page_count FROM pragma_page_count").unsigned_abs() + more;
        self.set_disk(pages).await;
    }

    async fn set_disk(&self, pages: u64) {
        let shrinking = move |ledger: &mut Ledger| {
            ledger.reserve.disk = pages;
            Ok(())
        };
        self.operate(shrinking).await.unwrap();
    }
}

/// Opens sessions until the disk is full. How many were opened, and the refusal.
async fn crowd(store: &Shared, event: &EventId) -> (u64, StoreError) {
    store.advance(event, (CROWD * CROWDS) as i64, at(0)).await.unwrap();
    let mut opened = 0;
    for round in 0..CROWDS {
        let outcomes = all_at_once(CROWD, |number| {
            let (store, session) = (Arc::clone(store), session(event, round * CROWD + number + 1, 60));
            async move { store.open_session(&session).await }
        })
        .await;
        opened += outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
        if let Some(refusal) = outcomes.into_iter().find_map(Result::err) {
            return (opened, refusal);
        }
    }
    panic!("the disk is never full");
}

#[tokio::test]
async fn a_full_disk_refuses_visitors_and_does_all_that_operators_ask() {
    let (engine, store, event, _home) = open_engine().await;
    engine.shrink_disk(RESERVE_HEADROOM_PAGES).await;
    let (opened, refusal) = crowd(&store, &event).await;
    assert!(matches!(&refusal, StoreError::Unavailable(reason) if reason.contains("full")), "{refusal}");
    assert_eq!(store.counters(&event).await.unwrap().sessions_opened, opened);
    for round in 0..400 {
        assert!(matches!(store.advance(&event, 1, at(round)).await.unwrap(), Advance::Moved(_)));
        assert!(unavailable(store.take_some(&event, 1, at(round)).await), "the reserve is the operators'");
    }
    let health = store.health().await;
    assert!(matches!(&health, Err(StoreError::Unavailable(reason)) if reason.contains("disk is full")), "{health:?}");
    for version in 0..20 {
        assert!(store.replace_document("keys", version, &[7; 16 << 10]).await.unwrap());
    }
    for number in 1..=opened.min(CROWD) {
        let closed = store.close_session(&event, &ticket(number), SessionStatus::Completed).await.unwrap();
        assert!(matches!(closed, Closed::Now(_)), "{number}");
    }
    store.sweep(at(0)).await.unwrap();
    store.reset(&event).await.unwrap();
}

#[tokio::test]
async fn sessions_that_an_operator_opens_on_a_full_disk_leave_space_for_the_other_calls() {
    let (engine, store, event, _home) = open_engine().await;
    engine.shrink_disk(RESERVE_HEADROOM_PAGES).await;
    let (_, refusal) = crowd(&store, &event).await;
    assert!(matches!(refusal, StoreError::Unavailable(_)));
    store.advance(&event, 100_000, at(1)).await.unwrap();
    let mut opened = 0;
    let refusal = loop {
        // Behind all that the crowd can have.
        let session = session(&event, CROWD * CROWDS + opened + 1, 60);
        match store.open_session_for(&session).await {
            Ok(_) => opened += 1,
            Err(refusal) => break refusal,
        }
    };
    assert!(opened > 200, "{opened} sessions");
    assert!(matches!(&refusal, StoreError::Unavailable(reason) if reason.contains("full")), "{refusal}");
    for round in 0..1_000 {
        assert!(matches!(store.advance(&event, 1, at(round)).await.unwrap(), Advance::Moved(_)));
        assert!(unavailable(store.take_some(&event, 1, at(round)).await));
    }
    store.reset(&event).await.unwrap();
}

#[tokio::test]
async fn what_an_operator_deletes_on_a_full_disk_is_space_for_visitors() {
    let (engine, store, event, _home) = open_engine().await;
    engine.shrink_disk(2 * RESERVE_PAGES).await;
    let (opened, _) = crowd(&store, &event).await;
    store.reset(&event).await.unwrap();
    assert!(unavailable(store.take_some(&event, 1, at(1)).await), "nothing is deleted yet");
    store.sweep(at(2)).await.unwrap();
    store.health().await.unwrap();
    store.take_some(&event, 1, at(3)).await.unwrap();
    store.reset(&event).await.unwrap();
    store.reset(&event).await.unwrap();
    let ballast = engine.ask("SELECT count(*) FROM ballast");
    assert!(ballast > 0, "and something is reserved again");
    assert!(opened > CROWD);
}

#[tokio::test]
async fn visitors_are_served_as_soon_as_the_disk_has_space() {
    let (engine, store, event, _home) = open_engine().await;
    let reserved = engine.ask("SELECT count(*) FROM ballast");
    engine.shrink_disk(0).await;
    let (_, refusal) = crowd(&store, &event).await;
    assert!(matches!(refusal, StoreError::Unavailable(_)));
    assert_eq!(engine.ask("SELECT count(*) FROM ballast"), 0, "operators have the reserve");
    engine.set_disk(u64::MAX).await;
    store.take_some(&event, 1, at(1)).await.unwrap();
    store.health().await.unwrap();
    assert_eq!(engine.ask("SELECT count(*) FROM ballast"), reserved);
}

#[tokio::test]
async fn an_operators_command_is_done_though_its_batch_had_no_space() {
    let (engine, store, event, _home) = open_engine().await;
    store.take_some(&event, 1, at(0)).await.unwrap();
    store.advance(&event, 100_000, at(0)).await.unwrap();
    engine.shrink_disk(0).await;
    let outcomes = all_at_once(5_000, |number| {
        let (store, event) = (Arc::clone(&store), event.clone());
        async move {
            match number % 50 {
                0 => matches!(store.advance(&event, 1, at(1)).await, Ok(Advance::Moved(_))),
                _ => store
                    .open_session(&session(&event, number, 60))
                    .await
                    .map_or_else(|_| true, |opened| opened.inserted),
            }
        }
    })
    .await;
    assert!(outcomes.into_iter().all(|good| good));
    let counters = store.counters(&event).await.unwrap();
    assert_eq!(counters.serving, 100_100);
    assert!(counters.sessions_opened < 4_900, "the disk was full");
    assert_eq!(engine.ask("SELECT count(*) FROM sessions").unsigned_abs(), counters.sessions_opened);
}

/// More than the headroom is no full disk.
#[tokio::test]
async fn a_batch_that_needs_more_than_the_headroom_is_given_it() {
    const LARGE: usize = 3 << 20;
    let (_engine, store, _event, _home) = open_engine().await;
    assert!(store.replace_document("large", 0, &vec![1; LARGE]).await.unwrap());
    assert_eq!(store.document("large").await.unwrap().unwrap().body.len(), LARGE);
}

#[tokio::test]
async fn a_clean_end_leaves_the_next_start_the_space_that_it_needs_and_a_backup_may_take_the_databases_place() {
    let (engine, store, event, home) = open_engine().await;
    store.take_some(&event, 5, at(0)).await.unwrap();
    store.close().await;
    drop((engine, store));
    let size = |name: &str| fs::metadata(home.path().join(name)).unwrap().len();
    assert!(size("anteroom.db-wal") >= RESERVE_LOG_PAGES * 4096 && size("anteroom.db-shm") > 0);
    let backup = fs::read(home.path().join("anteroom.db")).unwrap();
    let open = || -> (Arc<EmbeddedStore>, Shared) {
        let engine = Arc::new(EmbeddedStore::open(home.path()).unwrap());
        (Arc::clone(&engine), engine)
    };
    let (engine, store) = open();
    assert_eq!(store.ensure_event(&event).await.unwrap().queue, 5);
    store.take_some(&event, 5, at(0)).await.unwrap();
    store.close().await;
    drop((engine, store));
    fs::write(home.path().join("anteroom.db"), backup).unwrap();
    let (_engine, store) = open();
    assert_eq!(store.ensure_event(&event).await.unwrap().queue, 5, "nothing of the later log is left");
}
