//! A signing key: its private half for signatures, and its public half for publication.

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

/// The size of RSA keys: the minimum of RFC 7518 §3.3, because larger keys make signatures slower.
const RSA_BITS: u32 = 2048;

/// A key that only verifies: the rest of a retired key.
pub(super) struct VerifyingKey {
    pub(super) jwk: PublicJwk,
    verifier: Box<dyn JwsVerifier>,
    fresh: RecentSignatures,
}

impl VerifyingKey {
    /// The key of this public half; the error is josekit's text.
    pub(super) fn new(jwk: PublicJwk) -> Result<Self, String> {
        let verifier = jwk.verifier()?;
        Ok(Self { jwk, verifier, fresh: RecentSignatures::default() })
    }

    /// Whether `signature` is valid for `message`, by this key's own algorithm.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.fresh.holds(message, signature) || self.verifier.verify(message, signature).is_ok()
    }
}

/// The latest signatures that this process made with a key, by their digests. A relying party calls userInfo as soon as
/// it has its tokens, and verifying an elliptic-curve signature costs three times as much as making it.
#[derive(Default)]
struct RecentSignatures {
    /// A direct-mapped table: a digest's first bytes select its slot, and a later digest replaces it. Locked for one
    /// lookup.
    digests: Mutex<Vec<[u8; 32]>>,
}

impl RecentSignatures {
    fn remember(&self, message: &[u8], signature: &[u8]) {
        let digest = Self::digest(message, signature);
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if digests.is_empty() {
            digests.resize(policy::FRESH_SIGNATURES, [0; 32]);
        }
        if let Some(place) = digests.get_mut(Self::slot(&digest)) {
            *place = digest;
        }
    }

    fn holds(&self, message: &[u8], signature: &[u8]) -> bool {
        let digest = Self::digest(message, signature);
        let digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        digests.get(Self::slot(&digest)) == Some(&digest)
    }

    fn digest(message: &[u8], signature: &[u8]) -> [u8; 32] {
        let boundary = signature.len().to_le_bytes();
        Sha256::new().chain_update(boundary).chain_update(signature).chain_update(message).finalize().into()
    }

    fn slot(digest: &[u8; 32]) -> usize {
        usize::from(u16::from_le_bytes([digest[0], digest[1]])) % policy::FRESH_SIGNATURES
    }
}

/// A signing key.
pub(super) struct SigningKey {
    /// Its private half: PKCS#8 in DER, the fastest form to read.
    pub(super) pkcs8: Secret,
    pub(super) public: Arc<VerifyingKey>,
    signer: Box<dyn JwsSigner>,
    /// The encoded protected header of each [`TokenType`], followed by a dot.
    headers: [String; 2],
}

impl SigningKey {
    /// A new key. RSA takes some tenths of a second; do not call it on an async thread.
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

    /// A compact JWS (RFC 7515 §7.1) over `payload`. josekit only signs: its own serialiser would build and encode the
    /// header every time.
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
    fn a_cached_signature_is_valid_only_for_its_own_message() {
        let fresh = RecentSignatures::default();
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
    fn the_signature_cache_is_bounded() {
        let fresh = RecentSignatures::default();
        for number in 0..3 * policy::FRESH_SIGNATURES {
            fresh.remember(&number.to_le_bytes(), b"signature");
            assert!(fresh.holds(&number.to_le_bytes(), b"signature"));
        }
        assert_eq!(fresh.digests.lock().unwrap().len(), policy::FRESH_SIGNATURES);
    }
}
