//! Moving rooms out of DynamoDB and into it.

use std::collections::HashSet;
use std::sync::Mutex;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::mpsc;

use super::DistributedStore;
use super::client::{Attributes, number, text, unreadable};
use super::client::{Condition, EXPIRES_INDEX, Query, Table, Written};
use super::documents::PULSE;
use super::engine::Engine;
use super::grants::{self, Moved, moved};
use super::intent_log::{IdempotencyKey, LogRow};
use super::state::{EventState, epoch_key};
use super::{log, sessions};
use crate::ambient::Timestamp;
use crate::room::{Arrival, Counters, EventId, Position, Session};
use crate::store::StoreError;
use crate::store::transfer::{IMPORT, Line, Transfer, TransferError, digits, grant_id, status};

/// Documents that belong to a store, not to what it keeps.
const OWN: [&str; 3] = ["master-secret", PULSE, IMPORT];

/// How many items are read at once.
const PAGE: i32 = 500;

impl Engine {
    /// Says a line; an error if nobody listens any more.
    async fn say(lines: &mpsc::Sender<Line>, line: Line) -> Result<(), StoreError> {
        lines.send(line).await.map_err(|_| StoreError::Unavailable("nobody takes the lines".to_owned()))
    }

    async fn export(&self, lines: &mpsc::Sender<Line>) -> Result<(), StoreError> {
        for item in self.documents().await? {
            let (name, body) = (item.owned_text("document")?, STANDARD.encode(item.bytes("body")?));
            Self::say(lines, Line::Document { name, version: item.number("version")?, body }).await?;
        }
        let found = self.all(Table::Grants).await?;
        let mut found = found.iter().filter_map(|item| moved(item).transpose()).collect::<Result<Vec<_>, _>>()?;
        found.sort();
        for moved in found {
            Self::say(lines, grant_line(&moved)).await?;
        }
        let mut events = self.all(Table::Events).await?;
        events.sort_by_key(|item| item.owned_text("event_id").unwrap_or_default());
        for item in events {
            let event: EventId = item.text("event_id")?.parse().map_err(|_| unreadable("event_id"))?;
            let state = EventState::read(&item)?;
            if !state.intent_log.intents.is_empty() {
                let busy = format!("event {event} has something under way: stop all nodes, and try again in a minute");
                return Err(StoreError::Unavailable(busy));
            }
            self.export_event(lines, &event, &state).await?;
        }
        Ok(())
    }

    async fn export_event(
        &self,
        lines: &mpsc::Sender<Line>,
        event: &EventId,
        state: &EventState,
    ) -> Result<(), StoreError> {
        let tables = &self.context.tables;
        for arrival in log::arrivals(tables, event, state, None).await? {
            Self::say(lines, Line::arrival(event, arrival)).await?;
        }
        for record in log::recent_records(tables, event, u32::MAX, &Mutex::default()).await? {
            Self::say(lines, Line::serving_record(event, record)).await?;
        }
        let keys = Condition::new("event_id = :event").with(":event", text(epoch_key(event, state.epoch)));
        let rows = tables.query(Query { index: Some(EXPIRES_INDEX), ..Query::of(Table::Tokens, keys) }).await?;
        let mut found = rows.iter().map(|row| sessions::session(row, event)).collect::<Result<Vec<Session>, _>>()?;
        found.sort_by_key(|session| (session.position, *session.request_id.as_bytes()));
        for line in Line::used(event, &self.used(event, state, &found).await?) {
            Self::say(lines, line).await?;
        }
        for session in found {
            Self::say(lines, Line::session(session)).await?;
        }
        Self::say(lines, Line::Event { event: event.clone(), counters: state.counters.settled(), tick: state.tick })
            .await
    }

    /// The positions that had sessions which are forgotten: places without one of those that are `found`.
    async fn used(&self, event: &EventId, state: &EventState, found: &[Session]) -> Result<Vec<Position>, StoreError> {
        if state.intent_log.forgotten == 0 {
            return Ok(Vec::new());
        }
        let kept: HashSet<u64> = found.iter().map(|session| session.position.get()).collect();
        let keys = Condition::new("event_id = :event AND queue_position BETWEEN :first AND :last")
            .with(":event", text(epoch_key(event, state.epoch)))
            .with(":first", number(state.counters.max_expired + 1))
            .with(":last", number(state.intent_log.forgotten.max(state.counters.max_expired + 1)));
        let rows = self.context.tables.query(Query::of(Table::Places, keys)).await?;
        let positions = rows.iter().map(|row| row.position("queue_position")).collect::<Result<Vec<_>, _>>()?;
        Ok(positions.into_iter().filter(|position| !kept.contains(&position.get())).collect())
    }

    async fn documents(&self) -> Result<Vec<Attributes>, StoreError> {
        let mut found = self.all(Table::Documents).await?;
        found.retain(|item| item.text("document").is_ok_and(|name| !OWN.contains(&name)));
        Ok(found)
    }

    async fn occupied(&self) -> Result<Option<TransferError>, StoreError> {
        for item in self.all(Table::Events).await? {
            if has_begun(&EventState::read(&item)?) {
                let event = item.text("event_id")?.parse().map_err(|_| unreadable("event_id"))?;
                return Ok(Some(TransferError::Begun(event)));
            }
        }
        let documents = self.documents().await?;
        let name = documents.first().map(|document| document.owned_text("document")).transpose()?;
        Ok(name.map(TransferError::OtherDocument))
    }

    /// Every item of a table, for those that are small.
    async fn all(&self, table: Table) -> Result<Vec<Attributes>, StoreError> {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let (items, end) = self.context.tables.scan(table, from, PAGE).await?;
            found.extend(items);
            from = end;
            if from.is_none() {
                return Ok(found);
            }
        }
    }

    async fn import(&self, lines: Vec<Line>) -> Result<(), TransferError> {
        for line in lines {
            if let Some(event) = line.event() {
                self.not_begun(event, &line).await?;
            }
            self.import_line(line).await?;
        }
        Ok(())
    }

    /// An error if the event has begun here, unless it stands as the line says.
    async fn not_begun(&self, event: &EventId, line: &Line) -> Result<(), TransferError> {
        let key = Attributes::new().with_text("event_id", event.as_str());
        let Some(item) = self.context.tables.get(Table::Events, key).await? else { return Ok(()) };
        let state = EventState::read(&item)?;
        let same = matches!(line, Line::Event { counters, .. } if state.counters == *counters);
        if has_begun(&state) && !same { Err(TransferError::Begun(event.clone())) } else { Ok(()) }
    }

    async fn import_line(&self, line: Line) -> Result<(), TransferError> {
        let tables = &self.context.tables;
        match line {
            Line::Export { .. } | Line::MasterSecret { .. } | Line::End { .. } => {}
            Line::Document { name, version, body } => self.import_document(&name, version, &body).await?,
            Line::Redemption { issued_at, id } => {
                grants::note_redeemed(tables, &grant_id(&id)?, issued_at, IdempotencyKey::default()).await?;
            }
            Line::Revocation { id, keep_until } | Line::Grant { id, keep_until, state: 2, .. } => {
                grants::revoke(tables, &grant_id(&id)?, keep_until).await?;
            }
            Line::Grant { .. } => {}
            Line::Arrival { event, first, at } => log::put(tables, &event, 0, LogRow::Arrival { first, at }).await?,
            Line::ServingRecord { event, serving, issued_at, served } => {
                let row = LogRow::Serving { turn: 0, serving, at: issued_at, served };
                log::put(tables, &event, 0, row).await?;
            }
            Line::Used { event, first, last } => {
                for position in first.get()..=last.get() {
                    sessions::put_used(tables, &event, 0, position).await?;
                }
            }
            Line::Session {
                event,
                generation,
                request_id,
                position,
                opened_at,
                expires_at,
                status: code,
                issuer,
                opener,
            } => {
                let session = Session {
                    event,
                    generation,
                    request_id,
                    position,
                    opened_at,
                    expires_at,
                    status: status(code)?,
                    issuer,
                    opener,
                };
                sessions::put(tables, &session, 0, IdempotencyKey::new([0; 16])).await?;
            }
            Line::Event { event, counters, tick } => {
                let newest = log::newest_arrival(tables, &event, 0).await?;
                self.import_event(&event, counters, newest, tick).await?;
            }
        }
        Ok(())
    }

    async fn import_event(
        &self,
        event: &EventId,
        counters: Counters,
        newest_arrival: Option<Arrival>,
        tick: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let mut state = EventState { revision: 1, counters, newest_arrival, tick, ..EventState::default() };
        // Some of those that have a place may have no session any more.
        state.intent_log.forgotten = counters.serving;
        let untouched = Condition::new("attribute_not_exists(event_id) OR revision = :none").with(":none", number(0));
        self.context.tables.put(Table::Events, state.item(event)?, untouched).await.map(drop)
    }

    async fn import_document(&self, name: &str, version: u64, body: &str) -> Result<(), TransferError> {
        let body = STANDARD.decode(body).map_err(|_| TransferError::Nonsense("a document"))?;
        let item =
            Attributes::new().with_text("document", name).with_number("version", version).with_bytes("body", &body);
        let absent = Condition::new("attribute_not_exists(document)");
        match self.context.tables.put(Table::Documents, item, absent).await? {
            Written::Done => Ok(()),
            Written::Refused(there) if (there.number("version")?, there.bytes("body")?) == (version, &body) => Ok(()),
            Written::Refused(_) => Err(TransferError::OtherDocument(name.to_owned())),
        }
    }
}

const fn has_begun(state: &EventState) -> bool {
    state.counters.version > 0 || state.epoch > 0
}

fn grant_line(moved: &Moved) -> Line {
    match *moved {
        Moved::Redemption { issued_at, id } => Line::Redemption { issued_at, id: digits(id) },
        Moved::Revocation { id, session_end } => Line::Revocation { id: digits(id), keep_until: session_end },
    }
}

#[async_trait]
impl Transfer for DistributedStore {
    async fn export(&self, lines: mpsc::Sender<Line>) -> Result<(), TransferError> {
        Ok(self.on_engine(|engine| async move { engine.export(&lines).await }).await?)
    }

    async fn occupied(&self) -> Result<Option<TransferError>, StoreError> {
        self.on_engine(|engine| async move { engine.occupied().await }).await
    }

    async fn import(&self, lines: Vec<Line>) -> Result<(), TransferError> {
        // Refusals are not the engine's: they come back as its answer.
        self.on_engine(|engine| async move { Ok(engine.import(lines).await) }).await?
    }
}
