//! Token types, and the `at_hash` claim, which depends on the signature algorithm.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256, Sha512};

use crate::oauth::SigningAlg;

/// The type of a signed token (`typ`, RFC 7515 §4.1.9), so that one type is never accepted as another (RFC 8725 §3.11).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TokenType {
    /// An ID token, or a token of the old REST contract: `JWT`.
    Jwt,
    /// An access token (RFC 9068 §2.1): `at+jwt`.
    AtJwt,
}

impl TokenType {
    /// Both types.
    pub const ALL: [Self; 2] = [Self::Jwt, Self::AtJwt];

    /// The value of `typ`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jwt => "JWT",
            Self::AtJwt => "at+jwt",
        }
    }

    /// The type of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|typ| typ.name() == name)
    }
}

/// The `at_hash` claim (OIDC Core §3.1.3.6) of an ID token that is signed with `alg`: base64url of the left half of the
/// access token's hash by the hash function of `alg` (SHA-512 for Ed25519, which uses it internally: RFC 8032 §5.1).
pub fn at_hash(alg: SigningAlg, access_token: &str) -> String {
    match alg {
        SigningAlg::Rs256 | SigningAlg::Es256 => URL_SAFE_NO_PAD.encode(&Sha256::digest(access_token)[..16]),
        SigningAlg::EdDsa => URL_SAFE_NO_PAD.encode(&Sha512::digest(access_token)[..32]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_hash_agrees_with_the_example_of_oidc_core_appendix_a_3() {
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        assert_eq!(at_hash(SigningAlg::Rs256, token), "77QmUPtjPfzWtF2AnpK9RQ");
        assert_eq!(at_hash(SigningAlg::Es256, token), at_hash(SigningAlg::Rs256, token));
    }

    #[test]
    fn at_hash_for_eddsa_is_half_of_sha_512() {
        let whole = URL_SAFE_NO_PAD.encode(Sha512::digest("token"));
        let half = at_hash(SigningAlg::EdDsa, "token");
        assert_eq!(half.len(), 43);
        assert_eq!(half[..42], whole[..42]);
    }
}
