//! The suite of the port against the distributed engine, on a real Redis and DynamoDB Local.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};

use super::client::Attributes;
use super::client::{Condition, Table};
use super::servers::{Servers, servers};
use super::{DistributedStore, Meter, Options, RequestKind, create_tables};
use crate::ambient::{Clock, FrozenClock, OsEntropy, SystemClock};
use crate::policy::RECOVERY_PERIOD;
use crate::room::{EventId, Generation, Inlet, Session, SessionStatus};
use crate::store::embedded::EmbeddedStore;
use crate::store::suite::{Shared, at, event, outbox_suite, position, redemption, session, store_suite, swept, ticket};
use crate::store::transfer::{Line, Transfer, TransferError};
use crate::store::{CodeAge, GrantId, GrantStanding, Outbox, OutboxMode, Redeemed, Redemption, Refill, Store};

pub(super) fn client(servers: &Servers) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(crate::aws::http_client())
        .endpoint_url(&servers.dynamodb)
        .region(Region::new("local"))
        .credentials_provider(Credentials::new("local", "local", None, None, "test"))
        .build();
    Client::from_conf(config)
}

/// What is asked costs nothing here.
struct Free;

impl Meter for Free {
    fn request(&self, _kind: RequestKind, _units: f64) {}
}

/// Tables of its own for each test.
fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("test{}-", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The prefix of tables that are there, and of nobody else.
pub(super) async fn created(dynamodb: Client) -> String {
    let prefix = prefix();
    create_tables(dynamodb, &prefix, Arc::new(Free)).await.unwrap();
    prefix
}

/// A node of the deployment with these tables.
pub(super) fn node(servers: &Servers, prefix: &str, outbox: OutboxMode) -> DistributedStore {
    node_with(servers, &servers.redis, prefix, outbox)
}

/// The same with another Redis.
pub(super) fn node_with(servers: &Servers, redis: &str, prefix: &str, outbox: OutboxMode) -> DistributedStore {
    let redis = vec![redis::Client::open(redis).unwrap()];
    let clock: Arc<dyn Clock> = match &outbox {
        OutboxMode::Off => Arc::new(SystemClock),
        OutboxMode::Kept(clock) => Arc::clone(clock),
    };
    let entropy = Arc::new(OsEntropy);
    let (dynamodb, table_prefix, meter) = (client(servers), prefix.to_owned(), Arc::new(Free));
    let options = Options { dynamodb, redis, table_prefix, outbox, entropy, clock, meter };
    DistributedStore::open(options).unwrap()
}

async fn open_with(outbox: OutboxMode) -> Option<(Shared, ())> {
    let servers = servers()?;
    let prefix = created(client(servers)).await;
    let store: Arc<dyn Store> = Arc::new(node(servers, &prefix, outbox));
    Some((store, ()))
}

async fn open() -> Option<(Shared, ())> {
    open_with(OutboxMode::Off).await
}

async fn open_outbox() -> Option<(Shared, ())> {
    open_with(OutboxMode::Kept(Arc::new(FrozenClock::at(at(0))))).await
}

store_suite!(open);
store_suite! { open; a_clock_behind_ends_no_session_of_another_node }

mod with_an_outbox {
    use super::*;

    outbox_suite!(open_outbox);
}

/// What a store says of all that it holds.
async fn exported(store: &dyn Transfer) -> Vec<Line> {
    let (lines, mut taken) = tokio::sync::mpsc::channel(16);
    let collect = async {
        let mut all = Vec::new();
        while let Some(line) = taken.recv().await {
            all.push(line);
        }
        all
    };
    let (done, all) = tokio::join!(store.export(lines), collect);
    done.unwrap();
    all
}

/// A line with something of everything.
async fn lively(store: &Shared) -> EventId {
    let event = event(store).await;
    store.reset(&event).await.unwrap();
    for second in 1..4 {
        store.take_some(&event, 10, at(second)).await.unwrap();
        store.advance(&event, 5, at(second)).await.unwrap();
    }
    store.advance(&event, -2, at(5)).await.unwrap();
    let now = |number| Session { generation: Generation(1), ..session(&event, number, 600) };
    for number in 1..5 {
        store.open_session(&now(number)).await.unwrap();
    }
    store.close_session(&event, &ticket(2), SessionStatus::Completed).await.unwrap();
    store.close_session(&event, &ticket(3), SessionStatus::Abandoned).await.unwrap();
    store.expire_positions(&event, position(6), Refill::None, at(9)).await.unwrap();
    store.step_inlet(&event, &Inlet::Manual, None, at(60)).await.unwrap();
    for name in [3, 2, 1, 2, 3] {
        store.redeem(&redemption(name)).await.unwrap();
    }
    store.replace_document("keys", 0, b"\0sealed").await.unwrap();
    event
}

#[tokio::test]
async fn a_room_moves_between_the_engines_and_back() {
    let Some(servers) = servers() else { return };
    let home = tempfile::tempdir().unwrap();
    let first = Arc::new(EmbeddedStore::open(home.path()).unwrap());
    let event = lively(&(Arc::clone(&first) as Shared)).await;
    let lines = exported(&*first).await;
    assert!(matches!(lines.last(), Some(Line::Event { .. })), "{lines:?}");

    let prefix = prefix();
    create_tables(client(servers), &prefix, Arc::new(Free)).await.unwrap();
    let second = node(servers, &prefix, OutboxMode::Off);
    // As after an import that was broken off.
    second.import(lines[..3].to_vec()).await.unwrap();
    second.import(lines.clone()).await.unwrap();
    assert_eq!(exported(&second).await, lines);
    let counters = second.ensure_event(&event).await.unwrap();
    assert_eq!(counters, first.counters(&event).await.unwrap());
    let (here, there) = (second.occupancy(&event, at(10)), first.occupancy(&event, at(10)));
    assert_eq!(here.await.unwrap(), there.await.unwrap());
    assert_eq!(second.redeem(&redemption(1)).await.unwrap(), Redeemed::Before);
    let taken = second.take_some(&event, 1, at(1)).await.unwrap();
    assert_eq!((taken.first.get(), taken.entry), (31, at(3)), "the line goes on, and its clock too");
    assert!(matches!(second.import(lines).await, Err(TransferError::Begun(name)) if name == event));

    second.health().await.unwrap();
    let lines = exported(&second).await;
    let back = tempfile::tempdir().unwrap();
    let third = EmbeddedStore::open(back.path()).unwrap();
    third.import(lines.clone()).await.unwrap();
    assert_eq!(exported(&third).await, lines);
    assert!(matches!(third.import(exported(&*first).await).await, Err(TransferError::Begun(_))));
}

#[tokio::test]
async fn of_grants_that_an_older_program_kept_the_revoked_ones_are_known() {
    let Some(servers) = servers() else { return };
    let store = Arc::new(node(servers, &created(client(servers)).await, OutboxMode::Off));
    let event = event(&(Arc::clone(&store) as Shared)).await;
    for state in 0..3_u8 {
        let item = Attributes::new()
            .with_bytes("grant_id", &[state; 16])
            .with_text("event_id", event.as_str())
            .with_text("request_id", ticket(1).to_string())
            .with_time("redeem_before", at(60))
            .with_time("keep_until", at(3600))
            .with_number("grant_state", state)
            .with_text("body", "{}");
        store.engine.context.tables.put(Table::Grants, item, Condition::none()).await.unwrap();
    }
    let mut standings = Vec::new();
    for name in 0..3 {
        standings.push(store.token_standing(&event, &ticket(1), &GrantId([name; 16])).await.unwrap().grant);
    }
    assert_eq!(standings, [GrantStanding::Good, GrantStanding::Good, GrantStanding::Revoked]);
    let revocation = Line::Revocation { id: "02".repeat(16), keep_until: at(3600) };
    let event_line = exported(&*store).await.pop().unwrap();
    assert_eq!(exported(&*store).await, [revocation, event_line]);
}

/// What is remembered of codes survives a node whose clock is an hour ahead, however often it sweeps, and one that is an
/// hour behind knows it as well.
#[tokio::test]
async fn a_node_whose_clock_is_an_hour_off_knows_what_others_redeemed() {
    let Some(servers) = servers() else { return };
    let prefix = created(client(servers)).await;
    let [right, wrong]: [Shared; 2] = [(), ()].map(|()| Arc::new(node(servers, &prefix, OutboxMode::Off)) as Shared);
    let (event, _) = (event(&right).await, event(&wrong).await);
    for (name, store) in [(1, &right), (2, &wrong)] {
        assert_eq!(store.redeem(&redemption(name)).await.unwrap(), Redeemed::Now);
    }
    swept(&wrong, at(3600 + 600)).await;
    let too_old = Redemption { code: CodeAge::Wrong, ..redemption(1) };
    assert_eq!(wrong.redeem(&too_old).await.unwrap(), Redeemed::Before);
    let standing = right.token_standing(&event, &ticket(1), &redemption(1).id).await.unwrap();
    assert_eq!(standing.grant, GrantStanding::Revoked);
    // By a clock that is an hour behind, the other is still good when that hour is over.
    swept(&wrong, at(2 * 3600 + 660)).await;
    assert_eq!(right.redeem(&redemption(2)).await.unwrap(), Redeemed::Before);
    swept(&wrong, at(2 * 3600)).await;
    let standing = right.token_standing(&event, &ticket(1), &redemption(1).id).await.unwrap();
    assert_eq!(standing.grant, GrantStanding::Revoked, "until the session ends by the right clock");
}

#[tokio::test]
async fn letters_leave_the_journal_though_nobody_asks_for_them() {
    let Some(servers) = servers() else { return };
    let prefix = prefix();
    create_tables(client(servers), &prefix, Arc::new(Free)).await.unwrap();
    let store = Arc::new(node(servers, &prefix, OutboxMode::Kept(Arc::new(FrozenClock::at(at(0))))));
    let event = event(&(Arc::clone(&store) as Shared)).await;
    store.advance(&event, 5, at(0)).await.unwrap();
    assert_eq!(store.engine.state(&event).await.unwrap().intent_log.noted, 1);
    while !store.engine.state(&event).await.unwrap().intent_log.notes.is_empty() {
        tokio::time::sleep(RECOVERY_PERIOD / 10).await;
    }
    assert_eq!(store.letters(0, 10).await.unwrap().len(), 1);
}
