//! One signing key: its private half, ready to sign, and its public half, ready to be published.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::JoseError;
use josekit::jwk::alg::{ec::EcCurve, ec::EcKeyPair, ed::EdCurve, ed::EdKeyPair, rsa::RsaKeyPair};
use josekit::jwk::{Jwk, KeyPair};
use josekit::jws::{ES256, EdDSA, JwsSigner, JwsVerifier, RS256};
use sha2::{Digest, Sha256};

use super::{PublicJwk, SigningAlg, TokenType};
use crate::ambient::Secret;
use crate::policy;

/// Strength of RSA keys: what RFC 7518 §3.3 asks at least, and what a signature should cost at most.
const RSA_BITS: u32 = 2048;

/// A key that verifies: all that is left of a key once it has retired.
pub(super) struct VerifyingKey {
    pub(super) jwk: PublicJwk,
    verifier: Box<dyn JwsVerifier>,
    fresh: Fresh,
}

impl VerifyingKey {
    /// The key of this public half; the error is josekit's text.
    pub(super) fn new(jwk: PublicJwk) -> Result<Self, String> {
        let verifier = jwk.verifier()?;
        Ok(Self { jwk, verifier, fresh: Fresh::default() })
    }

    /// Whether `signature` is this key's on `message`, by this key's own algorithm.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.fresh.holds(message, signature) || self.verifier.verify(message, signature).is_ok()
    }
}

/// The signatures that this process made last with a key, by their digests. A relying party asks for the claims as soon
/// as it has its tokens, and to verify a signature on an elliptic curve costs three times what it cost to make.
#[derive(Default)]
struct Fresh {
    /// A digest stands where its first bytes say, until a later one comes to stand there. Guarded for one look.
    digests: Mutex<Vec<[u8; 32]>>,
}

impl Fresh {
    fn remember(&self, message: &[u8], signature: &[u8]) {
        let digest = Self::digest(message, signature);
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if digests.is_empty() {
            digests.resize(policy::FRESH_SIGNATURES, [0; 32]);
        }
        if let Some(place) = digests.get_mut(Self::place(&digest)) {
            *place = digest;
        }
    }

    fn holds(&self, message: &[u8], signature: &[u8]) -> bool {
        let digest = Self::digest(message, signature);
        let digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        digests.get(Self::place(&digest)) == Some(&digest)
    }

    fn digest(message: &[u8], signature: &[u8]) -> [u8; 32] {
        let boundary = signature.len().to_le_bytes();
        Sha256::new().chain_update(boundary).chain_update(signature).chain_update(message).finalize().into()
    }

    fn place(digest: &[u8; 32]) -> usize {
        usize::from(u16::from_le_bytes([digest[0], digest[1]])) % policy::FRESH_SIGNATURES
    }
}

/// A key that signs.
pub(super) struct SigningKey {
    /// Its private half: PKCS#8 in DER, the form that is read fastest.
    pub(super) pkcs8: Secret,
    pub(super) public: Arc<VerifyingKey>,
    signer: Box<dyn JwsSigner>,
    /// The encoded protected header of each [`TokenType`], with the dot after it.
    headers: [String; 2],
}

impl SigningKey {
    /// A fresh key. RSA takes some tenths of a second; it is no work for an async thread.
    pub(super) fn generate(alg: SigningAlg) -> Result<Self, String> {
        fn halves(pair: &dyn KeyPair) -> (Secret, Jwk) {
            (Secret::new(pair.to_der_private_key()), pair.to_jwk_public_key())
        }
        let (pkcs8, jwk) = match alg {
            SigningAlg::Rs256 => RsaKeyPair::generate(RSA_BITS).map(|pair| halves(&pair)),
            SigningAlg::Es256 => EcKeyPair::generate(EcCurve::P256).map(|pair| halves(&pair)),
            SigningAlg::EdDsa => EdKeyPair::generate(EdCurve::Ed25519).map(|pair| halves(&pair)),
        }
        .map_err(|error| error.to_string())?;
        Self::new(pkcs8, PublicJwk::new(alg, &jwk))
    }

    /// The key of these halves, which must belong together; the error is josekit's text.
    pub(super) fn new(pkcs8: Secret, jwk: PublicJwk) -> Result<Self, String> {
        let signer = signer(jwk.alg(), &pkcs8).map_err(|error| error.to_string())?;
        let headers = TokenType::ALL.map(|typ| {
            let header = format!(r#"{{"alg":"{}","typ":"{}","kid":"{}"}}"#, jwk.alg(), typ.name(), jwk.kid());
            URL_SAFE_NO_PAD.encode(header) + "."
        });
        let public = Arc::new(VerifyingKey::new(jwk)?);
        Ok(Self { pkcs8, public, signer, headers })
    }

    /// A compact JWS (RFC 7515 §7.1) over `payload`. josekit only signs: its own serialiser would build and
    /// encode the header anew each time.
    pub(super) fn sign(&self, typ: TokenType, payload: &[u8]) -> Result<String, JoseError> {
        let header = match typ {
            TokenType::Jwt => &self.headers[0],
            TokenType::AtJwt => &self.headers[1],
        };
        let encoded = |bytes: usize| (bytes * 4).div_ceil(3);
        let length = header.len() + encoded(payload.len()) + 1 + encoded(self.signer.signature_len());
        let mut token = String::with_capacity(length);
        token.push_str(header);
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self.signer.sign(token.as_bytes())?;
        if self.public.jwk.alg() != SigningAlg::Rs256 {
            self.public.fresh.remember(token.as_bytes(), &signature);
        }
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

fn signer(alg: SigningAlg, pkcs8: &Secret) -> Result<Box<dyn JwsSigner>, JoseError> {
    Ok(match alg {
        SigningAlg::Rs256 => Box::new(RS256.signer_from_der(pkcs8.expose())?),
        SigningAlg::Es256 => Box::new(ES256.signer_from_der(pkcs8.expose())?),
        SigningAlg::EdDsa => Box::new(EdDSA.signer_from_der(pkcs8.expose())?),
    })
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey({} {})", self.public.jwk.alg(), self.public.jwk.kid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_signature_is_known_for_its_own_message_alone() {
        let fresh = Fresh::default();
        assert!(!fresh.holds(b"message", b"signature"));
        fresh.remember(b"message", b"signature");
        assert!(fresh.holds(b"message", b"signature"));
        for (message, signature) in [
            (&b"massage"[..], &b"signature"[..]),
            (b"message", b"signaturE"),
            (b"e", b"signaturemessag"),
            (b"message", b""),
        ] {
            assert!(!fresh.holds(message, signature));
        }
    }

    #[test]
    fn no_more_signatures_are_remembered_than_there_is_room_for() {
        let fresh = Fresh::default();
        for number in 0..3 * policy::FRESH_SIGNATURES {
            fresh.remember(&number.to_le_bytes(), b"signature");
            assert!(fresh.holds(&number.to_le_bytes(), b"signature"));
        }
        assert_eq!(fresh.digests.lock().unwrap().len(), policy::FRESH_SIGNATURES);
    }
}
