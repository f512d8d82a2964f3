//! The expiry pass: served positions whose time is over are given up, and nobody waits behind who is gone.

use super::{Fault, Lobby, Room};
use crate::policy;
use crate::room::{ExpiryRule, Inlet, OnExpiry, Position};
use crate::store::Refill;

impl Lobby {
    /// Gives up, in every room, the served positions that were not used in time. Any number of nodes may do it at
    /// once: what one has given up, the next finds dealt with.
    pub async fn expire_positions(&self) {
        for (event, room) in &self.rooms {
            if let Err(error) = self.expire_positions_of(room).await {
                tracing::warn!(%event, %error, "served positions cannot be expired");
            }
        }
    }

    async fn expire_positions_of(&self, room: &Room) -> Result<(), Fault> {
        let settings = &room.settings;
        let Some(through) = self.lapsed(room).await? else { return Ok(()) };
        let refill = match settings.increment_serving_on_expiry {
            // Where places are counted, the inlet gives them on: while more are inside than there are places, to nobody.
            // A closed gate gives them to nobody either.
            OnExpiry::Increment if room.is_open() && !matches!(settings.inlet, Inlet::MaxSize(_)) => Refill::Next,
            OnExpiry::Increment | OnExpiry::Leave => Refill::None,
        };
        let expired = self.store.expire_positions(&settings.id, through, refill, self.now()).await?;
        room.board.update(expired.counters);
        tracing::debug!(event = %settings.id, %through, positions = expired.positions, "served positions expired");
        Ok(())
    }

    /// The last position whose serving record is over, of those that no pass has dealt with.
    async fn lapsed(&self, room: &Room) -> Result<Option<Position>, Fault> {
        let (event, rule) = (&room.settings.id, room.settings.expiry);
        let mut counters = room.board.counters();
        let mut through = None;
        for _ in 0..policy::EXPIRY_RECORDS {
            let next = Position::new(counters.max_expired.saturating_add(1));
            let unserved = |next: &Position| !counters.serves(*next) || next.get() > counters.queue;
            let Some(next) = next.filter(|next| rule != ExpiryRule::Never && !unserved(next)) else { break };
            let Some(record) = self.store.serving_record_at(event, next).await? else { break };
            let lapsed = rule.pass(&[record], &room.board.view().arrivals, &counters, self.now());
            let Some(last) = lapsed.last().and_then(|lapsed| Position::new(lapsed.through)) else { break };
            counters.max_expired = last.get();
            through = Some(last);
        }
        Ok(through)
    }
}
