//! Strict parsing of a query or form body (`application/x-www-form-urlencoded`).
//!
//! RFC 6749 §3.1: a parameter without a value counts as omitted; a repeated one is an error; unknown ones are ignored.

use percent_encoding::percent_decode;
use serde::{Deserialize, Serialize};

use super::OAuthError;

/// Parameters in the order received. An invalid value (not UTF-8, or with a NUL character) is kept as `None`: it is an
/// error only when that parameter is read.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Params(Vec<(String, Option<String>)>);

impl Params {
    /// Parses a query string (without `?`) or a form body. A parameter with an invalid name is unknown.
    pub fn parse(text: &[u8]) -> Self {
        let pairs = text.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty());
        let decoded = pairs.filter_map(|pair| {
            let mut halves = pair.splitn(2, |&byte| byte == b'=');
            let name = decode(halves.next().unwrap_or_default())?;
            Some((name, decode(halves.next().unwrap_or_default())))
        });
        Self(decoded.collect())
    }

    /// The value of a parameter; `None` when it is missing or empty, an error when it is repeated or invalid.
    pub fn get(&self, name: &str) -> Result<Option<&str>, OAuthError> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_deref());
        let first = values.next();
        if values.next().is_some() {
            return Err(OAuthError::invalid_request(format!("the parameter {name} was sent more than once")));
        }
        match first {
            Some(None) => Err(OAuthError::invalid_request(format!("the parameter {name} is not UTF-8 text"))),
            Some(Some(value)) => Ok(Some(value).filter(|value| !value.is_empty())),
            None => Ok(None),
        }
    }

    /// The value of a required parameter.
    pub fn require(&self, name: &str) -> Result<&str, OAuthError> {
        self.get(name)?.ok_or_else(|| OAuthError::invalid_request(format!("the parameter {name} is missing")))
    }

    /// Only the parameters with one of these names.
    #[must_use]
    pub fn only(&self, names: &[&str]) -> Self {
        Self(self.0.iter().filter(|(key, _)| names.contains(&key.as_str())).cloned().collect())
    }

    /// The parameters except those with this name.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        Self(self.0.iter().filter(|(key, _)| key != name).cloned().collect())
    }

    /// Names and values in an order that does not depend on that received; an invalid value is replaced by one that no
    /// valid value equals.
    pub fn sorted(&self) -> Vec<(&str, &str)> {
        let pairs = self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref().unwrap_or(NO_TEXT)));
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_unstable();
        pairs
    }

    /// Whether a parameter is present, with any value.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// The parameters as a query string; invalid values stay invalid.
    pub fn encode(&self) -> String {
        let pairs = self.0.iter().map(|(name, value)| (name, value.as_deref().unwrap_or(NO_TEXT)));
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }

    /// The total length of names and values, in bytes.
    pub fn len_bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len)).sum()
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Params {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).into())
    }
}

/// A value that parses as invalid.
const NO_TEXT: &str = "\0";

/// Decodes one form-encoded name or value; `None` if it is invalid.
pub(super) fn decode(text: &[u8]) -> Option<String> {
    let spaced: Vec<u8> = text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    let decoded = percent_decode(&spaced).decode_utf8().ok()?;
    if decoded.contains(NO_TEXT) { None } else { Some(decoded.into_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn form_encoding_is_undone() {
        let params = Params::parse(b"a=1+2%2B3&&b=%C3%BC&c&d=&e=x=y");
        assert_eq!(params.get("a"), Ok(Some("1 2+3")));
        assert_eq!(params.get("b"), Ok(Some("ü")));
        assert_eq!((params.get("c"), params.get("d")), (Ok(None), Ok(None)));
        assert_eq!(params.get("e"), Ok(Some("x=y")));
    }

    #[test]
    fn a_parameter_can_be_removed() {
        let params = Params::parse(b"a=1&b=2&a=3&c");
        assert!(params.has("a") && params.has("c") && !params.has("d"));
        assert_eq!(params.without("a"), Params::parse(b"b=2&c"));
        assert_eq!(params.without("d"), params);
    }

    #[test]
    fn a_parameter_sent_twice_is_an_error_even_if_equal_or_empty() {
        for text in ["a=1&a=1", "a=&a=1", "a=1&a"] {
            let params = Params::parse(text.as_bytes());
            assert!(params.get("a").is_err(), "{text}");
        }
    }

    #[test]
    fn an_invalid_value_is_an_error_only_for_its_own_parameter() {
        for text in [&b"a=%FF&b=1"[..], b"b=1&a=\xff", b"a=%00&b=1&%C3=2"] {
            let params = Params::parse(text);
            assert!(params.get("a").is_err());
            assert_eq!(params.get("b"), Ok(Some("1")));
            assert_eq!(Params::parse(params.encode().as_bytes()), params);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let _ = Params::parse(&bytes);
        }
    }
}
