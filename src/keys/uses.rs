//! The uses of keys, and the plan of their automatic rotation.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SigningAlg;
use crate::policy;

/// The use of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyUse {
    /// Tokens of OpenID Connect, with this algorithm.
    Oidc(SigningAlg),
    /// Tokens of the REST channel, with RS256.
    Rest,
}

impl KeyUse {
    /// All uses.
    pub const ALL: [Self; 4] =
        [Self::Oidc(SigningAlg::Rs256), Self::Oidc(SigningAlg::Es256), Self::Oidc(SigningAlg::EdDsa), Self::Rest];

    /// The uses of OpenID Connect.
    pub const OIDC: [Self; 3] =
        [Self::Oidc(SigningAlg::Rs256), Self::Oidc(SigningAlg::Es256), Self::Oidc(SigningAlg::EdDsa)];

    /// The algorithm of its signatures.
    pub const fn alg(self) -> SigningAlg {
        match self {
            Self::Oidc(alg) => alg,
            Self::Rest => SigningAlg::Rs256,
        }
    }

    /// The channel of its tokens.
    pub const fn channel(self) -> KeyChannel {
        match self {
            Self::Oidc(_) => KeyChannel::Login,
            Self::Rest => KeyChannel::Rest,
        }
    }

    /// Its index in [`Self::ALL`].
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Oidc(alg) => alg as usize,
            Self::Rest => 3,
        }
    }
}

impl From<SigningAlg> for KeyUse {
    fn from(alg: SigningAlg) -> Self {
        Self::Oidc(alg)
    }
}

/// A channel with tokens of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyChannel {
    /// OpenID Connect.
    Login,
    /// The REST contract of the retired system.
    Rest,
}

/// Which keys rotate automatically, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RotationPlan {
    /// The keys of OpenID Connect (`rotation`).
    pub login: RotationMode,
    /// The key of the REST channel (`rest_rotation`).
    pub rest: RotationMode,
    /// How long a key signs before it rotates automatically.
    pub period: Duration,
}

impl Default for RotationPlan {
    fn default() -> Self {
        Self { login: RotationMode::Automatic, rest: RotationMode::Manual, period: policy::KEY_ROTATION_PERIOD }
    }
}

/// What causes a rotation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RotationMode {
    /// The period has passed.
    Automatic,
    /// An operator's command only.
    Manual,
}
