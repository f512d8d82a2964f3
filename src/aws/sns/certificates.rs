//! The certificates that SNS signs with: fetched once, and not as often as somebody likes to name another.

use openssl::pkey::{PKey, Public};
use openssl::x509::X509;
use reqwest::Client;
use tokio::sync::Mutex;
use url::Url;

use super::Rejection;
use crate::ambient::Timestamp;
use crate::outbound::{self, OutboundError};
use crate::policy;

/// The certificates that were fetched. The lock is held while one is: whoever comes meanwhile most likely needs the same.
#[derive(Default)]
pub(super) struct Certificates(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// The newest last, [`policy::SNS_CERTIFICATES`] at most.
    keys: Vec<(Url, PKey<Public>)>,
    /// When something was last fetched in vain.
    failed: Option<Timestamp>,
}

impl Certificates {
    /// The key of the certificate at `url`, an address that SNS itself answers.
    pub(super) async fn key(&self, client: &Client, url: &Url, now: Timestamp) -> Result<PKey<Public>, Rejection> {
        let mut kept = self.0.lock().await;
        if let Some((_, key)) = kept.keys.iter().find(|(known, _)| known == url) {
            return Ok(key.clone());
        }
        if kept.failed.is_some_and(|failed| now.since(failed) < policy::SNS_CERTIFICATE_REFETCH) {
            return Err(Rejection::Busy);
        }
        kept.failed = Some(now);
        let pem = outbound::fetch(client, url, policy::MAX_CERTIFICATE).await.map_err(|error| match error {
            // There is no such certificate: nobody signed with it.
            OutboundError::Answered(400..=499) | OutboundError::TooLarge(_) => Rejection::Forged,
            away => Rejection::Unverifiable(away.to_string()),
        })?;
        let key = X509::from_pem(&pem).and_then(|certificate| certificate.public_key());
        let key = key.map_err(|_| Rejection::Forged)?;
        kept.failed = None;
        if kept.keys.len() >= policy::SNS_CERTIFICATES {
            kept.keys.remove(0);
        }
        kept.keys.push((url.clone(), key.clone()));
        Ok(key)
    }
}
