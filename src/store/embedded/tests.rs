//! What the port's suite cannot ask of every engine: restarts, failing disks, long tables.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::broadcast::error::RecvError;

use super::{EmbeddedStore, Ledger, counters, grants, reads, rows, schema};
use crate::ambient::FrozenClock;
use crate::room::{Counters, EventId, Generation, Inlet, Session, SessionStatus};
use crate::store::OutboxMode;
use crate::store::suite::{
    Shared, all_at_once, at, event, outbox_suite, position, redemption, session, store_suite, ticket,
};
use crate::store::{Advance, Change, GrantId, GrantStanding, Redeemed, Refill, Store, StoreError};

async fn open() -> Option<(Shared, TempDir)> {
    let home = TempDir::new().unwrap();
    Some((Arc::new(EmbeddedStore::open(home.path()).unwrap()), home))
}

store_suite!(open);
store_suite! { open; sessions_that_a_clock_ahead_opened_are_settled }

async fn open_with_outbox() -> Option<(Shared, TempDir)> {
    let home = TempDir::new().unwrap();
    let outbox = OutboxMode::Kept(Arc::new(FrozenClock::at(at(0))));
    Some((Arc::new(EmbeddedStore::open_with(home.path(), outbox).unwrap()), home))
}

outbox_suite!(open_with_outbox);

#[tokio::test]
async fn without_an_outbox_nothing_is_written() {
    let (store, _home) = open().await.unwrap();
    let event = event(&store).await;
    store.advance(&event, 1, at(0)).await.unwrap();
    store.reset(&event).await.unwrap();
    assert_eq!(store.newest_letter().await.unwrap(), 0);
}

/// As [`open`], for tests that look inside.
pub(super) async fn open_engine() -> (Arc<EmbeddedStore>, Shared, EventId, TempDir) {
    let home = TempDir::new().unwrap();
    let engine = Arc::new(EmbeddedStore::open(home.path()).unwrap());
    let store: Shared = Arc::clone(&engine) as Shared;
    let event = event(&store).await;
    (engine, store, event, home)
}

impl EmbeddedStore {
    /// Runs SQL on the writer's connection: how a test makes the disk fail.
    async fn meddle(&self, sql: &'static str) {
        let meddling = move |ledger: &mut Ledger| Ok(ledger.connection.execute_batch(sql)?);
        self.write(meddling).await.unwrap();
    }

    /// The number that `sql` answers.
    pub(super) fn ask(&self, sql: &str) -> i64 {
        self.readers.look_up(|connection| connection.query_row(sql, [], |row| row.get(0))).unwrap()
    }
}

pub(super) fn unavailable<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Unavailable(_)))
}

/// Writes one of everything, and answers how the event stands then.
async fn fill(store: &Shared, event: &EventId) -> Counters {
    store.reset(event).await.unwrap();
    store.take_some(event, 7, at(1)).await.unwrap();
    store.advance(event, 3, at(2)).await.unwrap();
    store.open_session(&second_life(event)).await.unwrap();
    store.step_inlet(event, &Inlet::Manual, None, at(60)).await.unwrap();
    store.redeem(&redemption(1)).await.unwrap();
    store.replace_document("keys", 0, b"one").await.unwrap();
    store.expire_positions(event, position(2), Refill::None, at(9)).await.unwrap().counters
}

fn second_life(event: &EventId) -> Session {
    Session { generation: Generation(1), ..session(event, 1, 60) }
}

async fn assert_filled(home: &Path, event: &EventId, counters: Counters) {
    let store = EmbeddedStore::open(home).unwrap();
    assert_eq!(store.counters(event).await.unwrap(), counters);
    assert_eq!(store.session(event, &ticket(1)).await.unwrap(), Some(second_life(event)));
    assert_eq!(store.serving_record_at(event, position(3)).await.unwrap().unwrap().issued_at, at(2));
    assert_eq!(store.step_inlet(event, &Inlet::Manual, None, at(60)).await.unwrap(), None);
    assert_eq!(store.redeem(&redemption(1)).await.unwrap(), Redeemed::Before);
    assert_eq!(store.document("keys").await.unwrap().unwrap().body, b"one");
    let taken = store.take_some(event, 1, at(0)).await.unwrap();
    assert_eq!((taken.first, taken.entry), (position(8), at(1)), "entry times hold across a restart");
    assert!(taken.counters.version > counters.version);
}

#[tokio::test]
async fn everything_is_found_again_after_a_restart() {
    let (engine, store, event, home) = open_engine().await;
    let counters = fill(&store, &event).await;
    store.close().await;
    let log = fs::read(home.path().join("anteroom.db-wal")).unwrap();
    assert!(
        !log.is_empty() && log.iter().all(|byte| *byte == 0),
        "a clean end leaves nothing in the log but its space"
    );
    drop((engine, store));
    assert_filled(home.path(), &event, counters).await;
}

#[tokio::test]
async fn of_a_database_that_kept_all_grants_the_revoked_ones_are_known() {
    let home = TempDir::new().unwrap();
    drop(EmbeddedStore::open(home.path()).unwrap());
    let path = home.path().join("anteroom.db");
    fs::remove_file(&path).unwrap();
    let older = Connection::open(&path).unwrap();
    schema::MIGRATIONS[..2].iter().for_each(|step| older.execute_batch(step).unwrap());
    older.pragma_update(None, "application_id", schema::APPLICATION_ID).unwrap();
    older.pragma_update(None, "user_version", 2).unwrap();
    for state in 0..3_u8 {
        let insert = "INSERT INTO grants (id, event, request_id, redeem_before, keep_until, state, body)
                      VALUES (?1, 'Sample', x'00', 60, ?2, ?3, '{}')";
        older.execute(insert, (vec![state; 16], rows::stored_time(at(3600)), state)).unwrap();
    }
    drop(older);

    let store: Shared = Arc::new(EmbeddedStore::open(home.path()).unwrap());
    let event = event(&store).await;
    let mut standings = Vec::new();
    for name in 0..3 {
        standings.push(store.token_standing(&event, &ticket(1), &GrantId([name; 16])).await.unwrap().grant);
    }
    assert_eq!(standings, [GrantStanding::Good, GrantStanding::Good, GrantStanding::Revoked]);
    assert_eq!(store.redeem(&redemption(1)).await.unwrap(), Redeemed::Now);
}

#[tokio::test]
async fn what_was_answered_is_on_disk_without_a_clean_end() {
    let (_engine, store, event, home) = open_engine().await;
    let counters = fill(&store, &event).await;
    let wreck = TempDir::new().unwrap();
    for name in ["anteroom.db", "anteroom.db-wal"] {
        fs::copy(home.path().join(name), wreck.path().join(name)).unwrap();
    }
    assert_filled(wreck.path(), &event, counters).await;
}

#[tokio::test]
async fn a_store_that_is_dropped_frees_its_directory() {
    let (engine, store, _, home) = open_engine().await;
    drop((engine, store));
    EmbeddedStore::open(home.path()).unwrap();
}

#[tokio::test]
async fn a_failed_commit_is_answered_unavailable_and_leaves_nothing() {
    let (engine, store, event, _home) = open_engine().await;
    store.take_some(&event, 5, at(0)).await.unwrap();
    let Advance::Moved(before) = store.advance(&event, 1, at(0)).await.unwrap() else { panic!() };
    let failing = "CREATE TEMP TRIGGER failing BEFORE UPDATE ON main.events
                   BEGIN SELECT RAISE(ABORT, 'injected'); END;";
    engine.meddle(failing).await;
    let mut changes = store.changes();
    assert!(unavailable(store.take_some(&event, 1, at(1)).await));
    assert!(unavailable(store.advance(&event, 1, at(1)).await));
    assert!(unavailable(store.open_session(&session(&event, 1, 60)).await));
    assert!(unavailable(store.reset(&event).await));
    assert_eq!(store.counters(&event).await.unwrap(), before);
    assert_eq!(store.session(&event, &ticket(1)).await.unwrap(), None);
    assert_eq!(store.arrivals(&event, None).await.unwrap().len(), 1);
    assert!(changes.try_recv().is_err(), "nobody is told of what did not happen");
    engine.meddle("DROP TRIGGER failing").await;
    let taken = store.take_some(&event, 1, at(1)).await.unwrap();
    assert_eq!((taken.first, taken.entry), (position(6), at(1)));
    assert_eq!(changes.recv().await.unwrap(), Change::Counters(event, taken.counters));
}

#[tokio::test]
async fn one_refused_command_leaves_the_others_of_its_batch_alone() {
    const CALLERS: u64 = 90;
    let (_engine, store, event, _home) = open_engine().await;
    let outcomes = all_at_once(CALLERS, |number| {
        let (store, event) = (Arc::clone(&store), event.clone());
        async move {
            match number % 3 {
                0 => store.take_some(&event, 1, at(0)).await.is_ok(),
                1 => store.advance(&event, -1, at(0)).await.unwrap() == Advance::OutOfRange,
                _ => matches!(store.open_session(&second_life(&event)).await, Err(StoreError::Outdated(_))),
            }
        }
    })
    .await;
    assert!(outcomes.into_iter().all(|as_expected| as_expected));
    assert_eq!(store.counters(&event).await.unwrap().queue, CALLERS / 3);
}

#[tokio::test]
async fn an_unreadable_row_is_named_corrupt_and_fails_only_its_own_commands() {
    let (engine, store, event, _home) = open_engine().await;
    store.advance(&event, 1, at(0)).await.unwrap();
    store.open_session(&session(&event, 1, 60)).await.unwrap();
    engine.meddle("UPDATE sessions SET status = 7").await;
    let corrupt = |error: Option<StoreError>| matches!(error, Some(StoreError::Corrupt(_)));
    assert!(corrupt(store.session(&event, &ticket(1)).await.err()));
    let visitor = ticket(1);
    let closing = store.close_session(&event, &visitor, SessionStatus::Completed);
    let (closed, joined) = tokio::join!(closing, store.take_some(&event, 1, at(0)));
    assert!(corrupt(closed.err()));
    assert!(joined.is_ok());
}

#[tokio::test]
async fn ten_thousand_joins_from_64_callers_are_dense_and_told_in_order() {
    const CALLERS: u64 = 64;
    const EACH: u64 = 157;
    let (_engine, store, event, _home) = open_engine().await;
    let mut changes = store.changes();
    let listener = tokio::spawn(async move {
        let mut newest = Counters::default();
        while newest.queue < CALLERS * EACH {
            match changes.recv().await {
                Ok(Change::Counters(_, counters)) => {
                    assert!(counters.version > newest.version && counters.queue >= newest.queue);
                    newest = counters;
                }
                Err(RecvError::Lagged(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    let positions = all_at_once(CALLERS, |_| {
        let (store, event) = (Arc::clone(&store), event.clone());
        async move {
            let mut own = Vec::new();
            for second in 0..EACH {
                own.push(store.take_some(&event, 1, at(second)).await.unwrap().first.get());
            }
            assert!(own.is_sorted());
            own
        }
    })
    .await;
    let mut positions = positions.concat();
    positions.sort_unstable();
    assert!(positions.into_iter().eq(1..=CALLERS * EACH));
    listener.await.unwrap();
}

#[tokio::test]
async fn what_a_reset_leaves_is_deleted_by_sweeps_while_others_join() {
    const VISITORS: u64 = 1_000;
    let (engine, store, event, _home) = open_engine().await;
    store.take_some(&event, VISITORS as u32, at(0)).await.unwrap();
    store.advance(&event, VISITORS as i64, at(0)).await.unwrap();
    all_at_once(VISITORS, |number| {
        let (store, session) = (Arc::clone(&store), session(&event, number + 1, 60));
        async move { store.open_session(&session).await.unwrap() }
    })
    .await;
    store.reset(&event).await.unwrap();
    assert_eq!(engine.ask("SELECT count(*) FROM sessions"), VISITORS as i64, "a reset does not wait for deletions");
    store.advance(&event, 1, at(0)).await.unwrap();
    store.open_session(&second_life(&event)).await.unwrap();
    let (swept, joined) = tokio::join!(store.sweep(at(0)), store.take_some(&event, 1, at(0)));
    assert_eq!((swept.unwrap(), joined.unwrap().first), (0, position(1)));
    for (table, rows) in [("sessions", 1), ("arrivals", 1), ("serving_records", 1), ("lives", 1)] {
        assert_eq!(engine.ask(&format!("SELECT count(*) FROM {table}")), rows, "{table}");
    }
}

#[tokio::test]
async fn long_reads_and_sweeps_walk_an_index() {
    let (_engine, _store, _event, home) = open_engine().await;
    let connection = Connection::open(home.path().join("anteroom.db")).unwrap();
    let plan = |sql: &str| {
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = explain.raw_query().mapped(|row| row.get::<_, String>(3)).map(Result::unwrap).collect::<Vec<_>>();
        steps.join("; ")
    };
    let queries = [
        (reads::ACTIVE_SESSIONS, "USING COVERING INDEX sessions_active (life=? AND expires_at>?)"),
        (
            reads::EXPIRED_SESSIONS,
            "USING INDEX sessions_by_end (life=? AND (expires_at,request_id)>(?,?) AND expires_at<?)",
        ),
        (counters::FORGETTING[0], "USING COVERING INDEX sessions_by_position (life=?)"),
        (grants::END_OF_STEP, "USING PRIMARY KEY (issued_at<?)"),
        (grants::FORGET_STEP, "USING PRIMARY KEY ((issued_at,id)<(?,?))"),
        ("SELECT id FROM revocations WHERE keep_until < ?1", "USING COVERING INDEX revocations_by_keeping"),
        ("SELECT number FROM long_grants WHERE issued_at <= ?1", "USING COVERING INDEX long_grants_by_issue"),
        ("SELECT body FROM long_grants WHERE request_id = ?1 AND id = ?2", "USING INDEX long_grants_by_session"),
        (
            "SELECT count(*) FROM sessions WHERE life = ?1 AND position > ?2 AND position <= ?3",
            "USING COVERING INDEX sessions_by_position (life=? AND position>? AND position<?)",
        ),
    ];
    for (sql, index) in queries {
        let plan = plan(sql);
        assert!(plan.contains(index) && !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    }
}
