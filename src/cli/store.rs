//! `store`: makes ready what the state is kept in.

use anteroom::config::{Config, Environment};
use anteroom::server;
use clap::Subcommand;

use super::reach::converse;
use super::{ConfigFile, Failure, existing_config, print};

/// What can be done with the store.
#[derive(Subcommand)]
pub(super) enum StoreCommand {
    /// Create the tables of the distributed engine that are missing in DynamoDB, and wait until they can be used
    Init(ConfigFile),
}

pub(super) fn run(command: StoreCommand, environment: &Environment) -> Result<(), Failure> {
    let StoreCommand::Init(file) = command;
    let config = existing_config(file.named(environment).as_deref(), environment)?;
    print(&converse(init(&config))?);
    Ok(())
}

async fn init(config: &Config) -> Result<String, Failure> {
    let created = server::create_tables(config).await.map_err(|error| Failure::Runtime(error.to_string()))?;
    Ok(match created {
        None => "The embedded engine makes what it needs by itself.\n".to_owned(),
        Some(created) if created.is_empty() => "All tables are there.\n".to_owned(),
        Some(created) => created.iter().map(|table| format!("created {table}\n")).collect(),
    })
}
