//! `serve`: runs the waiting room, or a demonstration if there is no configuration.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anteroom::ambient::{Clock, OsEntropy, SystemClock};
use anteroom::config::{Config, Demonstration, Environment, demonstrate};
use anteroom::server::{self, Running, SystemDeps};
use anteroom::telemetry;
use tokio::signal::unix::{SignalKind, signal};

use super::{CliError, demonstration_directory, load, print};

pub(super) fn serve(file: Option<&Path>, environment: &Environment) -> Result<(), CliError> {
    let (config, demonstration) = match file {
        Some(file) => (load(file, environment)?, None),
        None => {
            let directory = demonstration_directory(environment);
            let files = demonstrate(&directory, &OsEntropy).map_err(|error| CliError::Runtime(error.to_string()))?;
            (load(&files.config, environment)?, Some(files))
        }
    };
    telemetry::start_logging(&config.log);
    for variable in &config.ignored_variables {
        tracing::debug!(variable, "a variable is ignored: Kubernetes sets it for a service of this name");
    }
    config.warnings(SystemClock.now()).iter().for_each(|warning| tracing::warn!("{warning}"));
    actix_web::rt::System::new().block_on(run(config, demonstration))
}

/// Serves until the process is asked to stop.
async fn run(config: Config, demonstration: Option<Demonstration>) -> Result<(), CliError> {
    let failed = |error: &dyn std::error::Error| CliError::Runtime(error.to_string());
    // Registered first, because a start may take as long as its store is away.
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| failed(&error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| failed(&error))?;
    let mut asked_to_end = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let system = SystemDeps { clock: Arc::new(SystemClock), entropy: Arc::new(OsEntropy) };
    let running = tokio::select! {
        started = server::start(config, system) => started.map_err(|error| failed(&error))?,
        () = asked_to_end() => {
            tracing::info!("stopped before serving");
            return Ok(());
        }
    };
    announce(&running, demonstration.as_ref());
    asked_to_end().await;
    tracing::info!("stopping: pending requests are finished first");
    running.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// Prints the addresses.
fn announce(running: &Running, demonstration: Option<&Demonstration>) {
    tracing::info!(address = %running.address, issuer = running.issuer, "serving");
    let mut lines = vec![format!("Anteroom serves {} at {}", running.issuer, running.address)];
    lines.extend(running.private_address.map(|address| format!("Operators' address: {address}")));
    let shop = running.shop.as_ref();
    lines.extend(shop.map(|shop| format!("Sample shop:        {shop}  (open it and log in)")));
    lines.extend(demonstration.into_iter().flat_map(|files| introduction(running, files)));
    lines.push(String::new());
    print(&lines.join("\n"));
}

/// What a newcomer needs to try the demonstration.
fn introduction(running: &Running, files: &Demonstration) -> Vec<String> {
    let config = files.config.display();
    let mut lines = vec![format!("Configuration:      {config}  (made on the first start, yours to change)")];
    if let Ok(key) = fs::read_to_string(&files.admin_key) {
        lines.push(format!("Admin key:          {}", key.trim()));
        let issuer = &running.issuer;
        lines.push(format!("Let in ten more:    curl -X POST {issuer}/private/increment_serving_counter \\"));
        let file = files.admin_key.display();
        lines.push(format!("                      -H \"Authorization: Bearer $(cat {file})\" \\"));
        lines.push("                      -d '{\"event_id\":\"Sample\",\"increment_by\":10}'".to_owned());
    }
    lines
}
