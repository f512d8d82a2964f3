//! Verification of token signatures with the keys of a key ring.
//!
//! Claims are not checked: expiry, issuer and audience are the caller's to check.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

use super::key::VerifyingKey;
use super::{SigningAlg, TokenType};
use crate::policy;

/// A token with a valid signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// The algorithm of the signature.
    pub alg: SigningAlg,
    /// The ID of the key that signed it.
    pub kid: String,
    /// Its type; the caller refuses the types that it does not expect.
    pub typ: TokenType,
    /// The signed bytes.
    pub payload: Vec<u8>,
}

impl Verified {
    /// The payload parsed as JSON.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.payload)
    }
}

/// Why a token is not valid. Told apart for the log; an answer says only that the token is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// More than [`policy::MAX_TOKEN_BYTES`].
    #[error("the token has {0} bytes, more than any of ours")]
    TooLong(usize),
    /// It is not a compact JWS: three parts of base64url, with a JSON object first.
    #[error("the token is not a compact JWS: {0}")]
    Malformed(&'static str),
    /// The header requires an extension (`crit`, RFC 7515 §4.1.11); none is supported.
    #[error("the token has critical header parameters")]
    Critical,
    /// It has no `kid`, which every token of this provider has.
    #[error("the token names no key")]
    NoKey,
    /// Its `kid` is not, or no longer, in the key ring.
    #[error("the token names a key that is not ours")]
    UnknownKey,
    /// Its `alg` is not that of the key: `none`, an HMAC under the public key, or another key's.
    #[error("the token's alg is not that of its key, {0}")]
    WrongAlg(SigningAlg),
    /// Its `typ` is missing or never issued.
    #[error("the token is of a type that is never issued")]
    WrongType,
    /// Its signature is wrong.
    #[error("the token's signature is wrong")]
    BadSignature,
}

/// The relevant members of a header. Keys in the token itself (`jwk`, `jku`, `x5c`) are ignored.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    /// Whether the member is present, including as `null`.
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Verifies `token` with the one of `keys` that it names.
pub(super) fn verify<'a>(
    token: &str,
    mut keys: impl Iterator<Item = &'a VerifyingKey>,
) -> Result<Verified, VerifyError> {
    if token.len() > policy::MAX_TOKEN_BYTES {
        return Err(VerifyError::TooLong(token.len()));
    }
    let (message, signature) = token.rsplit_once('.').ok_or(VerifyError::Malformed("no dot"))?;
    let (header, payload) = message.split_once('.').ok_or(VerifyError::Malformed("one dot only"))?;
    let header: Header = serde_json::from_slice(&decode(header, "header")?)
        .map_err(|_| VerifyError::Malformed("the header is not a JSON object with an alg"))?;
    let (payload, signature) = (decode(payload, "payload")?, decode(signature, "signature")?);
    if header.crit {
        return Err(VerifyError::Critical);
    }
    let kid = header.kid.ok_or(VerifyError::NoKey)?;
    let key = keys.find(|key| key.jwk.kid() == kid).ok_or(VerifyError::UnknownKey)?;
    let alg = key.jwk.alg();
    if header.alg != alg.as_str() {
        return Err(VerifyError::WrongAlg(alg));
    }
    let typ = header.typ.as_deref().and_then(TokenType::from_name).ok_or(VerifyError::WrongType)?;
    if !key.verifies(message.as_bytes(), &signature) {
        return Err(VerifyError::BadSignature);
    }
    Ok(Verified { alg, kid, typ, payload })
}

fn decode(part: &str, what: &'static str) -> Result<Vec<u8>, VerifyError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| VerifyError::Malformed(what))
}
