//! The authorizer: an AWS Lambda function by which API Gateway admits requests with a valid access token.
//!
//! Owns the forms of API Gateway's calls ([`call`]) and answers ([`answer`]), the rules for a token ([`check`]), and
//! the cached key set of the running Anteroom ([`key_source`]). It is a separate program that knows Anteroom by its
//! published keys alone: no store, no session, so that it works while Anteroom is away. It denies everything that it
//! cannot read.

mod answer;
mod call;
mod check;
mod key_source;
mod settings;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::Arc;

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;

use crate::ambient::{Clock, SystemClock};
use answer::answer;
use call::Call;
use check::{TokenError, check};
use key_source::KeySource;
use settings::Settings;

/// Answers API Gateway.
struct Authorizer {
    settings: Settings,
    keys: KeySource,
    clock: Arc<dyn Clock>,
}

impl Authorizer {
    /// The answer to any event.
    async fn decide(&self, event: &Value) -> Value {
        let call = Call::read(event);
        let visitor = match call.token.as_deref() {
            None => Err(TokenError("no token")),
            Some(token) => match self.keys.verify(token).await {
                Ok(verified) => check(&verified, &self.settings, self.clock.now()),
                Err(_) => Err(TokenError("bad signature or form")),
            },
        };
        if let Err(TokenError(reason)) = visitor {
            tracing::info!(reason, "denied");
        }
        answer(&call.form, visitor.ok().as_ref())
    }
}

/// Runs the function until Lambda ends it.
pub fn main() -> ExitCode {
    tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(std::io::stderr).init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            tracing::error!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let settings = Settings::read(|name| std::env::var(name).ok()).map_err(|problem| problem.to_string())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let keys = KeySource::new(settings.jwks_url.clone(), Arc::clone(&clock))?;
    let authorizer = Authorizer { settings, keys, clock };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime does not start: {error}"))?;
    let handler = service_fn(async |event: LambdaEvent<Value>| {
        Ok::<_, lambda_runtime::Error>(authorizer.decide(&event.payload).await)
    });
    runtime.block_on(lambda_runtime::run(handler)).map_err(|error| format!("the function ended: {error}"))
}
