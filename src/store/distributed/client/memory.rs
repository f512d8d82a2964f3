//! An item store in memory, and links to it that are slow, throttled or lose answers, as a seed decides.
//!
//! For the simulation of several nodes (`simulation.rs`). It decides conditions as DynamoDB does (`expression.rs`); each
//! request is done at one moment between its call and its answer.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use tokio::time::Instant;

use super::attributes::Attributes;
use super::expression::{compare, holds, update};
use super::item_store::{Condition, Consistency, ItemStore, Page, Query, Select, Table, Written};
use super::schema;
use crate::ambient::{SeededEntropy, random};
use crate::store::StoreError;

/// Items of a page: few, so that queries have several.
const PAGE: usize = 7;

/// The value of a key attribute, in the order of DynamoDB.
#[derive(Clone, PartialEq, Debug)]
struct KeyValue(AttributeValue);

impl Eq for KeyValue {}

impl PartialOrd for KeyValue {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyValue {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        compare(&self.0, &other.0).expect("keys of one table are of one kind")
    }
}

type Key = Vec<KeyValue>;

/// How long after a change a read may still answer what was before it, unless it asks for the item as it is now.
const EVENTUALLY: Duration = Duration::from_millis(300);

/// An item, and what it was before its latest change.
#[derive(Clone, Default)]
struct Versions {
    now: Attributes,
    before: Attributes,
    changed: Option<Instant>,
}

impl Versions {
    fn change(&mut self, change: impl FnOnce(&mut Attributes)) {
        self.before = self.now.clone();
        change(&mut self.now);
        self.changed = Some(Instant::now());
    }

    fn read(&self, consistency: Consistency) -> &Attributes {
        let recent = self.changed.is_some_and(|changed| changed.elapsed() < EVENTUALLY);
        if consistency == Consistency::Eventual && recent { &self.before } else { &self.now }
    }
}

/// The tables, which all nodes share.
#[derive(Default)]
pub(in super::super) struct MemoryStore(Mutex<BTreeMap<(Table, Key), Versions>>);

fn key_of(table: Table, item: &Attributes) -> Key {
    let (hash, range) = schema::keys(table);
    let names = [Some(hash), range];
    names.into_iter().flatten().map(|(name, _)| KeyValue(item.0[name].clone())).collect()
}

fn key_attributes(table: Table, item: &Attributes) -> Attributes {
    let (hash, range) = schema::keys(table);
    let names = [Some(hash), range];
    Attributes(names.into_iter().flatten().map(|(name, _)| (name.to_owned(), item.0[name].clone())).collect())
}

impl MemoryStore {
    fn get(&self, table: Table, key: &Attributes, consistency: Consistency) -> Option<Attributes> {
        let items = self.0.lock().unwrap();
        let versions = items.get(&(table, key_of(table, key)))?;
        Some(versions.read(consistency).clone()).filter(|item| !item.0.is_empty())
    }

    /// Changes an item, if the condition holds; empty: deletes it.
    fn write(
        &self,
        table: Table,
        key: &Attributes,
        condition: &Condition,
        change: impl FnOnce(&mut Attributes),
    ) -> Written {
        let mut items = self.0.lock().unwrap();
        let versions = items.entry((table, key_of(table, key))).or_default();
        if !holds(condition, &versions.now) {
            return Written::Refused(versions.now.clone());
        }
        versions.change(change);
        Written::Done
    }

    fn put_together(&self, table: Table, puts: &[(Attributes, Condition)]) -> bool {
        let mut items = self.0.lock().unwrap();
        let nothing = Versions::default();
        let good = puts.iter().all(|(item, condition)| {
            holds(condition, &items.get(&(table, key_of(table, item))).unwrap_or(&nothing).now)
        });
        for (item, _) in puts.iter().filter(|_| good) {
            items.entry((table, key_of(table, item))).or_default().change(|there| *there = item.clone());
        }
        good
    }

    /// The items of a table for which the condition holds, in the order of these attributes.
    fn select(&self, table: Table, condition: &Condition, order: &[&str]) -> Vec<Attributes> {
        let items = self.0.lock().unwrap();
        let there = items.iter().filter(|((of, _), versions)| *of == table && !versions.now.0.is_empty());
        let mut found: Vec<_> =
            there.map(|(_, versions)| versions.now.clone()).filter(|item| holds(condition, item)).collect();
        let rank = |item: &Attributes| order.iter().map(|name| KeyValue(item.0[*name].clone())).collect::<Vec<_>>();
        found.sort_by_key(rank);
        found
    }

    /// All items of a table.
    pub(in super::super) fn all(&self, table: Table) -> Vec<Attributes> {
        self.select(table, &Condition::none(), &[])
    }

    fn query(&self, query: &Query, from: Option<&Attributes>) -> Page {
        let (hash, range) = schema::keys(query.table);
        let order: Vec<&str> = match query.index {
            Some(_) => vec!["event_id", "expires", "request_id"],
            None => [Some(hash), range].into_iter().flatten().map(|(name, _)| name).collect(),
        };
        let mut found = self.select(query.table, &query.keys, &order);
        if query.newest_first {
            found.reverse();
        }
        page(query.table, found, from, if query.limit > 0 { query.limit.min(PAGE) } else { PAGE }, |item| {
            let filter =
                query.filter.map(|filter| Condition { expression: Some(filter.to_owned()), ..query.keys.clone() });
            filter.is_none_or(|filter| holds(&filter, item))
        })
    }
}

fn page(
    table: Table,
    found: Vec<Attributes>,
    from: Option<&Attributes>,
    limit: usize,
    kept: impl Fn(&Attributes) -> bool,
) -> Page {
    let begins = from.map_or(0, |last| {
        let last = key_of(table, last);
        found.iter().position(|item| key_of(table, item) == last).map_or(found.len(), |at| at + 1)
    });
    let looked: Vec<_> = found[begins..].iter().take(limit).cloned().collect();
    let more = begins + looked.len() < found.len();
    let next = looked.last().filter(|_| more).map(|last| key_attributes(table, last));
    let items: Vec<_> = looked.into_iter().filter(|item| kept(item)).collect();
    Page { count: items.len() as u64, items, next }
}

/// Random numbers of a seed.
pub(in super::super) struct Dice(SeededEntropy);

impl Dice {
    pub(in super::super) fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    /// A number below `bound`.
    pub(in super::super) fn below(&self, bound: u64) -> u64 {
        u64::from_be_bytes(random(&self.0)) % bound
    }
}

/// How often a link fails, in a hundred requests, and how long one takes.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Faults {
    pub(in super::super) throttled: u64,
    pub(in super::super) lost_requests: u64,
    pub(in super::super) lost_answers: u64,
    pub(in super::super) repeated: u64,
    /// The longest time of either way, in milliseconds.
    pub(in super::super) latency: u64,
}

impl Faults {
    pub(in super::super) const NONE: Self =
        Self { throttled: 0, lost_requests: 0, lost_answers: 0, repeated: 0, latency: 3 };
}

/// How one node reaches the store. It can be cut: then nothing that the node begins is done, and nothing is answered.
pub(in super::super) struct Link {
    store: Arc<MemoryStore>,
    dice: Dice,
    faults: Mutex<Faults>,
    cut: AtomicBool,
}

#[derive(Clone, Copy)]
enum Fate {
    Answered,
    Throttled,
    RequestLost,
    AnswerLost,
    Repeated,
}

impl Link {
    pub(in super::super) fn new(store: &Arc<MemoryStore>, seed: u64, faults: Faults) -> Self {
        Self {
            store: Arc::clone(store),
            dice: Dice::new(seed),
            faults: Mutex::new(faults),
            cut: AtomicBool::new(false),
        }
    }

    pub(in super::super) fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }

    pub(in super::super) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    fn draw(&self) -> (Fate, [Duration; 2], bool) {
        let faults = *self.faults.lock().unwrap();
        let way = || Duration::from_micros(100 + self.dice.below(faults.latency * 1000));
        let (ways, sent) = ([way(), way()], self.dice.below(2) == 0);
        let mut drawn = self.dice.below(100);
        let fates = [
            (faults.throttled, Fate::Throttled),
            (faults.lost_requests, Fate::RequestLost),
            (faults.lost_answers, Fate::AnswerLost),
            (faults.repeated, Fate::Repeated),
        ];
        for (share, fate) in fates {
            if drawn < share {
                return (fate, ways, sent);
            }
            drawn -= share;
        }
        (Fate::Answered, ways, sent)
    }

    async fn alive(&self) {
        if self.cut.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    }

    async fn request<T>(&self, apply: impl Fn(&MemoryStore) -> T) -> Result<T, StoreError> {
        const LONG: Duration = Duration::from_millis(400);
        self.alive().await;
        let (fate, [there, back], sent) = self.draw();
        tokio::time::sleep(there).await;
        // What was sent before the end may still arrive.
        if !sent {
            self.alive().await;
        }
        let answer = match fate {
            Fate::Throttled => Err(StoreError::Unavailable("throttled".to_owned())),
            Fate::RequestLost => {
                tokio::time::sleep(LONG).await;
                Err(StoreError::Unavailable("no answer in time".to_owned()))
            }
            Fate::AnswerLost => {
                apply(&self.store);
                tokio::time::sleep(LONG).await;
                Err(StoreError::Unavailable("no answer in time".to_owned()))
            }
            Fate::Repeated => {
                apply(&self.store);
                tokio::time::sleep(LONG / 4).await;
                Ok(apply(&self.store))
            }
            Fate::Answered => Ok(apply(&self.store)),
        };
        tokio::time::sleep(back).await;
        self.alive().await;
        answer
    }
}

#[async_trait]
impl ItemStore for Link {
    async fn get(
        &self,
        table: Table,
        key: Attributes,
        consistency: Consistency,
    ) -> Result<Option<Attributes>, StoreError> {
        self.request(|store| store.get(table, &key, consistency)).await
    }

    async fn put(&self, table: Table, item: Attributes, condition: Condition) -> Result<Written, StoreError> {
        self.request(|store| store.write(table, &item, &condition, |there| *there = item.clone())).await
    }

    async fn update(
        &self,
        table: Table,
        key: Attributes,
        change: &str,
        condition: Condition,
    ) -> Result<Written, StoreError> {
        let apply = |there: &mut Attributes| {
            there.0.extend(key.0.clone());
            update(change, &condition.values, there);
        };
        self.request(|store| store.write(table, &key, &condition, apply)).await
    }

    async fn delete(&self, table: Table, key: Attributes, condition: Condition) -> Result<Written, StoreError> {
        self.request(|store| store.write(table, &key, &condition, |there| there.0.clear())).await
    }

    async fn query(&self, query: &Query, from: Option<Attributes>, _: Select) -> Result<Page, StoreError> {
        self.request(|store| store.query(query, from.as_ref())).await
    }

    async fn scan(&self, table: Table, from: Option<Attributes>, limit: i32) -> Result<Page, StoreError> {
        let limit = usize::try_from(limit).unwrap();
        self.request(|store| page(table, store.all(table), from.as_ref(), limit, |_| true)).await
    }

    async fn put_together(&self, table: Table, items: Vec<(Attributes, Condition)>) -> Result<bool, StoreError> {
        self.request(|store| store.put_together(table, &items)).await
    }
}
