//! The key ring: which key signs, which comes next, which have retired; and the rules by which they move.
//!
//! A ring never changes: what would change it answers a new one, to be stored first and used then. So a ring in
//! hand is consistent, and one that lost a race to another node's is simply dropped. Keys are shared between
//! rings, so that a new ring costs only what is new in it.
//!
//! A key is published (`next`) for [`policy::KEY_PUBLICATION_LEAD`] before it signs (`current`), and published on
//! (retired) until the last token that it signed has expired. A retired key has no private half any more.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::key::{SigningKey, VerifyingKey};
use super::verify::verify;
use super::{Jwks, PublicJwk, SigningAlg, TokenType, Verified, VerifyError};
use crate::ambient::Timestamp;
use crate::policy;

/// The keys of the deployment.
#[derive(Clone)]
pub struct KeyRing {
    /// One for each of [`SigningAlg::ALL`], in that order.
    pub(super) lines: [Line; 3],
    /// Newest first.
    pub(super) retired: Vec<Retired>,
    jwks: Jwks,
    /// The set without the keys of `EdDSA`.
    jwks_without_eddsa: Jwks,
}

/// The keys of one algorithm that have a private half.
#[derive(Clone)]
pub(super) struct Line {
    /// The key that signs, and since when it does.
    pub(super) current: Dated,
    /// Its successor, and since when that is published; a ring that was just made has none yet.
    pub(super) next: Option<Dated>,
}

/// A key and the beginning of its present duty.
#[derive(Clone)]
pub(super) struct Dated {
    pub(super) key: Arc<SigningKey>,
    pub(super) since: Timestamp,
}

impl Dated {
    fn fresh(alg: SigningAlg, now: Timestamp) -> Result<Self, KeyError> {
        let key = SigningKey::generate(alg).map_err(KeyError::Generation)?;
        Ok(Self { key: Arc::new(key), since: now })
    }
}

/// A key that signs no more, published until its last token has expired.
#[derive(Clone)]
pub(super) struct Retired {
    pub(super) key: Arc<VerifyingKey>,
    pub(super) until: Timestamp,
}

/// What a published key is there for. In JSON as the private API tells it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyDuty {
    /// The algorithm of its signatures.
    pub alg: SigningAlg,
    /// Its name in the JWK Set and in the header of tokens.
    pub kid: String,
    /// What it does now.
    pub state: KeyState,
}

/// The states of a published key, in the order in which it passes through them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It will sign after the next rotation.
    Next,
    /// It signs.
    Signing,
    /// It signs no more; tokens that it signed are still good.
    Retired,
}

/// What a key ring could not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// OpenSSL made no key.
    #[error("a key could not be generated: {0}")]
    Generation(String),
    /// OpenSSL did not sign.
    #[error("a token could not be signed: {0}")]
    Signing(String),
    /// The next key has not been published long enough: relying parties that cache the JWK Set would refuse
    /// its tokens.
    #[error("the next {alg} key may sign from {ready} on: until then relying parties may not know it")]
    TooSoon {
        /// Whose successor it is.
        alg: SigningAlg,
        /// When [`Rotation::Patient`] will succeed.
        ready: Timestamp,
    },
    /// There is no next key yet; [`KeyRing::complete_next`] makes one.
    #[error("there is no next {0} key yet")]
    NoNext(SigningAlg),
}

/// How a rotation treats relying parties that cache the JWK Set, and the old keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// Refuses with [`KeyError::TooSoon`] or [`KeyError::NoNext`] until the next key has been published for
    /// [`policy::KEY_PUBLICATION_LEAD`], so that no relying party meets a key it does not know. For routine.
    Patient,
    /// Takes the next key however new it is (and makes one where there is none): relying parties that do not fetch
    /// the set anew on an unknown `kid` refuse logins until their cache expires. For an operator in a hurry.
    AtOnce,
    /// The keys are known to others. Current, next and retired keys all go, two new ones come: every token signed
    /// before is refused from now on, here at once and elsewhere when the cached set expires.
    Compromised,
}

impl KeyRing {
    /// A ring with a current key for each algorithm, made at `now`. It can sign; its next keys are left to
    /// [`KeyRing::complete_next`], so that a first start need not wait for a second RSA key. Generating takes some
    /// tenths of a second.
    pub fn generate(now: Timestamp) -> Result<Self, KeyError> {
        let line = |alg| Dated::fresh(alg, now).map(|current| Line { current, next: None });
        let [rsa, ec, ed] = SigningAlg::ALL;
        Ok(Self::assemble([line(rsa)?, line(ec)?, line(ed)?], Vec::new()))
    }

    /// The ring of these keys, with its JWK Set.
    pub(super) fn assemble(lines: [Line; 3], retired: Vec<Retired>) -> Self {
        let set = |algs: &[SigningAlg]| {
            let published = algs.iter().flat_map(|&alg| public_halves(&lines, &retired, alg));
            Jwks::new(published.map(|key| &key.jwk))
        };
        let (jwks, jwks_without_eddsa) = (set(&SigningAlg::ALL), set(&[SigningAlg::Rs256, SigningAlg::Es256]));
        Self { lines, retired, jwks, jwks_without_eddsa }
    }

    const fn line(&self, alg: SigningAlg) -> &Line {
        // ALL lists the variants in the order of their discriminants.
        &self.lines[alg as usize]
    }

    /// The ring with a next key, published from `now` on, wherever there was none; `None` when there was one
    /// everywhere. Generating takes some tenths of a second.
    pub fn complete_next(&self, now: Timestamp) -> Result<Option<Self>, KeyError> {
        if self.lines.iter().all(|line| line.next.is_some()) {
            return Ok(None);
        }
        let mut lines = self.lines.clone();
        for alg in SigningAlg::ALL {
            let next = &mut lines[alg as usize].next;
            if next.is_none() {
                *next = Some(Dated::fresh(alg, now)?);
            }
        }
        Ok(Some(Self::assemble(lines, self.retired.clone())))
    }

    /// The ring after a rotation of `algs` at `now`: next keys sign, new next keys are published, and the old keys
    /// stay published for `longest_token_life` and a margin ([`policy::KEY_RETIREMENT_MARGIN`]). All of them or, on
    /// an error, none. Generating takes some tenths of a second.
    pub fn rotate(
        &self,
        algs: &[SigningAlg],
        how: Rotation,
        now: Timestamp,
        longest_token_life: Duration,
    ) -> Result<Self, KeyError> {
        if how == Rotation::Patient {
            algs.iter().try_for_each(|alg| self.ready_to_rotate(*alg, now))?;
        }
        let (mut lines, mut retired) = (self.lines.clone(), self.retired.clone());
        for &alg in algs {
            let line = &mut lines[alg as usize];
            let successor = line.next.take().filter(|_| how != Rotation::Compromised);
            let current = match successor {
                Some(next) => Dated { since: now, ..next },
                None => Dated::fresh(alg, now)?,
            };
            let old = std::mem::replace(line, Line { current, next: Some(Dated::fresh(alg, now)?) });
            if how == Rotation::Compromised {
                retired.retain(|key| key.key.jwk.alg() != alg);
            } else {
                let until = now + longest_token_life + policy::KEY_RETIREMENT_MARGIN;
                retired.insert(0, Retired { key: old.current.key.public.clone(), until });
            }
        }
        Ok(Self::assemble(lines, retired))
    }

    /// Whether the next key of `alg` has been published long enough to sign.
    fn ready_to_rotate(&self, alg: SigningAlg, now: Timestamp) -> Result<(), KeyError> {
        let next = self.line(alg).next.as_ref().ok_or(KeyError::NoNext(alg))?;
        let ready = next.since + policy::KEY_PUBLICATION_LEAD;
        if now < ready { Err(KeyError::TooSoon { alg, ready }) } else { Ok(()) }
    }

    /// The algorithms whose current key has signed for [`policy::KEY_ROTATION_PERIOD`] and whose next key may take
    /// over: what a housekeeper hands to [`KeyRing::rotate`] with [`Rotation::Patient`].
    pub fn due_for_rotation(&self, now: Timestamp) -> Vec<SigningAlg> {
        let due = |alg: &SigningAlg| {
            now >= self.line(*alg).current.since + policy::KEY_ROTATION_PERIOD
                && self.ready_to_rotate(*alg, now).is_ok()
        };
        SigningAlg::ALL.into_iter().filter(due).collect()
    }

    /// The ring without the retired keys whose last token has expired; `None` when it has none such.
    pub fn prune(&self, now: Timestamp) -> Option<Self> {
        let kept: Vec<Retired> = self.retired.iter().filter(|key| now <= key.until).cloned().collect();
        (kept.len() < self.retired.len()).then(|| Self::assemble(self.lines.clone(), kept))
    }

    /// The JWK Set to publish: RS256 first, and of each algorithm the current key, the next, the retired.
    pub const fn jwks(&self) -> &Jwks {
        &self.jwks
    }

    /// The same without the keys of `EdDSA`, which some relying parties cannot read: for where no client uses them.
    pub const fn jwks_without_eddsa(&self) -> &Jwks {
        &self.jwks_without_eddsa
    }

    /// What each published key is there for, in the order of the JWK Set.
    pub fn duties(&self) -> Vec<KeyDuty> {
        let of = |key: &VerifyingKey, state| KeyDuty { alg: key.jwk.alg(), kid: key.jwk.kid().to_owned(), state };
        let line = |alg: SigningAlg| {
            let line = self.line(alg);
            let signing = of(&line.current.key.public, KeyState::Signing);
            let next = line.next.iter().map(move |next| of(&next.key.public, KeyState::Next));
            let retired = self.retired.iter().filter(move |one| one.key.jwk.alg() == alg);
            let retired = retired.map(move |one| of(&one.key, KeyState::Retired));
            std::iter::once(signing).chain(next).chain(retired)
        };
        SigningAlg::ALL.into_iter().flat_map(line).collect()
    }

    /// The public half of the key that signs with `alg` now.
    pub fn public_jwk(&self, alg: SigningAlg) -> &PublicJwk {
        &self.line(alg).current.key.public.jwk
    }

    /// Signs `payload` (JSON, as it is) into a compact JWS with `alg`, `typ` and `kid` in its header. A signature
    /// with RSA takes up to a millisecond of processor: no work for an async thread in a hurry.
    pub fn sign(&self, alg: SigningAlg, typ: TokenType, payload: &[u8]) -> Result<String, KeyError> {
        self.line(alg).current.key.sign(typ, payload).map_err(|error| KeyError::Signing(error.to_string()))
    }

    /// Checks that `token` is a compact JWS whose signature one of these keys made, by that key's own algorithm.
    /// The claims in it are not looked at.
    pub fn verify(&self, token: &str) -> Result<Verified, VerifyError> {
        verify(token, SigningAlg::ALL.into_iter().flat_map(|alg| public_halves(&self.lines, &self.retired, alg)))
    }
}

fn public_halves<'a>(
    lines: &'a [Line; 3],
    retired: &'a [Retired],
    alg: SigningAlg,
) -> impl Iterator<Item = &'a VerifyingKey> {
    let line = &lines[alg as usize];
    let live = std::iter::once(&line.current).chain(&line.next).map(|dated| &*dated.key.public);
    live.chain(retired.iter().map(|key| &*key.key).filter(move |key| key.jwk.alg() == alg))
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.lines.each_ref().map(|line| &*line.current.key);
        write!(formatter, "KeyRing({current:?}, {} retired)", self.retired.len())
    }
}
