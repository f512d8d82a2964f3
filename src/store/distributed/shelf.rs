//! Grants and documents: each an item of its own, changed by conditional writes that tell who made them.

use super::fields::{Fields, number, text};
use super::journal::Mark;
use super::tables::{Condition, Table, Tables, Written};
use crate::ambient::Timestamp;
use crate::policy::SWEEP_LOOK;
use crate::store::{Document, GrantId, GrantStanding, NewGrant, StoreError, TakenGrant};

/// The states of a grant. Given: its code can be redeemed.
const GIVEN: u8 = 0;
/// Taken: somebody redeemed it.
const TAKEN: u8 = 1;
/// Revoked: somebody tried again.
const REVOKED: u8 = 2;

fn grant_key(id: &GrantId) -> Fields {
    Fields::new().with_bytes("grant_id", &id.0)
}

/// [`crate::store::Store::put_grant`].
pub(super) async fn put_grant(tables: &Tables, grant: &NewGrant) -> Result<(), StoreError> {
    let item = grant_key(&grant.id)
        .with_text("event_id", grant.event.as_str())
        .with_text("request_id", grant.request_id.to_string())
        .with_time("redeem_before", grant.redeem_before)
        .with_time("keep_until", grant.keep_until)
        .with_number("grant_state", GIVEN)
        .with_text("body", grant.body.as_str());
    tables.put(Table::Grants, item, Condition::new("attribute_not_exists(grant_id)")).await.map(drop)
}

/// [`crate::store::Store::take_grant`].
pub(super) async fn take_grant(
    tables: &Tables,
    id: &GrantId,
    now: Timestamp,
    mark: Mark,
) -> Result<TakenGrant, StoreError> {
    let mark = String::from(mark);
    let given = Condition::new("grant_state = :given AND redeem_before > :now AND keep_until > :now")
        .with(":given", number(GIVEN))
        .with(":taken", number(TAKEN))
        .with(":now", number(now.as_secs()))
        .with(":mark", text(mark.as_str()));
    let taken = "SET grant_state = :taken, taken_by = :mark";
    let there = match tables.change(Table::Grants, grant_key(id), taken, given).await? {
        Ok(item) => return item.owned_text("body").map(TakenGrant::Taken),
        Err(there) => there,
    };
    if there.0.is_empty() || now >= there.time("keep_until")? {
        return Ok(TakenGrant::Unknown);
    }
    // Only the answer of an earlier try of this very call was lost.
    if there.maybe("taken_by", Fields::owned_text)?.as_ref() == Some(&mark) {
        return there.owned_text("body").map(TakenGrant::Taken);
    }
    if there.number("grant_state")? == u64::from(GIVEN) {
        return Ok(TakenGrant::Unknown);
    }
    let revoked = Condition::new("attribute_exists(grant_id)").with(":revoked", number(REVOKED));
    tables.update(Table::Grants, grant_key(id), "SET grant_state = :revoked", revoked).await?;
    Ok(TakenGrant::Replayed)
}

/// How a grant stands.
pub(super) async fn grant_standing(tables: &Tables, id: &GrantId) -> Result<GrantStanding, StoreError> {
    let Some(item) = tables.get(Table::Grants, grant_key(id)).await? else { return Ok(GrantStanding::Unknown) };
    Ok(match u8::try_from(item.number("grant_state")?) {
        Ok(TAKEN) => GrantStanding::Good(item.owned_text("body")?),
        Ok(REVOKED) => GrantStanding::Revoked,
        _ => GrantStanding::Unknown,
    })
}

/// Looks at a part of the grants, from where the last look ended, and forgets those whose time of keeping is over at
/// `now`: DynamoDB does it too, but may take days. Answers how many, and where the look ended.
pub(super) async fn forget_grants(
    tables: &Tables,
    now: Timestamp,
    from: Option<Fields>,
) -> Result<(u64, Option<Fields>), StoreError> {
    let mut forgotten = 0;
    let (grants, end) = tables.scan(Table::Grants, from, SWEEP_LOOK).await?;
    for grant in grants {
        if grant.time("keep_until")? <= now {
            let over = Condition::new("keep_until <= :now").with(":now", number(now.as_secs()));
            let key = Fields::new().with_bytes("grant_id", grant.bytes("grant_id")?);
            forgotten += u64::from(tables.delete(Table::Grants, key, over).await? == Written::Done);
        }
    }
    Ok((forgotten, end))
}

fn document_key(name: &str) -> Fields {
    Fields::new().with_text("document", name)
}

/// [`crate::store::Store::document`].
pub(super) async fn document(tables: &Tables, name: &str) -> Result<Option<Document>, StoreError> {
    let Some(item) = tables.get(Table::Documents, document_key(name)).await? else { return Ok(None) };
    Ok(Some(Document { version: item.number("version")?, body: item.bytes("body")?.to_owned() }))
}

/// [`crate::store::Store::replace_document`].
pub(super) async fn replace_document(
    tables: &Tables,
    name: &str,
    expected: u64,
    body: &[u8],
    mark: Mark,
) -> Result<bool, StoreError> {
    let mark = String::from(mark);
    let item = document_key(name)
        .with_number("version", expected + 1)
        .with_bytes("body", body)
        .with_text("written_by", mark.as_str());
    let condition = match expected {
        0 => Condition::new("attribute_not_exists(document)"),
        expected => Condition::new("version = :expected").with(":expected", number(expected)),
    };
    Ok(match tables.put(Table::Documents, item, condition).await? {
        Written::Done => true,
        Written::Refused(there) => there.maybe("written_by", Fields::owned_text)? == Some(mark),
    })
}

/// What is written for the sake of writing.
pub(super) const PULSE: &str = "pulse";

/// Writes it.
pub(super) async fn beat(tables: &Tables) -> Result<(), StoreError> {
    tables.put(Table::Documents, document_key(PULSE), Condition::none()).await.map(drop)
}
