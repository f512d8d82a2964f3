//! Positions that are reserved ahead: a commit says up to which position this process hands them out, and joins take
//! them from memory until the next commit.
//!
//! Owns the column `reserved`, the leases that follow from it, and what becomes of a reservation after a crash: its
//! positions count as handed out to visitors who left (table `lost_positions`). Nobody else writes the database, so a
//! lease ends by a commit only, never by time: without a crash no position is left out.

use rusqlite::{Connection, Error, OptionalExtension, params};
use tokio::time::Instant;

use super::ledger::{EventRow, Ledger};
use super::retention::used_between;
use super::rows::{number, stored, stored_time};
use crate::ambient::Timestamp;
use crate::policy::LOST_POSITIONS_EXPECTED;
use crate::room::line::PositionLease;
use crate::room::{Counters, EventId};
use crate::store::counter_cache::{LeaseEnd, Leasing};

/// Schema version 6.
pub(super) const TABLES: &str = "
ALTER TABLE events ADD COLUMN reserved INTEGER NOT NULL DEFAULT 0;
CREATE TABLE lost_positions (
    life INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (life, first)
) STRICT, WITHOUT ROWID;
";

/// Counts what a process that crashed had reserved: some of it was handed out, so none of it is handed out again.
pub(super) fn recover(connection: &mut Connection) -> Result<(), Error> {
    let transaction = connection.transaction()?;
    transaction.execute(
        "INSERT INTO lost_positions (life, first, last, at)
             SELECT life, queue + 1, reserved,
                 (SELECT coalesce(max(at), 0) FROM arrivals AS a WHERE a.life = e.life)
             FROM events AS e WHERE reserved > queue",
        [],
    )?;
    let mut found = transaction.prepare("SELECT name, reserved - queue FROM events WHERE reserved > queue")?;
    let mut rows = found.query([])?;
    while let Some(row) = rows.next()? {
        let (event, positions): (String, i64) = (row.get(0)?, row.get(1)?);
        tracing::warn!(event, positions, "the process crashed: the positions that it had reserved count as handed out");
    }
    drop(rows);
    drop(found);
    transaction.execute(
        "UPDATE events SET queue = reserved, reserved = 0, version = version + 1 WHERE reserved > queue",
        [],
    )?;
    transaction.commit()
}

/// How many served positions of a crashed process are expected no more: those served a minute ago or earlier that have no
/// session.
pub(super) fn lost_positions(
    connection: &Connection,
    life: i64,
    counters: &Counters,
    now: Timestamp,
) -> Result<u64, Error> {
    let before = stored_time(now - LOST_POSITIONS_EXPECTED);
    let mut select = connection.prepare_cached(
        "SELECT first, last FROM lost_positions WHERE life = ?1 AND last > ?2 AND first <= ?3 AND at <= ?4",
    )?;
    let range = params![life, stored(counters.max_expired), stored(counters.serving), before];
    let ranges = select.query_map(range, |row| Ok((number(row, 0)?, number(row, 1)?)))?;
    let ranges: Vec<(u64, u64)> = ranges.collect::<Result<_, _>>()?;
    if ranges.is_empty() {
        return Ok(0);
    }
    let mut served = connection.prepare_cached(
        "SELECT serving FROM serving_records WHERE life = ?1 AND issued_at <= ?2 ORDER BY serving DESC LIMIT 1",
    )?;
    let served = served.query_row(params![life, before], |row| number(row, 0)).optional()?.unwrap_or_default();
    let mut lost = 0;
    for (first, last) in ranges {
        let (after, through) = ((first - 1).max(counters.max_expired), last.min(served).min(counters.serving));
        if through > after {
            let used =
                sessions_between(connection, life, after, through)? + used_between(connection, life, after, through)?;
            lost += (through - after).saturating_sub(used);
        }
    }
    Ok(lost)
}

/// How many of the positions above `after`, through `through`, have a session.
pub(super) fn sessions_between(connection: &Connection, life: i64, after: u64, through: u64) -> Result<u64, Error> {
    let mut select = connection
        .prepare_cached("SELECT count(*) FROM sessions WHERE life = ?1 AND position > ?2 AND position <= ?3")?;
    select.query_row(params![life, stored(after), stored(through)], |row| number(row, 0))
}

impl Ledger {
    /// Whether positions of any event are handed out from memory.
    pub(super) fn has_leases(&self) -> bool {
        !self.leased.is_empty()
    }

    /// From here on, commits reserve nothing and end the leases.
    pub(super) fn stop_leasing(&mut self) {
        self.leasing_stopped = true;
    }

    /// Counts the joins that were answered from leases since the last commit. The next one writes their events.
    pub(super) fn count_leased_joins(&mut self) {
        for event in self.leased.iter().cloned().collect::<Vec<_>>() {
            self.settle(&event, Leasing::GoesOn);
        }
    }

    /// Ends the event's lease, if there is one: positions are taken by commands until the commit.
    pub(super) fn end_lease(&mut self, event: &EventId) {
        if self.leased.contains(event) {
            self.settle(event, Leasing::Ends);
        }
    }

    /// Ends all leases, also those of which memory knows no more after a commit that failed.
    pub(super) fn end_all_leases(&mut self) {
        self.leased.clear();
        for event in self.committed.events().unwrap_or_default() {
            let Some(known) = self.committed.settle(&event, Leasing::Ends) else { continue };
            let ahead = self.row(&event).is_ok_and(|row| row.line.with_joins(&known) != row.line);
            if ahead {
                self.settle(&event, Leasing::Ends);
            }
        }
    }

    fn settle(&mut self, event: &EventId, leasing: Leasing) {
        if leasing == Leasing::Ends {
            self.leased.remove(event);
        }
        let Some((known, row)) = self.committed.settle(event, leasing).zip(self.row(event).ok()) else { return };
        self.set(event, EventRow { line: row.line.with_joins(&known), ..row });
    }

    /// Reserves positions in the open transaction, for each event that it writes, for the joins until the next one.
    pub(super) fn reserve_positions(&mut self) {
        let stopped = self.leasing_stopped || self.reserve.refusal().is_some();
        let now = Instant::now();
        for event in self.touched.clone() {
            let Ok(EventRow { line, .. }) = self.row(&event) else { continue };
            let wanted = if stopped { 0 } else { self.expected_joins(&event, line.counters.queue, now) };
            let leased = self.leased.contains(&event);
            if leased {
                self.settle(&event, if wanted > 0 { Leasing::GoesOn } else { Leasing::Ends });
            }
            let kept = if leased && wanted > 0 { self.reserved(&event) } else { 0 };
            let Ok(row) = self.row(&event) else { continue };
            let line = row.line.with_reservation(wanted, kept);
            self.set(&event, EventRow { line, ..row });
        }
    }

    /// Hands out what the transaction reserved, which is committed.
    pub(super) fn open_lease(&mut self, event: &EventId, row: &EventRow) {
        let Counters { generation, queue: after, reserved: through, .. } = row.counters();
        let Some(entry) = row.line.newest_arrival.map(|arrival| arrival.at).filter(|_| through > after) else { return };
        if let Ok(cache) = self.committed.of(event) {
            cache.open(PositionLease { generation, after, through, entry }, LeaseEnd::Never);
            self.leased.insert(event.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tempfile::TempDir;

    use super::*;
    use crate::policy::RESERVATION_MOST;
    use crate::room::Occupancy;
    use crate::store::embedded::EmbeddedStore;
    use crate::store::suite::{at, position, session};
    use crate::store::{Store, StoreError, Taken};

    fn event() -> EventId {
        "Sample".parse().unwrap()
    }

    async fn opened(home: &TempDir) -> Arc<EmbeddedStore> {
        let store = Arc::new(EmbeddedStore::open(home.path()).unwrap());
        store.ensure_event(&event()).await.unwrap();
        store
    }

    async fn join(store: &EmbeddedStore, seconds: u64) -> Taken {
        store.take_positions(&event(), Arc::new((1, at(seconds)))).await.unwrap()
    }

    fn has_lease(store: &EmbeddedStore) -> bool {
        store.committed.of(&event()).unwrap().is_usable()
    }

    /// Joins at once, again and again, until positions are handed out from memory. Answers the last of them: those after
    /// `last` were given to one each.
    async fn rush(store: &Arc<EmbeddedStore>, mut last: u64) -> u64 {
        for _ in 0..1_000 {
            let joins = (0..100).map(|_| {
                let store = Arc::clone(store);
                tokio::spawn(async move { join(&store, 0).await.last.get() })
            });
            let mut taken = Vec::new();
            for join in joins.collect::<Vec<_>>() {
                taken.push(join.await.unwrap());
            }
            taken.sort_unstable();
            assert_eq!(taken, (last + 1..=last + 100).collect::<Vec<_>>());
            last += 100;
            if has_lease(store) {
                return last;
            }
        }
        panic!("nothing is ever reserved");
    }

    /// What the disk would say after a crash: a copy of the files as they are.
    fn crashed(home: &TempDir) -> TempDir {
        let copy = TempDir::new().unwrap();
        for name in ["anteroom.db", "anteroom.db-wal"] {
            std::fs::copy(home.path().join(name), copy.path().join(name)).unwrap();
        }
        copy
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_clean_stop_returns_what_is_left_of_a_reservation() {
        let home = TempDir::new().unwrap();
        let mut last = 0;
        for _ in 0..3 {
            let store = opened(&home).await;
            last = rush(&store, last).await;
            store.close().await;
            let store = opened(&home).await;
            let counters = store.counters(&event()).await.unwrap();
            assert_eq!((counters.queue, counters.reserved), (last, 0));
            last = join(&store, 0).await.last.get();
            assert_eq!(last, counters.queue + 1);
            store.close().await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn when_a_rush_ends_the_disk_soon_says_exactly_who_joined() {
        let home = TempDir::new().unwrap();
        let store = opened(&home).await;
        let last = rush(&store, 0).await;
        while has_lease(&store) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        let reopened = opened(&crashed(&home)).await;
        let counters = reopened.counters(&event()).await.unwrap();
        assert_eq!((counters.queue, counters.reserved), (last, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn after_a_crash_no_position_is_handed_out_again_and_few_are_lost() {
        let home = TempDir::new().unwrap();
        let store = opened(&home).await;
        let mut last = rush(&store, 0).await;
        // From memory alone: no commit says so.
        while let Some(taken) = store.committed.of(&event()).unwrap().allocate(&(1, at(0))) {
            last = taken.last.get();
        }
        let copy = crashed(&home);
        let reopened = opened(&copy).await;
        let counters = reopened.counters(&event()).await.unwrap();
        assert!(counters.queue >= last && counters.queue <= last + RESERVATION_MOST, "{counters:?}, {last}");
        let next = join(&reopened, 0).await;
        assert_eq!(next.first.get(), counters.queue + 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn lost_positions_hold_a_room_for_a_minute_after_they_are_served_and_their_holders_still_get_in() {
        let home = TempDir::new().unwrap();
        drop(opened(&home).await);
        let connection = Connection::open(home.path().join("anteroom.db")).unwrap();
        let crash = "UPDATE events SET queue = 10, reserved = 15; INSERT INTO arrivals SELECT life, 1, ?1 FROM events";
        let (update, insert) = crash.split_once("; ").unwrap();
        connection.execute(update, []).unwrap();
        connection.execute(insert, [stored_time(at(0))]).unwrap();
        drop(connection);
        let store = opened(&home).await;
        store.advance(&event(), 20, at(100)).await.unwrap();
        let expected = async |seconds: u64| {
            let Occupancy { expected, active, .. } = store.occupancy(&event(), at(seconds)).await.unwrap();
            (expected, active)
        };
        let held = LOST_POSITIONS_EXPECTED.as_secs();
        assert_eq!(expected(100 + held - 1).await, (20, 0));
        assert_eq!(expected(100 + held).await, (15, 0));
        // One of those whose answer arrived before the crash.
        let late = session(&event(), 12, 1_000);
        assert!(store.open_session(&late).await.unwrap().inserted);
        assert_eq!(expected(100 + held).await, (15, 1));
        store.expire_positions(&event(), position(13), crate::store::Refill::None, at(200)).await.unwrap();
        assert_eq!(expected(100 + held).await, (5, 1));
        store.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reset_during_a_rush_gives_nobody_a_position_of_the_old_line_afterwards() {
        let home = TempDir::new().unwrap();
        let store = opened(&home).await;
        rush(&store, 0).await;
        let stop = Arc::new(AtomicBool::new(false));
        let joins: Vec<_> = (0..4)
            .map(|_| {
                let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
                tokio::spawn(async move {
                    let mut latest = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let generation = join(&store, 0).await.counters.generation.0;
                        assert!(generation >= latest, "{generation} after {latest}");
                        latest = generation;
                    }
                })
            })
            .collect();
        for _ in 0..20 {
            let reset = store.reset(&event()).await.unwrap();
            assert!(join(&store, 0).await.counters.generation.0 >= reset.generation.0);
        }
        stop.store(true, Ordering::Relaxed);
        for join in joins {
            join.await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_visitor_whose_position_came_from_memory_enters_at_once() -> Result<(), StoreError> {
        let home = TempDir::new().unwrap();
        let store = opened(&home).await;
        store.advance(&event(), 1_000_000, at(0)).await?;
        let last = rush(&store, 0).await;
        for number in last + 1..last + 50 {
            let taken = join(&store, 0).await;
            assert_eq!(taken.last.get(), number);
            assert!(store.open_session(&session(&event(), number, 1_000)).await?.inserted);
        }
        Ok(())
    }
}
