//! Getting in line, and being recognised there.

use super::turnstile::Place;
use super::{Fault, Lobby, Room};
use crate::room::{Door, Refusal, RequestId, Ticket};

/// Somebody with a place in line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Visitor {
    /// The ticket as the visitor holds it.
    pub request_id: RequestId,
    /// What it says.
    pub ticket: Ticket,
}

impl Lobby {
    /// Gives the next position to a visitor. Durable before it answers.
    ///
    /// # Errors
    /// When the store is away: then nobody was given anything.
    pub async fn join(&self, room: &Room, door: Door) -> Result<Visitor, Fault> {
        let Place { position, entry, generation } = room.turnstiles.pass(&self.store, self.now()).await?;
        let ticket = Ticket { position, entry, generation, door };
        Ok(Visitor { request_id: room.tickets.seal(&ticket), ticket })
    }

    /// Recognises a ticket.
    ///
    /// # Errors
    /// The reason why it is none.
    pub fn recognise(&self, room: &Room, request_id: RequestId) -> Result<Visitor, Refusal> {
        let view = room.board.view();
        let ticket = room.tickets.open(&request_id, &view.counters, &view.arrivals)?;
        Ok(Visitor { request_id, ticket })
    }

    /// Recognises the browser of a visitor who joined by the login door.
    ///
    /// # Errors
    /// The reason why it has no place here.
    pub fn recognise_cookie(&self, room: &Room, cookie: &str) -> Result<Visitor, Refusal> {
        let visitor = self.recognise(room, room.cookies.open(cookie)?)?;
        if visitor.ticket.door == Door::Login { Ok(visitor) } else { Err(Refusal::Forged) }
    }

    /// What the visitor's browser keeps.
    pub fn cookie(&self, room: &Room, visitor: &Visitor) -> String {
        room.cookies.seal(&visitor.request_id)
    }
}
