//! Encryption of authorization codes, short enough for any URL.
//!
//! Owns the form of a code: version, name, ciphertext and tag in base64url. The name is 16 fresh random bytes; key and
//! nonce of AES-256-GCM are derived from it (HKDF-SHA-256, RFC 5869) under a key of this purpose alone. So the number
//! of codes per key is not limited, and two codes share a nonce only if 128 bits collide. Must not know the content of
//! a code, nor whether it was used.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use josekit::jwe::JweContentEncryption as _;
use josekit::jwe::enc::A256GCM;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{MasterSecret, SealError};
use crate::policy;

/// The version of the codes that this program makes, and the only one that it reads.
const VERSION: u8 = 1;

/// Bytes of a code's name, of a GCM key, of a GCM nonce and of a GCM tag.
const NAME: usize = 16;
const KEY: usize = 32;
const NONCE: usize = 12;
const TAG: usize = 16;

/// Seals authorization codes.
pub struct CodeSeal(Zeroizing<[u8; 32]>);

impl CodeSeal {
    /// The longest plaintext of a code of [`policy::MAX_CODE_LENGTH`] characters.
    pub const ROOM: usize = policy::MAX_CODE_LENGTH / 4 * 3 - 1 - NAME - TAG;

    /// The cipher of the deployment that `master` belongs to.
    pub fn new(master: &MasterSecret) -> Self {
        Self(master.derive("anteroom/seal/code"))
    }

    /// Encrypts `plaintext` under `name`, which must be fresh randomness; the code opens only with the same
    /// `associated_data`.
    ///
    /// # Errors
    /// [`SealError::TooLong`] for more than [`CodeSeal::ROOM`] bytes.
    pub fn seal(&self, name: &[u8; NAME], plaintext: &[u8], associated_data: &str) -> Result<String, SealError> {
        if plaintext.len() > Self::ROOM {
            return Err(SealError::TooLong { length: plaintext.len(), limit: Self::ROOM });
        }
        let (key, nonce) = self.key_for(name)?;
        let (ciphertext, tag) = A256GCM
            .encrypt(key.as_slice(), Some(&nonce), plaintext, associated_data.as_bytes())
            .map_err(|_| SealError::Cipher)?;
        let code = [&[VERSION][..], name, &ciphertext, &tag.ok_or(SealError::Cipher)?].concat();
        Ok(URL_SAFE_NO_PAD.encode(code))
    }

    /// Decrypts a code of [`CodeSeal::seal`] with the same `associated_data`: name and plaintext.
    ///
    /// # Errors
    /// [`SealError::Refused`] for a code that was changed, or sealed under another master secret or other data; another
    /// [`SealError`] for text that is not a code.
    pub fn open(&self, code: &str, associated_data: &str) -> Result<([u8; NAME], Zeroizing<Vec<u8>>), SealError> {
        if code.len() > policy::MAX_CODE_LENGTH {
            return Err(SealError::TooLong { length: code.len(), limit: policy::MAX_CODE_LENGTH });
        }
        let bytes = URL_SAFE_NO_PAD.decode(code).map_err(|_| SealError::Malformed)?;
        let (version, rest) = bytes.split_first().ok_or(SealError::Malformed)?;
        if *version != VERSION {
            return Err(SealError::OtherKind);
        }
        let (name, rest) = rest.split_first_chunk::<NAME>().ok_or(SealError::Malformed)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG>().ok_or(SealError::Malformed)?;
        let (key, nonce) = self.key_for(name)?;
        let opened = A256GCM.decrypt(key.as_slice(), Some(&nonce), ciphertext, associated_data.as_bytes(), Some(tag));
        Ok((*name, Zeroizing::new(opened.map_err(|_| SealError::Refused)?)))
    }

    fn key_for(&self, name: &[u8; NAME]) -> Result<(Zeroizing<[u8; KEY]>, [u8; NONCE]), SealError> {
        let mut derived = Zeroizing::new([0; KEY + NONCE]);
        let extracted = Hkdf::<Sha256>::from_prk(self.0.as_slice()).map_err(|_| SealError::Cipher)?;
        extracted.expand(name, derived.as_mut_slice()).map_err(|_| SealError::Cipher)?;
        let (mut key, mut nonce) = (Zeroizing::new([0; KEY]), [0; NONCE]);
        key.copy_from_slice(&derived[..KEY]);
        nonce.copy_from_slice(&derived[KEY..]);
        Ok((key, nonce))
    }
}

impl fmt::Debug for CodeSeal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CodeSeal([secret])")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ambient::SeededEntropy;

    fn seal(seed: u64) -> CodeSeal {
        CodeSeal::new(&MasterSecret::generate(&SeededEntropy::new(seed)))
    }

    proptest! {
        #[test]
        fn sealed_text_opens(plaintext in prop::collection::vec(any::<u8>(), 0..=CodeSeal::ROOM), name: [u8; NAME]) {
            let code = seal(1).seal(&name, &plaintext, "Sample").unwrap();
            prop_assert!(code.len() <= policy::MAX_CODE_LENGTH);
            prop_assert!(code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            prop_assert_eq!(seal(1).open(&code, "Sample").unwrap(), (name, Zeroizing::new(plaintext)));
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in "[A-Za-z0-9_-]{0,600}|.{0,50}") {
            prop_assert!(seal(1).open(&text, "Sample").is_err());
        }

        #[test]
        fn any_bytes_of_this_version_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..=200)) {
            let code = URL_SAFE_NO_PAD.encode([&[VERSION][..], &bytes].concat());
            prop_assert!(seal(1).open(&code, "Sample").is_err());
        }
    }

    #[test]
    fn every_changed_character_and_every_truncation_is_refused() {
        let code = seal(1).seal(&[7; NAME], b"grant", "Sample").unwrap();
        for at in 0..code.len() {
            for other in ["A", "B", "-"] {
                let mut changed = code.clone();
                changed.replace_range(at..=at, other);
                assert!(changed == code || seal(1).open(&changed, "Sample").is_err(), "{at}");
            }
            assert!(seal(1).open(&code[..at], "Sample").is_err(), "{at}");
        }
        assert!(seal(1).open(&format!("{code}="), "Sample").is_err());
    }

    #[test]
    fn another_master_secret_purpose_or_binding_does_not_open_it() {
        let code = seal(1).seal(&[7; NAME], b"grant", "Sample\0shop").unwrap();
        assert_eq!(seal(2).open(&code, "Sample\0shop"), Err(SealError::Refused));
        assert_eq!(seal(1).open(&code, "Sample\0other"), Err(SealError::Refused));
        let other = CodeSeal(MasterSecret::generate(&SeededEntropy::new(1)).derive("anteroom/seal/flow"));
        assert_eq!(other.open(&code, "Sample\0shop"), Err(SealError::Refused));
    }

    #[test]
    fn the_longest_content_fits_and_a_longer_one_is_refused() {
        let code = seal(1).seal(&[7; NAME], &[1; CodeSeal::ROOM], "").unwrap();
        assert_eq!(code.len(), policy::MAX_CODE_LENGTH);
        assert!(matches!(seal(1).seal(&[7; NAME], &[1; CodeSeal::ROOM + 1], ""), Err(SealError::TooLong { .. })));
        assert!(matches!(seal(1).open(&"A".repeat(policy::MAX_CODE_LENGTH + 1), ""), Err(SealError::TooLong { .. })));
    }

    #[test]
    fn it_is_redacted_in_debug_output() {
        assert_eq!(format!("{:?}", seal(1)), "CodeSeal([secret])");
    }
}
