//! A visitor's ticket as the world sees it: a UUID in the form of version 4 (RFC 9562 §5.4), as the old request ID.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A request ID: 36 characters of lower-case hex and dashes. What it says is known to the holder of
/// the event's key alone (`Ticket`). It is a UUID of version 4; those
/// made before they were UUIDs have any bits.
///
/// A REST ticket is a bearer secret, so the `Debug` form shows only its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId([u8; 16]);

/// A text that is not a request ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request ID is 32 lower-case hexadecimal digits in the form 8-4-4-4-12")]
pub struct MalformedRequestId;

/// RFC 9562 §4.2 and §5.4: the version, 0b0100 in bits 48 to 51.
const VERSION_4: u128 = 0b0100 << 76;
/// RFC 9562 §4.1: the variant, 0b10 in bits 64 and 65.
const VARIANT: u128 = 0b10 << 62;
/// The bits below the variant.
const LOW: u128 = (1 << 62) - 1;
const FIXED: u128 = 0b1111 << 76 | 0b11 << 62;

const DASHES: [usize; 4] = [8, 13, 18, 23];
const LENGTH: usize = 36;

impl RequestId {
    /// The ID made of these bits.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 128 bits.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The UUID of version 4 whose free bits are the low 122 of `bits`.
    pub(super) const fn from_uuid_bits(bits: u128) -> Self {
        let high = bits >> 74 << 80;
        let middle = (bits >> 62 & 0xfff) << 64;
        let low = bits & LOW;
        Self((high | VERSION_4 | middle | VARIANT | low).to_be_bytes())
    }

    /// The 122 bits that a UUID of version 4 leaves free; `None` for any other.
    pub(super) const fn uuid_bits(&self) -> Option<u128> {
        let all = u128::from_be_bytes(self.0);
        if all & FIXED != VERSION_4 | VARIANT {
            return None;
        }
        Some(all >> 80 << 74 | (all >> 64 & 0xfff) << 62 | all & LOW)
    }

    fn encode(self) -> [u8; LENGTH] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; LENGTH];
        let mut at = 0;
        for byte in self.0 {
            if DASHES.contains(&at) {
                at += 1;
            }
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        text
    }
}

fn digit(byte: u8) -> Result<u8, MalformedRequestId> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(MalformedRequestId),
    }
}

impl FromStr for RequestId {
    type Err = MalformedRequestId;

    fn from_str(text: &str) -> Result<Self, MalformedRequestId> {
        let text = text.as_bytes();
        if text.len() != LENGTH {
            return Err(MalformedRequestId);
        }
        let mut bytes = [0; 16];
        let mut at = 0;
        for byte in &mut bytes {
            if DASHES.contains(&at) {
                if text[at] != b'-' {
                    return Err(MalformedRequestId);
                }
                at += 1;
            }
            *byte = digit(text[at])? << 4 | digit(text[at + 1])?;
            at += 2;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for RequestId {
    type Error = MalformedRequestId;

    fn try_from(text: String) -> Result<Self, MalformedRequestId> {
        text.parse()
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.encode();
        formatter.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.encode();
        write!(formatter, "RequestId({}…)", std::str::from_utf8(&text[..8]).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_and_bits_say_the_same(bits: [u8; 16]) {
            let id = RequestId::from_bytes(bits);
            let text = id.to_string();
            prop_assert_eq!(text.len(), 36);
            prop_assert_eq!(text.parse::<RequestId>(), Ok(id));
        }

        #[test]
        fn the_free_bits_of_a_uuid_come_back(bits in 0_u128..1 << 122) {
            let id = RequestId::from_uuid_bits(bits);
            prop_assert_eq!(id.uuid_bits(), Some(bits));
            let text = id.to_string();
            prop_assert_eq!(&text[14..15], "4");
            prop_assert!("89ab".contains(&text[19..20]), "{}", text);
        }

        #[test]
        fn another_version_or_variant_leaves_no_bits_free(bits: [u8; 16]) {
            let id = RequestId::from_bytes(bits);
            let is_version_4 = bits[6] >> 4 == 4 && bits[8] >> 6 == 2;
            prop_assert_eq!(id.uuid_bits().is_some(), is_version_4);
            if let Some(free) = id.uuid_bits() {
                prop_assert_eq!(RequestId::from_uuid_bits(free), id);
            }
        }

        #[test]
        fn any_text_is_refused_or_comes_back_unchanged(text in "[0-9a-fA-F-]{0,40}|.{0,40}") {
            if let Ok(id) = text.parse::<RequestId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        let good = "00112233-4455-6677-8899-aabbccddeeff";
        assert!(good.parse::<RequestId>().is_ok());
        let bad =
            [good.to_uppercase(), good.replace('-', ""), good.replace('3', "g"), format!(" {good}"), String::new()];
        for text in bad {
            assert_eq!(text.parse::<RequestId>(), Err(MalformedRequestId), "{text}");
        }
    }

    #[test]
    fn a_log_shows_only_the_beginning() {
        let id: RequestId = "00112233-4455-6677-8899-aabbccddeeff".parse().unwrap();
        assert_eq!(format!("{id:?}"), "RequestId(00112233…)");
    }
}
