//! The source of `secret:NAME`, injected like the environment, so that a test can replace it.

use crate::ambient::Secret;

/// A source of named secrets.
pub trait SecretSource {
    /// The whole secret of this name.
    ///
    /// # Errors
    /// See [`SecretSourceError`].
    fn secret(&self, name: &str) -> Result<Secret, SecretSourceError>;
}

/// Why a secret is not returned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSourceError {
    /// It cannot be read. The reason is for the operator, and contains nothing of the secret.
    Failed(String),
    /// Secrets are not read, because the requested part of the configuration does not depend on them.
    NotRead,
}

/// No secret source.
pub struct NoSecretSource;

impl SecretSource for NoSecretSource {
    fn secret(&self, _name: &str) -> Result<Secret, SecretSourceError> {
        Err(SecretSourceError::Failed("no secret store is configured".to_owned()))
    }
}

/// A source that is never read.
pub(super) struct NotRead;

impl SecretSource for NotRead {
    fn secret(&self, _name: &str) -> Result<Secret, SecretSourceError> {
        Err(SecretSourceError::NotRead)
    }
}
