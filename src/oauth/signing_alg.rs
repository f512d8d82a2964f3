//! The supported signature algorithms.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A JWS algorithm (RFC 7518 §3.1, RFC 8037 §3.1). `none` and HMAC are missing on purpose: what this type lacks can be
/// neither signed nor accepted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum SigningAlg {
    /// RSASSA-PKCS1-v1_5 with SHA-256 under RSA-2048: every relying party must support it (OIDC Core §15.1), hence the
    /// default.
    #[default]
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256: some thirty times cheaper to sign than RSA.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl SigningAlg {
    /// All algorithms, in the order in which they are announced and published.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// Its registered name, the value of `alg`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of this registered name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.as_str() == name)
    }
}

impl fmt::Display for SigningAlg {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_json_and_in_text_and_rs256_comes_first() {
        for alg in SigningAlg::ALL {
            assert_eq!(serde_json::to_string(&alg).unwrap(), format!("\"{alg}\""));
            assert_eq!(SigningAlg::from_name(alg.as_str()), Some(alg));
        }
        assert_eq!(SigningAlg::ALL[0], SigningAlg::default());
        assert_eq!(SigningAlg::default().as_str(), "RS256");
        for unknown in ["none", "HS256", "rs256", "RS512", ""] {
            assert_eq!(SigningAlg::from_name(unknown), None, "{unknown}");
        }
    }
}
