//! A pseudorandom permutation of 128 bits that belongs to one event and one purpose.
//!
//! Owns the derivation of keys from the deployment's master secret (HKDF-SHA-256, RFC 5869) and the
//! AES-128 key schedule, computed once. Must not know what the blocks mean: that is `ticket` and
//! `cookie`. One key has one purpose, so that a block made for one can never be read as the other.

use std::fmt;

use aes::Aes128;
use aes::cipher::{Block, BlockDecrypt, BlockEncrypt, KeyInit};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::EventId;
use crate::ambient::Secret;

/// AES-128 under a derived key. The key schedule is wiped when it is dropped, and never shown.
pub(super) struct EventCipher(Aes128);

impl EventCipher {
    /// The permutation of `event` for `purpose`: another for every master secret, purpose and event.
    /// `purpose` must not contain a zero byte, which ends it in the derivation.
    pub(super) fn derive(master: &Secret, purpose: &[u8], event: &EventId) -> Self {
        let mut key = Zeroizing::new([0; 16]);
        let info = [purpose, b"\0", event.as_str().as_bytes()];
        let derived = Hkdf::<Sha256>::new(None, master.expose()).expand_multi_info(&info, key.as_mut_slice());
        #[expect(
            clippy::expect_used,
            reason = "RFC 5869 refuses only more than 255 blocks of 32 bytes; this is half of one"
        )]
        derived.expect("16 bytes can be derived");
        Self(Aes128::new((&*key).into()))
    }

    /// The image of `block`.
    pub(super) fn encipher(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = Block::<Aes128>::from(block);
        self.0.encrypt_block(&mut block);
        block.into()
    }

    /// The block whose image is `block`.
    pub(super) fn decipher(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = Block::<Aes128>::from(block);
        self.0.decrypt_block(&mut block);
        block.into()
    }
}

impl fmt::Debug for EventCipher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}
