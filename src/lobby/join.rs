//! Getting in line, and being recognised there.

use super::join_batcher::Place;
use super::{Fault, Lobby, Room};
use crate::room::{CookieKind, Door, Refusal, RequestId, Ticket};

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
        let Place { position, entry, generation } = room.join_batchers.pass(&self.store, self.now()).await?;
        let ticket = Ticket { position, entry, generation, door };
        Ok(Visitor { request_id: room.tickets.seal(&ticket), ticket })
    }

    /// Recognises a ticket, or says why it is none. One that another node gave out a moment ago is looked up.
    ///
    /// # Errors
    /// When that look is needed and the store is away: nobody can tell now.
    pub async fn recognise(&self, room: &Room, request_id: RequestId) -> Result<Result<Visitor, Refusal>, Fault> {
        match self.known(room, request_id) {
            Err(refusal) if refusal.may_be_lag() => {
                room.lag.catch_up(&room.board, &*self.store, &room.settings.id).await?;
                Ok(self.known(room, request_id))
            }
            known => Ok(known),
        }
    }

    /// The visitor whom a ticket names, as far as this node knows.
    pub(super) fn known(&self, room: &Room, request_id: RequestId) -> Result<Visitor, Refusal> {
        let view = room.board.view();
        let ticket = room.tickets.open(&request_id, &view.counters, &view.arrivals)?;
        Ok(Visitor { request_id, ticket })
    }

    /// Recognises the browser of a visitor who joined by the login door, and what its cookie proves; or says why it has
    /// no place here.
    ///
    /// # Errors
    /// As [`Lobby::recognise`].
    pub async fn recognise_cookie(
        &self,
        room: &Room,
        cookie: &str,
    ) -> Result<Result<(Visitor, CookieKind), Refusal>, Fault> {
        let (request_id, kind) = match room.cookies.open(cookie) {
            Ok(opened) => opened,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let by_login = |visitor: &Visitor| visitor.ticket.door == Door::Login;
        let known = self.recognise(room, request_id).await?;
        Ok(known.and_then(|visitor| if by_login(&visitor) { Ok((visitor, kind)) } else { Err(Refusal::Forged) }))
    }

    /// What the visitor's browser keeps from admission on.
    pub(super) fn session_cookie(&self, room: &Room, visitor: &Visitor) -> String {
        room.cookies.seal_session(&visitor.request_id)
    }

    /// What the visitor's browser keeps while it waits.
    pub fn cookie(&self, room: &Room, visitor: &Visitor) -> String {
        room.cookies.seal(&visitor.request_id)
    }
}
