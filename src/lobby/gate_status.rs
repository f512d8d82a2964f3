//! Gate status: the last probe result of a room, and its effect on the inlet.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Lobby, LobbyError, Room};
use crate::ambient::Timestamp;
use crate::room::{DomainEvent, GateState};

/// The gate of a room as this node knows it: closed until the first probe.
#[derive(Default)]
pub(super) struct GateStatus {
    open: AtomicBool,
    /// The result of the last probe, for the log.
    found: Mutex<Option<GateState>>,
}

impl GateStatus {
    /// Stores a probe result. Returns whether it differs from the last one.
    fn replace(&self, found: &GateState) -> bool {
        let mut last = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        last.replace(found.clone()).as_ref() != Some(found)
    }
}

const OPEN: &[u8] = b"open";
const CLOSED: &[u8] = b"closed";

impl Room {
    /// Whether the inlet may admit visitors now. Operators can admit visitors at any time.
    pub fn is_open(&self) -> bool {
        self.settings.gate.is_none() || self.gate.open.load(Ordering::Relaxed)
    }
}

impl Lobby {
    /// Applies a probe result to a room and records the domain event if the status changed: once in the whole cluster,
    /// because the store keeps the status that was recorded last.
    ///
    /// # Errors
    /// When the store is away: the gate has the new status, and the next probe records the event.
    pub async fn set_gate_state(&self, room: &Room, found: GateState) -> Result<(), LobbyError> {
        let event = &room.settings.id;
        let open = found == GateState::Open;
        if room.gate.open.swap(open, Ordering::Relaxed) != open {
            room.cache.notify();
        }
        if room.gate.replace(&found) {
            match &found {
                GateState::Open => tracing::info!(%event, "the gate of the inlet is open: it admits visitors"),
                GateState::Closed(reason) => {
                    tracing::warn!(%event, reason, "the gate of the inlet is closed: it admits no visitors");
                }
            }
        }
        let name = format!("gate/{event}");
        let recorded = self.store.document(&name).await?;
        let (version, recorded) = recorded.map_or((0, OPEN.to_vec()), |recorded| (recorded.version, recorded.body));
        let now = if open { OPEN } else { CLOSED };
        if recorded == now {
            return Ok(());
        }
        let news = match found {
            GateState::Open => DomainEvent::InletResumed {},
            GateState::Closed(reason) => DomainEvent::InletPaused { reason },
        };
        // The event is recorded before the document: if this node dies in between, another node records the same event,
        // which is written once per number.
        self.store.post_letter(event, Timestamp::from_secs(version), &news).await?;
        self.store.replace_document(&name, version, now).await?;
        Ok(())
    }
}
