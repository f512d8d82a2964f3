//! The issuer's keys: fetched when they are needed, kept, and kept on while the issuer is away.

use std::sync::Arc;

use reqwest::{Client, redirect};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Mutex;
use url::Url;

use crate::ambient::{Clock, Timestamp};
use crate::keys::{PublicKeySet, Verified, VerifyError};
use crate::policy;

/// Where keys come from.
pub(super) struct KeySource {
    url: Url,
    http: Client,
    clock: Arc<dyn Clock>,
    // Held while the set is fetched: whoever comes meanwhile would need the same.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    set: PublicKeySet,
    /// When the set was last asked for, with or without success.
    tried: Option<Timestamp>,
}

impl Kept {
    /// Whether it is time to ask for the set, for a token whose key is `unknown` or for the sake of freshness: a key
    /// that was withdrawn must not be believed for ever. Anybody can invent the name of a key, so not each time.
    fn is_due(&self, unknown: bool, now: Timestamp) -> bool {
        let pause = match unknown {
            _ if self.set.is_empty() => policy::AUTHORIZER_FIRST_RETRY,
            true => policy::AUTHORIZER_REFETCH,
            false => policy::AUTHORIZER_KEEP,
        };
        self.tried.is_none_or(|tried| now.since(tried) >= pause)
    }
}

impl KeySource {
    /// Keys from `url`. Nothing is fetched yet.
    pub(super) fn new(url: Url, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let builder = Client::builder().no_proxy().timeout(policy::AUTHORIZER_FETCH_TIMEOUT);
        let builder = builder.redirect(redirect::Policy::none()).use_preconfigured_tls(tls(&url)?);
        let http = builder.build().map_err(|error| format!("the HTTP client does not start: {error}"))?;
        Ok(Self { url, http, clock, kept: Mutex::default() })
    }

    /// Whether one of the keys signed `token`.
    pub(super) async fn verify(&self, token: &str) -> Result<Verified, VerifyError> {
        let mut kept = self.kept.lock().await;
        let verified = kept.set.verify(token);
        let now = self.clock.now();
        let unknown = match &verified {
            Err(VerifyError::UnknownKey) => true,
            Ok(_) => false,
            // What no key could have signed is no reason to fetch any.
            Err(_) => return verified,
        };
        if !kept.is_due(unknown, now) {
            return verified;
        }
        kept.tried = Some(now);
        match self.fetch().await {
            Ok(set) => kept.set = set,
            Err(problem) => {
                tracing::warn!(url = %self.url, problem, "the key set cannot be fetched; the old one stays")
            }
        }
        kept.set.verify(token)
    }

    async fn fetch(&self) -> Result<PublicKeySet, String> {
        let answer = self.http.get(self.url.clone()).send().await.and_then(reqwest::Response::error_for_status);
        let mut answer = answer.map_err(|error| error.without_url().to_string())?;
        let mut json = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| error.without_url().to_string())? {
            if json.len() + chunk.len() > policy::MAX_KEY_SET {
                return Err("it is too large for a key set".to_owned());
            }
            json.extend_from_slice(&chunk);
        }
        PublicKeySet::from_json(&json).map_err(|error| error.to_string())
    }
}

/// Trusts whom the system trusts (`SSL_CERT_FILE` names others). Reading all of them takes some milliseconds, which
/// plain HTTP need not pay.
fn tls(url: &Url) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    if url.scheme() == "https" {
        let found = rustls_native_certs::load_native_certs();
        let (trusted, _) = roots.add_parsable_certificates(found.certs);
        if trusted == 0 {
            return Err(format!("the system trusts no certificate authority: {:?}", found.errors));
        }
    }
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let versions =
        versions.with_safe_default_protocol_versions().map_err(|error| format!("TLS does not start: {error}"))?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}
