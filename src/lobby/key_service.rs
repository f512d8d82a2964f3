//! The signing keys of the deployment: one key ring, encrypted in the store, the same on every node.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::LobbyError;
use super::on_demand_keys::{ON_DEMAND, OnDemandKeys};
use crate::ambient::{Entropy, Timestamp};
use crate::keys::{
    KeyError, KeyRing, KeyUse, MasterSecret, PublishedKey, Rotation, RotationPlan, SealError, UnsealError, Verified,
    VerifyError,
};
use crate::policy;
use crate::store::{Store, StoreError};

/// The name of the key ring's document in the store.
pub const KEYS_DOCUMENT: &str = "keys";

/// Why the signing keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyServiceError {
    /// The store is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key ring was encrypted with another master secret, or is damaged.
    #[error("the signing keys in the store cannot be decrypted: {0}")]
    Unseal(#[from] UnsealError),
    /// A key cannot be generated or rotated.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key ring cannot be encrypted.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Another node replaced the key ring.
    #[error("the signing keys were changed concurrently; try again")]
    Contended,
    /// No signing thread can be started.
    #[error("a signing thread cannot be started: {0}")]
    Threads(#[from] std::io::Error),
    /// The thread that generates keys died.
    #[error("the thread that generates keys died")]
    ThreadDied,
}

/// The key ring in use.
pub struct KeyService {
    master: MasterSecret,
    /// The key ring and its version in the store; the lock is held for a clone only.
    current: RwLock<(u64, Arc<KeyRing>)>,
    /// Held while a new key ring is generated and stored, which takes seconds on a busy machine, so that an operator's
    /// rotation and routine maintenance do not fail each other. Other nodes are excluded by the version alone.
    change_lock: tokio::sync::Mutex<()>,
    /// When the key ring was last read because of an unknown key, and the outcome. The lock is held during the read, so
    /// that concurrent requests with the same key share its outcome.
    last_reload: tokio::sync::Mutex<Option<(Timestamp, Result<(), LobbyError>)>>,
    /// Which keys are published only on demand.
    on_demand: OnDemandKeys,
    /// Which keys rotate automatically.
    plan: RotationPlan,
}

impl KeyService {
    /// Reads the key ring, or creates it.
    pub(super) async fn open(
        store: &dyn Store,
        master: MasterSecret,
        entropy: &dyn Entropy,
        now: Timestamp,
        (on_demand, plan): (OnDemandKeys, RotationPlan),
    ) -> Result<Self, KeyServiceError> {
        if store.document(KEYS_DOCUMENT).await?.is_none() {
            let sealed = KeyRing::generate(now)?.seal(&master, entropy)?;
            // If another node creates one first, that one is used.
            store.replace_document(KEYS_DOCUMENT, 0, &sealed).await?;
        }
        let document = store.document(KEYS_DOCUMENT).await?.ok_or(KeyServiceError::Contended)?;
        let ring = KeyRing::unseal(&document.body, &master)?;
        Ok(Self {
            master,
            current: RwLock::new((document.version, Arc::new(ring))),
            change_lock: tokio::sync::Mutex::default(),
            last_reload: tokio::sync::Mutex::default(),
            on_demand,
            plan,
        })
    }

    /// The current key ring.
    pub fn key_ring(&self) -> Arc<KeyRing> {
        self.versioned().1
    }

    /// The JWK Set to publish at `now`, as JSON.
    pub fn jwks(&self, now: Timestamp) -> Arc<str> {
        let ring = self.key_ring();
        let set = if self.on_demand.are_published(now) { ring.jwks() } else { ring.jwks_without_eddsa() };
        Arc::clone(set.json())
    }

    /// The state of each key that is published at `now`, in the order of the JWK Set.
    pub fn published(&self, now: Timestamp) -> Vec<PublishedKey> {
        let mut published = self.key_ring().published();
        published.retain(|key| key.alg != ON_DEMAND || self.on_demand.are_published(now));
        published
    }

    /// The key ring and its version in the store. A replacement must name this version: one that is read later may
    /// belong to a newer key ring, which would be overwritten.
    fn versioned(&self) -> (u64, Arc<KeyRing>) {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Loads the key ring that another node or an operator stored.
    pub(super) async fn reload(&self, store: &dyn Store) -> Result<(), KeyServiceError> {
        if let Some(document) = store.document(KEYS_DOCUMENT).await? {
            let ring = KeyRing::unseal(&document.body, &self.master)?;
            self.adopt(document.version, ring);
        }
        Ok(())
    }

    /// Verifies `token` as [`KeyRing::verify`] does. If the token names an unknown key, another node may have generated
    /// it without an announcement on the feed: the key ring is reloaded first, at most once in
    /// [`policy::KEYS_ASKED_ANEW`].
    ///
    /// # Errors
    /// When it cannot be determined now whether the key belongs to this provider.
    pub(super) async fn verify(
        &self,
        store: &dyn Store,
        now: Timestamp,
        token: &str,
    ) -> Result<Result<Verified, VerifyError>, LobbyError> {
        let verified = self.key_ring().verify(token);
        if !matches!(verified, Err(VerifyError::UnknownKey)) {
            return Ok(verified);
        }
        let mut last_reload = self.last_reload.lock().await;
        let lately = last_reload.as_ref().filter(|(at, _)| *at <= now && now.since(*at) < policy::KEYS_ASKED_ANEW);
        let outcome = match lately {
            Some((_, outcome)) => outcome.clone(),
            None => {
                let outcome = self.reload(store).await.map_err(|error| match error {
                    KeyServiceError::Store(error) => LobbyError::Store(error),
                    _ => LobbyError::Internal("the signing keys in the store cannot be decrypted"),
                });
                last_reload.insert((now, outcome)).1.clone()
            }
        };
        drop(last_reload);
        outcome.map(|()| self.key_ring().verify(token))
    }

    /// Loads another node's changes, which the feed may have missed; then publishes missing keys, rotates due ones and
    /// drops unused ones.
    pub(super) async fn maintain(
        &self,
        store: &dyn Store,
        entropy: &dyn Entropy,
        now: Timestamp,
        longest_token: Duration,
    ) -> Result<(), KeyServiceError> {
        let _guard = self.change_lock.lock().await;
        self.on_demand.refresh(store).await?;
        self.reload(store).await?;
        let (version, ring) = self.versioned();
        let plan = self.plan;
        let changed = tokio::task::spawn_blocking(move || routine(&ring, now, longest_token, &plan)).await;
        if let Some(ring) = changed.map_err(|_| KeyServiceError::ThreadDied)?? {
            // If another node replaced the key ring first, it has done the same maintenance, or the next round does it.
            let _ours = self.replace(store, entropy, version, ring).await?;
        }
        Ok(())
    }

    /// Rotates the keys of `uses`; [`KeyService::key_ring`] signs with the new ones from then on.
    ///
    /// # Errors
    /// When the rotation comes too early, the store is away, or the key ring is changed concurrently.
    pub(super) async fn rotate(
        &self,
        store: &dyn Store,
        entropy: &dyn Entropy,
        (uses, how): (&'static [KeyUse], Rotation),
        now: Timestamp,
        longest_token: Duration,
    ) -> Result<(), KeyServiceError> {
        let _guard = self.change_lock.lock().await;
        self.reload(store).await?;
        let (version, ring) = self.versioned();
        let rotate = move || ring.rotate(uses, how, now, longest_token);
        let rotated = tokio::task::spawn_blocking(rotate).await;
        let ring = rotated.map_err(|_| KeyServiceError::ThreadDied)??;
        if self.replace(store, entropy, version, ring).await? { Ok(()) } else { Err(KeyServiceError::Contended) }
    }

    /// Replaces the key ring of this version. Returns whether it was still current; if not, the newer one is in use
    /// now.
    async fn replace(
        &self,
        store: &dyn Store,
        entropy: &dyn Entropy,
        version: u64,
        ring: KeyRing,
    ) -> Result<bool, KeyServiceError> {
        let sealed = ring.seal(&self.master, entropy)?;
        if !store.replace_document(KEYS_DOCUMENT, version, &sealed).await? {
            self.reload(store).await?;
            return Ok(false);
        }
        self.adopt(version + 1, ring);
        Ok(true)
    }

    fn adopt(&self, version: u64, ring: KeyRing) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if version > current.0 {
            *current = (version, Arc::new(ring));
        }
    }
}

/// The maintenance due at `now`: generates missing successors, rotates due keys, drops unused ones. `None`: nothing is
/// due.
fn routine(
    ring: &KeyRing,
    now: Timestamp,
    longest_token: Duration,
    plan: &RotationPlan,
) -> Result<Option<KeyRing>, KeyError> {
    let completed = ring.complete_next(now)?;
    let ring = completed.as_ref().unwrap_or(ring);
    let due = ring.due_for_rotation(now, plan);
    let rotated = match due.as_slice() {
        [] => None,
        due => Some(ring.rotate(due, Rotation::Patient, now, longest_token)?),
    };
    let pruned = rotated.as_ref().unwrap_or(ring).prune(now);
    Ok(pruned.or(rotated).or(completed))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::ambient::SeededEntropy;
    use crate::keys::{KeyState, TokenType};
    use crate::lobby::Clients;
    use crate::oauth::SigningAlg;
    use crate::store::embedded::EmbeddedStore;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn ids(ring: &KeyRing, state: KeyState) -> Vec<String> {
        ring.published().into_iter().filter(|key| key.state == state).map(|key| key.kid).collect()
    }

    #[tokio::test]
    async fn maintenance_does_not_undo_a_concurrent_rotation() {
        let directory = TempDir::new().unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        let entropy = SeededEntropy::new(1);
        let master = MasterSecret::generate(&entropy);
        let keys = open(&store, master.clone(), &entropy).await;
        let before = ids(&keys.key_ring(), KeyState::Signing);
        let rotation = keys.rotate(&store, &entropy, (&KeyUse::ALL, Rotation::Compromised), NOW, HOUR);
        let (rotated, maintained) = tokio::join!(rotation, keys.maintain(&store, &entropy, NOW, HOUR));
        rotated.and(maintained).unwrap();
        let stored = KeyRing::unseal(&store.document(KEYS_DOCUMENT).await.unwrap().unwrap().body, &master).unwrap();
        assert_eq!(stored.published(), keys.key_ring().published());
        assert!(ids(&stored, KeyState::Signing).iter().all(|kid| !before.contains(kid)));
        assert_eq!(ids(&stored, KeyState::Next).len(), 3);
        assert_eq!(ids(&stored, KeyState::Retired), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_rotation_that_loses_to_another_node_fails_and_loads_the_other_key_ring() {
        let directory = TempDir::new().unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        let entropy = SeededEntropy::new(1);
        let master = MasterSecret::generate(&entropy);
        let ours = open(&store, master.clone(), &entropy).await;
        let theirs = open(&store, master, &entropy).await;
        let (version, ring) = ours.versioned();
        let late = ring.rotate(&KeyUse::ALL, Rotation::AtOnce, NOW, HOUR).unwrap();
        theirs.rotate(&store, &entropy, (&KeyUse::ALL, Rotation::AtOnce), NOW, HOUR).await.unwrap();
        assert!(!ours.replace(&store, &entropy, version, late).await.unwrap());
        assert_eq!(ours.key_ring().published(), theirs.key_ring().published());
    }

    async fn open(store: &EmbeddedStore, master: MasterSecret, entropy: &SeededEntropy) -> KeyService {
        KeyService::open(store, master, entropy, NOW, (OnDemandKeys::of(&Clients::default()), RotationPlan::default()))
            .await
            .unwrap()
    }

    /// Two nodes over one store, and a token of the first, signed by a key that the second does not know.
    async fn two_nodes(store: &EmbeddedStore) -> (KeyService, KeyService, String) {
        let entropy = SeededEntropy::new(1);
        let master = MasterSecret::generate(&entropy);
        let ours = open(store, master.clone(), &entropy).await;
        // No maintenance is due, so no failed write makes the node reload the key ring.
        ours.maintain(store, &entropy, NOW, HOUR).await.unwrap();
        let theirs = open(store, master, &entropy).await;
        theirs.rotate(store, &entropy, (&KeyUse::ALL, Rotation::Compromised), NOW, HOUR).await.unwrap();
        let token = theirs.key_ring().sign(SigningAlg::EdDsa, TokenType::Jwt, b"{}").unwrap();
        assert_ne!(ours.key_ring().published(), theirs.key_ring().published());
        (ours, theirs, token)
    }

    #[tokio::test]
    async fn maintenance_loads_another_nodes_keys_without_an_announcement() {
        let directory = TempDir::new().unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        let (ours, theirs, _) = two_nodes(&store).await;
        let published = theirs.key_ring().published();
        ours.maintain(&store, &SeededEntropy::new(2), NOW, HOUR).await.unwrap();
        assert_eq!(ours.key_ring().published(), published);
    }

    #[tokio::test]
    async fn a_token_of_another_nodes_new_key_is_valid_and_an_unknown_key_is_looked_up_once_a_second() {
        let directory = TempDir::new().unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        let (ours, theirs, token) = two_nodes(&store).await;
        let stranger = KeyRing::generate(NOW).unwrap().sign(SigningAlg::EdDsa, TokenType::Jwt, b"{}").unwrap();
        assert!(ours.verify(&store, NOW, &token).await.unwrap().is_ok());
        assert_eq!(ours.verify(&store, NOW, &stranger).await.unwrap(), Err(VerifyError::UnknownKey));
        theirs.rotate(&store, &SeededEntropy::new(3), (&KeyUse::ALL, Rotation::Compromised), NOW, HOUR).await.unwrap();
        let token = theirs.key_ring().sign(SigningAlg::EdDsa, TokenType::Jwt, b"{}").unwrap();
        assert_eq!(ours.verify(&store, NOW, &token).await.unwrap(), Err(VerifyError::UnknownKey), "reloaded just now");
        let later = NOW + policy::KEYS_ASKED_ANEW;
        assert!(ours.verify(&store, later, &token).await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_token_of_an_unknown_key_is_not_rejected_while_the_store_is_away() {
        let directory = TempDir::new().unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        let (ours, _, token) = two_nodes(&store).await;
        store.close().await;
        for _ in 0..2 {
            assert!(matches!(ours.verify(&store, NOW, &token).await, Err(LobbyError::Store(_))));
        }
        let known = ours.key_ring().sign(SigningAlg::EdDsa, TokenType::Jwt, b"{}").unwrap();
        assert!(ours.verify(&store, NOW, &known).await.unwrap().is_ok());
    }
}
