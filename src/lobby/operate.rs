//! What operators do: move the line, change the keys.

use super::{Fault, KeyServiceError, Lobby, Room};
use crate::keys::{KeyDuty, KeyUse, Rotation};
use crate::room::Counters;
use crate::store::Advance;

/// Why the serving counter did not move.
#[derive(Debug)]
pub enum AdvanceError {
    /// It would have left its range; nothing changed.
    OutOfRange,
    /// We are at fault.
    Fault(Fault),
}

impl Lobby {
    /// Moves the serving counter by `by` (negative: back).
    ///
    /// # Errors
    /// When it would leave its range, or the store is away.
    pub async fn advance(&self, room: &Room, by: i64) -> Result<Counters, AdvanceError> {
        let fault = |error| AdvanceError::Fault(Fault::Store(error));
        match self.store.advance(&room.settings.id, by, self.now()).await.map_err(fault)? {
            Advance::OutOfRange => Err(AdvanceError::OutOfRange),
            Advance::Moved(counters) => {
                room.board.refresh(&*self.store, &room.settings.id).await.map_err(fault)?;
                room.board.update(counters);
                Ok(counters)
            }
        }
    }

    /// Rotates the signing keys of `uses`. Answers all keys afterwards.
    ///
    /// # Errors
    /// [`KeyServiceError::Key`] when `how` does not allow it yet; else when the store is away or contended.
    pub async fn rotate_keys(&self, uses: &'static [KeyUse], how: Rotation) -> Result<Vec<KeyDuty>, KeyServiceError> {
        self.keys.rotate(&*self.store, self.entropy(), (uses, how), self.now(), self.longest_token()).await?;
        Ok(self.keys.duties(self.now()))
    }
}
