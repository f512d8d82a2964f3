//! `healthcheck`: asks a running Anteroom whether it is ready, for container runtimes and load balancers.

use std::path::Path;

use anteroom::config::{Endpoints, Environment};
use anteroom::policy::HEALTHCHECK_TIMEOUT;
use reqwest::{Client, Url};

use super::local_client::{block_on, cause, client, operators_url};
use super::{CliError, existing_file};

/// The readiness path, below the public URL's.
const READY: &str = "/health/ready";

pub(super) fn check(file: Option<&Path>, url: Option<String>, environment: &Environment) -> Result<(), CliError> {
    // With a given address, only the trusted certificate comes from the configuration, so an unreachable secret source
    // is no error.
    let endpoints = match (file, &url) {
        (None, Some(_)) => None,
        (file, _) => Some(Endpoints::load(&existing_file(file, environment)?, environment)?),
    };
    let url = match (url, &endpoints) {
        (Some(url), _) => url,
        (None, Some(endpoints)) => operators_url(endpoints, READY),
        (None, None) => return Err(CliError::Configuration("there is no address to ask".to_owned())),
    };
    let url = Url::parse(&url).map_err(|_| CliError::Configuration(format!("{url} is not an absolute URL")))?;
    let certificate = endpoints.and_then(|endpoints| endpoints.tls).map(|tls| tls.certificate);
    let client = client(certificate.as_deref(), HEALTHCHECK_TIMEOUT)?;
    block_on(request_readiness(&client, url))
}

async fn request_readiness(client: &Client, url: Url) -> Result<(), CliError> {
    let answer = client.get(url.clone()).send().await;
    let answer = answer.map_err(|error| CliError::Runtime(format!("{url} does not answer: {}", cause(&error))))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let body = answer.text().await.unwrap_or_default();
    Err(CliError::Runtime(format!("{url} answers {status}: {}", body.trim())))
}
