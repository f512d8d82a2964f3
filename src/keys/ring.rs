//! The key ring: which key signs, which comes next, which have retired; and the rules by which they move.
//!
//! A ring never changes: what would change it answers a new one, to be stored first and used then. So a ring in
//! hand is consistent, and one that lost a race to another node's is simply dropped. Keys are shared between
//! rings, so that a new ring costs only what is new in it. The tokens of the REST channel have a key of their own, since
//! verifiers of the retired system keep the one that they fetched first; it begins as the RS256 key of OpenID Connect,
//! and the two part when one of them rotates without the other.
//!
//! A key is published (`next`) for [`policy::KEY_PUBLICATION_LEAD`] before it signs (`current`), and published on
//! (retired) until the last token that it signed has expired. A retired key has no private half any more.

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
    /// One for each of [`KeyUse::ALL`], in that order.
    pub(super) lines: [Line; 4],
    /// Newest first.
    pub(super) retired: Vec<Retired>,
    jwks: Jwks,
    /// The set without the keys of `EdDSA`.
    jwks_without_eddsa: Jwks,
}

/// The use whose key that of the REST channel is at first.
const RSA: KeyUse = KeyUse::Oidc(SigningAlg::Rs256);

/// The keys of one use that have a private half.
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
    /// The channels whose tokens it signs, or will sign; none for a retired key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<KeyChannel>,
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
        let rsa = line(rsa)?;
        Ok(Self::assemble([rsa.clone(), line(ec)?, line(ed)?, rsa], Vec::new()))
    }

    /// The ring of these keys, with its JWK Set.
    pub(super) fn assemble(lines: [Line; 4], retired: Vec<Retired>) -> Self {
        let set = |algs: &[SigningAlg]| {
            let mut known = HashSet::new();
            let published = algs.iter().flat_map(|&alg| public_halves(&lines, &retired, alg));
            Jwks::new(published.map(|key| &key.jwk).filter(|jwk| known.insert(jwk.kid())))
        };
        let (jwks, jwks_without_eddsa) = (set(&SigningAlg::ALL), set(&[SigningAlg::Rs256, SigningAlg::Es256]));
        Self { lines, retired, jwks, jwks_without_eddsa }
    }

    const fn line(&self, of: KeyUse) -> &Line {
        &self.lines[of.index()]
    }

    /// Whether OpenID Connect and the REST channel have the same RS256 key.
    pub(super) fn shares_rsa(&self) -> bool {
        self.public_jwk(RSA).kid() == self.public_jwk(KeyUse::Rest).kid()
    }

    /// The ring with a next key, published from `now` on, wherever there was none; `None` when there was one
    /// everywhere. Generating takes some tenths of a second.
    pub fn complete_next(&self, now: Timestamp) -> Result<Option<Self>, KeyError> {
        if self.lines.iter().all(|line| line.next.is_some()) {
            return Ok(None);
        }
        let mut lines = self.lines.clone();
        for of in KeyUse::ALL {
            if lines[of.index()].next.is_none() {
                let shared = of == KeyUse::Rest && self.shares_rsa();
                let next = if shared { lines[RSA.index()].next.clone() } else { Some(Dated::fresh(of.alg(), now)?) };
                lines[of.index()].next = next;
            }
        }
        Ok(Some(Self::assemble(lines, self.retired.clone())))
    }

    /// The ring after a rotation of the keys of `uses` at `now`: next keys sign, new next keys are published, and the old
    /// keys stay published for `longest_token_life` and a margin ([`policy::KEY_RETIREMENT_MARGIN`]). All of them or,
    /// on an error, none. Generating takes some tenths of a second.
    ///
    /// A key that has two uses and rotates in one of them signs on in the other, whose next key is made by
    /// [`KeyRing::complete_next`]; one that is compromised goes in both.
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
        let (mut lines, mut retired) = (self.lines.clone(), self.retired.clone());
        let [login, rest] = [RSA, KeyUse::Rest].map(|of| uses.contains(&of));
        let shared = self.shares_rsa() && (login || rest);
        let together = shared && (login && rest || how == Rotation::Compromised);
        for of in KeyUse::ALL {
            let asked = if together && of == RSA { true } else { uses.contains(&of) };
            if asked && !(together && of == KeyUse::Rest) {
                lines[of.index()].rotate(of.alg(), how, now)?;
            }
        }
        if together {
            lines[KeyUse::Rest.index()] = lines[RSA.index()].clone();
        } else if shared {
            let other = if login { KeyUse::Rest } else { RSA };
            lines[other.index()].next = None;
        }
        if how == Rotation::Compromised {
            retired.retain(|key| uses.iter().all(|of| of.alg() != key.key.jwk.alg()));
        } else {
            let until = now + longest_token_life + policy::KEY_RETIREMENT_MARGIN;
            self.retire(&lines, &mut retired, until);
        }
        Ok(Self::assemble(lines, retired))
    }

    /// Adds to `retired` the keys that sign here and in `lines` no more, each once.
    fn retire(&self, lines: &[Line; 4], retired: &mut Vec<Retired>, until: Timestamp) {
        for old in &self.lines {
            let public = &old.current.key.public;
            let signs = lines.iter().any(|line| line.current.key.public.jwk.kid() == public.jwk.kid());
            if !signs && retired.iter().all(|key| key.key.jwk.kid() != public.jwk.kid()) {
                retired.insert(0, Retired { key: public.clone(), until });
            }
        }
    }

    /// Whether the next key of this use has been published long enough to sign.
    fn ready_to_rotate(&self, of: KeyUse, now: Timestamp) -> Result<(), KeyError> {
        let next = self.line(of).next.as_ref().ok_or(KeyError::NoNext(of.alg()))?;
        let ready = next.since + policy::KEY_PUBLICATION_LEAD;
        if now < ready { Err(KeyError::TooSoon { alg: of.alg(), ready }) } else { Ok(()) }
    }

    /// The uses whose current key has signed for the period of `plan`, which rotates it, and whose next key may take
    /// over: what a housekeeper hands to [`KeyRing::rotate`] with [`Rotation::Patient`].
    pub fn due_for_rotation(&self, now: Timestamp, plan: &RotationPlan) -> Vec<KeyUse> {
        let due = |of: &KeyUse| {
            let mode = match of.channel() {
                KeyChannel::Login => plan.login,
                KeyChannel::Rest => plan.rest,
            };
            mode == RotationMode::Automatic
                && now >= self.line(*of).current.since + plan.period
                && self.ready_to_rotate(*of, now).is_ok()
        };
        KeyUse::ALL.into_iter().filter(due).collect()
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
        let mut duties: Vec<KeyDuty> = Vec::new();
        for alg in SigningAlg::ALL {
            for of in KeyUse::ALL.into_iter().filter(|of| of.alg() == alg) {
                let line = self.line(of);
                let signing = std::iter::once((&line.current, KeyState::Signing));
                for (key, state) in signing.chain(line.next.iter().map(|next| (next, KeyState::Next))) {
                    let kid = key.key.public.jwk.kid();
                    match duties.iter_mut().find(|duty| duty.kid == kid) {
                        Some(duty) => duty.channels.push(of.channel()),
                        None => duties.push(KeyDuty { alg, kid: kid.to_owned(), state, channels: vec![of.channel()] }),
                    }
                }
            }
            let retired = self.retired.iter().map(|key| &key.key.jwk).filter(|jwk| jwk.alg() == alg);
            duties.extend(retired.map(|jwk| KeyDuty {
                alg,
                kid: jwk.kid().to_owned(),
                state: KeyState::Retired,
                channels: Vec::new(),
            }));
        }
        duties
    }

    /// The public half of the key that signs the tokens of this use now.
    pub fn public_jwk(&self, of: impl Into<KeyUse>) -> &PublicJwk {
        &self.line(of.into()).current.key.public.jwk
    }

    /// Signs `payload` (JSON, as it is) into a compact JWS with the key of this use, `typ` and `kid` in its header. A
    /// signature with RSA takes up to a millisecond of processor: no work for an async thread in a hurry.
    pub fn sign(&self, of: impl Into<KeyUse>, typ: TokenType, payload: &[u8]) -> Result<String, KeyError> {
        self.line(of.into()).current.key.sign(typ, payload).map_err(|error| KeyError::Signing(error.to_string()))
    }

    /// Checks that `token` is a compact JWS whose signature one of these keys made, by that key's own algorithm.
    /// The claims in it are not looked at.
    pub fn verify(&self, token: &str) -> Result<Verified, VerifyError> {
        verify(token, SigningAlg::ALL.into_iter().flat_map(|alg| public_halves(&self.lines, &self.retired, alg)))
    }
}

impl Line {
    /// The next key, or a new one, signs from `now` on, and another is published as the next.
    fn rotate(&mut self, alg: SigningAlg, how: Rotation, now: Timestamp) -> Result<(), KeyError> {
        let successor = self.next.take().filter(|_| how != Rotation::Compromised);
        self.current = match successor {
            Some(next) => Dated { since: now, ..next },
            None => Dated::fresh(alg, now)?,
        };
        self.next = Some(Dated::fresh(alg, now)?);
        Ok(())
    }
}

/// The public halves of the keys of `alg`: those that sign, each with its next one, then the retired. A key that has
/// two uses comes twice.
fn public_halves<'a>(
    lines: &'a [Line; 4],
    retired: &'a [Retired],
    alg: SigningAlg,
) -> impl Iterator<Item = &'a VerifyingKey> {
    let lines = KeyUse::ALL.into_iter().filter(move |of| of.alg() == alg).map(|of| &lines[of.index()]);
    let live = lines.flat_map(|line| std::iter::once(&line.current).chain(&line.next));
    let live = live.map(|dated| &*dated.key.public);
    live.chain(retired.iter().map(|key| &*key.key).filter(move |key| key.jwk.alg() == alg))
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = KeyUse::OIDC.map(|of| &*self.line(of).current.key);
        write!(formatter, "KeyRing({current:?}, {} retired)", self.retired.len())
    }
}
