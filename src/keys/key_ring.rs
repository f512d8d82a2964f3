//! The key ring: the signing keys, their successors, the retired keys, and the rules of rotation.
//!
//! A key ring is immutable: a change returns a new one, which is stored first and used then. So a key ring is always
//! consistent, and one that lost a race to another node's is dropped. Keys are shared between key rings, so a new one
//! costs only what is new in it. The tokens of the REST channel have a key of their own, because verifiers of the
//! retired system keep the one that they fetched first; it begins as the RS256 key of OpenID Connect, and the two
//! diverge when one of them rotates without the other.
//!
//! A key is published (`next`) for [`policy::KEY_PUBLICATION_LEAD`] before it signs (`current`), and stays published
//! (retired) until the last token that it signed has expired. A retired key has no private half.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::key::{SigningKey, VerifyingKey};
use super::uses::{KeyChannel, KeyUse, RotationMode, RotationPlan};
use super::verify::verify;
use super::{Jwks, PublicJwk, SigningAlg, TokenType, Verified, VerifyError};
use crate::ambient::Timestamp;
use crate::policy;

/// The keys of the deployment.
#[derive(Clone)]
pub struct KeyRing {
    /// One per use, in the order of [`KeyUse::ALL`].
    pub(super) successions: [Succession; 4],
    /// Newest first.
    pub(super) retired: Vec<RetiredKey>,
    jwks: Jwks,
    /// The set without the keys of `EdDSA`.
    jwks_without_eddsa: Jwks,
}

/// The use whose key the REST channel shares at first.
const RSA: KeyUse = KeyUse::Oidc(SigningAlg::Rs256);

/// The current and next key of one use.
#[derive(Clone)]
pub(super) struct Succession {
    /// The key that signs.
    pub(super) current: DatedKey,
    /// Its successor; missing in a new key ring.
    pub(super) next: Option<DatedKey>,
}

/// A key and the time of its current state.
#[derive(Clone)]
pub(super) struct DatedKey {
    pub(super) key: Arc<SigningKey>,
    pub(super) since: Timestamp,
}

impl DatedKey {
    fn fresh(alg: SigningAlg, now: Timestamp) -> Result<Self, KeyError> {
        let key = SigningKey::generate(alg).map_err(KeyError::Generation)?;
        Ok(Self { key: Arc::new(key), since: now })
    }
}

/// A key that no longer signs, published until its last token has expired.
#[derive(Clone)]
pub(super) struct RetiredKey {
    pub(super) key: Arc<VerifyingKey>,
    pub(super) until: Timestamp,
}

/// A published key and its state, in the JSON of the private API.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PublishedKey {
    /// The algorithm of its signatures.
    pub alg: SigningAlg,
    /// Its ID in the JWK Set and in the header of tokens.
    pub kid: String,
    /// Its state.
    pub state: KeyState,
    /// The channels whose tokens it signs or will sign; empty for a retired key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<KeyChannel>,
}

/// The states of a published key, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It will sign after the next rotation.
    Next,
    /// It signs.
    Signing,
    /// It no longer signs; tokens that it signed are still valid.
    Retired,
}

/// Why an operation on the key ring failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// OpenSSL generated no key.
    #[error("a key could not be generated: {0}")]
    Generation(String),
    /// OpenSSL did not sign.
    #[error("a token could not be signed: {0}")]
    Signing(String),
    /// The next key has not been published long enough: relying parties that cache the JWK Set would refuse its tokens.
    #[error("the next {alg} key may sign from {ready} on: until then relying parties may not know it")]
    TooSoon {
        /// The algorithm of the key.
        alg: SigningAlg,
        /// When [`Rotation::Patient`] will succeed.
        ready: Timestamp,
    },
    /// There is no next key yet; [`KeyRing::complete_next`] generates one.
    #[error("there is no next {0} key yet")]
    NoNext(SigningAlg),
}

/// The kind of rotation: how it treats relying parties that cache the JWK Set, and the old keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// Refuses with [`KeyError::TooSoon`] or [`KeyError::NoNext`] until the next key has been published for
    /// [`policy::KEY_PUBLICATION_LEAD`], so that no relying party gets an unknown key. For routine rotation.
    Patient,
    /// Uses the next key however new it is (and generates one if there is none): relying parties that do not refresh
    /// the set on an unknown `kid` refuse logins until their cache expires. For an operator in a hurry.
    AtOnce,
    /// The keys are compromised. Current, next and retired keys are dropped and replaced: every token signed before is
    /// refused from now on, here at once and elsewhere when the cached set expires.
    Compromised,
}

impl KeyRing {
    /// A key ring with a current key for each algorithm, made at `now`. Its next keys are left to
    /// [`KeyRing::complete_next`], so that a first start need not wait for a second RSA key. Generating takes some
    /// tenths of a second.
    pub fn generate(now: Timestamp) -> Result<Self, KeyError> {
        let succession = |alg| DatedKey::fresh(alg, now).map(|current| Succession { current, next: None });
        let [rsa, ec, ed] = SigningAlg::ALL;
        let rsa = succession(rsa)?;
        Ok(Self::assemble([rsa.clone(), succession(ec)?, succession(ed)?, rsa], Vec::new()))
    }

    /// The key ring of these keys, with its JWK Set.
    pub(super) fn assemble(successions: [Succession; 4], retired: Vec<RetiredKey>) -> Self {
        let set = |algs: &[SigningAlg]| {
            let mut known = HashSet::new();
            let published = algs.iter().flat_map(|&alg| public_halves(&successions, &retired, alg));
            Jwks::new(published.map(|key| &key.jwk).filter(|jwk| known.insert(jwk.kid())))
        };
        let (jwks, jwks_without_eddsa) = (set(&SigningAlg::ALL), set(&[SigningAlg::Rs256, SigningAlg::Es256]));
        Self { successions, retired, jwks, jwks_without_eddsa }
    }

    const fn succession(&self, of: KeyUse) -> &Succession {
        &self.successions[of.index()]
    }

    /// Whether OpenID Connect and the REST channel share one RS256 key.
    pub(super) fn shares_rsa(&self) -> bool {
        self.public_jwk(RSA).kid() == self.public_jwk(KeyUse::Rest).kid()
    }

    /// The key ring with the missing next keys, published from `now` on; `None` when none was missing. Generating takes
    /// some tenths of a second.
    pub fn complete_next(&self, now: Timestamp) -> Result<Option<Self>, KeyError> {
        if self.successions.iter().all(|succession| succession.next.is_some()) {
            return Ok(None);
        }
        let mut successions = self.successions.clone();
        for of in KeyUse::ALL {
            if successions[of.index()].next.is_none() {
                let shared = of == KeyUse::Rest && self.shares_rsa();
                let next =
                    if shared { successions[RSA.index()].next.clone() } else { Some(DatedKey::fresh(of.alg(), now)?) };
                successions[of.index()].next = next;
            }
        }
        Ok(Some(Self::assemble(successions, self.retired.clone())))
    }

    /// The key ring after a rotation of the keys of `uses` at `now`: next keys sign, new next keys are published, and
    /// the old keys stay published for `longest_token_life` and a margin ([`policy::KEY_RETIREMENT_MARGIN`]). All of
    /// them rotate or, on an error, none. Generating takes some tenths of a second.
    ///
    /// A key that has two uses and rotates in one of them continues in the other, whose next key is made by
    /// [`KeyRing::complete_next`]; a compromised key rotates in both.
    pub fn rotate(
        &self,
        uses: &[KeyUse],
        how: Rotation,
        now: Timestamp,
        longest_token_life: Duration,
    ) -> Result<Self, KeyError> {
        if how == Rotation::Patient {
            uses.iter().try_for_each(|of| self.ready_to_rotate(*of, now))?;
        }
        let (mut successions, mut retired) = (self.successions.clone(), self.retired.clone());
        let [login, rest] = [RSA, KeyUse::Rest].map(|of| uses.contains(&of));
        let shared = self.shares_rsa() && (login || rest);
        let together = shared && (login && rest || how == Rotation::Compromised);
        for of in KeyUse::ALL {
            let asked = if together && of == RSA { true } else { uses.contains(&of) };
            if asked && !(together && of == KeyUse::Rest) {
                successions[of.index()].rotate(of.alg(), how, now)?;
            }
        }
        if together {
            successions[KeyUse::Rest.index()] = successions[RSA.index()].clone();
        } else if shared {
            let other = if login { KeyUse::Rest } else { RSA };
            successions[other.index()].next = None;
        }
        if how == Rotation::Compromised {
            retired.retain(|key| uses.iter().all(|of| of.alg() != key.key.jwk.alg()));
        } else {
            let until = now + longest_token_life + policy::KEY_RETIREMENT_MARGIN;
            self.retire(&successions, &mut retired, until);
        }
        Ok(Self::assemble(successions, retired))
    }

    /// Adds to `retired` the current keys that are not in `successions`, each once.
    fn retire(&self, successions: &[Succession; 4], retired: &mut Vec<RetiredKey>, until: Timestamp) {
        for old in &self.successions {
            let public = &old.current.key.public;
            let signs =
                successions.iter().any(|succession| succession.current.key.public.jwk.kid() == public.jwk.kid());
            if !signs && retired.iter().all(|key| key.key.jwk.kid() != public.jwk.kid()) {
                retired.insert(0, RetiredKey { key: public.clone(), until });
            }
        }
    }

    /// Whether the next key of this use has been published long enough to sign.
    fn ready_to_rotate(&self, of: KeyUse, now: Timestamp) -> Result<(), KeyError> {
        let next = self.succession(of).next.as_ref().ok_or(KeyError::NoNext(of.alg()))?;
        let ready = next.since + policy::KEY_PUBLICATION_LEAD;
        if now < ready { Err(KeyError::TooSoon { alg: of.alg(), ready }) } else { Ok(()) }
    }

    /// The uses that are due by `plan` and whose next key may sign: the argument of [`KeyRing::rotate`] with
    /// [`Rotation::Patient`] in routine maintenance.
    pub fn due_for_rotation(&self, now: Timestamp, plan: &RotationPlan) -> Vec<KeyUse> {
        let due = |of: &KeyUse| {
            let mode = match of.channel() {
                KeyChannel::Login => plan.login,
                KeyChannel::Rest => plan.rest,
            };
            mode == RotationMode::Automatic
                && now >= self.succession(*of).current.since + plan.period
                && self.ready_to_rotate(*of, now).is_ok()
        };
        KeyUse::ALL.into_iter().filter(due).collect()
    }

    /// The key ring without retired keys whose last token has expired; `None` if there is none.
    pub fn prune(&self, now: Timestamp) -> Option<Self> {
        let kept: Vec<RetiredKey> = self.retired.iter().filter(|key| now <= key.until).cloned().collect();
        (kept.len() < self.retired.len()).then(|| Self::assemble(self.successions.clone(), kept))
    }

    /// The JWK Set to publish: RS256 first, and for each algorithm the current key, the next, the retired.
    pub const fn jwks(&self) -> &Jwks {
        &self.jwks
    }

    /// The same without the keys of `EdDSA`, which some relying parties cannot read: for deployments whose clients do
    /// not use them.
    pub const fn jwks_without_eddsa(&self) -> &Jwks {
        &self.jwks_without_eddsa
    }

    /// The published keys, in the order of the JWK Set.
    pub fn published(&self) -> Vec<PublishedKey> {
        let mut published: Vec<PublishedKey> = Vec::new();
        for alg in SigningAlg::ALL {
            for of in KeyUse::ALL.into_iter().filter(|of| of.alg() == alg) {
                let succession = self.succession(of);
                let signing = std::iter::once((&succession.current, KeyState::Signing));
                for (key, state) in signing.chain(succession.next.iter().map(|next| (next, KeyState::Next))) {
                    let kid = key.key.public.jwk.kid();
                    match published.iter_mut().find(|duty| duty.kid == kid) {
                        Some(duty) => duty.channels.push(of.channel()),
                        None => published.push(PublishedKey {
                            alg,
                            kid: kid.to_owned(),
                            state,
                            channels: vec![of.channel()],
                        }),
                    }
                }
            }
            let retired = self.retired.iter().map(|key| &key.key.jwk).filter(|jwk| jwk.alg() == alg);
            published.extend(retired.map(|jwk| PublishedKey {
                alg,
                kid: jwk.kid().to_owned(),
                state: KeyState::Retired,
                channels: Vec::new(),
            }));
        }
        published
    }

    /// The public half of the current key of this use.
    pub fn public_jwk(&self, of: impl Into<KeyUse>) -> &PublicJwk {
        &self.succession(of.into()).current.key.public.jwk
    }

    /// Signs `payload` (JSON) into a compact JWS with the key of this use, with `typ` and `kid` in its header. An RSA
    /// signature takes up to a millisecond of processor time, too long for an async thread.
    pub fn sign(&self, of: impl Into<KeyUse>, typ: TokenType, payload: &[u8]) -> Result<String, KeyError> {
        self.succession(of.into()).current.key.sign(typ, payload).map_err(|error| KeyError::Signing(error.to_string()))
    }

    /// Verifies that `token` is a compact JWS signed by one of these keys, by that key's own algorithm. Its claims are
    /// not checked.
    pub fn verify(&self, token: &str) -> Result<Verified, VerifyError> {
        verify(token, SigningAlg::ALL.into_iter().flat_map(|alg| public_halves(&self.successions, &self.retired, alg)))
    }
}

impl Succession {
    /// Makes the next key, or a new one, the current one from `now` on, and generates another next key.
    fn rotate(&mut self, alg: SigningAlg, how: Rotation, now: Timestamp) -> Result<(), KeyError> {
        let successor = self.next.take().filter(|_| how != Rotation::Compromised);
        self.current = match successor {
            Some(next) => DatedKey { since: now, ..next },
            None => DatedKey::fresh(alg, now)?,
        };
        self.next = Some(DatedKey::fresh(alg, now)?);
        Ok(())
    }
}

/// The public halves of the keys of `alg`: the current ones, each with its next one, then the retired. A key with two
/// uses occurs twice.
fn public_halves<'a>(
    successions: &'a [Succession; 4],
    retired: &'a [RetiredKey],
    alg: SigningAlg,
) -> impl Iterator<Item = &'a VerifyingKey> {
    let successions = KeyUse::ALL.into_iter().filter(move |of| of.alg() == alg).map(|of| &successions[of.index()]);
    let live = successions.flat_map(|succession| std::iter::once(&succession.current).chain(&succession.next));
    let live = live.map(|dated| &*dated.key.public);
    live.chain(retired.iter().map(|key| &*key.key).filter(move |key| key.jwk.alg() == alg))
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = KeyUse::OIDC.map(|of| &*self.succession(of).current.key);
        write!(formatter, "KeyRing({current:?}, {} retired)", self.retired.len())
    }
}
