//! Operator actions: move the serving counter, rotate the keys.

use super::{KeyServiceError, Lobby, LobbyError, Room};
use crate::keys::{KeyUse, PublishedKey, Rotation};
use crate::room::Counters;
use crate::store::Advance;

/// Why the serving counter did not move.
#[derive(Debug)]
pub enum AdvanceError {
    /// The counter would leave its range; nothing changed.
    OutOfRange,
    /// The provider failed.
    Internal(LobbyError),
}

impl Lobby {
    /// Moves the serving counter by `by` (negative: back).
    ///
    /// # Errors
    /// When it would leave its range, or the store is away.
    pub async fn advance(&self, room: &Room, by: i64) -> Result<Counters, AdvanceError> {
        let fault = |error| AdvanceError::Internal(LobbyError::Store(error));
        match self.store.advance(&room.settings.id, by, self.now()).await.map_err(fault)? {
            Advance::OutOfRange => Err(AdvanceError::OutOfRange),
            Advance::Moved(counters) => {
                room.cache.refresh(&*self.store, &room.settings.id).await.map_err(fault)?;
                room.cache.update(counters);
                Ok(counters)
            }
        }
    }

    /// Rotates the signing keys of `uses`. Returns all keys afterwards.
    ///
    /// # Errors
    /// [`KeyServiceError::Key`] when `how` does not allow it yet; otherwise when the store is away or contended.
    pub async fn rotate_keys(
        &self,
        uses: &'static [KeyUse],
        how: Rotation,
    ) -> Result<Vec<PublishedKey>, KeyServiceError> {
        self.keys.rotate(&*self.store, self.entropy(), (uses, how), self.now(), self.longest_token()).await?;
        Ok(self.keys.published(self.now()))
    }
}
