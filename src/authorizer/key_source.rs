//! The issuer's keys: fetched when they are needed, kept, and kept on while the issuer is away.

use std::sync::Arc;

use reqwest::Client;
use tokio::sync::Mutex;
use url::Url;

use crate::ambient::{Clock, Timestamp};
use crate::keys::{PublicKeySet, Verified, VerifyError};
use crate::outbound::{self, Proxies};
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
        self.tried.is_none_or(|tried| tried > now || now.since(tried) >= pause)
    }
}

impl KeySource {
    /// Keys from `url`. Nothing is fetched yet.
    pub(super) fn new(url: Url, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let http = outbound::client(&url, policy::AUTHORIZER_FETCH_TIMEOUT, Proxies::Ignored)
            .map_err(|error| format!("the HTTP client does not start: {error}"))?;
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
        let json =
            outbound::fetch(&self.http, &self.url, policy::MAX_KEY_SET).await.map_err(|error| error.to_string())?;
        PublicKeySet::from_json(&json).map_err(|error| error.to_string())
    }
}
