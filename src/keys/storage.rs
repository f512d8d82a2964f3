//! The stored form of a key ring: JSON, sealed under the master secret, so that neither the store nor a copy of it
//! reveals the keys.
//!
//! Private keys pass through buffers that are zeroed; copies inside josekit and OpenSSL are theirs.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::key::{SigningKey, VerifyingKey};
use super::key_ring::{DatedKey, KeyRing, RetiredKey, Succession};
use super::seal::{SealError, Sealer};
use super::uses::KeyUse;
use super::{MasterSecret, PublicJwk, SigningAlg};
use crate::ambient::{Entropy, Secret, Timestamp};

/// The purpose of the seal.
const KIND: &str = "key-ring";

/// The only version of the format so far. A key ring from before the REST channel had its own key lacks `rest`.
const VERSION: u32 = 1;

/// Why sealed bytes are not a key ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    /// The bytes are malformed or truncated.
    #[error("the stored key ring is not one, or is damaged")]
    Damaged,
    /// It was sealed under another master secret, or changed (a cipher cannot tell the two apart).
    #[error("the stored key ring was sealed under another master secret")]
    WrongMasterSecret,
    /// It was sealed by a later version of the program.
    #[error("the stored key ring is in format {0}; this program knows format {VERSION}")]
    UnknownFormat(u32),
    /// It opened, but its content is not a key ring.
    #[error("the stored key ring is unreadable: {0}")]
    Unreadable(String),
}

#[derive(Deserialize)]
struct Format {
    version: u32,
}

/// A key ring as JSON. Texts are borrowed from the opened buffer, so that no copy of a private key outlives it.
#[derive(Serialize, Deserialize)]
struct StoredRing<'a> {
    version: u32,
    #[serde(borrow)]
    lines: Vec<StoredSuccession<'a>>,
    /// The keys of the REST channel, if they are not those of RS256.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    rest: Option<StoredSuccession<'a>>,
    retired: Vec<StoredRetired>,
}

#[derive(Serialize, Deserialize)]
struct StoredSuccession<'a> {
    #[serde(borrow)]
    current: StoredKey<'a>,
    next: Option<StoredKey<'a>>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey<'a> {
    since: Timestamp,
    public: PublicJwk,
    /// PKCS#8 in base64url.
    private: &'a str,
}

#[derive(Serialize, Deserialize)]
struct StoredRetired {
    until: Timestamp,
    public: PublicJwk,
}

/// The private halves in base64url, in the order of the successions, current before next.
type Texts = Vec<Zeroizing<String>>;

impl KeyRing {
    /// The key ring in opaque bytes (ASCII), under a key derived from `master`.
    pub fn seal(&self, master: &MasterSecret, entropy: &dyn Entropy) -> Result<Vec<u8>, SealError> {
        let texts: Texts = self.signing_keys().map(|key| encode(&key.key.pkcs8)).collect();
        let mut texts = texts.iter();
        let mut stored = |key: &DatedKey| StoredKey {
            since: key.since,
            public: key.key.public.jwk.clone(),
            private: texts.next().map_or("", |text| text),
        };
        let mut stored_succession = |succession: &Succession| StoredSuccession {
            current: stored(&succession.current),
            next: succession.next.as_ref().map(&mut stored),
        };
        let [oidc @ .., _] = &self.successions;
        let ring = StoredRing {
            version: VERSION,
            lines: oidc.iter().map(&mut stored_succession).collect(),
            rest: self.own_rest().map(&mut stored_succession),
            retired: self
                .retired
                .iter()
                .map(|key| StoredRetired { until: key.until, public: key.key.jwk.clone() })
                .collect(),
        };
        // The length is counted first: a growing buffer would leave copies of private keys behind.
        let mut length = ByteCounter(0);
        serde_json::to_writer(&mut length, &ring).map_err(|_| SealError::Cipher)?;
        let mut plaintext = Zeroizing::new(Vec::with_capacity(length.0));
        serde_json::to_writer(&mut *plaintext, &ring).map_err(|_| SealError::Cipher)?;
        Sealer::new(master, KIND).seal(&plaintext, entropy).map(String::into_bytes)
    }

    /// Opens the key ring that [`KeyRing::seal`] sealed.
    pub fn unseal(sealed: &[u8], master: &MasterSecret) -> Result<Self, UnsealError> {
        let text = std::str::from_utf8(sealed).map_err(|_| UnsealError::Damaged)?;
        let plaintext = Sealer::new(master, KIND).open(text).map_err(|error| match error {
            SealError::Refused | SealError::Cipher => UnsealError::WrongMasterSecret,
            SealError::TooLong { .. } | SealError::OtherKind | SealError::Malformed => UnsealError::Damaged,
        })?;
        let unreadable = |error: serde_json::Error| UnsealError::Unreadable(error.to_string());
        let Format { version } = serde_json::from_slice(&plaintext).map_err(unreadable)?;
        if version != VERSION {
            return Err(UnsealError::UnknownFormat(version));
        }
        let stored: StoredRing<'_> = serde_json::from_slice(&plaintext).map_err(unreadable)?;
        let [rsa, ec, ed] = restore_successions(stored.lines)?;
        let rest = match stored.rest {
            Some(rest) if rest.current.public.alg() == KeyUse::Rest.alg() => restore_succession(rest)?,
            Some(_) => return Err(UnsealError::Unreadable("the key of the REST channel is not RS256".to_owned())),
            None => rsa.clone(),
        };
        let retired = stored.retired.into_iter().map(|key| {
            let restored = VerifyingKey::new(key.public).map_err(UnsealError::Unreadable)?;
            Ok(RetiredKey { key: Arc::new(restored), until: key.until })
        });
        let retired = retired.collect::<Result<_, UnsealError>>()?;
        Ok(Self::assemble([rsa, ec, ed, rest], retired))
    }

    /// The keys of the REST channel, if they are not those of RS256.
    fn own_rest(&self) -> Option<&Succession> {
        (!self.shares_rsa()).then_some(&self.successions[KeyUse::Rest.index()])
    }

    fn signing_keys(&self) -> impl Iterator<Item = &DatedKey> {
        let [oidc @ .., _] = &self.successions;
        oidc.iter()
            .chain(self.own_rest())
            .flat_map(|succession| std::iter::once(&succession.current).chain(&succession.next))
    }
}

fn restore_successions(stored: Vec<StoredSuccession<'_>>) -> Result<[Succession; 3], UnsealError> {
    let in_order = stored.iter().map(|succession| succession.current.public.alg()).eq(SigningAlg::ALL)
        && stored.iter().all(|succession| {
            succession.next.as_ref().is_none_or(|next| next.public.alg() == succession.current.public.alg())
        });
    if !in_order {
        return Err(UnsealError::Unreadable("its algorithms are not those of this program".to_owned()));
    }
    let lines: Vec<Succession> = stored.into_iter().map(restore_succession).collect::<Result<_, UnsealError>>()?;
    lines.try_into().map_err(|_| UnsealError::Unreadable("it lacks an algorithm".to_owned()))
}

fn restore_succession(stored: StoredSuccession<'_>) -> Result<Succession, UnsealError> {
    Ok(Succession { current: restore(stored.current)?, next: stored.next.map(restore).transpose()? })
}

fn restore(stored: StoredKey<'_>) -> Result<DatedKey, UnsealError> {
    let pkcs8 = URL_SAFE_NO_PAD.decode(stored.private).map_err(|error| UnsealError::Unreadable(error.to_string()))?;
    let key = SigningKey::new(Secret::new(pkcs8), stored.public).map_err(UnsealError::Unreadable)?;
    Ok(DatedKey { key: Arc::new(key), since: stored.since })
}

fn encode(pkcs8: &Secret) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity((pkcs8.expose().len() * 4).div_ceil(3)));
    URL_SAFE_NO_PAD.encode_string(pkcs8.expose(), &mut text);
    text
}

/// Counts the bytes written to it.
struct ByteCounter(usize);

impl std::io::Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;

    fn unseal(content: &str) -> UnsealError {
        let entropy = SeededEntropy::new(1);
        let master = MasterSecret::generate(&entropy);
        let sealed = Sealer::new(&master, KIND).seal(content.as_bytes(), &entropy).unwrap();
        KeyRing::unseal(sealed.as_bytes(), &master).unwrap_err()
    }

    #[test]
    fn a_key_ring_of_a_later_version_is_not_called_damaged() {
        assert_eq!(unseal(r#"{"version":2,"whatever":[]}"#), UnsealError::UnknownFormat(2));
        for content in ["", "{}", r#"{"version":1}"#, r#"{"version":1,"lines":[],"retired":[]}"#] {
            assert!(matches!(unseal(content), UnsealError::Unreadable(_)), "{content}");
        }
    }
}
