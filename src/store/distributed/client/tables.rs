//! The tables as the engine uses them: whole queries, and several items at once.

use std::sync::Arc;

use futures_util::future;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::attributes::Attributes;
use super::item_store::{Condition, Consistency, ItemStore, Query, Select, Table, Written};
use crate::policy::SWEEP_HANDS;
use crate::store::StoreError;

/// The tables of this deployment. See the module's documentation.
#[derive(Clone)]
pub(in super::super) struct Tables(Arc<dyn ItemStore>);

impl Tables {
    pub(in super::super) fn new(items: Arc<dyn ItemStore>) -> Self {
        Self(items)
    }

    /// The item of this key, as it is now.
    pub(in super::super) async fn get(&self, table: Table, key: Attributes) -> Result<Option<Attributes>, StoreError> {
        self.0.get(table, key, Consistency::Strong).await
    }

    /// The item of this key, perhaps as it was a moment ago; half the price.
    pub(in super::super) async fn get_eventual(
        &self,
        table: Table,
        key: Attributes,
    ) -> Result<Option<Attributes>, StoreError> {
        self.0.get(table, key, Consistency::Eventual).await
    }

    /// See [`ItemStore::put`].
    pub(in super::super) async fn put(
        &self,
        table: Table,
        item: Attributes,
        condition: Condition,
    ) -> Result<Written, StoreError> {
        self.0.put(table, item, condition).await
    }

    /// See [`ItemStore::update`].
    pub(in super::super) async fn update(
        &self,
        table: Table,
        key: Attributes,
        change: &str,
        condition: Condition,
    ) -> Result<Written, StoreError> {
        self.0.update(table, key, change, condition).await
    }

    /// See [`ItemStore::delete`].
    pub(in super::super) async fn delete(
        &self,
        table: Table,
        key: Attributes,
        condition: Condition,
    ) -> Result<Written, StoreError> {
        self.0.delete(table, key, condition).await
    }

    /// Deletes these items, some at a time.
    pub(in super::super) async fn delete_all(&self, table: Table, keys: Vec<Attributes>) -> Result<(), StoreError> {
        self.delete_where(table, keys, &Condition::none()).await
    }

    /// Deletes those of these items for which the condition holds, some at a time.
    pub(in super::super) async fn delete_where(
        &self,
        table: Table,
        keys: Vec<Attributes>,
        condition: &Condition,
    ) -> Result<(), StoreError> {
        let deletes = stream::iter(keys).map(|key| self.delete(table, key, condition.clone()));
        deletes.buffer_unordered(SWEEP_HANDS).try_for_each(|_| future::ready(Ok(()))).await
    }

    /// See [`ItemStore::put_together`].
    pub(in super::super) async fn put_together(
        &self,
        table: Table,
        items: Vec<(Attributes, Condition)>,
    ) -> Result<bool, StoreError> {
        self.0.put_together(table, items).await
    }

    /// What the query finds, in the order of the key.
    pub(in super::super) async fn query(&self, query: Query) -> Result<Vec<Attributes>, StoreError> {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let page = self.0.query(&query, from, Select::Items).await?;
            found.extend(page.items);
            from = page.next;
            if from.is_none() || (query.limit > 0 && found.len() >= query.limit) {
                return Ok(found);
            }
        }
    }

    /// How many items the query finds.
    pub(in super::super) async fn count(&self, query: Query) -> Result<u64, StoreError> {
        let (mut found, mut from) = (0, None);
        loop {
            let page = self.0.query(&query, from, Select::Count).await?;
            found += page.count;
            from = page.next;
            if from.is_none() {
                return Ok(found);
            }
        }
    }

    /// A page of the table in no order, from where the last one ended: some items and where they end (`None`: there
    /// are no more).
    pub(in super::super) async fn scan(
        &self,
        table: Table,
        from: Option<Attributes>,
        limit: i32,
    ) -> Result<(Vec<Attributes>, Option<Attributes>), StoreError> {
        let page = self.0.scan(table, from, limit).await?;
        Ok((page.items, page.next))
    }
}
