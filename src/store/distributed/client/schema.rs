//! Creating the tables: paid by use, encrypted, recoverable to any second of the last days.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    PointInTimeRecoverySpecification, Projection, ProjectionType, ScalarAttributeType, SseSpecification, TableStatus,
    TimeToLiveSpecification,
};

use super::dynamodb::{DynamoDb, Meter};
use super::item_store::{EXPIRES_INDEX, Table};
use crate::policy::{TABLE_POLL, TABLE_WAIT};
use crate::store::StoreError;

/// When DynamoDB may delete an item of the outbox by itself.
pub(in super::super) const FORGET_AFTER: &str = "forget_after";

/// What became of creating the tables.
#[derive(Debug, Default)]
pub struct Creation {
    /// The names of the tables that were not there.
    pub created: Vec<String>,
    /// What DynamoDB refused that the tables are good without, and why; with the names of the tables.
    pub refused: BTreeMap<String, Vec<String>>,
}

type Key = (&'static str, ScalarAttributeType);

const fn text(name: &'static str) -> Key {
    (name, ScalarAttributeType::S)
}

const fn number(name: &'static str) -> Key {
    (name, ScalarAttributeType::N)
}

/// A table's hash key and its range key.
pub(super) const fn keys(table: Table) -> (Key, Option<Key>) {
    match table {
        Table::Events => (text("event_id"), None),
        Table::Tokens => (text("request_id"), None),
        Table::ServingRecords => (text("event_id"), Some(number("serving_counter"))),
        Table::Arrivals | Table::Places => (text("event_id"), Some(number("queue_position"))),
        Table::Grants => (("grant_id", ScalarAttributeType::B), None),
        Table::Documents => (text("document"), None),
        Table::Outbox => (text("shelf"), Some(text("label"))),
    }
}

/// The field in which DynamoDB finds when an item may go, where items have an end of their own.
const fn time_to_live(table: Table) -> Option<&'static str> {
    match table {
        Table::Grants => Some("keep_until"),
        Table::Outbox => Some(FORGET_AFTER),
        _ => None,
    }
}

/// Creates the tables that are missing, and waits until all can be used.
///
/// # Errors
/// When DynamoDB does not do it: credentials, rights, region, or away.
pub async fn create_tables(
    dynamodb: Client,
    table_prefix: &str,
    meter: Arc<dyn Meter>,
) -> Result<Creation, StoreError> {
    DynamoDb::new(dynamodb, table_prefix, meter).create().await
}

impl DynamoDb {
    /// Creates what is missing and waits until all of it can be used.
    pub(super) async fn create(&self) -> Result<Creation, StoreError> {
        let mut creation = Creation::default();
        for table in Table::ALL {
            if self.create_one(table).await? {
                creation.created.push(self.name(table));
            }
        }
        for table in Table::ALL {
            self.wait_for(table).await?;
            // Of tables that are there as well: it may have been refused when they were created.
            let refusals = [self.make_recoverable(table).await, self.let_items_end(table).await];
            for refusal in refusals.into_iter().flatten() {
                creation.refused.entry(refusal).or_default().push(self.name(table));
            }
        }
        Ok(creation)
    }

    async fn create_one(&self, table: Table) -> Result<bool, StoreError> {
        let (hash, range) = keys(table);
        let mut create = self
            .client()
            .create_table()
            .table_name(self.name(table))
            .billing_mode(BillingMode::PayPerRequest)
            .sse_specification(SseSpecification::builder().enabled(true).build());
        let mut defined = vec![hash.clone()];
        defined.extend(range.clone());
        if table == Table::Tokens {
            let index = [text("event_id"), number("expires")];
            create = create.global_secondary_indexes(expires_index(&index)?);
            defined.extend(index);
        }
        for (name, kind) in defined {
            let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(kind);
            create = create.attribute_definitions(definition.build().map_err(|error| unbuildable(&error))?);
        }
        for element in key_schema(&hash, range.as_ref())? {
            create = create.key_schema(element);
        }
        match create.send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(error)) if error.err().is_resource_in_use_exception() => Ok(false),
            Err(error) => Err(self.away(table, &error)),
        }
    }

    async fn wait_for(&self, table: Table) -> Result<(), StoreError> {
        let mut waited = std::time::Duration::ZERO;
        loop {
            let described = self.client().describe_table().table_name(self.name(table)).send().await;
            let described = described.map_err(|error| self.away(table, &error))?;
            if described.table.and_then(|table| table.table_status) == Some(TableStatus::Active) {
                return Ok(());
            }
            if waited >= TABLE_WAIT {
                return Err(StoreError::Unavailable(format!("DynamoDB does not finish table {}", self.name(table))));
            }
            tokio::time::sleep(TABLE_POLL).await;
            waited += TABLE_POLL;
        }
    }

    /// Not every DynamoDB can (the local one cannot). Answers what is missing then, and why.
    async fn make_recoverable(&self, table: Table) -> Option<String> {
        let wanted = PointInTimeRecoverySpecification::builder().point_in_time_recovery_enabled(true).build().ok()?;
        let backups = self.client().update_continuous_backups().table_name(self.name(table));
        let error = backups.point_in_time_recovery_specification(wanted).send().await.err()?;
        Some(refusal("no point-in-time recovery", &error))
    }

    /// Items that are over are swept by DynamoDB as well; until then they read as absent. Answers what is missing, and
    /// why.
    async fn let_items_end(&self, table: Table) -> Option<String> {
        let wanted =
            TimeToLiveSpecification::builder().attribute_name(time_to_live(table)?).enabled(true).build().ok()?;
        let update = self.client().update_time_to_live().table_name(self.name(table));
        let error = update.time_to_live_specification(wanted).send().await.err()?;
        // A table on which it is enabled refuses it by this message alone.
        let done = error.message().is_some_and(|message| message.contains("already enabled"));
        (!done).then(|| refusal("items that are over stay longer", &error))
    }
}

fn refusal(what: &str, error: &impl ProvideErrorMetadata) -> String {
    format!("{what}: {}", error.message().or_else(|| error.code()).unwrap_or("DynamoDB does not answer"))
}

fn key_schema(hash: &Key, range: Option<&Key>) -> Result<Vec<KeySchemaElement>, StoreError> {
    let elements = [(Some(hash), KeyType::Hash), (range, KeyType::Range)];
    let elements = elements.into_iter().filter_map(|(key, kind)| Some((key?.0, kind)));
    elements
        .map(|(name, kind)| {
            let element = KeySchemaElement::builder().attribute_name(name).key_type(kind);
            element.build().map_err(|error| unbuildable(&error))
        })
        .collect()
}

fn expires_index([hash, range]: &[Key; 2]) -> Result<GlobalSecondaryIndex, StoreError> {
    let whole = Projection::builder().projection_type(ProjectionType::All).build();
    let index = GlobalSecondaryIndex::builder().index_name(EXPIRES_INDEX).projection(whole);
    let index = index.set_key_schema(Some(key_schema(hash, Some(range))?));
    index.build().map_err(|error| unbuildable(&error))
}

fn unbuildable(error: &aws_sdk_dynamodb::error::BuildError) -> StoreError {
    StoreError::Unavailable(error.to_string())
}
