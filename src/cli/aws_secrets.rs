//! AWS Secrets Manager as the configuration's secret source; the configuration is read before anything runs.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

use anteroom::ambient::Secret;
use anteroom::aws::{SecretError, SecretsManager};
use anteroom::config::{SecretSource, SecretSourceError};
use tokio::runtime::Runtime;

/// Reads each secret once, and connects only if a secret is needed. If AWS is unreachable, no further call is made.
#[derive(Default)]
pub(super) struct AwsSecrets {
    connection: OnceCell<Result<Connection, String>>,
    answers: RefCell<HashMap<String, Result<Secret, SecretSourceError>>>,
    unreachable: RefCell<Option<SecretSourceError>>,
}

/// The client, and the runtime of its calls.
struct Connection {
    runtime: Runtime,
    secrets: SecretsManager,
}

impl Connection {
    fn open() -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("the runtime does not start: {error}"))?;
        let secrets = runtime.block_on(SecretsManager::connect()).map_err(|error| error.to_string())?;
        Ok(Self { runtime, secrets })
    }
}

impl AwsSecrets {
    /// Whether AWS was unreachable.
    pub(super) fn is_unreachable(&self) -> bool {
        self.unreachable.borrow().is_some()
    }

    fn fetch(&self, name: &str) -> Result<Secret, SecretSourceError> {
        if let Some(unreachable) = self.unreachable.borrow().clone() {
            return Err(unreachable);
        }
        let connection = self
            .connection
            .get_or_init(Connection::open)
            .as_ref()
            .map_err(|reason| SecretSourceError::Failed(reason.clone()))?;
        connection.runtime.block_on(connection.secrets.secret(name)).map_err(|error| {
            let failed = SecretSourceError::Failed(error.to_string());
            if matches!(error, SecretError::Away(_)) {
                self.unreachable.replace(Some(failed.clone()));
            }
            failed
        })
    }
}

impl SecretSource for AwsSecrets {
    fn secret(&self, name: &str) -> Result<Secret, SecretSourceError> {
        if let Some(answer) = self.answers.borrow().get(name) {
            return answer.clone();
        }
        let answer = self.fetch(name);
        self.answers.borrow_mut().insert(name.to_owned(), answer.clone());
        answer
    }
}
