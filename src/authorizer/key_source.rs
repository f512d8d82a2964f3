//! The issuer's keys: fetched on demand, cached, and still used while the issuer is away.

use std::sync::Arc;

use reqwest::Client;
use tokio::sync::Mutex;
use url::Url;

use crate::ambient::{Clock, Timestamp};
use crate::keys::{PublicKeySet, Verified, VerifyError};
use crate::outbound::{self, Proxies};
use crate::policy;

/// The source of the keys.
pub(super) struct KeySource {
    url: Url,
    http: Client,
    clock: Arc<dyn Clock>,
    // Held during a fetch, whose result concurrent calls would need as well.
    kept: Mutex<CachedKeySet>,
}

#[derive(Default)]
struct CachedKeySet {
    set: PublicKeySet,
    /// When the set was last fetched, successfully or not.
    tried: Option<Timestamp>,
}

impl CachedKeySet {
    /// Whether to fetch the set, because a token names an unknown key or because the set is old: a withdrawn key must
    /// not be accepted for ever. Any client can invent a key ID, so unknown keys cause a fetch only from time to time.
    fn is_due(&self, unknown: bool, now: Timestamp) -> bool {
        let pause = match unknown {
            _ if self.set.is_empty() => policy::AUTHORIZER_FIRST_RETRY,
            true => policy::AUTHORIZER_REFETCH,
            false => policy::AUTHORIZER_KEEP,
        };
        self.tried.is_none_or(|tried| tried > now || now.since(tried) >= pause)
    }
}

impl KeySource {
    /// Keys from `url`. It fetches nothing yet.
    pub(super) fn new(url: Url, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let http = outbound::client(&url, policy::AUTHORIZER_FETCH_TIMEOUT, Proxies::Ignored)
            .map_err(|error| format!("the HTTP client does not start: {error}"))?;
        Ok(Self { url, http, clock, kept: Mutex::default() })
    }

    /// Verifies `token` with the keys.
    pub(super) async fn verify(&self, token: &str) -> Result<Verified, VerifyError> {
        let mut kept = self.kept.lock().await;
        let verified = kept.set.verify(token);
        let now = self.clock.now();
        let unknown = match &verified {
            Err(VerifyError::UnknownKey) => true,
            Ok(_) => false,
            // A token that no key could have signed causes no fetch.
            Err(_) => return verified,
        };
        if !kept.is_due(unknown, now) {
            return verified;
        }
        kept.tried = Some(now);
        match self.fetch().await {
            Ok(set) => kept.set = set,
            Err(problem) => {
                tracing::warn!(url = %self.url, problem, "the key set cannot be fetched; the cached one stays in use")
            }
        }
        kept.set.verify(token)
    }

    async fn fetch(&self) -> Result<PublicKeySet, String> {
        let json =
            outbound::fetch(&self.http, &self.url, policy::MAX_KEY_SET).await.map_err(|error| error.to_string())?;
        PublicKeySet::from_json(&json).map_err(|error| error.to_string())
    }
}
