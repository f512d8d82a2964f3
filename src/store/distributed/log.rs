//! The two logs of a line: serving records and arrivals. What a row says was decided in the event's item; here it
//! reaches its table, and is read together with what has not reached it yet.

use std::sync::{Mutex, PoisonError};

use super::client::{Attributes, number, text};
use super::client::{Condition, Query, Table, Tables};
use super::command::Done;
use super::context::lock;
use super::intent_log::{Cut, LogRow};
use super::item;
use super::state::{EventState, epoch_key};
use crate::ambient::Timestamp;
use crate::policy::SWEEP_LOOK;
use crate::room::{Arrival, EventId, Position, ServingRecord};
use crate::store::StoreError;

/// Writes a row of the log, unless a later one has its place.
pub(super) async fn put(tables: &Tables, event: &EventId, epoch: u64, row: LogRow) -> Result<(), StoreError> {
    let key = Attributes::new().with_text("event_id", epoch_key(event, epoch));
    match row {
        LogRow::Arrival { first, at } => {
            let item = key.with_number("queue_position", first.get()).with_time("entry_time", at);
            tables.put(Table::Arrivals, item, Condition::none()).await?;
        }
        LogRow::Serving { turn, serving, at, served } => {
            let item = key
                .with_number("serving_counter", serving)
                .with_time("issue_time", at)
                .with_number("queue_positions_served", served)
                .with_number("turn", turn);
            let earlier = Condition::new("attribute_not_exists(turn) OR turn < :turn").with(":turn", number(turn));
            tables.put(Table::ServingRecords, item, earlier).await?;
        }
    }
    Ok(())
}

/// Writes rows, and notes those that are done. What fails stays in the intent log, where whoever looks after the event
/// finds it.
pub(super) async fn put_all(tables: Tables, event: EventId, epoch: u64, rows: Vec<LogRow>, done: Done) {
    for row in rows {
        if put(&tables, &event, epoch, row).await.is_ok() {
            lock(&done).push((epoch, row));
        }
    }
}

/// [`crate::store::Store::arrivals`], of an event whose item stands as `state`.
pub(super) async fn arrivals(
    tables: &Tables,
    event: &EventId,
    state: &EventState,
    from: Option<Position>,
) -> Result<Vec<Arrival>, StoreError> {
    // Nothing came since: the usual case, within a second.
    if let (Some(from), Some(newest)) = (from, state.newest_arrival)
        && newest.first <= from
    {
        return Ok(vec![newest]);
    }
    let key = text(epoch_key(event, state.epoch));
    let mut rows = Vec::new();
    let mut keys = Condition::new("event_id = :event").with(":event", key.clone());
    if let Some(from) = from {
        let covering = Condition::new("event_id = :event AND queue_position <= :from");
        let covering = covering.with(":event", key.clone()).with(":from", number(from.get()));
        rows = tables.query(Query { newest_first: true, limit: 1, ..Query::of(Table::Arrivals, covering) }).await?;
        rows.truncate(1);
        keys = Condition::new("event_id = :event AND queue_position > :from");
        keys = keys.with(":event", key).with(":from", number(from.get()));
    }
    rows.extend(tables.query(Query::of(Table::Arrivals, keys)).await?);
    let mut found = rows.iter().map(arrival).collect::<Result<Vec<Arrival>, StoreError>>()?;
    // Rows that were decided after the item was read may have reached the table in another order: nobody is to take the
    // last of them for all there are.
    found.retain(|arrival| state.newest_arrival.is_some_and(|newest| arrival.first <= newest.first));
    for fresh in state.fresh_arrivals() {
        if !found.contains(&fresh) {
            found.push(fresh);
        }
    }
    found.sort_by_key(|arrival| arrival.first);
    if let Some(from) = from {
        let before = found.iter().rposition(|arrival| arrival.first <= from).unwrap_or(0);
        found.drain(..before);
    }
    Ok(found)
}

/// The newest arrival that reached its table.
pub(super) async fn newest_arrival(
    tables: &Tables,
    event: &EventId,
    epoch: u64,
) -> Result<Option<Arrival>, StoreError> {
    let keys = Condition::new("event_id = :event").with(":event", text(epoch_key(event, epoch)));
    let newest = Query { newest_first: true, limit: 1, ..Query::of(Table::Arrivals, keys) };
    tables.query(newest).await?.first().map(arrival).transpose()
}

/// [`crate::store::Store::oldest_arrival`].
pub(super) async fn oldest_arrival(
    tables: &Tables,
    event: &EventId,
    epoch: u64,
) -> Result<Option<Arrival>, StoreError> {
    let keys = Condition::new("event_id = :event").with(":event", text(epoch_key(event, epoch)));
    let oldest = Query { limit: 1, ..Query::of(Table::Arrivals, keys) };
    tables.query(oldest).await?.first().map(arrival).transpose()
}

/// Forgets some of the arrivals whose positions are all at or below `through`. The newest is never one of them.
pub(super) async fn forget_arrivals(
    tables: &Tables,
    event: &EventId,
    epoch: u64,
    through: u64,
) -> Result<(), StoreError> {
    let key = epoch_key(event, epoch);
    let keys = Condition::new("event_id = :event AND queue_position <= :next")
        .with(":event", text(key.as_str()))
        .with(":next", number(through + 1));
    let rows = tables.query(Query { limit: page(), ..Query::of(Table::Arrivals, keys) }).await?;
    let firsts = rows.iter().map(|row| row.number("queue_position")).collect::<Result<Vec<_>, _>>()?;
    // The last of a page may be the row of the next position.
    let old = firsts.split_last().map_or(&[][..], |(_, old)| old).iter();
    let keys =
        old.map(|first| Attributes::new().with_text("event_id", key.as_str()).with_number("queue_position", *first));
    tables.delete_all(Table::Arrivals, keys.collect()).await
}

/// Forgets some of the serving records at or below `through` that were issued before `before`.
pub(super) async fn forget_records(
    tables: &Tables,
    event: &EventId,
    epoch: u64,
    through: u64,
    before: Timestamp,
) -> Result<(), StoreError> {
    let key = epoch_key(event, epoch);
    let keys = Condition::new("event_id = :event AND serving_counter <= :through")
        .with(":event", text(key.as_str()))
        .with(":through", number(through));
    let rows = tables.query(Query { limit: page(), ..Query::of(Table::ServingRecords, keys) }).await?;
    let mut old = Vec::new();
    for row in &rows {
        if row.time("issue_time")? < before {
            let counter = row.number("serving_counter")?;
            old.push(Attributes::new().with_text("event_id", key.as_str()).with_number("serving_counter", counter));
        }
    }
    tables.delete_all(Table::ServingRecords, old).await
}

/// How many rows one look reads.
fn page() -> usize {
    usize::try_from(SWEEP_LOOK).unwrap_or(1)
}

fn arrival(row: &Attributes) -> Result<Arrival, StoreError> {
    Ok(Arrival { first: row.position("queue_position")?, at: row.time("entry_time")? })
}

/// The newest records as they were read last, and what they rest on.
#[derive(Default)]
pub(super) struct Memo {
    epoch: u64,
    cuts: Vec<Cut>,
    limit: usize,
    records: Vec<ServingRecord>,
}

impl Memo {
    /// Whether what it holds still counts: then only later records are missing.
    fn holds(&self, state: &EventState, limit: usize) -> bool {
        self.epoch == state.epoch && self.cuts == state.intent_log.cuts && self.limit == limit
    }
}

/// [`crate::store::Store::recent_serving_records`]. Waiting visitors make every node ask for them again and again: what
/// `memo` holds is not read a second time.
pub(super) async fn recent_records(
    tables: &Tables,
    event: &EventId,
    limit: u32,
    memo: &Mutex<Memo>,
) -> Result<Vec<ServingRecord>, StoreError> {
    let state = item::read(tables, event).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let known = {
        let memo = memo.lock().unwrap_or_else(PoisonError::into_inner);
        memo.holds(&state, limit).then(|| memo.records.clone())
    };
    let mut found = match known {
        Some(mut known) => {
            let last = known.last().map_or(0, |record| record.serving);
            add_records(&state, &records_above(tables, event, &state, last).await?, &mut known)?;
            known
        }
        None => newest_records(tables, event, &state, limit).await?,
    };
    let fresh: Vec<ServingRecord> = state.fresh_records().collect();
    let new = fresh.into_iter().filter(|fresh| !found.iter().any(|known| known.serving == fresh.serving));
    found.extend(new.collect::<Vec<_>>());
    found.sort_by_key(|record| record.serving);
    found.drain(..found.len().saturating_sub(limit));
    let kept = Memo { epoch: state.epoch, cuts: state.intent_log.cuts, limit, records: found.clone() };
    *memo.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    Ok(found)
}

async fn records_above(
    tables: &Tables,
    event: &EventId,
    state: &EventState,
    serving: u64,
) -> Result<Vec<Attributes>, StoreError> {
    let keys = Condition::new("event_id = :event AND serving_counter > :serving")
        .with(":event", text(epoch_key(event, state.epoch)))
        .with(":serving", number(serving));
    tables.query(Query::of(Table::ServingRecords, keys)).await
}

async fn newest_records(
    tables: &Tables,
    event: &EventId,
    state: &EventState,
    limit: usize,
) -> Result<Vec<ServingRecord>, StoreError> {
    let keys = || Condition::new("event_id = :event").with(":event", text(epoch_key(event, state.epoch)));
    // Those that a step back took are looked at in vain; there are never many.
    let at_once = limit.saturating_mul(2).min(1_000);
    let newest = Query { newest_first: true, limit: at_once, ..Query::of(Table::ServingRecords, keys()) };
    let page = tables.query(newest).await?;
    let mut found = Vec::new();
    add_records(state, &page, &mut found)?;
    if page.len() >= at_once && found.len() < limit {
        add_records(state, &tables.query(Query::of(Table::ServingRecords, keys())).await?, &mut found)?;
    }
    Ok(found)
}

/// Adds the rows that count and are not there yet.
fn add_records(state: &EventState, rows: &[Attributes], found: &mut Vec<ServingRecord>) -> Result<(), StoreError> {
    for row in rows {
        let record = record(row)?;
        let known = found.iter().any(|other| other.serving == record.serving);
        if state.counts(row.number("turn")?, record.serving) && !known {
            found.push(record);
        }
    }
    Ok(())
}

fn record(row: &Attributes) -> Result<ServingRecord, StoreError> {
    Ok(ServingRecord {
        serving: row.number("serving_counter")?,
        issued_at: row.time("issue_time")?,
        served: row.number("queue_positions_served")?,
    })
}

/// The first record at `serving` or above.
pub(super) async fn record_from(
    tables: &Tables,
    event: &EventId,
    state: &EventState,
    serving: u64,
) -> Result<Option<ServingRecord>, StoreError> {
    let fresh = state.fresh_records().filter(|record| record.serving >= serving).min_by_key(|record| record.serving);
    let mut from = serving;
    loop {
        let keys = Condition::new("event_id = :event AND serving_counter >= :from");
        let keys = keys.with(":event", text(epoch_key(event, state.epoch))).with(":from", number(from));
        let page = tables.query(Query { limit: 8, ..Query::of(Table::ServingRecords, keys) }).await?;
        for row in &page {
            let record = record(row)?;
            if state.counts(row.number("turn")?, record.serving) {
                return Ok(Some(match fresh {
                    Some(fresh) if fresh.serving <= record.serving => fresh,
                    _ => record,
                }));
            }
            from = record.serving + 1;
        }
        if page.len() < 8 {
            return Ok(fresh);
        }
    }
}
