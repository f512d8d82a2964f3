//! AWS Secrets Manager as the vault of the configuration, which is read before anything runs.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

use anteroom::ambient::Secret;
use anteroom::aws::{SecretError, SecretsManager};
use anteroom::config::{Vault, Withheld};
use tokio::runtime::Runtime;

/// Asks for each secret once, and nobody for anything unless a secret is wanted. Where AWS cannot be asked, it is not
/// asked again.
#[derive(Default)]
pub(super) struct AwsVault {
    line: OnceCell<Result<Line, String>>,
    answers: RefCell<HashMap<String, Result<Secret, Withheld>>>,
    away: RefCell<Option<Withheld>>,
}

/// Whom to ask, and what runs the conversation.
struct Line {
    runtime: Runtime,
    secrets: SecretsManager,
}

impl Line {
    fn open() -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("the runtime does not start: {error}"))?;
        let secrets = runtime.block_on(SecretsManager::connect()).map_err(|error| error.to_string())?;
        Ok(Self { runtime, secrets })
    }
}

impl AwsVault {
    /// Whether nobody answered.
    pub(super) fn is_away(&self) -> bool {
        self.away.borrow().is_some()
    }

    fn ask(&self, name: &str) -> Result<Secret, Withheld> {
        if let Some(away) = self.away.borrow().clone() {
            return Err(away);
        }
        let line = self.line.get_or_init(Line::open).as_ref().map_err(|reason| Withheld::Because(reason.clone()))?;
        line.runtime.block_on(line.secrets.secret(name)).map_err(|error| {
            let withheld = Withheld::Because(error.to_string());
            if matches!(error, SecretError::Away(_)) {
                self.away.replace(Some(withheld.clone()));
            }
            withheld
        })
    }
}

impl Vault for AwsVault {
    fn secret(&self, name: &str) -> Result<Secret, Withheld> {
        if let Some(answer) = self.answers.borrow().get(name) {
            return answer.clone();
        }
        let answer = self.ask(name);
        self.answers.borrow_mut().insert(name.to_owned(), answer.clone());
        answer
    }
}
