//! Secrets of AWS Secrets Manager.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::SdkError;

use super::error_text::describe;
use super::{MissingRegionError, regional_config};
use crate::ambient::Secret;

/// Why a secret cannot be read. The reasons are lines for the operator, and contain nothing of the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager has no such secret, or denies access to it.
    #[error("{0}")]
    Refused(String),
    /// Secrets Manager cannot be reached, or there are no credentials: other secrets would fail as well.
    #[error("AWS Secrets Manager cannot be asked: {0}")]
    Away(String),
}

/// The secrets of a region and account.
pub struct SecretsManager(Client);

impl SecretsManager {
    /// A client of the region and account that the SDK finds.
    ///
    /// # Errors
    /// See [`MissingRegionError`].
    pub async fn connect() -> Result<Self, MissingRegionError> {
        Ok(Self(Client::new(&regional_config().await?)))
    }

    /// The current text of the secret of this name or ARN (`GetSecretValue`).
    ///
    /// # Errors
    /// See [`SecretError`].
    pub async fn secret(&self, name: &str) -> Result<Secret, SecretError> {
        let got = self.0.get_secret_value().secret_id(name).send().await.map_err(|error| match &error {
            SdkError::ServiceError(_) => SecretError::Refused(describe(&error)),
            _ => SecretError::Away(describe(&error)),
        })?;
        let text = got.secret_string.ok_or_else(|| SecretError::Refused("it is binary, not text".to_owned()))?;
        Ok(Secret::new(text))
    }
}
