//! What Secrets Manager keeps.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::SdkError;

use super::words::brief;
use super::{NoRegion, regional_config};
use crate::ambient::Secret;

/// Why a secret cannot be had. The reasons are lines for the operator, and hold nothing of the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager answers, but not with this secret: it is not there, or not for us.
    #[error("{0}")]
    Refused(String),
    /// Nobody answers, or we cannot say who we are: other secrets would fare no better.
    #[error("AWS Secrets Manager cannot be asked: {0}")]
    Away(String),
}

/// The secrets of a region and account.
pub struct SecretsManager(Client);

impl SecretsManager {
    /// Those of the region and account that the SDK finds.
    ///
    /// # Errors
    /// See [`NoRegion`].
    pub async fn connect() -> Result<Self, NoRegion> {
        Ok(Self(Client::new(&regional_config().await?)))
    }

    /// The current text of the secret of this name or ARN (`GetSecretValue`).
    ///
    /// # Errors
    /// See [`SecretError`].
    pub async fn secret(&self, name: &str) -> Result<Secret, SecretError> {
        let got = self.0.get_secret_value().secret_id(name).send().await.map_err(|error| match &error {
            SdkError::ServiceError(_) => SecretError::Refused(brief(&error)),
            _ => SecretError::Away(brief(&error)),
        })?;
        let text = got.secret_string.ok_or_else(|| SecretError::Refused("it is binary, not text".to_owned()))?;
        Ok(Secret::new(text))
    }
}
