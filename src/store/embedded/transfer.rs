//! Moving rooms out of SQLite and into it.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Connection, Error, params};
use tokio::sync::mpsc;

use super::EmbeddedStore;
use super::ledger::{EventRow, Failure, Ledger};
use super::retention::note_used;
use super::rows::{arrival, number, select_session, serving_record, session, stored, stored_time, time};
use crate::room::line::LineState;
use crate::room::{Counters, EventId, Position, UsedChunk};
use crate::store::transfer::{IMPORT, Line, Transfer, TransferError, digits, grant_id, status};
use crate::store::{GrantId, StoreError};

/// Says a line; whether anybody still listens.
type Say<'a> = dyn FnMut(Line) -> bool + 'a;

fn export(connection: &Connection, say: &mut Say<'_>) -> Result<(), Error> {
    let mut documents =
        connection.prepare("SELECT name, version, body FROM documents WHERE name <> ?1 ORDER BY name")?;
    let lines = documents.query_map([IMPORT], |row| {
        let body: Vec<u8> = row.get(2)?;
        Ok(Line::Document { name: row.get(0)?, version: number(row, 1)?, body: STANDARD.encode(body) })
    })?;
    if !each(lines, say)? {
        return Ok(());
    }
    if !export_grants(connection, say)? {
        return Ok(());
    }
    let mut events = connection.prepare("SELECT name, life, tick FROM events ORDER BY name")?;
    let mut rows = events.query([])?;
    while let Some(row) = rows.next()? {
        let (name, life): (String, i64) = (row.get(0)?, row.get(1)?);
        let tick = row.get::<_, Option<i64>>(2)?.map(|_| time(row, 2)).transpose()?;
        let event = event_of(&name)?;
        if !export_rows(connection, &event, life, say)? {
            return Ok(());
        }
        let mut select = connection.prepare_cached(concat!(
            "SELECT ",
            super::rows::columns_of_counters!(),
            " FROM events WHERE name = ?1"
        ))?;
        let counters = select.query_row([&name], |row| super::rows::counters(row, 0))?;
        if !say(Line::Event { event, counters, tick }) {
            return Ok(());
        }
    }
    Ok(())
}

fn export_grants(connection: &Connection, say: &mut Say<'_>) -> Result<bool, Error> {
    let mut redemptions = connection.prepare("SELECT id, issued_at FROM redemptions ORDER BY issued_at, id")?;
    let lines = redemptions
        .query_map([], |row| Ok(Line::Redemption { id: digits(GrantId(row.get(0)?)), issued_at: time(row, 1)? }))?;
    if !each(lines, say)? {
        return Ok(false);
    }
    let mut revocations = connection.prepare("SELECT id, keep_until FROM revocations ORDER BY id")?;
    let lines = revocations
        .query_map([], |row| Ok(Line::Revocation { id: digits(GrantId(row.get(0)?)), keep_until: time(row, 1)? }))?;
    each(lines, say)
}

fn export_rows(connection: &Connection, event: &EventId, life: i64, say: &mut Say<'_>) -> Result<bool, Error> {
    let mut arrivals = connection.prepare_cached("SELECT first, at FROM arrivals WHERE life = ?1 ORDER BY first")?;
    if !each(arrivals.query_map([life], |row| arrival(row).map(|row| Line::arrival(event, row)))?, say)? {
        return Ok(false);
    }
    let mut records = connection
        .prepare_cached("SELECT serving, issued_at, served FROM serving_records WHERE life = ?1 ORDER BY serving")?;
    let lines = records.query_map([life], |row| serving_record(row).map(|row| Line::serving_record(event, row)))?;
    if !each(lines, say)? {
        return Ok(false);
    }
    let mut chunks =
        connection.prepare_cached("SELECT chunk, bits FROM used_positions WHERE life = ?1 ORDER BY chunk")?;
    let chunks = chunks.query_map([life], |row| Ok(UsedChunk::new(number(row, 0)?, row.get(1)?)))?;
    for chunk in chunks {
        let used: Vec<Position> = chunk?.positions().collect();
        if !each(Line::used(event, &used).into_iter().map(Ok), say)? {
            return Ok(false);
        }
    }
    let mut sessions = connection.prepare_cached(select_session!(
        "FROM events AS e JOIN sessions AS s ON s.life = e.life WHERE e.name = ?1 ORDER BY s.position, s.request_id"
    ))?;
    let lines = sessions.query_map([event.as_str()], |row| session(row, event))?;
    each(lines.filter_map(|found| Some(found.transpose()?.map(Line::session))), say)
}

fn each(lines: impl Iterator<Item = Result<Line, Error>>, say: &mut Say<'_>) -> Result<bool, Error> {
    for line in lines {
        if !say(line?) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn event_of(name: &str) -> Result<EventId, Error> {
    name.parse().map_err(|_| super::rows::unreadable(0, rusqlite::types::Type::Text, "no such event"))
}

fn occupied(connection: &Connection) -> Result<Option<TransferError>, Error> {
    let first = |sql: &str| {
        let mut select = connection.prepare(sql)?;
        select.query([])?.next()?.map(|row| row.get::<_, String>(0)).transpose()
    };
    if let Some(name) = first("SELECT name FROM events WHERE version > 0 ORDER BY name LIMIT 1")? {
        return event_of(&name).map(|event| Some(TransferError::Begun(event)));
    }
    let documents = format!("SELECT name FROM documents WHERE name <> '{IMPORT}' ORDER BY name LIMIT 1");
    Ok(first(&documents)?.map(TransferError::OtherDocument))
}

/// Why a line was not taken.
enum Halt {
    Refused(TransferError),
    Failed(Failure),
}

impl From<TransferError> for Halt {
    fn from(error: TransferError) -> Self {
        Self::Refused(error)
    }
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Ledger {
    fn import(&mut self, lines: &[Line]) -> Result<Result<(), TransferError>, Failure> {
        match lines.iter().try_for_each(|line| self.import_line(line)) {
            Ok(()) => Ok(Ok(())),
            Err(Halt::Refused(refusal)) => Ok(Err(refusal)),
            Err(Halt::Failed(failure)) => Err(failure),
        }
    }

    fn import_line(&mut self, line: &Line) -> Result<(), Halt> {
        match line {
            Line::Export { .. } | Line::MasterSecret { .. } | Line::End { .. } => Ok(()),
            Line::Document { name, version, body } => self.import_document(name, *version, body),
            Line::Redemption { issued_at, id } => {
                self.note_redeemed(&grant_id(id)?, *issued_at)?;
                Ok(())
            }
            Line::Revocation { id, keep_until } | Line::Grant { id, keep_until, state: 2, .. } => {
                Ok(self.revoke(&grant_id(id)?, *keep_until)?)
            }
            Line::Grant { .. } => Ok(()),
            Line::Event { event, counters, tick } => {
                let row = self.begun_by(event, Some(*counters))?;
                let mut newest = self
                    .connection
                    .prepare_cached("SELECT first, at FROM arrivals WHERE life = ?1 ORDER BY first DESC LIMIT 1")?;
                let newest_arrival = newest.query([row.life])?.next()?.map(arrival).transpose()?;
                drop(newest);
                let line = LineState { counters: *counters, newest_arrival, inlet_tick: *tick };
                self.restore(event, EventRow { line, ..row });
                Ok(())
            }
            Line::Arrival { event, .. }
            | Line::ServingRecord { event, .. }
            | Line::Used { event, .. }
            | Line::Session { event, .. } => {
                let EventRow { life, .. } = self.begun_by(event, None)?;
                self.import_row(line, life)
            }
        }
    }

    /// The event's row, created if need be; an error if its line has begun here, unless it stands as `same` says.
    fn begun_by(&mut self, event: &EventId, same: Option<Counters>) -> Result<EventRow, Halt> {
        self.ensure_event(event)?;
        let row = self.row(event)?;
        match row.counters().version > 0 && same != Some(row.counters()) {
            true => Err(TransferError::Begun(event.clone()).into()),
            false => Ok(row),
        }
    }

    fn import_document(&mut self, name: &str, version: u64, body: &str) -> Result<(), Halt> {
        let body = STANDARD.decode(body).map_err(|_| TransferError::Nonsense("a document"))?;
        let mut select = self.connection.prepare_cached("SELECT version, body FROM documents WHERE name = ?1")?;
        let found =
            select.query([name])?.next()?.map(|row| Ok::<_, Error>((number(row, 0)?, row.get(1)?))).transpose()?;
        if found.is_some_and(|found: (u64, Vec<u8>)| found != (version, body.clone())) {
            return Err(TransferError::OtherDocument(name.to_owned()).into());
        }
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO documents (name, version, body) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?;
        insert.execute(params![name, stored(version), body])?;
        Ok(())
    }

    fn import_row(&self, line: &Line, life: i64) -> Result<(), Halt> {
        match line {
            Line::Arrival { first, at, .. } => self
                .connection
                .prepare_cached("INSERT INTO arrivals (life, first, at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
                .execute(params![life, stored(first.get()), stored_time(*at)])?,
            Line::ServingRecord { serving, issued_at, served, .. } => self
                .connection
                .prepare_cached(
                    "INSERT INTO serving_records (life, serving, issued_at, served) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO NOTHING",
                )?
                .execute(params![life, stored(*serving), stored_time(*issued_at), stored(*served)])?,
            Line::Used { first, last, .. } => {
                let used: Vec<Position> = (first.get()..=last.get()).filter_map(Position::new).collect();
                note_used(&self.connection, life, &used)?;
                0
            }
            Line::Session { request_id, position, opened_at, expires_at, status: code, issuer, opener, .. } => self
                .connection
                .prepare_cached(
                    "INSERT INTO sessions (life, request_id, position, opened_at, expires_at, status, issuer, opener)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
                )?
                .execute(params![
                    life,
                    request_id.as_bytes(),
                    stored(position.get()),
                    stored_time(*opened_at),
                    stored_time(*expires_at),
                    status(*code)?.code(),
                    issuer,
                    opener.map(|opener| *opener.as_bytes()),
                ])?,
            _ => 0,
        };
        Ok(())
    }
}

#[async_trait]
impl Transfer for EmbeddedStore {
    async fn export(&self, lines: mpsc::Sender<Line>) -> Result<(), TransferError> {
        // The file says what was handed out, not what might be.
        let stop = |ledger: &mut Ledger| {
            ledger.stop_leasing();
            Ok(())
        };
        self.operate(stop).await?;
        let readers = Arc::clone(&self.readers);
        let reading = tokio::task::spawn_blocking(move || {
            readers.list(|connection| export(connection, &mut |line| lines.blocking_send(line).is_ok()))
        });
        Ok(reading.await.map_err(|error| StoreError::Unavailable(error.to_string()))??)
    }

    async fn occupied(&self) -> Result<Option<TransferError>, StoreError> {
        let readers = Arc::clone(&self.readers);
        let reading = tokio::task::spawn_blocking(move || readers.list(occupied));
        reading.await.map_err(|error| StoreError::Unavailable(error.to_string()))?
    }

    async fn import(&self, lines: Vec<Line>) -> Result<(), TransferError> {
        self.write(move |ledger| ledger.import(&lines)).await?
    }
}
