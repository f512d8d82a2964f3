//! The expiry pass: served positions whose time is over are given up, and nobody waits behind who is gone.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Fault, Lobby, Room};
use crate::policy;
use crate::room::{ExpiryRule, Inlet, Moment, OnExpiry, Position, ServingRecord};
use crate::store::Refill;

impl Room {
    /// Whether the clock was set back since this was asked last, or may have been before it was asked for the first time.
    fn may_be_set_back(&self, now: Moment) -> bool {
        let before = self.looked_at.swap(now.wall.as_secs(), Ordering::Relaxed);
        let set_back = before > (now.wall + policy::CLOCK_AHEAD).as_secs();
        if set_back {
            tracing::warn!(event = %self.settings.id, seconds = before - now.wall.as_secs(), "the clock was set back");
        }
        set_back || before == 0
    }
}

impl Lobby {
    /// Gives up, in every room, the served positions that were not used in time. Any number of nodes may do it at
    /// once: what one has given up, the next finds dealt with.
    pub async fn expire_positions(&self) {
        for room in self.rooms.values() {
            self.expire_room(room).await;
        }
    }

    /// The same in one room.
    pub(super) async fn expire_room(&self, room: &Room) {
        let (event, now) = (&room.settings.id, self.moment());
        let set_back = room.may_be_set_back(now);
        // Sessions that a clock ahead opened would hold their places for as long as it was ahead.
        if (room.board.anchor(None, now) || set_back)
            && let Err(error) = self.settle_sessions_of(room, Duration::ZERO).await
        {
            tracing::warn!(%event, %error, "sessions that end too late are looked for again in a minute");
        }
        if let Err(error) = self.expire_positions_of(room).await {
            tracing::warn!(%event, %error, "served positions cannot be expired");
        }
    }

    /// Has sessions that were opened by a clock that was ahead end as if they had been opened now: those that end in more
    /// than `within`.
    pub(super) async fn settle_sessions_of(&self, room: &Room, within: Duration) -> Result<(), Fault> {
        let (event, now) = (&room.settings.id, self.now());
        let settled = self.store.settle_sessions(event, now, within).await?;
        if settled > 0 {
            tracing::warn!(%event, settled, "sessions were opened in the future: they end as if they were opened now");
        }
        Ok(())
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
            let now = self.moment();
            room.board.anchor(Some(&record), now);
            let view = room.board.view();
            let counted = ServingRecord { issued_at: view.served(&record, now), ..record };
            let lapsed = rule.pass(&[counted], |position| view.entry_of(position, now), &counters, now.wall);
            drop(view);
            let Some(last) = lapsed.last().and_then(|lapsed| Position::new(lapsed.through)) else { break };
            counters.max_expired = last.get();
            through = Some(last);
        }
        Ok(through)
    }
}
