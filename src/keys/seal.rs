//! Sealed tokens: encrypted data that a browser carries and only this deployment can read or make.
//!
//! Compact JWE (RFC 7516) with `dir` and `A256GCM`. Each purpose has its own key, derived from the master secret, and
//! its own header, so a token of one purpose never opens as another. josekit does the encryption; the framing is here,
//! because josekit's takes its nonces from OpenSSL (they are injected here), parses headers that can only be one text,
//! and passes tags to OpenSSL that are shorter than 16 bytes.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwe::JweContentEncryption as _;
use josekit::jwe::enc::A256GCM;
use zeroize::Zeroizing;

use super::MasterSecret;
use crate::ambient::{Entropy, random};
use crate::policy;

/// Bytes of a GCM nonce and of a GCM tag (RFC 7518 §5.3).
const NONCE: usize = 12;
const TAG: usize = 16;

/// Why a sealed token does not open, or cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The token has, or would have, too many bytes.
    #[error("a sealed token may have {limit} bytes, not {length}")]
    TooLong {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// It is not a token of this purpose, or not of the form at all.
    #[error("this is not a sealed token of this kind")]
    OtherKind,
    /// It has the right header but is truncated or malformed.
    #[error("the sealed token is damaged")]
    Malformed,
    /// It was changed, or sealed under another master secret.
    #[error("the sealed token was changed, or sealed under another master secret")]
    Refused,
    /// The cipher failed; the caller cannot recover.
    #[error("the cipher failed")]
    Cipher,
}

/// A purpose: its key and its header.
pub(super) struct Sealer {
    key: Zeroizing<[u8; 32]>,
    /// The encoded header, which GCM authenticates (RFC 7516 §5.1, step 14).
    header: String,
}

impl Sealer {
    /// The sealer for the purpose `kind`, the `typ` of its tokens.
    pub(super) fn new(master: &MasterSecret, kind: &str) -> Self {
        let header = format!(r#"{{"alg":"dir","enc":"A256GCM","typ":"{kind}"}}"#);
        Self { key: master.derive(&format!("anteroom/seal/{kind}")), header: URL_SAFE_NO_PAD.encode(header) }
    }

    /// The length of a token for `plaintext` bytes.
    const fn sealed_length(&self, plaintext: usize) -> usize {
        // The key part is empty, so two of the four dots are adjacent.
        self.header.len() + 4 + encoded_length(NONCE) + encoded_length(plaintext) + encoded_length(TAG)
    }

    /// Seals `plaintext` under a fresh random nonce.
    pub(super) fn seal(&self, plaintext: &[u8], entropy: &dyn Entropy) -> Result<String, SealError> {
        let nonce = random::<NONCE>(entropy);
        let (ciphertext, tag) = A256GCM
            .encrypt(self.key.as_slice(), Some(&nonce), plaintext, self.header.as_bytes())
            .map_err(|_| SealError::Cipher)?;
        let mut token = String::with_capacity(self.sealed_length(plaintext.len()));
        token.push_str(&self.header);
        token.push_str("..");
        URL_SAFE_NO_PAD.encode_string(nonce, &mut token);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(ciphertext, &mut token);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(tag.ok_or(SealError::Cipher)?, &mut token);
        Ok(token)
    }

    /// Opens a token of this purpose.
    pub(super) fn open(&self, token: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let rest = token.strip_prefix(&self.header).and_then(|rest| rest.strip_prefix('.'));
        let mut parts = rest.ok_or(SealError::OtherKind)?.split('.');
        let (Some(""), Some(nonce), Some(ciphertext), Some(tag), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(SealError::Malformed);
        };
        let nonce: [u8; NONCE] = decode(nonce)?.try_into().map_err(|_| SealError::Malformed)?;
        let tag: [u8; TAG] = decode(tag)?.try_into().map_err(|_| SealError::Malformed)?;
        let ciphertext = decode(ciphertext)?;
        A256GCM
            .decrypt(self.key.as_slice(), Some(&nonce), &ciphertext, self.header.as_bytes(), Some(&tag))
            .map(Zeroizing::new)
            .map_err(|_| SealError::Refused)
    }
}

const fn encoded_length(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

fn decode(part: &str) -> Result<Vec<u8>, SealError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| SealError::Malformed)
}

/// Seals flows: pending authorization requests that the browser carries while its visitor waits.
///
/// Nonces are 96 random bits under one key, which NIST SP 800-38D §8.3 allows for 2³² tokens: three years of forty-five
/// new logins per second. Clients choose neither nonces nor headers. Whether a flow has expired is decided by its
/// content.
pub struct FlowSeal(Sealer);

impl FlowSeal {
    /// The seal of the deployment that `master` belongs to.
    pub fn new(master: &MasterSecret) -> Self {
        Self(Sealer::new(master, "flow"))
    }

    /// Seals `plaintext` into URL-safe text; [`SealError::TooLong`] when that would have more than
    /// [`policy::MAX_FLOW_BYTES`].
    pub fn seal(&self, plaintext: &[u8], entropy: &dyn Entropy) -> Result<String, SealError> {
        within_limit(self.0.sealed_length(plaintext.len()))?;
        self.0.seal(plaintext, entropy)
    }

    /// Opens a token of [`FlowSeal::seal`].
    pub fn open(&self, token: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        within_limit(token.len())?;
        self.0.open(token)
    }
}

/// Seals the first arrivals of a browser's login requests (`web::first_arrivals`): the browser can drop the cookie, but
/// neither read nor change it.
pub struct ArrivalsSeal(Sealer);

impl ArrivalsSeal {
    /// The seal of the deployment that `master` belongs to.
    pub fn new(master: &MasterSecret) -> Self {
        Self(Sealer::new(master, "arrivals"))
    }

    /// Seals `plaintext` into characters that a cookie may contain.
    pub fn seal(&self, plaintext: &[u8], entropy: &dyn Entropy) -> Result<String, SealError> {
        within_limit(self.0.sealed_length(plaintext.len()))?;
        self.0.seal(plaintext, entropy)
    }

    /// Opens a token of [`ArrivalsSeal::seal`].
    pub fn open(&self, token: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        within_limit(token.len())?;
        self.0.open(token)
    }
}

impl fmt::Debug for ArrivalsSeal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ArrivalsSeal([secret])")
    }
}

const fn within_limit(length: usize) -> Result<(), SealError> {
    if length > policy::MAX_FLOW_BYTES {
        return Err(SealError::TooLong { length, limit: policy::MAX_FLOW_BYTES });
    }
    Ok(())
}

impl fmt::Debug for FlowSeal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FlowSeal([secret])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;
    use proptest::prelude::*;

    fn seal(seed: u64) -> FlowSeal {
        FlowSeal::new(&MasterSecret::generate(&SeededEntropy::new(seed)))
    }

    proptest! {
        #[test]
        fn sealed_text_opens(plaintext: Vec<u8>, seed: u64) {
            let token = seal(1).seal(&plaintext, &SeededEntropy::new(seed)).unwrap();
            prop_assert_eq!(token.len(), seal(1).0.sealed_length(plaintext.len()));
            prop_assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)));
            prop_assert_eq!(&*seal(1).open(&token).unwrap(), &plaintext);
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in "[A-Za-z0-9_.-]{0,200}|.{0,50}") {
            prop_assert!(seal(1).open(&text).is_err());
            let headed = format!("{}.{text}", seal(1).0.header);
            prop_assert!(seal(1).open(&headed).is_err());
        }
    }

    #[test]
    fn the_header_is_a_jwe_header_of_its_kind() {
        let token = seal(1).seal(b"flow", &SeededEntropy::new(1)).unwrap();
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        assert_eq!(header, br#"{"alg":"dir","enc":"A256GCM","typ":"flow"}"#);
    }

    #[test]
    fn josekit_reads_it_as_a_jwe() {
        let token = seal(1).seal(b"flow", &SeededEntropy::new(1)).unwrap();
        let decrypter = josekit::jwe::Dir.decrypter_from_bytes(seal(1).0.key.as_slice()).unwrap();
        assert_eq!(josekit::jwe::deserialize_compact(&token, &decrypter).unwrap().0, b"flow");
    }

    #[test]
    fn every_changed_character_is_refused() {
        let token = seal(1).seal(b"state", &SeededEntropy::new(1)).unwrap();
        for at in 0..token.len() {
            let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
            let mut changed = token.clone();
            changed.replace_range(at..=at, other);
            assert!(seal(1).open(&changed).is_err(), "{at}");
        }
    }

    #[test]
    fn every_truncation_is_refused_even_of_the_tag_alone() {
        let token = seal(1).seal(b"state", &SeededEntropy::new(1)).unwrap();
        for length in 0..token.len() {
            assert!(seal(1).open(&token[..length]).is_err(), "{length}");
        }
        let (rest, tag) = token.rsplit_once('.').unwrap();
        let tag = URL_SAFE_NO_PAD.decode(tag).unwrap();
        for length in 0..TAG {
            let short = format!("{rest}.{}", URL_SAFE_NO_PAD.encode(&tag[..length]));
            assert_eq!(seal(1).open(&short), Err(SealError::Malformed), "{length}");
        }
    }

    #[test]
    fn another_master_secret_or_purpose_does_not_open_it() {
        let token = seal(1).seal(b"state", &SeededEntropy::new(1)).unwrap();
        assert_eq!(seal(2).open(&token), Err(SealError::Refused));
        let master = MasterSecret::generate(&SeededEntropy::new(1));
        let other = Sealer::new(&master, "other");
        assert_eq!(other.open(&token), Err(SealError::OtherKind));
        let (_, rest) = token.split_once('.').unwrap();
        assert_eq!(other.open(&format!("{}.{rest}", other.header)), Err(SealError::Refused));
    }

    #[test]
    fn equal_flows_look_different() {
        let entropy = SeededEntropy::new(1);
        assert_ne!(seal(1).seal(b"state", &entropy), seal(1).seal(b"state", &entropy));
    }

    #[test]
    fn a_flow_too_long_for_a_request_line_is_neither_sealed_nor_opened() {
        let seal = seal(1);
        let room =
            (0..policy::MAX_FLOW_BYTES).rev().find(|length| seal.0.sealed_length(*length) <= policy::MAX_FLOW_BYTES);
        let fits = vec![7; room.unwrap()];
        let token = seal.seal(&fits, &SeededEntropy::new(1)).unwrap();
        assert!(token.len() <= policy::MAX_FLOW_BYTES);
        assert_eq!(*seal.open(&token).unwrap(), fits);
        let too_long = seal.seal(&vec![7; fits.len() + 1], &SeededEntropy::new(1));
        assert!(matches!(too_long, Err(SealError::TooLong { .. })));
        assert!(matches!(seal.open(&"a".repeat(policy::MAX_FLOW_BYTES + 1)), Err(SealError::TooLong { .. })));
    }
}
