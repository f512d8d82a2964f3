//! Decisions of the Lambda authorizer.

use std::time::Duration;

/// For how long the authorizer goes by a key set before it asks for a newer one: as long as the set's own answer may
/// be cached.
pub const AUTHORIZER_KEEP: Duration = Duration::from_secs(300);

/// How often at most the authorizer asks anew for the set because of a key that it does not know: anybody can invent one.
pub const AUTHORIZER_REFETCH: Duration = Duration::from_secs(60);

/// How often it asks as long as it has no set at all, and nobody can be let in.
pub const AUTHORIZER_FIRST_RETRY: Duration = Duration::from_secs(5);

/// How long it waits for the set: API Gateway waits ten seconds or more for the authorizer.
pub const AUTHORIZER_FETCH_TIMEOUT: Duration = Duration::from_secs(3);

/// How far its clock may be behind the issuer's when a token is brand-new (`nbf`).
pub const AUTHORIZER_CLOCK_SKEW: Duration = Duration::from_secs(5);

/// Largest key set that it reads, in bytes: ours has a few thousand.
pub const MAX_KEY_SET: usize = 256 * 1024;
