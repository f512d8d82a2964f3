//! The command line: commands, configuration file, exit code.
//!
//! Owns the arguments and the exit codes: 0 success, 1 failure, 2 an invalid command line or configuration. The only
//! place that reads the process's environment and writes to its terminal.

mod aws_secrets;
mod check;
mod health;
mod keys;
mod local_client;
mod serve;
mod store;

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anteroom::config::{CONFIG_VARIABLE, Config, ConfigError, DEFAULT_DATA_DIR, Environment, reference_page};
use aws_secrets::AwsSecrets;
use clap::{Args, Parser, Subcommand};

/// An OpenID Connect identity provider whose login step is a place in line.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the waiting room; without a configuration, run a demonstration
    Serve(ConfigFile),
    /// Say whether the configuration is good, or all that is wrong with it
    CheckConfig(ConfigFile),
    /// Ask a running Anteroom whether it is ready
    Healthcheck {
        #[command(flatten)]
        file: ConfigFile,
        /// The address to ask, instead of the one that follows from the configuration
        #[arg(long)]
        url: Option<String>,
    },
    /// List or rotate the signing keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Create the tables of the distributed engine; move rooms from one engine to the other
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Print the page docs/configuration.md
    #[command(hide = true)]
    ConfigReference,
}

#[derive(Args)]
struct ConfigFile {
    /// The configuration file; without it, what ANTEROOM_CONFIG names
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Why a command failed: one sentence per line.
#[derive(Debug)]
enum CliError {
    /// The configuration, or another input of the operator.
    Configuration(String),
    /// A failure at run time.
    Runtime(String),
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::Configuration(error.to_string())
    }
}

/// Runs the command of the process's arguments.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let environment = environment();
    let outcome = match arguments.command {
        Command::Serve(file) => serve::serve(file.named(&environment).as_deref(), &environment),
        Command::CheckConfig(file) => check::check(file.named(&environment).as_deref(), &environment),
        Command::Healthcheck { file, url } => health::check(file.named(&environment).as_deref(), url, &environment),
        Command::Keys(command) => keys::run(command, &environment),
        Command::Store(command) => store::run(command, &environment),
        Command::ConfigReference => {
            print(&reference_page());
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(CliError::Configuration(message)) => {
            print_error(&message);
            ExitCode::from(2)
        }
        Err(CliError::Runtime(message)) => {
            print_error(&message);
            ExitCode::FAILURE
        }
    }
}

/// Prints to the terminal. `print!` would panic if the reader is gone (`| head`) or the disk is full; the outcome of a
/// command does not depend on that.
fn print(text: &str) {
    let _unread = io::stdout().lock().write_all(text.as_bytes());
}

/// The same for errors.
fn print_error(message: &str) {
    let _unread = writeln!(io::stderr().lock(), "{message}");
}

impl ConfigFile {
    /// The file that the option or the variable names.
    fn named(self, environment: &Environment) -> Option<PathBuf> {
        self.config.or_else(|| environment.get(CONFIG_VARIABLE).map(PathBuf::from))
    }
}

/// All variables that are valid text; others are not Anteroom's.
fn environment() -> Environment {
    env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// The directory of the demonstration's files.
fn demonstration_directory(environment: &Environment) -> PathBuf {
    PathBuf::from(environment.get("ANTEROOM_DATA_DIR").unwrap_or(DEFAULT_DATA_DIR))
}

/// The named configuration, or else that of the demonstration if it exists.
fn existing_config(file: Option<&Path>, environment: &Environment) -> Result<Config, CliError> {
    load(&existing_file(file, environment)?, environment)
}

/// Loads the file with its secrets. If the secret source is unreachable, the file is not at fault: the next try may
/// succeed.
fn load(file: &Path, environment: &Environment) -> Result<Config, CliError> {
    let secrets = AwsSecrets::default();
    let cli_error =
        |error: ConfigError| if secrets.is_unreachable() { CliError::Runtime(error.to_string()) } else { error.into() };
    Config::load(file, environment, &secrets).map_err(cli_error)
}

/// The file that [`existing_config`] reads.
fn existing_file(file: Option<&Path>, environment: &Environment) -> Result<PathBuf, CliError> {
    let demonstration = demonstration_directory(environment).join("anteroom.toml");
    match file {
        Some(file) => Ok(file.to_owned()),
        None if demonstration.exists() => Ok(demonstration),
        None => Err(CliError::Configuration(format!(
            "there is no configuration: name one by --config or {CONFIG_VARIABLE}, or let `anteroom serve` make {}",
            demonstration.display()
        ))),
    }
}
