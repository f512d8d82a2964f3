//! Joining the queue, and recognising visitors by their tickets.

use super::join_batcher::TakenPosition;
use super::{Lobby, LobbyError, Room};
use crate::room::{CookieKind, Door, Refusal, RequestId, Ticket};

/// A visitor with a position in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Visitor {
    /// The ticket as the visitor holds it.
    pub request_id: RequestId,
    /// The decoded ticket.
    pub ticket: Ticket,
}

impl Lobby {
    /// Takes the next position for a visitor. It is durable before this returns.
    ///
    /// # Errors
    /// When the store is away: no position was taken.
    pub async fn join(&self, room: &Room, door: Door) -> Result<Visitor, LobbyError> {
        let TakenPosition { position, entry, generation } =
            room.join_batchers.take_position(&self.store, self.now()).await?;
        let ticket = Ticket { position, entry, generation, door };
        Ok(Visitor { request_id: room.tickets.seal(&ticket), ticket })
    }

    /// Recognises a ticket, or returns why it is not valid. A ticket that another node issued just now is looked up in
    /// the store.
    ///
    /// # Errors
    /// When that lookup is needed and the store is away.
    pub async fn recognise(&self, room: &Room, request_id: RequestId) -> Result<Result<Visitor, Refusal>, LobbyError> {
        match self.known(room, request_id) {
            Err(refusal) if refusal.may_be_lag() => {
                room.single_flight.run(&room.cache, &*self.store, &room.settings.id).await?;
                Ok(self.known(room, request_id))
            }
            known => Ok(known),
        }
    }

    /// The visitor whom a ticket names, from this node's memory alone.
    pub(super) fn known(&self, room: &Room, request_id: RequestId) -> Result<Visitor, Refusal> {
        let view = room.cache.view();
        let ticket = room.tickets.open(&request_id, &view.counters, &view.arrivals)?;
        Ok(Visitor { request_id, ticket })
    }

    /// Recognises the browser of a visitor who joined through a login, and returns what its cookie proves; or why it
    /// has no place.
    ///
    /// # Errors
    /// As [`Lobby::recognise`].
    pub async fn recognise_cookie(
        &self,
        room: &Room,
        cookie: &str,
    ) -> Result<Result<(Visitor, CookieKind), Refusal>, LobbyError> {
        let (request_id, kind) = match room.cookies.open(cookie) {
            Ok(opened) => opened,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let by_login = |visitor: &Visitor| visitor.ticket.door == Door::Login;
        let known = self.recognise(room, request_id).await?;
        Ok(known.and_then(|visitor| if by_login(&visitor) { Ok((visitor, kind)) } else { Err(Refusal::Forged) }))
    }

    /// The cookie of an admitted visitor.
    pub(super) fn session_cookie(&self, room: &Room, visitor: &Visitor) -> String {
        room.cookies.seal_session(&visitor.request_id)
    }

    /// The cookie of a waiting visitor.
    pub fn cookie(&self, room: &Room, visitor: &Visitor) -> String {
        room.cookies.seal(&visitor.request_id)
    }
}
