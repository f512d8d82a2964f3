//! Where state lives: the port that the use cases speak to, in atomic business verbs rather than rows.
//!
//! Owns durability and atomicity; must not know the rules of waiting: what a command does to a line is decided in
//! [`crate::room::line`], and an engine makes the decision durable. Nor must it know the protocol beyond the grant that it
//! keeps. Every method names what makes it atomic in each engine.
//! A value that was answered survives the loss of the process.

mod arrival_rate;
mod counter_cache;
pub mod distributed;
pub mod embedded;
mod grant;
#[cfg(test)]
pub mod held;
pub mod outbox;
#[cfg(test)]
mod suite;
pub mod timed;
pub mod transfer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

pub use grant::{CodeAge, GrantId, GrantStanding, LongGrant, Redeemed, Redemption, TokenStanding};
pub use outbox::{DeadLetter, Letter, Outbox, OutboxMode, Resent};

pub use crate::room::line::{Advance, AdvanceFrom, Refill, Taken};

use crate::ambient::Timestamp;
use crate::room::line::LineError;
use crate::room::{
    Arrival, Counters, EventId, Inlet, Occupancy, Position, RequestId, ServingRecord, Session, SessionStatus,
};

/// What the store could not do. The text is for the log, never for an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be read or written now: disk full or read-only, connection lost, shutting down.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store is there and refuses us, and will until somebody changes something: credentials, rights, tables.
    #[error("the store cannot be used: {0}")]
    Unusable(String),
    /// The store holds something that this program did not write.
    #[error("the store holds unreadable data: {0}")]
    Corrupt(String),
    /// No such event: it was never created with [`Store::ensure_event`].
    #[error("the store has no event {0}")]
    UnknownEvent(EventId),
    /// The event went on since the caller read it: it was reset, or gave the position up that the call is about.
    #[error("event {0} went on meanwhile")]
    Outdated(EventId),
    /// The ticket had a session, which is over and forgotten. It opens no second one.
    #[error("the session of this ticket of event {0} is over")]
    SessionOver(EventId),
}

impl StoreError {
    /// The refusal of a line's command.
    pub(crate) fn refused(error: LineError, event: &EventId) -> Self {
        match error {
            LineError::Outdated => Self::Outdated(event.clone()),
            LineError::Exhausted | LineError::NoPositions => Self::Unavailable(format!("event {event}: {error}")),
        }
    }
}

/// Joins that share a store call. Further joins may be added until their positions are taken, which may be a while after
/// the call began.
pub trait JoinBatch: Send + Sync {
    /// Takes no further join: how many there are, and when the latest of them arrived. Asked again, it answers the same.
    fn close(&self) -> (u32, Timestamp);
}

impl JoinBatch for (u32, Timestamp) {
    fn close(&self) -> Self {
        *self
    }
}

/// The answer to [`Store::expire_positions`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expired {
    /// How many positions this call found expired: those that never had a session.
    pub positions: u64,
    /// The event after it.
    pub counters: Counters,
}

/// The answer to [`Store::open_session`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The session that the ticket has now: the new one, or the one that it already had.
    pub session: Session,
    /// Whether this call opened it.
    pub inserted: bool,
    /// The event after it.
    pub counters: Counters,
}

/// The answer to [`Store::close_session`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Closed {
    /// This call closed the session; the event after it.
    Now(Counters),
    /// It had been closed before; nothing changed.
    Before(SessionStatus),
    /// There is no such session.
    Unknown,
}

/// A small versioned text, replaced as a whole: the key ring, registered clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    /// 1 for the first, then one more with each replacement.
    pub version: u64,
    /// Its content; opaque here.
    pub body: Vec<u8>,
}

/// Something that changed, on this node or another. Changes may be lost (a slow reader lags): whoever
/// listens must be able to read anew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// An event's counters after a commit.
    Counters(EventId, Counters),
    /// A document of this name was replaced.
    Document(String),
    /// There is something in the outbox to be told.
    Letters,
}

/// The port. See the module's documentation; engines: [`embedded`] and [`distributed`]. Its verbs that write letters: `advance`,
/// `expire_positions`, `open_session`, `close_session`, `reset`.
#[async_trait]
pub trait Store: Outbox {
    /// Creates the event unless it exists, and answers how it stands.
    async fn ensure_event(&self, event: &EventId) -> Result<Counters, StoreError>;

    /// How the event stands, as far as this node knows: answered from memory.
    async fn counters(&self, event: &EventId) -> Result<Counters, StoreError>;

    /// Hands out consecutive positions that nobody else gets, one for each join of the batch (at least 1), and
    /// notes their arrival in the arrival log. Durable before it answers. *Embedded:* one transaction of the writer
    /// thread, shared by all joins that wait for it.
    async fn take_positions(&self, event: &EventId, batch: Arc<dyn JoinBatch>) -> Result<Taken, StoreError>;

    /// The same for a batch of `count` that came at `at`.
    async fn take_some(&self, event: &EventId, count: u32, at: Timestamp) -> Result<Taken, StoreError> {
        self.take_positions(event, Arc::new((count, at))).await
    }

    /// The arrival log of the current generation from the row that covers `from` on (all of it: `None`),
    /// in order.
    async fn arrivals(&self, event: &EventId, from: Option<Position>) -> Result<Vec<Arrival>, StoreError>;

    /// The oldest row of the arrival log that is kept: earlier positions can no longer enter.
    async fn oldest_arrival(&self, event: &EventId) -> Result<Option<Arrival>, StoreError>;

    /// Moves the serving counter by `by` (negative: back) and writes a serving record with `at`. Going back
    /// removes the records above the new value, and keeps the time of one that stands at it. By 0: nothing is
    /// written. *Embedded:* one transaction.
    async fn advance(&self, event: &EventId, by: i64, at: Timestamp) -> Result<Advance, StoreError>;

    /// Moves the serving counter forward by `by`, as [`advance`](Store::advance) does, if counter and generation are still
    /// those of `seen`: so that of many who decide on the same view one moves the line. *Embedded:* compare and
    /// move in one transaction.
    async fn advance_from(
        &self,
        event: &EventId,
        seen: &Counters,
        by: u64,
        at: Timestamp,
    ) -> Result<AdvanceFrom, StoreError>;

    /// Who holds a place at `now`. No session may be missing in it that is counted in its counters: a place would be
    /// given twice. *Embedded:* one statement, so one snapshot.
    async fn occupancy(&self, event: &EventId, now: Timestamp) -> Result<Occupancy, StoreError>;

    /// The newest `limit` serving records of the current generation, in order of the serving counter.
    async fn recent_serving_records(&self, event: &EventId, limit: u32) -> Result<Vec<ServingRecord>, StoreError>;

    /// The first serving record of the current generation that covers `position`: when it was first served.
    async fn serving_record_at(&self, event: &EventId, position: Position)
    -> Result<Option<ServingRecord>, StoreError>;

    /// Marks the served positions up to `through` as dealt with by the expiry pass (`max_expired`), and counts
    /// those among them, above the ones dealt with before, that have no session (`expired_positions`). With
    /// [`Refill::Next`] as many more are admitted, with a serving record of `at`. Positions that are not served
    /// or not handed out yet are left alone. *Embedded:* one transaction.
    async fn expire_positions(
        &self,
        event: &EventId,
        through: Position,
        refill: Refill,
        at: Timestamp,
    ) -> Result<Expired, StoreError>;

    /// Does the inlet's step at `tick`: moves the serving counter by what is due since the step before it, or since
    /// `known`, whichever is later, and answers the counters then. `None`, and nothing, when the step at `tick` or a later
    /// one was done already. One that lies [`policy::CLOCK_SET_BACK`](crate::policy::CLOCK_SET_BACK) or more ahead of
    /// `tick` was done by a clock that was wrong, and binds nobody. *Embedded:* one transaction.
    async fn step_inlet(
        &self,
        event: &EventId,
        inlet: &Inlet,
        known: Option<Timestamp>,
        tick: Timestamp,
    ) -> Result<Option<Counters>, StoreError>;

    /// Opens the session unless its ticket already has one in this generation, and answers the one it has.
    /// [`StoreError::SessionOver`] when it had one that is forgotten.
    /// [`StoreError::Outdated`] when the session's generation is not the event's, its position is not served (any more),
    /// or it was given up by the expiry pass: somebody else may have the place. *Embedded:* insert-or-get in one transaction.
    async fn open_session(&self, session: &Session) -> Result<Opened, StoreError>;

    /// The same for an operator, who asks for a visitor: where the store keeps space for operators, done on a full disk
    /// as well, for as long as enough is left for operators' other calls.
    async fn open_session_for(&self, session: &Session) -> Result<Opened, StoreError> {
        self.open_session(session).await
    }

    /// The session of a ticket in the current generation, whatever its status, until it is forgotten.
    async fn session(&self, event: &EventId, request_id: &RequestId) -> Result<Option<Session>, StoreError>;

    /// Closes an active session, be its time over or not, with status completed or abandoned.
    /// *Embedded:* one conditional update.
    async fn close_session(
        &self,
        event: &EventId,
        request_id: &RequestId,
        status: SessionStatus,
    ) -> Result<Closed, StoreError>;

    /// Has the active sessions that were opened later than `now`, by a clock that was ahead, be opened at `now` and end
    /// accordingly earlier; answers how many. Looks at those only that end more than `within` after `now`: the fewer rows,
    /// the longer it is. *Embedded:* one statement. An engine that several nodes share leaves all sessions as they are: it cannot
    /// tell a clock that was ahead from that of a caller which is behind, and the latter must end no session of others.
    async fn settle_sessions(&self, _: &EventId, _now: Timestamp, _within: Duration) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// How many sessions are active and end at `now` or later.
    async fn active_sessions(&self, event: &EventId, now: Timestamp) -> Result<u64, StoreError>;

    /// A page of the sessions that ended before `now`, in the order of (end, ticket): those after `after`.
    async fn expired_sessions(
        &self,
        event: &EventId,
        now: Timestamp,
        after: Option<(Timestamp, RequestId)>,
        limit: u32,
    ) -> Result<Vec<Session>, StoreError>;

    /// Records the redemption of a code: exactly one caller is answered [`Redeemed::Now`]. Every later call, for
    /// [`policy::CODE_MEMORY`](crate::policy::CODE_MEMORY) at least, is told apart and revokes the grant, whatever the
    /// caller's clock makes of the code's age. *Embedded:* one transaction.
    async fn redeem(&self, redemption: &Redemption) -> Result<Redeemed, StoreError>;

    /// Keeps what a grant says that is too long for its code, for as long as the code is good. A session has at most
    /// [`policy::LONG_GRANTS`](crate::policy::LONG_GRANTS) of them: the next replaces the oldest. *Embedded:* one
    /// transaction.
    async fn put_long_grant(&self, grant: &LongGrant) -> Result<(), StoreError>;

    /// What [`put_long_grant`](Store::put_long_grant) kept for this grant of this session; `None` if it was replaced or
    /// swept.
    async fn long_grant(&self, request_id: &RequestId, id: &GrantId) -> Result<Option<Vec<u8>>, StoreError>;

    /// What the acceptance of a token of this subject and grant depends on; one read.
    async fn token_standing(
        &self,
        event: &EventId,
        request_id: &RequestId,
        grant: &GrantId,
    ) -> Result<TokenStanding, StoreError>;

    /// Begins the event's next generation: counters at zero; records, arrivals and sessions gone from every
    /// read at once. The tick claimed last stays, for time does not go back with the line.
    /// *Embedded:* one transaction.
    async fn reset(&self, event: &EventId) -> Result<Counters, StoreError>;

    /// The document of this name.
    async fn document(&self, name: &str) -> Result<Option<Document>, StoreError>;

    /// Replaces (or, at `expected` 0, creates) the document if its version is still `expected`; whether it did.
    async fn replace_document(&self, name: &str, expected: u64, body: &[u8]) -> Result<bool, StoreError>;

    /// Forgets what is over at `now`, in steps between which others are served: redemptions, revocations and long grants
    /// whose time of keeping is over;
    /// sessions [`SESSION_RETENTION`](crate::policy::SESSION_RETENTION) after their end, of which it stays known that
    /// their position was used until it is given up; serving records and arrivals of positions that are given up; old
    /// dead letters; what ended generations still occupy. Counters do not change, but for `max_expired`, which may pass
    /// over positions whose sessions are forgotten. Answers how many of the first kind. A clock that is wrong for a
    /// while must not make redemptions be forgotten too early: *embedded*, one goes only if an earlier sweep,
    /// [`policy::CODE_MEMORY`](crate::policy::CODE_MEMORY) ago by the number of sweeps, had its time of issue behind it.
    async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError>;

    /// Whether the store can be written now, tried for real. The error says what is wrong.
    async fn health(&self) -> Result<(), StoreError>;

    /// The feed of changes from now on.
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// Finishes what is under way and stops; later calls fail with [`StoreError::Unavailable`].
    async fn close(&self);
}

/// How many changes a listener may lag behind before it must read anew.
pub const FEED_CAPACITY: usize = 1024;

/// How long SQLite waits for another reader or writer before it gives up.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
