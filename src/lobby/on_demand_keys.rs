//! Publication of `EdDSA` keys. Some relying parties cannot read a JWK Set that contains one, so they are published
//! only while a client uses them, and until the last token of such a client has expired.
//!
//! The keys are generated and rotated with all others, so a newly added client finds a key that signs; it is published
//! at that moment. Nodes share the state in a document of the store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Clients;
use crate::ambient::Timestamp;
use crate::oauth::SigningAlg;
use crate::policy;
use crate::store::{Document, Store, StoreError};

/// The algorithm that is published on demand.
pub(super) const ON_DEMAND: SigningAlg = SigningAlg::EdDsa;

/// The document: the time until which the keys are published, in seconds, or [`IN_USE`].
const DOCUMENT: &str = "keys-eddsa";

/// The content of the document while a client uses them.
const IN_USE: &str = "in use";

/// The same in memory.
const FOR_EVER: u64 = u64::MAX;

/// Whether the keys are in use.
pub(super) struct OnDemandKeys {
    /// Whether a client of this node's configuration uses them.
    used: bool,
    /// The time until which they are published, in seconds.
    until: AtomicU64,
}

impl OnDemandKeys {
    /// Reads the use from the clients' algorithms.
    pub(super) fn of(clients: &Clients) -> Self {
        let used = clients.iter().any(|client| [client.id_token_alg, client.access_token_alg].contains(&ON_DEMAND));
        Self { used, until: AtomicU64::new(if used { FOR_EVER } else { 0 }) }
    }

    /// Whether they are published at `now`.
    pub(super) fn are_published(&self, now: Timestamp) -> bool {
        now.as_secs() < self.until.load(Ordering::Relaxed)
    }

    /// At start: records their use, or that it has ended and the last token expires after `longest_token`.
    pub(super) async fn open(
        &self,
        store: &dyn Store,
        now: Timestamp,
        longest_token: Duration,
    ) -> Result<(), StoreError> {
        let noted = store.document(DOCUMENT).await?;
        if !self.used && is_in_use(noted.as_ref()) {
            let until = now + longest_token + policy::KEY_RETIREMENT_MARGIN;
            note(store, noted.as_ref(), &until.as_secs().to_string()).await?;
        }
        self.refresh(store).await
    }

    /// Records their use, and reads that of other nodes.
    pub(super) async fn refresh(&self, store: &dyn Store) -> Result<(), StoreError> {
        let noted = store.document(DOCUMENT).await?;
        if self.used {
            return if is_in_use(noted.as_ref()) { Ok(()) } else { note(store, noted.as_ref(), IN_USE).await };
        }
        let until = match &noted {
            _ if is_in_use(noted.as_ref()) => FOR_EVER,
            Some(document) => std::str::from_utf8(&document.body).ok().and_then(|text| text.parse().ok()).unwrap_or(0),
            None => 0,
        };
        self.until.store(until, Ordering::Relaxed);
        Ok(())
    }
}

fn is_in_use(noted: Option<&Document>) -> bool {
    noted.is_some_and(|document| document.body == IN_USE.as_bytes())
}

/// If another node wrote first, its content is equivalent, or the next round corrects it.
async fn note(store: &dyn Store, noted: Option<&Document>, text: &str) -> Result<(), StoreError> {
    let version = noted.map_or(0, |document| document.version);
    store.replace_document(DOCUMENT, version, text.as_bytes()).await.map(drop)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::ambient::Secret;
    use crate::lobby::RegisteredClient;
    use crate::oauth::Client;
    use crate::store::embedded::EmbeddedStore;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn with(algs: &[SigningAlg]) -> OnDemandKeys {
        let client = |(number, alg): (usize, &SigningAlg)| {
            let client = Client::confidential(number.to_string(), Secret::new("s"));
            RegisteredClient { client: Client { access_token_alg: *alg, ..client }, event: "Sample".parse().unwrap() }
        };
        OnDemandKeys::of(&algs.iter().enumerate().map(client).collect())
    }

    #[tokio::test]
    async fn eddsa_keys_are_published_from_first_use_until_the_last_token_expires() {
        let directory = TempDir::new().unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        let open = async |algs: &[SigningAlg], now| {
            let keys = with(algs);
            keys.open(&store, now, HOUR).await.unwrap();
            keys
        };
        let end = NOW + HOUR + policy::KEY_RETIREMENT_MARGIN;
        let without = open(&[SigningAlg::Rs256], NOW).await;
        assert!(!without.are_published(NOW), "no client ever used them");
        let used = open(&[SigningAlg::Es256, ON_DEMAND], NOW).await;
        assert!(used.are_published(end + HOUR));
        without.refresh(&store).await.unwrap();
        assert!(without.are_published(end + HOUR), "another node uses them");
        let after = open(&[], NOW).await;
        assert!(after.are_published(end - Duration::from_secs(1)) && !after.are_published(end));
        let again = open(&[], NOW + HOUR).await;
        assert!(!again.are_published(end), "a second start does not prolong it");
        used.refresh(&store).await.unwrap();
        again.refresh(&store).await.unwrap();
        assert!(again.are_published(end), "a node that still uses them says so");
    }
}
