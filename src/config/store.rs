//! `[store]`: where state lives.

use super::reader::{Read, Section};

/// The engine that keeps the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StoreConfig {
    /// SQLite in the data directory.
    #[default]
    Embedded,
}

const NO_DISTRIBUTED_ENGINE: &str = "the distributed engine is not in this version; \"embedded\" is the only one";

pub(super) fn read(section: &mut Section<'_>) -> Read<StoreConfig> {
    let engine = section.or("engine", StoreConfig::Embedded, |found| {
        if found.text()? == "distributed" {
            return Err(found.refuse(NO_DISTRIBUTED_ENGINE));
        }
        found.choice(&[("embedded", StoreConfig::Embedded)])
    });
    let others = ["redis_url", "dynamodb_endpoint", "table_prefix"].map(|key| {
        let message = "it belongs to the distributed engine, which is not in this version";
        section.not_yet(key, message)
    });
    others.into_iter().collect::<Read<()>>().and(engine)
}
