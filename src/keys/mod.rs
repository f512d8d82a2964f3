//! Signing keys and JOSE: signatures, encryption, publication of keys, and their rotation.
//!
//! Owns the key ring (one RSA, one P-256 and one Ed25519 key in use, and the RSA key of the REST channel, with their
//! successors and predecessors), compact JWS, the JWK Set, sealed (JWE) tokens and the master secret from which every
//! symmetric key is derived. The only module that uses josekit, so that the library can be replaced here alone. Must
//! not know where a key ring is stored, who calls, nor what the claims mean: it checks signatures, its callers check
//! claims. Time is an argument; only key generation uses OpenSSL's own random source, which cannot be injected.

mod alg;
mod code;
mod jwk;
mod key;
mod key_ring;
mod master;
mod public;
mod seal;
mod storage;
mod uses;
mod verify;

use crate::oauth::SigningAlg;
pub use alg::{TokenType, at_hash};
pub use code::CodeSeal;
pub use jwk::{Jwks, PublicJwk};
pub use key_ring::{KeyError, KeyRing, KeyState, PublishedKey, Rotation};
pub use master::{MasterSecret, MasterSecretError, Origin};
pub use public::{KeySetError, PublicKeySet};
pub use seal::{ArrivalsSeal, FlowSeal, SealError};
pub use storage::UnsealError;
pub use uses::{KeyChannel, KeyUse, RotationMode, RotationPlan};
pub use verify::{Verified, VerifyError};

#[cfg(test)]
mod tests;
