//! `store`: creates the tables of the distributed engine, and moves the state between engines.

use std::io::{self, BufWriter};
use std::sync::Arc;

use anteroom::ambient::{OsEntropy, SystemClock};
use anteroom::config::{Config, Environment};
use anteroom::server::{self, MoveError, SecretLine, SystemDeps};
use clap::{Args, Subcommand};

use super::local_client::block_on;
use super::{CliError, ConfigFile, existing_config, print, print_error};

/// The subcommands.
#[derive(Subcommand)]
pub(super) enum StoreCommand {
    /// Create the tables of the distributed engine that are missing in DynamoDB, and wait until they can be used
    Init(ConfigFile),
    /// Write all that the store keeps to standard output, as JSON lines; no node may run
    Export(Export),
    /// Take what an export wrote from standard input, into a store that is empty
    Import(ConfigFile),
}

#[derive(Args)]
pub(super) struct Export {
    #[command(flatten)]
    file: ConfigFile,
    /// Write the master secret too, so that the other store needs nothing else: keep the file as secret as it
    #[arg(long)]
    with_master_secret: bool,
}

/// The action, without its location.
enum Action {
    Init,
    Export(SecretLine),
    Import,
}

pub(super) fn run(command: StoreCommand, environment: &Environment) -> Result<(), CliError> {
    let (file, action) = match command {
        StoreCommand::Init(file) => (file, Action::Init),
        StoreCommand::Import(file) => (file, Action::Import),
        StoreCommand::Export(Export { file, with_master_secret: true }) => (file, Action::Export(SecretLine::Written)),
        StoreCommand::Export(Export { file, .. }) => (file, Action::Export(SecretLine::LeftOut)),
    };
    let config = existing_config(file.named(environment).as_deref(), environment)?;
    let system = SystemDeps { clock: Arc::new(SystemClock), entropy: Arc::new(OsEntropy) };
    let failed = |error: MoveError| CliError::Runtime(error.to_string());
    match action {
        Action::Init => print(&block_on(init(&config))?),
        Action::Export(secret) => {
            let mut out = BufWriter::new(io::stdout());
            let lines = block_on(async { server::export(&config, &system, secret, &mut out).await.map_err(failed) })?;
            eprintln!("{lines} lines");
        }
        Action::Import => {
            let mut input = io::BufReader::new(io::stdin());
            let lines = block_on(async { server::import(&config, &system, &mut input).await.map_err(failed) })?;
            print(&format!("{lines} lines were taken\n"));
        }
    }
    Ok(())
}

async fn init(config: &Config) -> Result<String, CliError> {
    let creation = server::create_tables(config).await.map_err(|error| CliError::Runtime(error.to_string()))?;
    let Some(creation) = creation else { return Ok("The embedded engine makes what it needs by itself.\n".to_owned()) };
    for (refusal, tables) in &creation.refused {
        print_error(&format!("{refusal} ({})", tables.join(", ")));
    }
    if creation.created.is_empty() {
        return Ok("All tables are there.\n".to_owned());
    }
    Ok(creation.created.iter().map(|table| format!("created {table}\n")).collect())
}
