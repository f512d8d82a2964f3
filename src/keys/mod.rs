//! Signing keys and JOSE: what Anteroom signs, seals and publishes, and how its keys come and go.
//!
//! Owns the key ring (one RSA, one P-256 and one Ed25519 key in use, and the RSA key of the REST channel, with their
//! successors and predecessors), compact JWS, the JWK Set, sealed (JWE) tokens and the master secret from which every
//! symmetric key is derived. The only module that sees josekit, so that the choice of library stays one
//! module's affair. It must not know where a ring is stored, who asks, nor what the claims mean: it
//! checks signatures, its callers check claims. Time is an argument; key generation alone draws on
//! OpenSSL's own random source, which cannot be injected.

mod alg;
mod code;
mod jwk;
mod key;
mod master;
mod public;
mod ring;
mod seal;
mod storage;
mod uses;
mod verify;

use crate::oauth::SigningAlg;
pub use alg::{TokenType, at_hash};
pub use code::CodeSeal;
pub use jwk::{Jwks, PublicJwk};
pub use master::{MasterSecret, MasterSecretError, Origin};
pub use public::{NoKeySet, PublicKeySet};
pub use ring::{KeyDuty, KeyError, KeyRing, KeyState, Rotation};
pub use seal::{ArrivalsSeal, FlowSeal, SealError};
pub use storage::UnsealError;
pub use uses::{KeyChannel, KeyUse, RotationMode, RotationPlan};
pub use verify::{Verified, VerifyError};

#[cfg(test)]
mod tests;
