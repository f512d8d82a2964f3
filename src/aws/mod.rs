//! Clients of AWS services.
//!
//! Owns the SDK's configuration and types: credentials and region, alarm states, bus entries, proof of a message's
//! topic, secrets. Must not know what they are used for: rooms, notices and stores have types of their own.

mod alarm;
mod bus;
mod error_text;
mod secrets;
pub mod sns;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::ProvideRegion as _;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig, timeout::TimeoutConfig};
use aws_sdk_dynamodb::config::{Region, SharedHttpClient};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

pub use alarm::{Alarm, AlarmState};
pub use bus::{Bus, BusEntry, BusError};
pub use secrets::{SecretError, SecretsManager};

use crate::policy;

/// An AWS service is used, and no region is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the AWS region is not known: set the variable AWS_REGION, or name it in ~/.aws/config")]
pub struct MissingRegionError;

/// The SDK's HTTP client, with the TLS provider of the rest of the program.
pub fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

/// Region and credentials as every AWS SDK finds them (environment, profile, web identity, container, instance).
/// `endpoint` replaces AWS's address.
pub async fn sdk_config(endpoint: Option<&str>) -> SdkConfig {
    loader(endpoint).load().await
}

fn loader(endpoint: Option<&str>) -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(policy::AWS_CONNECT_TIMEOUT)
        .operation_timeout(policy::AWS_OPERATION_TIMEOUT)
        .build();
    let loader =
        aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http_client()).timeout_config(timeouts);
    match endpoint {
        Some(endpoint) => loader.endpoint_url(endpoint),
        None => loader,
    }
}

/// The same, where a region is required.
///
/// # Errors
/// [`MissingRegionError`].
pub async fn regional_config() -> Result<SdkConfig, MissingRegionError> {
    let config = sdk_config(None).await;
    if config.region().is_some_and(is_named) { Ok(config) } else { Err(MissingRegionError) }
}

/// A variable may be set to an empty value.
fn is_named(region: &Region) -> bool {
    !region.as_ref().is_empty()
}

/// A client of DynamoDB at `endpoint` or at AWS. An endpoint needs no region.
///
/// # Errors
/// See [`MissingRegionError`].
pub async fn dynamodb(endpoint: Option<&str>) -> Result<aws_sdk_dynamodb::Client, MissingRegionError> {
    let shared = match endpoint {
        Some(_) => {
            let named = EnvironmentVariableRegionProvider::new().region().await.filter(is_named);
            loader(endpoint).region(named.unwrap_or(Region::from_static("local"))).load().await
        }
        None => regional_config().await?,
    };
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(policy::DYNAMODB_TIMEOUT)
        .operation_attempt_timeout(policy::DYNAMODB_TIMEOUT)
        .operation_timeout(policy::DYNAMODB_PATIENCE)
        .build();
    let config = aws_sdk_dynamodb::config::Builder::from(&shared).timeout_config(timeouts);
    Ok(aws_sdk_dynamodb::Client::from_conf(config.build()))
}
