//! What the port knows of authorization codes: their redemption, and what does not fit into one.
//!
//! A code carries its grant sealed, so a code that nobody redeems leaves nothing behind. Redemptions are keyed by time of
//! issue first: engines append them and forget them by range. These types know nothing of what a grant says.

use crate::ambient::Timestamp;
use crate::room::{RequestId, Session};

/// Names a grant: 16 random bytes, in its authorization code and in its tokens (`jti`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GrantId(pub [u8; 16]);

/// An authentic authorization code that a client brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Redemption {
    /// The grant that the code carries.
    pub id: GrantId,
    /// When the code was issued, by the clock of whoever issued it.
    pub issued_at: Timestamp,
    /// When the grant's session ends: its tokens live no longer, so a revocation is kept until then.
    pub session_end: Timestamp,
    /// Whether the code may be redeemed now.
    pub code: CodeAge,
}

/// How old an authorization code is by the clock of whoever redeems it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeAge {
    /// It may be redeemed.
    Good,
    /// It is expired or from the future: it may not be redeemed, but its reuse is still reuse.
    Wrong,
}

/// The answer to [`Store::redeem`](super::Store::redeem).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Redeemed {
    /// This caller, and no other, has redeemed the code.
    Now,
    /// Somebody redeemed it before: the tokens of its grant are revoked from now on.
    Before,
    /// The code's age is wrong and no redemption of it is known: nothing was written.
    Never,
}

/// What a grant says that is too long for its code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LongGrant {
    /// The grant.
    pub id: GrantId,
    /// The ticket of its session.
    pub request_id: RequestId,
    /// When its code was issued.
    pub issued_at: Timestamp,
    /// What it says; opaque here.
    pub body: Vec<u8>,
}

/// What a token's acceptance depends on besides its signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenStanding {
    /// The session of the token's subject, if the store has it.
    pub session: Option<Session>,
    /// The grant that the token came from.
    pub grant: GrantStanding,
}

/// How a grant stands after its code was redeemed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GrantStanding {
    /// Its tokens count.
    Good,
    /// Its code was used a second time: its tokens count no more.
    Revoked,
}
