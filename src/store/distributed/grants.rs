//! What is kept of authorization codes: redemptions, revocations, and grants that are too long for their codes.
//!
//! Three kinds of items in one table, told apart by the length of their key, each written by one conditional write that
//! tells who made it. A redemption's key begins with the code's time of issue. Nodes' clocks may differ by
//! [`CLOCK_DIFFERENCE`]: so much longer than needed every item is kept, by DynamoDB's clock, and by the sweep of a node
//! twice so much.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::client::{Attributes, number, unreadable};
use super::client::{Condition, Table, Tables, Written};
use super::intent_log::IdempotencyKey;
use crate::ambient::Timestamp;
use crate::policy::{CLOCK_DIFFERENCE, CODE_LIFETIME, CODE_MEMORY, LONG_GRANTS, SWEEP_LOOK};
use crate::room::RequestId;
use crate::store::{CodeAge, GrantId, GrantStanding, LongGrant, Redeemed, Redemption, StoreError};

/// The state of a revoked grant. Items of older programs have it too, and others that mean nothing any more.
const REVOKED: u8 = 2;

/// The long grants of a session, from the newest.
const LONG: [&str; LONG_GRANTS as usize] = ["long_1", "long_2", "long_3", "long_4"];

fn key(bytes: &[u8]) -> Attributes {
    Attributes::new().with_bytes("grant_id", bytes)
}

fn redemption_key(issued_at: Timestamp, id: &GrantId) -> Attributes {
    key(&[&issued_at.as_secs().to_be_bytes()[..], &id.0].concat())
}

fn long_key(request_id: &RequestId) -> Attributes {
    key(&[b"L", &request_id.as_bytes()[..]].concat())
}

/// [`crate::store::Store::redeem`].
pub(super) async fn redeem(
    tables: &Tables,
    redemption: &Redemption,
    idempotency_key: IdempotencyKey,
) -> Result<Redeemed, StoreError> {
    let Redemption { id, issued_at, session_end, code } = redemption;
    match code {
        CodeAge::Good if note_redeemed(tables, id, *issued_at, idempotency_key).await? => return Ok(Redeemed::Now),
        CodeAge::Wrong if tables.get(Table::Grants, redemption_key(*issued_at, id)).await?.is_none() => {
            return Ok(Redeemed::Never);
        }
        CodeAge::Good | CodeAge::Wrong => {}
    }
    revoke(tables, id, *session_end).await?;
    Ok(Redeemed::Before)
}

/// Notes that a code was redeemed; whether nobody else had.
pub(super) async fn note_redeemed(
    tables: &Tables,
    id: &GrantId,
    issued_at: Timestamp,
    idempotency_key: IdempotencyKey,
) -> Result<bool, StoreError> {
    let idempotency_key = String::from(idempotency_key);
    let item = redemption_key(issued_at, id)
        .with_time("keep_until", issued_at + CODE_MEMORY + CLOCK_DIFFERENCE)
        .with_text("redeemed_by", idempotency_key.as_str());
    Ok(match tables.put(Table::Grants, item, Condition::new("attribute_not_exists(grant_id)")).await? {
        Written::Done => true,
        // Only the answer of an earlier try of this very call was lost.
        Written::Refused(there) => there.maybe("redeemed_by", Attributes::owned_text)? == Some(idempotency_key),
    })
}

/// Revokes the tokens of a grant.
pub(super) async fn revoke(tables: &Tables, id: &GrantId, session_end: Timestamp) -> Result<(), StoreError> {
    let item = key(&id.0)
        .with_time("session_end", session_end)
        .with_time("keep_until", session_end + CLOCK_DIFFERENCE)
        .with_number("grant_state", REVOKED);
    tables.put(Table::Grants, item, Condition::none()).await.map(drop)
}

/// How a grant stands.
pub(super) async fn grant_standing(tables: &Tables, id: &GrantId) -> Result<GrantStanding, StoreError> {
    let Some(item) = tables.get(Table::Grants, key(&id.0)).await? else { return Ok(GrantStanding::Good) };
    Ok(if is_revoked(&item)? { GrantStanding::Revoked } else { GrantStanding::Good })
}

fn is_revoked(item: &Attributes) -> Result<bool, StoreError> {
    Ok(item.number("grant_state")? == u64::from(REVOKED))
}

/// [`crate::store::Store::put_long_grant`]. One item holds the session's; each moves on by one place, and the oldest out.
pub(super) async fn put_long_grant(tables: &Tables, grant: &LongGrant) -> Result<(), StoreError> {
    let moves = LONG.windows(2).map(|pair| format!(", {} = if_not_exists({}, :none)", pair[1], pair[0]));
    let change = format!("SET {} = :new{}, keep_until = :end", LONG[0], moves.collect::<String>());
    let new = [&grant.id.0[..], &grant.body].concat();
    let bytes = |bytes: &[u8]| AttributeValue::B(Blob::new(bytes));
    // The newest is this one where only the answer of an earlier try was lost.
    let absent = format!("attribute_not_exists({0}) OR {0} <> :new", LONG[0]);
    let end = grant.issued_at + CODE_LIFETIME + CLOCK_DIFFERENCE;
    let absent =
        Condition::new(&absent).with(":new", bytes(&new)).with(":none", bytes(&[])).with(":end", number(end.as_secs()));
    tables.update(Table::Grants, long_key(&grant.request_id), &change, absent).await.map(drop)
}

/// [`crate::store::Store::long_grant`].
pub(super) async fn long_grant(
    tables: &Tables,
    request_id: &RequestId,
    id: &GrantId,
) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(item) = tables.get(Table::Grants, long_key(request_id)).await? else { return Ok(None) };
    let kept = LONG.iter().filter_map(|name| item.bytes(name).ok());
    Ok(kept.filter_map(|kept| kept.strip_prefix(&id.0)).map(<[u8]>::to_vec).next())
}

/// Looks at a part of the items, from where the last look ended, and forgets those whose time of keeping is over at
/// `now`: DynamoDB does it too, but may take days. Answers how many, and where the look ended.
pub(super) async fn forget(
    tables: &Tables,
    now: Timestamp,
    from: Option<Attributes>,
) -> Result<(u64, Option<Attributes>), StoreError> {
    let (mut forgotten, over) = (0, now - CLOCK_DIFFERENCE);
    let (items, end) = tables.scan(Table::Grants, from, SWEEP_LOOK).await?;
    for item in items {
        if item.time("keep_until")? <= over {
            let still = Condition::new("keep_until <= :over").with(":over", number(over.as_secs()));
            let gone = tables.delete(Table::Grants, key(item.bytes("grant_id")?), still).await?;
            forgotten += u64::from(gone == Written::Done);
        }
    }
    Ok((forgotten, end))
}

/// What is moved to another engine of an item.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moved {
    Redemption { issued_at: Timestamp, id: GrantId },
    Revocation { id: GrantId, session_end: Timestamp },
}

/// Reads it; `None`: nothing is.
pub(super) fn moved(item: &Attributes) -> Result<Option<Moved>, StoreError> {
    let bytes = item.bytes("grant_id")?;
    if let Ok(id) = bytes.try_into() {
        // Of older programs.
        let end = if item.has("session_end") { "session_end" } else { "keep_until" };
        let revoked = is_revoked(item)?.then_some(Moved::Revocation { id: GrantId(id), session_end: item.time(end)? });
        return Ok(revoked);
    }
    let redemption = bytes.split_first_chunk::<8>().and_then(|(time, id)| {
        let issued_at = Timestamp::from_secs(u64::from_be_bytes(*time));
        Some(Moved::Redemption { issued_at, id: GrantId(id.try_into().ok()?) })
    });
    match redemption {
        None if bytes.starts_with(b"L") => Ok(None),
        None => Err(unreadable("grant_id")),
        found => Ok(found),
    }
}
