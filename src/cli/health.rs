//! `healthcheck`: asks a running Anteroom whether it is ready, as container runtimes and load balancers do.

use std::path::Path;

use anteroom::config::{Endpoints, Environment};
use anteroom::policy::HEALTHCHECK_TIMEOUT;
use reqwest::{Client, Url};

use super::reach::{cause, client, converse, operators_url};
use super::{Failure, existing_file};

/// Where a running Anteroom says whether it is ready, below its public URL's path.
const READY: &str = "/health/ready";

pub(super) fn check(file: Option<&Path>, url: Option<String>, environment: &Environment) -> Result<(), Failure> {
    // With an address alone, the configuration matters only for the certificate to trust. Whether the store of secrets
    // is there says nothing of whether the service is.
    let endpoints = match (file, &url) {
        (None, Some(_)) => None,
        (file, _) => Some(Endpoints::load(&existing_file(file, environment)?, environment)?),
    };
    let url = match (url, &endpoints) {
        (Some(url), _) => url,
        (None, Some(endpoints)) => operators_url(endpoints, READY),
        (None, None) => return Err(Failure::Configuration("there is no address to ask".to_owned())),
    };
    let url = Url::parse(&url).map_err(|_| Failure::Configuration(format!("{url} is not an absolute URL")))?;
    let certificate = endpoints.and_then(|endpoints| endpoints.tls).map(|tls| tls.certificate);
    let client = client(certificate.as_deref(), HEALTHCHECK_TIMEOUT)?;
    converse(ask(&client, url))
}

async fn ask(client: &Client, url: Url) -> Result<(), Failure> {
    let answer = client.get(url.clone()).send().await;
    let answer = answer.map_err(|error| Failure::Runtime(format!("{url} does not answer: {}", cause(&error))))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let body = answer.text().await.unwrap_or_default();
    Err(Failure::Runtime(format!("{url} answers {status}: {}", body.trim())))
}
