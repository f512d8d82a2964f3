//! The expiry pass: gives up served positions that were not used in time, so that they do not block the queue.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Lobby, LobbyError, Room};
use crate::policy;
use crate::room::{ExpiryRule, Inlet, Moment, OnExpiry, Position, ServingRecord};
use crate::store::Refill;

impl Room {
    /// Whether the clock was set back since the last call; also true on the first call, because it may have been set
    /// back before.
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
    /// Gives up, in every room, the served positions that were not used in time. Any number of nodes may run it at the
    /// same time: positions that one of them gave up are skipped by the others.
    pub async fn expire_positions(&self) {
        for room in self.rooms.values() {
            self.expire_room(room).await;
        }
    }

    /// The same in one room.
    pub(super) async fn expire_room(&self, room: &Room) {
        let (event, now) = (&room.settings.id, self.moment());
        let set_back = room.may_be_set_back(now);
        // Sessions opened by a clock that was ahead would hold their capacity for as long as it was ahead.
        if (room.cache.anchor(None, now) || set_back)
            && let Err(error) = self.settle_sessions_of(room, Duration::ZERO).await
        {
            tracing::warn!(%event, %error, "overlong sessions cannot be shortened; it is retried in a minute");
        }
        if let Err(error) = self.expire_positions_of(room).await {
            tracing::warn!(%event, %error, "the expiry pass failed; it is retried in a second");
        }
    }

    /// Shortens sessions that were opened by a clock that was ahead, so that they end as if they had been opened now:
    /// those that end in more than `within`.
    pub(super) async fn settle_sessions_of(&self, room: &Room, within: Duration) -> Result<(), LobbyError> {
        let (event, now) = (&room.settings.id, self.now());
        let settled = self.store.settle_sessions(event, now, within).await?;
        if settled > 0 {
            tracing::warn!(%event, settled, "sessions were opened by a clock that was ahead; they were shortened");
        }
        Ok(())
    }

    async fn expire_positions_of(&self, room: &Room) -> Result<(), LobbyError> {
        let settings = &room.settings;
        let Some(through) = self.expired_through(room).await? else { return Ok(()) };
        let refill = match settings.increment_serving_on_expiry {
            // Where the inlet counts occupancy, it hands on freed capacity itself, and only once occupancy is below the
            // limit. A closed gate admits no one either.
            OnExpiry::Increment if room.is_open() && !matches!(settings.inlet, Inlet::MaxSize(_)) => Refill::Next,
            OnExpiry::Increment | OnExpiry::Leave => Refill::None,
        };
        let expired = self.store.expire_positions(&settings.id, through, refill, self.now()).await?;
        room.cache.update(expired.counters);
        tracing::debug!(event = %settings.id, %through, positions = expired.positions, "served positions expired");
        Ok(())
    }

    /// The last position whose serving record has expired, of those that no pass has handled.
    async fn expired_through(&self, room: &Room) -> Result<Option<Position>, LobbyError> {
        let (event, rule) = (&room.settings.id, room.settings.expiry);
        let mut counters = room.cache.counters();
        let mut through = None;
        for _ in 0..policy::EXPIRY_RECORDS {
            let next = Position::new(counters.max_expired.saturating_add(1));
            let unserved = |next: &Position| !counters.serves(*next) || next.get() > counters.queue;
            let Some(next) = next.filter(|next| rule != ExpiryRule::Never && !unserved(next)) else { break };
            let Some(record) = self.store.serving_record_at(event, next).await? else { break };
            let now = self.moment();
            room.cache.anchor(Some(&record), now);
            let view = room.cache.view();
            let counted = ServingRecord { issued_at: view.served(&record, now), ..record };
            let expired = rule.pass(&[counted], |position| view.entry_of(position, now), &counters, now.wall);
            drop(view);
            let Some(last) = expired.last().and_then(|expired| Position::new(expired.through)) else { break };
            counters.max_expired = last.get();
            through = Some(last);
        }
        Ok(through)
    }
}
