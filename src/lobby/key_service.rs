//! The signing keys of the deployment: one ring, sealed in the store, the same on every node.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::Fault;
use super::rare_keys::{RARE, RareKeys};
use crate::ambient::{Entropy, Timestamp};
use crate::keys::{
    KeyDuty, KeyError, KeyRing, KeyUse, MasterSecret, Rotation, RotationPlan, SealError, UnsealError, Verified,
    VerifyError,
};
use crate::policy;
use crate::store::{Store, StoreError};

/// The name of the ring's document in the store.
pub const KEYS_DOCUMENT: &str = "keys";

/// Why there are no keys to work with.
#[derive(Debug, thiserror::Error)]
pub enum KeyServiceError {
    /// The store is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ring in the store was sealed with another master secret, or is damaged.
    #[error("the signing keys in the store cannot be opened: {0}")]
    Unseal(#[from] UnsealError),
    /// Keys cannot be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The ring cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Another node replaced the ring.
    #[error("the signing keys were changed by somebody else at the same time; try again")]
    Contended,
    /// No thread that signs can be started.
    #[error("a thread that signs cannot be started: {0}")]
    Threads(#[from] std::io::Error),
    /// A thread that made keys died.
    #[error("the thread that makes keys died")]
    Died,
}

/// The ring in use.
pub struct Keys {
    master: MasterSecret,
    /// Guards the ring and the version it was read at; held for a clone only.
    current: RwLock<(u64, Arc<KeyRing>)>,
    /// Held while a new ring is made and stored, which takes seconds on a busy machine: an operator's rotation and
    /// routine are not to fail each other. Other nodes are told apart by the ring's version alone.
    changing: tokio::sync::Mutex<()>,
    /// When the ring was last read because of an unknown key, and what came of it. Held while it is read: who comes
    /// meanwhile with the same key waits for the same answer.
    asked: tokio::sync::Mutex<Option<(Timestamp, Result<(), Fault>)>>,
    /// Which of the ring's keys are published on demand alone.
    rare: RareKeys,
    /// Which of them rotate by themselves.
    plan: RotationPlan,
}

impl Keys {
    /// Reads the ring, or makes the first one.
    pub(super) async fn open(
        store: &dyn Store,
        master: MasterSecret,
        entropy: &dyn Entropy,
        now: Timestamp,
        (rare, plan): (RareKeys, RotationPlan),
    ) -> Result<Self, KeyServiceError> {
        if store.document(KEYS_DOCUMENT).await?.is_none() {
            let sealed = KeyRing::generate(now)?.seal(&master, entropy)?;
            // Losing this race is fine: then another node's ring is there.
            store.replace_document(KEYS_DOCUMENT, 0, &sealed).await?;
        }
        let document = store.document(KEYS_DOCUMENT).await?.ok_or(KeyServiceError::Contended)?;
        let ring = KeyRing::unseal(&document.body, &master)?;
        Ok(Self {
            master,
            current: RwLock::new((document.version, Arc::new(ring))),
            changing: tokio::sync::Mutex::default(),
            asked: tokio::sync::Mutex::default(),
            rare,
            plan,
        })
    }

    /// The ring as it stands.
    pub fn ring(&self) -> Arc<KeyRing> {
        self.versioned().1
    }

    /// The JWK Set to publish at `now`, in JSON.
    pub fn jwks(&self, now: Timestamp) -> Arc<str> {
        let ring = self.ring();
        let set = if self.rare.are_published(now) { ring.jwks() } else { ring.jwks_without_eddsa() };
        Arc::clone(set.json())
    }

    /// What each key is there for that is published at `now`, in the order of the JWK Set.
    pub fn duties(&self, now: Timestamp) -> Vec<KeyDuty> {
        let mut duties = self.ring().duties();
        duties.retain(|key| key.alg != RARE || self.rare.are_published(now));
        duties
    }

    /// The ring and the version that it has in the store. What replaces it must name this very version: a version
    /// that is read later may be that of a newer ring, which would be lost.
    fn versioned(&self) -> (u64, Arc<KeyRing>) {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what another node or an operator put into the store.
    pub(super) async fn reload(&self, store: &dyn Store) -> Result<(), KeyServiceError> {
        if let Some(document) = store.document(KEYS_DOCUMENT).await? {
            let ring = KeyRing::unseal(&document.body, &self.master)?;
            self.adopt(document.version, ring);
        }
        Ok(())
    }

    /// Checks `token` as [`KeyRing::verify`] does. Where the key that it names is unknown, another node may have made
    /// it and the feed been silent: the ring is read anew first, at most once in [`policy::KEYS_ASKED_ANEW`].
    ///
    /// # Errors
    /// When whether the key is ours cannot be found out now.
    pub(super) async fn verify(
        &self,
        store: &dyn Store,
        now: Timestamp,
        token: &str,
    ) -> Result<Result<Verified, VerifyError>, Fault> {
        let verified = self.ring().verify(token);
        if !matches!(verified, Err(VerifyError::UnknownKey)) {
            return Ok(verified);
        }
        let mut asked = self.asked.lock().await;
        let lately = asked.as_ref().filter(|(at, _)| *at <= now && now.since(*at) < policy::KEYS_ASKED_ANEW);
        let outcome = match lately {
            Some((_, outcome)) => outcome.clone(),
            None => {
                let outcome = self.reload(store).await.map_err(|error| match error {
                    KeyServiceError::Store(error) => Fault::Store(error),
                    _ => Fault::Internal("the signing keys in the store cannot be opened"),
                });
                asked.insert((now, outcome)).1.clone()
            }
        };
        drop(asked);
        outcome.map(|()| self.ring().verify(token))
    }

    /// Takes over what another node did, of which the feed may have told nothing; then publishes what is missing, rotates
    /// what is due, drops what nobody needs any more.
    pub(super) async fn maintain(
        &self,
        store: &dyn Store,
        entropy: &dyn Entropy,
        now: Timestamp,
        longest_token: Duration,
    ) -> Result<(), KeyServiceError> {
        let _alone = self.changing.lock().await;
        self.rare.refresh(store).await?;
        self.reload(store).await?;
        let (version, ring) = self.versioned();
        let plan = self.plan;
        let tended = tokio::task::spawn_blocking(move || tend(&ring, now, longest_token, &plan)).await;
        if let Some(ring) = tended.map_err(|_| KeyServiceError::Died)?? {
            // Whoever was quicker has tended the ring as well, or will be followed by the next round.
            let _ours = self.replace(store, entropy, version, ring).await?;
        }
        Ok(())
    }

    /// Rotates the keys of `uses`; the ring that signs from then on is [`Keys::ring`].
    ///
    /// # Errors
    /// When the rotation comes too soon, the store is away, or somebody else changes the ring at the same time.
    pub(super) async fn rotate(
        &self,
        store: &dyn Store,
        entropy: &dyn Entropy,
        (uses, how): (&'static [KeyUse], Rotation),
        now: Timestamp,
        longest_token: Duration,
    ) -> Result<(), KeyServiceError> {
        let _alone = self.changing.lock().await;
        self.reload(store).await?;
        let (version, ring) = self.versioned();
        let rotate = move || ring.rotate(uses, how, now, longest_token);
        let rotated = tokio::task::spawn_blocking(rotate).await;
        let ring = rotated.map_err(|_| KeyServiceError::Died)??;
        if self.replace(store, entropy, version, ring).await? { Ok(()) } else { Err(KeyServiceError::Contended) }
    }

    /// Puts `ring` in the place of the ring of this version. Answers whether that was still there; if it was not,
    /// the newer one is in use now.
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

/// What routine asks for at `now`: missing successors made, due keys rotated, what nobody needs dropped. `None`: nothing.
fn tend(
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
        ring.duties().into_iter().filter(|key| key.state == state).map(|key| key.kid).collect()
    }

    #[tokio::test]
    async fn routine_does_not_undo_a_rotation_that_happens_at_the_same_time() {
        let directory = TempDir::new().unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        let entropy = SeededEntropy::new(1);
        let master = MasterSecret::generate(&entropy);
        let keys = open(&store, master.clone(), &entropy).await;
        let before = ids(&keys.ring(), KeyState::Signing);
        let rotation = keys.rotate(&store, &entropy, (&KeyUse::ALL, Rotation::Compromised), NOW, HOUR);
        let (rotated, maintained) = tokio::join!(rotation, keys.maintain(&store, &entropy, NOW, HOUR));
        rotated.and(maintained).unwrap();
        let stored = KeyRing::unseal(&store.document(KEYS_DOCUMENT).await.unwrap().unwrap().body, &master).unwrap();
        assert_eq!(stored.duties(), keys.ring().duties());
        assert!(ids(&stored, KeyState::Signing).iter().all(|kid| !before.contains(kid)));
        assert_eq!(ids(&stored, KeyState::Next).len(), 3);
        assert_eq!(ids(&stored, KeyState::Retired), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_rotation_that_another_node_forestalled_says_so_and_takes_over_what_that_one_did() {
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
        assert_eq!(ours.ring().duties(), theirs.ring().duties());
    }

    async fn open(store: &EmbeddedStore, master: MasterSecret, entropy: &SeededEntropy) -> Keys {
        Keys::open(store, master, entropy, NOW, (RareKeys::of(&Clients::default()), RotationPlan::default()))
            .await
            .unwrap()
    }

    /// Two nodes over one store, and a token of the first that was signed by a key of which the second never heard.
    async fn two_nodes(store: &EmbeddedStore) -> (Keys, Keys, String) {
        let entropy = SeededEntropy::new(1);
        let master = MasterSecret::generate(&entropy);
        let ours = open(store, master.clone(), &entropy).await;
        // Nothing is left to do that would fail, and so tell it of the other's ring.
        ours.maintain(store, &entropy, NOW, HOUR).await.unwrap();
        let theirs = open(store, master, &entropy).await;
        theirs.rotate(store, &entropy, (&KeyUse::ALL, Rotation::Compromised), NOW, HOUR).await.unwrap();
        let token = theirs.ring().sign(SigningAlg::EdDsa, TokenType::Jwt, b"{}").unwrap();
        assert_ne!(ours.ring().duties(), theirs.ring().duties());
        (ours, theirs, token)
    }

    #[tokio::test]
    async fn routine_takes_over_what_another_node_did_though_the_feed_told_nothing() {
        let directory = TempDir::new().unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        let (ours, theirs, _) = two_nodes(&store).await;
        let published = theirs.ring().duties();
        ours.maintain(&store, &SeededEntropy::new(2), NOW, HOUR).await.unwrap();
        assert_eq!(ours.ring().duties(), published);
    }

    #[tokio::test]
    async fn a_token_of_a_key_that_another_node_made_is_good_and_one_of_nobodys_is_looked_for_once_a_second() {
        let directory = TempDir::new().unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        let (ours, theirs, token) = two_nodes(&store).await;
        let stranger = KeyRing::generate(NOW).unwrap().sign(SigningAlg::EdDsa, TokenType::Jwt, b"{}").unwrap();
        assert!(ours.verify(&store, NOW, &token).await.unwrap().is_ok());
        assert_eq!(ours.verify(&store, NOW, &stranger).await.unwrap(), Err(VerifyError::UnknownKey));
        theirs.rotate(&store, &SeededEntropy::new(3), (&KeyUse::ALL, Rotation::Compromised), NOW, HOUR).await.unwrap();
        let token = theirs.ring().sign(SigningAlg::EdDsa, TokenType::Jwt, b"{}").unwrap();
        assert_eq!(ours.verify(&store, NOW, &token).await.unwrap(), Err(VerifyError::UnknownKey), "asked just now");
        let later = NOW + policy::KEYS_ASKED_ANEW;
        assert!(ours.verify(&store, later, &token).await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_token_of_an_unknown_key_is_not_called_bad_while_nobody_can_know() {
        let directory = TempDir::new().unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        let (ours, _, token) = two_nodes(&store).await;
        store.close().await;
        for _ in 0..2 {
            assert!(matches!(ours.verify(&store, NOW, &token).await, Err(Fault::Store(_))));
        }
        let known = ours.ring().sign(SigningAlg::EdDsa, TokenType::Jwt, b"{}").unwrap();
        assert!(ours.verify(&store, NOW, &known).await.unwrap().is_ok());
    }
}
