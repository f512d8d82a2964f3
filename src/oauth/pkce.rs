//! Proof Key for Code Exchange (RFC 7636), with method S256 alone (RFC 9700 §2.1.1).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Client, OAuthError, Params, Pkce};

/// A `code_challenge` of method S256: the hash of a verifier that only the client knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Challenge(pub [u8; 32]);

const VERIFIER_LENGTHS: std::ops::RangeInclusive<usize> = 43..=128;

impl Challenge {
    /// The challenge of an authorization request; public clients must send one, and others if they are configured so.
    pub fn requested(params: &Params, client: &Client) -> Result<Option<Self>, OAuthError> {
        let method = params.get("code_challenge_method")?;
        let Some(challenge) = params.get("code_challenge")? else {
            return if method.is_some() {
                Err(OAuthError::invalid_request("code_challenge_method was sent without code_challenge"))
            } else if client.is_public() {
                Err(OAuthError::invalid_request("public clients must use PKCE: code_challenge is missing"))
            } else if client.pkce == Pkce::Required {
                Err(OAuthError::invalid_request("this client must use PKCE: code_challenge is missing"))
            } else {
                Ok(None)
            };
        };
        // RFC 7636 §4.3: without a method the challenge would be "plain", which is not offered.
        if method != Some("S256") {
            return Err(OAuthError::invalid_request("code_challenge_method must be S256"));
        }
        let hash = URL_SAFE_NO_PAD.decode(challenge).ok().and_then(|hash| hash.try_into().ok());
        let hash = hash.ok_or_else(|| OAuthError::invalid_request("code_challenge is not a base64url SHA-256 hash"))?;
        Ok(Some(Self(hash)))
    }

    /// Whether `verifier` matches (RFC 7636 §4.6).
    fn proven_by(&self, verifier: &str) -> bool {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if !VERIFIER_LENGTHS.contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
            return false;
        }
        Sha256::digest(verifier).as_slice().ct_eq(&self.0).into()
    }

    /// Compares the challenge of the authorization request with the verifier of the token request. A verifier without
    /// challenge fails as well as the reverse (RFC 9700 §2.1.1: PKCE downgrade).
    pub fn check(bound: Option<&Self>, verifier: Option<&str>) -> Result<(), OAuthError> {
        match (bound, verifier) {
            (None, None) => Ok(()),
            (Some(challenge), Some(verifier)) if challenge.proven_by(verifier) => Ok(()),
            (Some(_), Some(_)) => Err(OAuthError::invalid_grant("code_verifier does not match code_challenge")),
            (Some(_), None) => Err(OAuthError::invalid_grant("code_verifier is missing")),
            (None, Some(_)) => Err(OAuthError::invalid_grant(
                "code_verifier was sent, but the authorization request had no code_challenge",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::Secret;
    use crate::oauth::{AuthMethod, ErrorCode};

    // RFC 7636 appendix B
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn requested(params: Params, auth_method: AuthMethod) -> Result<Option<Challenge>, OAuthError> {
        let client = Client { auth_method, ..Client::confidential("c", Secret::new("s")) };
        Challenge::requested(&params, &client)
    }

    #[test]
    fn the_example_of_rfc_7636_holds() {
        let params = Params::from([("code_challenge", CHALLENGE), ("code_challenge_method", "S256")]);
        let challenge = requested(params, AuthMethod::None).unwrap();
        assert_eq!(Challenge::check(challenge.as_ref(), Some(VERIFIER)), Ok(()));
        for wrong in [None, Some("short"), Some(CHALLENGE)] {
            assert_eq!(Challenge::check(challenge.as_ref(), wrong).unwrap_err().code, ErrorCode::InvalidGrant);
        }
    }

    #[test]
    fn plain_missing_and_malformed_challenges_are_refused() {
        let bad = [
            Params::from([("code_challenge", CHALLENGE)]),
            Params::from([("code_challenge", CHALLENGE), ("code_challenge_method", "plain")]),
            Params::from([("code_challenge", "abc"), ("code_challenge_method", "S256")]),
            Params::from([("code_challenge_method", "S256")]),
        ];
        for params in bad {
            assert_eq!(requested(params, AuthMethod::Any).unwrap_err().code, ErrorCode::InvalidRequest);
        }
        assert!(requested(Params::default(), AuthMethod::None).is_err(), "public clients must use PKCE");
        assert_eq!(requested(Params::default(), AuthMethod::Any), Ok(None));
    }

    #[test]
    fn pkce_can_be_required_of_a_confidential_client() {
        let client = Client { pkce: Pkce::Required, ..Client::confidential("c", Secret::new("s")) };
        let refused = Challenge::requested(&Params::default(), &client).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
        let params = Params::from([("code_challenge", CHALLENGE), ("code_challenge_method", "S256")]);
        assert!(Challenge::requested(&params, &client).unwrap().is_some());
    }

    #[test]
    fn a_verifier_without_challenge_fails() {
        assert_eq!(Challenge::check(None, Some(VERIFIER)).unwrap_err().code, ErrorCode::InvalidGrant);
    }
}
