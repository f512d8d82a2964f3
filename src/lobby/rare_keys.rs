//! Whether the keys of `EdDSA` are published: some relying parties cannot read a JWK Set that has one, so it is there only
//! where a client uses it, and until the last token of a client that used it has expired.
//!
//! The keys are made and rotated with all others: a client that is added finds one that signs, and is published at that
//! moment. Nodes tell each other by a document in the store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Clients;
use crate::ambient::Timestamp;
use crate::oauth::SigningAlg;
use crate::policy;
use crate::store::{Document, Store, StoreError};

/// The algorithm that is published on demand.
pub(super) const RARE: SigningAlg = SigningAlg::EdDsa;

/// The document: until when the keys are published, in seconds, or [`IN_USE`].
const DOCUMENT: &str = "keys-eddsa";

/// What stands in the document while a client uses them.
const IN_USE: &str = "in use";

/// In memory, the same.
const FOR_EVER: u64 = u64::MAX;

/// What is known of their use.
pub(super) struct RareKeys {
    /// Whether a client here uses them.
    used: bool,
    /// Until when they are published, in seconds.
    until: AtomicU64,
}

impl RareKeys {
    /// What the clients say.
    pub(super) fn of(clients: &Clients) -> Self {
        let used = clients.iter().any(|client| [client.id_token_alg, client.access_token_alg].contains(&RARE));
        Self { used, until: AtomicU64::new(if used { FOR_EVER } else { 0 }) }
    }

    /// Whether they are published at `now`.
    pub(super) fn are_published(&self, now: Timestamp) -> bool {
        now.as_secs() < self.until.load(Ordering::Relaxed)
    }

    /// At a start: tells others of their use, or that it has ended and the last token expires after `longest_token`.
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

    /// Tells others of their use, and takes over what others told.
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

/// Whoever was quicker has written what holds as well, or is corrected by the next round.
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

    fn with(algs: &[SigningAlg]) -> RareKeys {
        let client = |(number, alg): (usize, &SigningAlg)| {
            let client = Client::confidential(number.to_string(), Secret::new("s"));
            RegisteredClient { client: Client { access_token_alg: *alg, ..client }, event: "Sample".parse().unwrap() }
        };
        RareKeys::of(&algs.iter().enumerate().map(client).collect())
    }

    #[tokio::test]
    async fn they_are_published_from_their_first_use_until_the_last_token_has_expired() {
        let directory = TempDir::new().unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        let open = async |algs: &[SigningAlg], now| {
            let keys = with(algs);
            keys.open(&store, now, HOUR).await.unwrap();
            keys
        };
        let end = NOW + HOUR + policy::KEY_RETIREMENT_MARGIN;
        let without = open(&[SigningAlg::Rs256], NOW).await;
        assert!(!without.are_published(NOW), "nobody ever used them");
        let used = open(&[SigningAlg::Es256, RARE], NOW).await;
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
