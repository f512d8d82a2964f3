//! A published key set of an issuer, and verification with its keys.

use serde::Deserialize;
use serde_json::Value;

use super::key::VerifyingKey;
use super::verify::verify;
use super::{PublicJwk, Verified, VerifyError};

/// The public keys that an issuer published.
#[derive(Default)]
pub struct PublicKeySet(Vec<VerifyingKey>);

/// The text is not a JWK Set with a usable key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a JWK Set with a public signing key of a known algorithm")]
pub struct KeySetError;

impl PublicKeySet {
    /// Parses a JWK Set. Keys of unknown types are skipped (RFC 7517 §5).
    ///
    /// # Errors
    /// [`KeySetError`] when no key is left.
    pub fn from_json(json: &[u8]) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(json).map_err(|_| KeySetError)?;
        let known = set.keys.into_iter().filter_map(|key| serde_json::from_value::<PublicJwk>(key).ok());
        let keys: Vec<_> = known.filter_map(|key| VerifyingKey::new(key).ok()).collect();
        if keys.is_empty() { Err(KeySetError) } else { Ok(Self(keys)) }
    }

    /// Whether it has no keys.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Verifies that `token` is a compact JWS signed by one of these keys, by that key's own algorithm. Its claims are
    /// not checked.
    pub fn verify(&self, token: &str) -> Result<Verified, VerifyError> {
        verify(token, self.0.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::Timestamp;
    use crate::keys::{KeyRing, TokenType};
    use crate::oauth::SigningAlg;

    #[test]
    fn a_published_set_verifies_what_its_ring_signed_and_nothing_else() {
        let [ring, other] = [0, 1].map(|_| KeyRing::generate(Timestamp::from_secs(0)).unwrap());
        let set = PublicKeySet::from_json(ring.jwks().json().as_bytes()).unwrap();
        for alg in SigningAlg::ALL {
            let token = ring.sign(alg, TokenType::AtJwt, b"{}").unwrap();
            assert_eq!(set.verify(&token).unwrap().alg, alg);
            let foreign = other.sign(alg, TokenType::AtJwt, b"{}").unwrap();
            assert_eq!(set.verify(&foreign), Err(VerifyError::UnknownKey));
            assert_eq!(PublicKeySet::default().verify(&token), Err(VerifyError::UnknownKey));
        }
    }

    #[test]
    fn keys_of_an_unknown_kind_are_left_out_and_a_set_without_others_is_none() {
        let ring = KeyRing::generate(Timestamp::from_secs(0)).unwrap();
        let strange = r#"{"keys":[{"kty":"oct","k":"AA"},{"kty":"RSA","use":"enc"},7,"#;
        let mixed = ring.jwks().json().replacen(r#"{"keys":["#, strange, 1);
        assert_eq!(PublicKeySet::from_json(mixed.as_bytes()).unwrap().0.len(), 3);
        let broken = r#"{"keys":[{"kty":"RSA","alg":"RS256","kid":"k","use":"sig","n":"!","e":"AQAB"}]}"#;
        for none in ["", "[]", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AA"}]}"#, broken] {
            assert!(PublicKeySet::from_json(none.as_bytes()).is_err(), "{none}");
        }
    }
}
