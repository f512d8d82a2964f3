//! Pseudorandom permutations of 128 bits, and of 122, that belong to one event and one purpose.
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

/// FF1 (NIST SP 800-38G, §5.1) with AES-128, for strings of [`UuidCipher::BITS`] binary digits and without a tweak: a
/// permutation of what a UUID of version 4 leaves free. It takes ten blocks of AES; walking the cycle of a
/// permutation of 128 bits until the fixed bits appear would take 64.
pub(super) struct UuidCipher {
    aes: EventCipher,
    /// The parameters under AES: the state of the CBC-MAC before the block of a round.
    parameters: Zeroizing<u128>,
}

impl UuidCipher {
    /// Digits of a string: 128 without the six that version and variant take.
    pub(super) const BITS: u32 = 122;

    const HALF: u32 = Self::BITS / 2;
    const HALF_MASK: u64 = (1 << Self::HALF) - 1;
    const ROUNDS: u8 = 10;

    /// Step 5: the first block that the CBC-MAC reads. Radix 2, ten rounds, half, length, no tweak.
    const PARAMETERS: [u8; 16] =
        [1, 2, 1, 0, 0, 2, Self::ROUNDS, Self::HALF as u8, 0, 0, 0, Self::BITS as u8, 0, 0, 0, 0];

    /// The permutation of `event` for `purpose`, as [`EventCipher::derive`].
    pub(super) fn derive(master: &Secret, purpose: &[u8], event: &EventId) -> Self {
        let aes = EventCipher::derive(master, purpose, event);
        Self::of(aes)
    }

    fn of(aes: EventCipher) -> Self {
        let parameters = Zeroizing::new(u128::from_be_bytes(aes.encipher(Self::PARAMETERS)));
        Self { aes, parameters }
    }

    /// The image of the low 122 bits of `string`.
    pub(super) fn encipher(&self, string: u128) -> u128 {
        let (mut left, mut right) = Self::split(string);
        for round in 0..Self::ROUNDS {
            (left, right) = (right, left.wrapping_add(self.round(round, right)) & Self::HALF_MASK);
        }
        Self::join(left, right)
    }

    /// The string of 122 bits whose image is `string`.
    pub(super) fn decipher(&self, string: u128) -> u128 {
        let (mut left, mut right) = Self::split(string);
        for round in (0..Self::ROUNDS).rev() {
            (left, right) = (right.wrapping_sub(self.round(round, left)) & Self::HALF_MASK, left);
        }
        Self::join(left, right)
    }

    /// Step 6, i to iv: the number that a round adds, of which the caller keeps the low half. It is read from the
    /// first twelve bytes of the CBC-MAC.
    fn round(&self, round: u8, half: u64) -> u64 {
        let block = u128::from(round) << 64 | u128::from(half);
        let mac = u128::from_be_bytes(self.aes.encipher((*self.parameters ^ block).to_be_bytes()));
        (mac >> 32) as u64
    }

    /// Step 2. The cast and the masks cut each half to its own width.
    const fn split(string: u128) -> (u64, u64) {
        ((string >> Self::HALF) as u64 & Self::HALF_MASK, string as u64 & Self::HALF_MASK)
    }

    fn join(left: u64, right: u64) -> u128 {
        u128::from(left) << Self::HALF | u128::from(right)
    }
}

impl fmt::Debug for UuidCipher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use fpe::ff1::{FF1, NumeralString, Operations};
    use proptest::prelude::*;

    use super::*;

    /// A string of 122 binary digits, as the reference implementation takes it.
    struct Digits(u128);

    struct Half(u64);

    impl Half {
        fn number(bytes: impl Iterator<Item = u8>) -> u64 {
            bytes.fold(0, |number, byte| number << 8 | u64::from(byte))
        }
    }

    impl NumeralString for Digits {
        type Ops = Half;

        fn is_valid(&self, radix: u32) -> bool {
            radix == 2 && self.0 >> UuidCipher::BITS == 0
        }

        fn numeral_count(&self) -> usize {
            122
        }

        fn split(&self) -> (Half, Half) {
            (Half((self.0 >> 61) as u64), Half(self.0 as u64 & UuidCipher::HALF_MASK))
        }

        fn concat(left: Half, right: Half) -> Self {
            Self(u128::from(left.0) << 61 | u128::from(right.0))
        }
    }

    impl Operations for Half {
        type Bytes = [u8; 8];

        fn numeral_count(&self) -> usize {
            61
        }

        fn to_be_bytes(&self, _: u32, length: usize) -> [u8; 8] {
            assert_eq!(length, 8);
            self.0.to_be_bytes()
        }

        fn add_mod_exp(self, other: impl Iterator<Item = u8>, _: u32, _: usize) -> Self {
            Self(self.0.wrapping_add(Self::number(other)) & UuidCipher::HALF_MASK)
        }

        fn sub_mod_exp(self, other: impl Iterator<Item = u8>, _: u32, _: usize) -> Self {
            Self(self.0.wrapping_sub(Self::number(other)) & UuidCipher::HALF_MASK)
        }
    }

    proptest! {
        #[test]
        fn the_permutation_of_122_bits_is_ff1(key: [u8; 16], string in 0_u128..1 << 122) {
            let reference = FF1::<Aes128>::new(&key, 2).unwrap();
            let cipher = UuidCipher::of(EventCipher(Aes128::new(&key.into())));
            let image = cipher.encipher(string);
            prop_assert_eq!(image, reference.encrypt(&[], &Digits(string)).unwrap().0);
            prop_assert_eq!(cipher.decipher(image), string);
        }
    }
}
