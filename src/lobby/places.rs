//! Rooms that hold so many and no more: free places are given to the next in line.

use super::{Fault, Lobby, Room};
use crate::policy;
use crate::room::{Counters, Inlet, MaxSize, RequestId, SessionStatus};
use crate::store::{AdvanceFrom, Closed};

/// What the site tells of its visitors: the message of the retired system's inlet.
#[derive(Clone, Debug, Default)]
pub struct Exits {
    /// How many left, where the site counts them.
    pub exited: Option<u64>,
    /// Whose session is completed.
    pub completed: Vec<RequestId>,
    /// Whose session is abandoned.
    pub abandoned: Vec<RequestId>,
}

/// What a message brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refilled {
    /// The event after it.
    pub counters: Counters,
    /// Sessions that it ended.
    pub updated: u64,
    /// Tickets that have no active session.
    pub skipped: Vec<RequestId>,
    /// Positions that were served for it.
    pub admitted: u64,
}

impl Lobby {
    /// Ends the sessions of those who left, and serves as many of the next as there are places: `exited`, or else as
    /// many as were ended, at once; what is free besides, at the inlet's next step. Nobody while the gate is closed. `None`: the event's inlet takes no messages.
    /// The log names `by`, who sent the message.
    ///
    /// # Errors
    /// When the store is away; a message that is sent again skips what was done.
    pub async fn note_exits(&self, room: &Room, exits: Exits, by: &str) -> Result<Option<Refilled>, Fault> {
        let Inlet::MaxSize(places) = room.settings.inlet else { return Ok(None) };
        let _turn = room.turn.lock().await;
        let completed = exits.completed.into_iter().map(|id| (id, SessionStatus::Completed));
        let abandoned = exits.abandoned.into_iter().map(|id| (id, SessionStatus::Abandoned));
        let (mut updated, mut skipped) = (0, Vec::new());
        for (id, status) in completed.chain(abandoned) {
            match self.store.close_session(&room.settings.id, &id, status).await? {
                Closed::Now(counters) => {
                    room.log_closed(&id, status, by);
                    room.board.update(counters);
                    updated += 1;
                }
                Closed::Before(_) | Closed::Unknown => skipped.push(id),
            }
        }
        let admitted = self.fill_in_turn(room, places, exits.exited.unwrap_or(updated)).await?;
        Ok(Some(Refilled { counters: room.board.counters(), updated, skipped, admitted }))
    }

    /// Serves as many of the next in line as there are free places, `limit` at most; answers how many.
    ///
    /// # Errors
    /// When the store is away: then nobody was served.
    pub(super) async fn fill(&self, room: &Room, places: MaxSize, limit: u64) -> Result<u64, Fault> {
        let _turn = room.turn.lock().await;
        self.fill_in_turn(room, places, limit).await
    }

    /// The same, for who holds the room's turn.
    async fn fill_in_turn(&self, room: &Room, places: MaxSize, limit: u64) -> Result<u64, Fault> {
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
                    tracing::debug!(%event, by = due, serving = counters.serving, "free places were given to the next");
                    room.board.update(counters);
                    return Ok(due);
                }
                // Who counts anew sees what the other one gave.
                AdvanceFrom::Changed => {}
                AdvanceFrom::OutOfRange => break,
            }
        }
        Ok(0)
    }
}
