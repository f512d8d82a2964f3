//! Sessions: one item by ticket, and a place by position while it matters who is inside.
//!
//! Opening and closing are decided in three writes: the intent in the event's intent log, the session itself, and its
//! count (see `draft.rs`). Each can be repeated by whoever finds it half done: a session carries the idempotency key of the call
//! that opened and of the one that closed it.

use std::sync::{Mutex, PoisonError};

use super::client::{Attributes, number, text, unreadable};
use super::client::{Condition, EXPIRES_INDEX, Query, Table, Tables, Written};
use super::intent_log::{Execution, IdempotencyKey, IntentKind};
use super::state::{EventState, epoch_key};
use crate::ambient::Timestamp;
use crate::policy::{SWEEP_LOOK, SWEEP_ROWS};
use crate::room::{
    EventId, FutureSessions, Generation, Moment, Occupancy, Opener, Position, RequestId, Session, SessionStatus, Stay,
};
use crate::store::StoreError;

fn key(request_id: &RequestId) -> Attributes {
    Attributes::new().with_text("request_id", request_id.to_string())
}

fn item(session: &Session, epoch: u64, idempotency_key: IdempotencyKey) -> Attributes {
    key(&session.request_id)
        .with_text("event_id", epoch_key(&session.event, epoch))
        .with_number("life", epoch)
        .with_number("generation", session.generation.0)
        .with_number("queue_number", session.position.get())
        .with_time("issued_at", session.opened_at)
        .with_time("expires", session.expires_at)
        .with_number("session_status", session.status.code())
        .with_some("issuer", session.issuer.clone().map(text))
        .with_some("opener", session.opener.map(text))
        .with_text("opened_by", String::from(idempotency_key))
}

fn status(item: &Attributes) -> Result<SessionStatus, StoreError> {
    SessionStatus::from_code(item.signed("session_status")?).ok_or_else(|| unreadable("session_status"))
}

pub(super) fn session(item: &Attributes, event: &EventId) -> Result<Session, StoreError> {
    let generation = u16::try_from(item.number("generation")?).map_err(|_| unreadable("generation"))?;
    Ok(Session {
        event: event.clone(),
        generation: Generation(generation),
        request_id: item.text("request_id")?.parse().map_err(|_| unreadable("request_id"))?,
        position: item.position("queue_number")?,
        opened_at: item.time("issued_at")?,
        expires_at: item.time("expires")?,
        status: status(item)?,
        issuer: item.maybe("issuer", |item, name| item.text(name).map(str::to_owned))?,
        opener: item.maybe("opener", opener)?,
    })
}

fn opener(item: &Attributes, name: &str) -> Result<Opener, StoreError> {
    item.owned_text(name)?.try_into().map_err(|_| unreadable(name))
}

/// Whether the item is of this epoch of the event.
fn is_of(item: &Attributes, event: &EventId, epoch: u64) -> Result<bool, StoreError> {
    Ok(item.text("event_id")? == epoch_key(event, epoch))
}

/// The session of a ticket in this generation.
pub(super) async fn find(
    tables: &Tables,
    event: &EventId,
    generation: Generation,
    request_id: &RequestId,
) -> Result<Option<Session>, StoreError> {
    let Some(item) = tables.get(Table::Tokens, key(request_id)).await? else { return Ok(None) };
    let of_event = item.text("event_id")?.rsplit_once('#').is_some_and(|(name, _)| name == event.as_str());
    let found = session(&item, event)?;
    Ok((of_event && found.generation == generation).then_some(found))
}

/// Writes the session unless its ticket has one: `None` if this call, or another with its idempotency key, wrote it; else that
/// which was there.
pub(super) async fn put(
    tables: &Tables,
    session: &Session,
    epoch: u64,
    idempotency_key: IdempotencyKey,
) -> Result<Option<Session>, StoreError> {
    let earlier_life = "attribute_not_exists(request_id) OR (begins_with(event_id, :event) AND life < :life)";
    let condition =
        Condition::new(earlier_life).with(":event", text(format!("{}#", session.event))).with(":life", number(epoch));
    match tables.put(Table::Tokens, item(session, epoch, idempotency_key), condition).await? {
        Written::Done => {}
        Written::Refused(there) if there.text("opened_by")? == String::from(idempotency_key) => {}
        Written::Refused(there) => return self::session(&there, &session.event).map(Some),
    }
    let place = place_key(&session.event, epoch, session.position.get())
        .with_time("issued_at", session.opened_at)
        .with_time("expires", session.expires_at)
        .with_number("inside", u8::from(session.status == SessionStatus::Active));
    tables.put(Table::Places, place, Condition::new("attribute_not_exists(inside)")).await?;
    Ok(None)
}

/// Closes the session if it is active: `None` if this call, or another with its idempotency key, closed it; else how it had ended.
pub(super) async fn close(
    tables: &Tables,
    event: &EventId,
    epoch: u64,
    request_id: &RequestId,
    status: SessionStatus,
    idempotency_key: IdempotencyKey,
) -> Result<Option<SessionStatus>, StoreError> {
    let active = Condition::new("event_id = :event AND session_status = :active")
        .with(":event", text(epoch_key(event, epoch)))
        .with(":active", number(SessionStatus::Active.code()))
        .with(":status", number(status.code()))
        .with(":mark", text(String::from(idempotency_key)));
    let change = "SET session_status = :status, closed_by = :mark";
    match tables.update(Table::Tokens, key(request_id), change, active).await? {
        Written::Done => {}
        Written::Refused(there) if there.0.is_empty() => return Ok(Some(SessionStatus::Active)),
        Written::Refused(there)
            if there.maybe("closed_by", Attributes::owned_text)? == Some(String::from(idempotency_key)) => {}
        Written::Refused(there) => return self::status(&there).map(Some),
    }
    if let Some(there) = tables.get(Table::Tokens, key(request_id)).await?
        && is_of(&there, event, epoch)?
    {
        // Whoever opened it may not have come to the place yet, and will not put anybody into it then.
        let place = place_key(event, epoch, there.number("queue_number")?);
        let left = Condition::none().with(":inside", number(0)).with(":end", number(there.time("expires")?.as_secs()));
        tables.update(Table::Places, place, "SET inside = :inside, expires = :end", left).await?;
    }
    Ok(None)
}

fn place_key(event: &EventId, epoch: u64, position: u64) -> Attributes {
    Attributes::new().with_text("event_id", epoch_key(event, epoch)).with_number("queue_position", position)
}

/// Whether somebody had a place by this position.
pub(super) async fn has_place(
    tables: &Tables,
    event: &EventId,
    epoch: u64,
    position: Position,
) -> Result<bool, StoreError> {
    Ok(tables.get(Table::Places, place_key(event, epoch, position.get())).await?.is_some())
}

/// Notes the place of a session that was forgotten elsewhere.
pub(super) async fn put_used(tables: &Tables, event: &EventId, epoch: u64, position: u64) -> Result<(), StoreError> {
    let place = place_key(event, epoch, position).with_number("expires", 0).with_number("inside", 0);
    tables.put(Table::Places, place, Condition::new("attribute_not_exists(inside)")).await.map(drop)
}

/// Some of the sessions that ended at `before` or earlier: their keys and positions.
pub(super) async fn over(
    tables: &Tables,
    event: &EventId,
    epoch: u64,
    before: Timestamp,
) -> Result<Vec<(Attributes, Position)>, StoreError> {
    let limit = usize::try_from(SWEEP_LOOK).unwrap_or(1);
    let rows = span(tables, event, epoch, 0, before.as_secs(), limit).await?;
    let named = |row: &Attributes| {
        Ok((Attributes::new().with_text("request_id", row.text("request_id")?), row.position("queue_number")?))
    };
    rows.iter().map(named).collect()
}

/// Deletes these sessions, if they are of this epoch and ended at `before` or earlier.
pub(super) async fn forget(
    tables: &Tables,
    event: &EventId,
    epoch: u64,
    before: Timestamp,
    keys: Vec<Attributes>,
) -> Result<(), StoreError> {
    let over = Condition::new("event_id = :event AND expires <= :before")
        .with(":event", text(epoch_key(event, epoch)))
        .with(":before", number(before.as_secs()));
    tables.delete_where(Table::Tokens, keys, &over).await
}

/// How many of the positions above `from` through `through` have a session or, `entering`, are about to.
async fn used(
    tables: &Tables,
    event: &EventId,
    epoch: u64,
    (from, through): (u64, u64),
    entering: &[u64],
) -> Result<u64, StoreError> {
    let keys = Condition::new("event_id = :event AND queue_position BETWEEN :first AND :last")
        .with(":event", text(epoch_key(event, epoch)))
        .with(":first", number(from + 1))
        .with(":last", number(through));
    let rows = tables.query(Query::of(Table::Places, keys)).await?;
    let mut positions = rows.iter().map(|row| row.number("queue_position")).collect::<Result<Vec<_>, _>>()?;
    positions.extend(entering);
    positions.retain(|position| (from + 1..=through).contains(position));
    positions.sort_unstable();
    positions.dedup();
    Ok(positions.len() as u64)
}

/// Who holds a place, counting those whose session is only being opened. The item was read before this: who is in its
/// counters is in its intent log or among the places.
pub(super) async fn occupancy(
    tables: &Tables,
    event: &EventId,
    state: &EventState,
    future: &Mutex<FutureSessions>,
    now: Moment,
) -> Result<Occupancy, StoreError> {
    let keys = Condition::new("event_id = :event").with(":event", text(epoch_key(event, state.epoch)));
    let rows = tables.query(Query::of(Table::Places, keys)).await?;
    let (mut inside, mut used) = (Vec::new(), 0);
    let mut seen = Vec::with_capacity(rows.len());
    let counters = state.counters;
    let usable = |position: u64| position > counters.max_expired && position <= counters.serving;
    for row in &rows {
        let position = row.number("queue_position")?;
        if row.number("inside")? == 1 {
            // Older programs do not say it.
            let opened_at = row.maybe("issued_at", Attributes::time)?.unwrap_or_default();
            inside.push(Stay { position, opened_at, expires_at: row.time("expires")? });
        }
        used += u64::from(usable(position));
        seen.push(position);
    }
    for (_, entrant) in state.entrants() {
        let position = entrant.position.get();
        // The rows are in the order of their positions.
        if seen.binary_search(&position).is_err() {
            inside.push(Stay { position, opened_at: entrant.opened_at, expires_at: entrant.expires_at });
            used += u64::from(usable(position));
        }
    }
    let active = future.lock().unwrap_or_else(PoisonError::into_inner).count(state.epoch, inside, now);
    Ok(Occupancy::new(counters, active, used))
}

/// Forgets the places that nobody asks after any more: given up or used long ago, and left. Those that an expiry pass
/// has yet to count stay.
pub(super) async fn sweep_places(
    tables: &Tables,
    event: &EventId,
    state: &EventState,
    now: Timestamp,
) -> Result<(), StoreError> {
    let keys = Condition::new("event_id = :event AND queue_position <= :expired")
        .with(":event", text(epoch_key(event, state.epoch)))
        .with(":expired", number(state.expired_and_counted()));
    let mut left = Vec::new();
    for row in tables.query(Query::of(Table::Places, keys)).await? {
        if row.number("inside")? == 0 || row.time("expires")? < now {
            left.push(place_key(event, state.epoch, row.number("queue_position")?));
        }
    }
    left.truncate(SWEEP_ROWS);
    tables.delete_all(Table::Places, left).await
}

/// [`crate::store::Store::active_sessions`]; sessions of the last second may be missing.
pub(super) async fn active(tables: &Tables, event: &EventId, epoch: u64, now: Timestamp) -> Result<u64, StoreError> {
    let keys = Condition::new("event_id = :event AND expires >= :now")
        .with(":event", text(epoch_key(event, epoch)))
        .with(":now", number(now.as_secs()))
        .with(":active", number(SessionStatus::Active.code()));
    let filter = Some("session_status = :active");
    tables.count(Query { index: Some(EXPIRES_INDEX), filter, ..Query::of(Table::Tokens, keys) }).await
}

/// [`crate::store::Store::expired_sessions`].
pub(super) async fn expired(
    tables: &Tables,
    event: &EventId,
    epoch: u64,
    now: Timestamp,
    after: Option<(Timestamp, RequestId)>,
    limit: usize,
) -> Result<Vec<Session>, StoreError> {
    let Some(last) = now.as_secs().checked_sub(1) else { return Ok(Vec::new()) };
    let mut from = after.map_or(0, |(end, _)| end.as_secs());
    let mut found: Vec<Session> = Vec::new();
    // Sessions of one second are in no order there: each second is read whole.
    while found.len() < limit && from <= last {
        let at_once = limit.saturating_add(1).clamp(16, 1_000);
        let rows = span(tables, event, epoch, from, last, at_once).await?;
        let sessions = rows.iter().map(|row| session(row, event)).collect::<Result<Vec<_>, _>>()?;
        let Some(newest) = sessions.last().map(|session| session.expires_at.as_secs()) else { break };
        let whole = rows.len() < at_once;
        let mut seconds: Vec<Session> = match whole {
            true => sessions,
            false if sessions.first().is_some_and(|first| first.expires_at.as_secs() == newest) => {
                let second = span(tables, event, epoch, newest, newest, 0).await?;
                second.iter().map(|row| session(row, event)).collect::<Result<_, _>>()?
            }
            false => sessions.into_iter().filter(|session| session.expires_at.as_secs() < newest).collect(),
        };
        from = match (whole, seconds.last()) {
            (true, _) | (false, None) => last + 1,
            (false, Some(session)) => session.expires_at.as_secs() + 1,
        };
        let rank = |end: Timestamp, request_id: &RequestId| (end, *request_id.as_bytes());
        let after = after.as_ref().map(|(end, request_id)| rank(*end, request_id));
        let place = |session: &Session| rank(session.expires_at, &session.request_id);
        seconds.retain(|session| after.is_none_or(|after| place(session) > after));
        seconds.sort_by_key(place);
        found.append(&mut seconds);
    }
    found.truncate(limit);
    Ok(found)
}

async fn span(
    tables: &Tables,
    event: &EventId,
    epoch: u64,
    from: u64,
    last: u64,
    limit: usize,
) -> Result<Vec<Attributes>, StoreError> {
    let keys = Condition::new("event_id = :event AND expires BETWEEN :from AND :last")
        .with(":event", text(epoch_key(event, epoch)))
        .with(":from", number(from))
        .with(":last", number(last));
    let mut rows = tables.query(Query { index: Some(EXPIRES_INDEX), limit, ..Query::of(Table::Tokens, keys) }).await?;
    if limit > 0 {
        rows.truncate(limit);
    }
    Ok(rows)
}

/// How a kind under way ends, having done what of it lies outside the event's item.
pub(super) enum Outcome {
    /// The session that the ticket has, and whether the kind opened it.
    Opened(Session, bool),
    /// How the session had ended before, if it was not the kind that closed it.
    Closed(Option<SessionStatus>),
    /// So many of the positions have a session.
    Counted(u64),
}

/// Does what of a kind lies outside the event's item, where it stands or stood since it was decided.
pub(super) async fn execute(tables: &Tables, event: &EventId, execution: &Execution) -> Result<Outcome, StoreError> {
    let (epoch, idempotency_key) = (execution.epoch, execution.intent.idempotency_key);
    Ok(match &execution.intent.kind {
        IntentKind::Open(entrant) => {
            let session = entrant.session(event, execution.generation);
            match put(tables, &session, epoch, idempotency_key).await? {
                None => Outcome::Opened(session, true),
                Some(there) => Outcome::Opened(there, false),
            }
        }
        IntentKind::Close { request_id, code } => {
            let status = SessionStatus::from_code((*code).into()).unwrap_or(SessionStatus::Completed);
            Outcome::Closed(close(tables, event, epoch, request_id, status, idempotency_key).await?)
        }
        IntentKind::Expire { from, through, .. } => {
            Outcome::Counted(used(tables, event, epoch, (*from, *through), &execution.entering).await?)
        }
    })
}
