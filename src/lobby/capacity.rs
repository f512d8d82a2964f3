//! Rooms of limited capacity: free capacity admits the next visitors.

use super::{Lobby, LobbyError, Room};
use crate::policy;
use crate::room::{Counters, Inlet, MaxSize, RequestId, SessionStatus};
use crate::store::{AdvanceFrom, Closed};

/// Departures that a site reports: the message of the retired system's inlet.
#[derive(Clone, Debug, Default)]
pub struct Departures {
    /// The number of visitors who left, if the site counts them.
    pub exited: Option<u64>,
    /// The sessions to complete.
    pub completed: Vec<RequestId>,
    /// The sessions to abandon.
    pub abandoned: Vec<RequestId>,
}

/// The effect of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DepartureOutcome {
    /// The counters after it.
    pub counters: Counters,
    /// The number of sessions that it closed.
    pub updated: u64,
    /// Request IDs without an active session.
    pub skipped: Vec<RequestId>,
    /// The number of positions that it served.
    pub admitted: u64,
}

impl Lobby {
    /// Closes the sessions of departed visitors and serves the next ones, up to the free capacity: `exited` of them, or
    /// else as many as were closed. The inlet's next step fills the remaining capacity. A closed gate admits no one.
    /// Returns `None` if the event's inlet takes no messages. The log names `by`, the sender of the message.
    ///
    /// # Errors
    /// When the store is away; a repeated message skips what was done.
    pub async fn process_departures(
        &self,
        room: &Room,
        exits: Departures,
        by: &str,
    ) -> Result<Option<DepartureOutcome>, LobbyError> {
        let Inlet::MaxSize(places) = room.settings.inlet else { return Ok(None) };
        let _guard = room.capacity_lock.lock().await;
        let completed = exits.completed.into_iter().map(|id| (id, SessionStatus::Completed));
        let abandoned = exits.abandoned.into_iter().map(|id| (id, SessionStatus::Abandoned));
        let (mut updated, mut skipped) = (0, Vec::new());
        for (id, status) in completed.chain(abandoned) {
            match self.store.close_session(&room.settings.id, &id, status).await? {
                Closed::Now(counters) => {
                    room.log_closed(&id, status, by);
                    room.cache.update(counters);
                    updated += 1;
                }
                Closed::Before(_) | Closed::Unknown => skipped.push(id),
            }
        }
        let admitted = self.fill_locked(room, places, exits.exited.unwrap_or(updated)).await?;
        Ok(Some(DepartureOutcome { counters: room.cache.counters(), updated, skipped, admitted }))
    }

    /// Serves the next positions, as many as there is free capacity and `limit` at most; returns how many.
    ///
    /// # Errors
    /// When the store is away: no position was served.
    pub(super) async fn fill(&self, room: &Room, places: MaxSize, limit: u64) -> Result<u64, LobbyError> {
        let _guard = room.capacity_lock.lock().await;
        self.fill_locked(room, places, limit).await
    }

    /// The same, for a caller that holds the room's capacity lock.
    async fn fill_locked(&self, room: &Room, places: MaxSize, limit: u64) -> Result<u64, LobbyError> {
        let event = &room.settings.id;
        if !room.is_open() {
            return Ok(0);
        }
        for _ in 0..policy::FILL_ATTEMPTS {
            let now = self.now();
            let occupancy = self.store.occupancy(event, now).await?;
            let due = places.due(now, &occupancy).min(limit);
            if due == 0 {
                break;
            }
            match self.store.advance_from(event, &occupancy.counters, due, now).await? {
                AdvanceFrom::Moved(counters) => {
                    tracing::debug!(%event, by = due, serving = counters.serving, "free capacity was filled");
                    room.cache.update(counters);
                    return Ok(due);
                }
                // Another node moved the counters: count again.
                AdvanceFrom::Changed => {}
                AdvanceFrom::OutOfRange => break,
            }
        }
        Ok(0)
    }
}
