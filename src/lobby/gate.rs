//! Gates: what was found out about the site, and what that does to a room.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Fault, Lobby, Room};
use crate::ambient::Timestamp;
use crate::room::{DomainEvent, GateState};

/// How the gate of a room stands, as far as this node knows: closed until somebody has looked.
#[derive(Default)]
pub(super) struct Latch {
    open: AtomicBool,
    /// What was found last, for the log.
    found: Mutex<Option<GateState>>,
}

impl Latch {
    /// Whether anything else was found last, or nothing yet.
    fn is_news(&self, found: &GateState) -> bool {
        let mut last = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        last.replace(found.clone()).as_ref() != Some(found)
    }
}

const OPEN: &[u8] = b"open";
const CLOSED: &[u8] = b"closed";

impl Room {
    /// Whether anybody may be let in by itself now. Operators let in whom they like.
    pub fn is_open(&self) -> bool {
        self.settings.gate.is_none() || self.latch.open.load(Ordering::Relaxed)
    }
}

impl Lobby {
    /// Takes over how the gate of a room stands, and tells whoever listens when that is news: once in the whole cluster,
    /// for the store keeps what was told last.
    ///
    /// # Errors
    /// When the store is away: then the gate stands as was found, and the next look tells of it.
    pub async fn note_gate(&self, room: &Room, found: GateState) -> Result<(), Fault> {
        let event = &room.settings.id;
        let open = found == GateState::Open;
        if room.latch.open.swap(open, Ordering::Relaxed) != open {
            room.board.ring();
        }
        if room.latch.is_news(&found) {
            match &found {
                GateState::Open => tracing::info!(%event, "the gate of the inlet is open"),
                GateState::Closed(reason) => {
                    tracing::warn!(%event, reason, "the gate of the inlet is closed: nobody is let in by itself");
                }
            }
        }
        let name = format!("gate/{event}");
        let told = self.store.document(&name).await?;
        let (version, told) = told.map_or((0, OPEN.to_vec()), |told| (told.version, told.body));
        let now = if open { OPEN } else { CLOSED };
        if told == now {
            return Ok(());
        }
        let news = match found {
            GateState::Open => DomainEvent::InletResumed {},
            GateState::Closed(reason) => DomainEvent::InletPaused { reason },
        };
        // First the letter, then the note of it: who dies in between has somebody else write the same letter, which is
        // written once for each number.
        self.store.post_letter(event, Timestamp::from_secs(version), &news).await?;
        self.store.replace_document(&name, version, now).await?;
        Ok(())
    }
}
