//! The public half of a key as a JWK (RFC 7517), and the JWK Set.
//!
//! The type has public members only, so that a private one cannot be published by mistake.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwk::Jwk;
use josekit::jws::{ES256, EdDSA, JwsVerifier, RS256};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::SigningAlg;

/// A public signing key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PublicJwk {
    kty: String,
    alg: SigningAlg,
    kid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(rename = "use")]
    key_use: String,
}

impl PublicJwk {
    /// Takes the public members of josekit's key, and names the key by its thumbprint.
    pub(super) fn new(alg: SigningAlg, jwk: &Jwk) -> Self {
        let member = |name| jwk.parameter(name).and_then(|value| value.as_str()).map(str::to_owned);
        let mut key = Self {
            kty: jwk.key_type().to_owned(),
            alg,
            kid: String::new(),
            crv: member("crv"),
            n: member("n"),
            e: member("e"),
            x: member("x"),
            y: member("y"),
            key_use: "sig".to_owned(),
        };
        key.kid = key.thumbprint();
        key
    }

    /// Its algorithm.
    pub const fn alg(&self) -> SigningAlg {
        self.alg
    }

    /// Its key ID: its SHA-256 thumbprint (RFC 7638), the same wherever it is computed.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The key as JSON.
    pub fn to_json(&self) -> String {
        // A struct of texts always serialises; an empty answer would be refused by every reader.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// SHA-256 over the required members in the order of their names (RFC 7638 §3, RFC 8037 §2).
    fn thumbprint(&self) -> String {
        #[derive(Serialize)]
        struct Required<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            crv: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            e: Option<&'a str>,
            kty: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            n: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            x: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            y: Option<&'a str>,
        }
        let required = Required {
            crv: self.crv.as_deref(),
            e: self.e.as_deref(),
            kty: &self.kty,
            n: self.n.as_deref(),
            x: self.x.as_deref(),
            y: self.y.as_deref(),
        };
        URL_SAFE_NO_PAD.encode(Sha256::digest(serde_json::to_vec(&required).unwrap_or_default()))
    }

    /// The verifier for its own algorithm and no other; the error is josekit's text.
    pub(super) fn verifier(&self) -> Result<Box<dyn JwsVerifier>, String> {
        let jwk = Jwk::from_bytes(self.to_json()).map_err(|error| error.to_string())?;
        match self.alg {
            SigningAlg::Rs256 => RS256.verifier_from_jwk(&jwk).map(|it| Box::new(it) as Box<dyn JwsVerifier>),
            SigningAlg::Es256 => ES256.verifier_from_jwk(&jwk).map(|it| Box::new(it) as Box<dyn JwsVerifier>),
            SigningAlg::EdDsa => EdDSA.verifier_from_jwk(&jwk).map(|it| Box::new(it) as Box<dyn JwsVerifier>),
        }
        .map_err(|error| error.to_string())
    }
}

/// A JWK Set (RFC 7517 §5), serialised once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Jwks(Arc<str>);

impl Jwks {
    /// The set of `keys`, in their order.
    pub(super) fn new<'a>(keys: impl Iterator<Item = &'a PublicJwk>) -> Self {
        let keys: Vec<String> = keys.map(PublicJwk::to_json).collect();
        Self(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).into())
    }

    /// The set as JSON; cloning it copies nothing.
    pub const fn json(&self) -> &Arc<str> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(alg: SigningAlg, json: &str) -> PublicJwk {
        PublicJwk::new(alg, &Jwk::from_bytes(json).unwrap())
    }

    #[test]
    fn a_thumbprint_agrees_with_the_example_of_rfc_7638() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiF\
                 V4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7\
                 d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44\
                 -csFCur-kEgU8awapJzKnqDKgw";
        let json = format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","alg":"RS256","kid":"2011-04-29"}}"#);
        assert_eq!(key(SigningAlg::Rs256, &json).kid(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn a_thumbprint_agrees_with_the_example_of_rfc_8037() {
        let json = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        assert_eq!(key(SigningAlg::EdDsa, json).kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn private_members_are_not_copied() {
        let json = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
                       "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        assert!(!key(SigningAlg::EdDsa, json).to_json().contains("nWGxne"));
    }
}
