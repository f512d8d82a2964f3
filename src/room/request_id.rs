//! A visitor's ticket as the world sees it: 128 bits in the 8-4-4-4-12 form of the old request ID.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A request ID: 36 characters of lower-case hex and dashes. What it says is known to the holder of
/// the event's key alone (`Ticket`).
///
/// A REST ticket is a bearer secret, so the `Debug` form shows only its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId([u8; 16]);

/// A text that is not a request ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request ID is 32 lower-case hexadecimal digits in the form 8-4-4-4-12")]
pub struct MalformedRequestId;

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
