//! A store that notes how long each of its operations takes, and otherwise is the store that it wraps.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::{
    Advance, AdvanceFrom, Change, Closed, Document, GrantId, LongGrant, Opened, Redeemed, Redemption, Store,
    StoreError, Taken, TokenStanding,
};
use super::{DeadLetter, Expired, JoinBatch, Letter, Outbox, Refill, Resent};
use crate::ambient::Timestamp;
use crate::room::{
    Arrival, Counters, DomainEvent, EventId, Inlet, Occupancy, Position, RequestId, ServingRecord, Session,
    SessionStatus,
};

/// Whoever wants to know.
pub trait Stopwatch: Send + Sync + 'static {
    /// `operation` took this long and succeeded or not.
    fn note(&self, operation: &'static str, succeeded: bool, took: Duration);
}

/// The wrapper.
pub struct Timed<S> {
    store: S,
    stopwatch: Arc<dyn Stopwatch>,
}

impl<S: Store> Timed<S> {
    /// Wraps `store`.
    pub fn new(store: S, stopwatch: Arc<dyn Stopwatch>) -> Self {
        Self { store, stopwatch }
    }

    async fn around<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let result = work.await;
        self.stopwatch.note(operation, result.is_ok(), started.elapsed());
        result
    }
}

/// Forwards every operation of both ports to the field `store` of `$wrapper`, within its `around`, which is told the name.
/// `$other`: what the wrapper does itself.
macro_rules! forward {
    ($wrapper:ident { $($other:tt)* }) => {
        crate::store::timed::forward! { $wrapper Store { $($other)* }
            ensure_event(event: &EventId) -> Counters;
            counters(event: &EventId) -> Counters;
            take_positions(event: &EventId, batch: Arc<dyn JoinBatch>) -> Taken;
            arrivals(event: &EventId, from: Option<Position>) -> Vec<Arrival>;
            oldest_arrival(event: &EventId) -> Option<Arrival>;
            advance(event: &EventId, by: i64, at: Timestamp) -> Advance;
            advance_from(event: &EventId, seen: &Counters, by: u64, at: Timestamp) -> AdvanceFrom;
            occupancy(event: &EventId, now: Timestamp) -> Occupancy;
            recent_serving_records(event: &EventId, limit: u32) -> Vec<ServingRecord>;
            serving_record_at(event: &EventId, position: Position) -> Option<ServingRecord>;
            expire_positions(event: &EventId, through: Position, refill: Refill, at: Timestamp) -> Expired;
            step_inlet(event: &EventId, inlet: &Inlet, known: Option<Timestamp>, tick: Timestamp) -> Option<Counters>;
            open_session(session: &Session) -> Opened;
            open_session_for(session: &Session) -> Opened;
            session(event: &EventId, request_id: &RequestId) -> Option<Session>;
            close_session(event: &EventId, request_id: &RequestId, status: SessionStatus) -> Closed;
            settle_sessions(event: &EventId, now: Timestamp, within: std::time::Duration) -> u64;
            active_sessions(event: &EventId, now: Timestamp) -> u64;
            expired_sessions(
                event: &EventId, now: Timestamp, after: Option<(Timestamp, RequestId)>, limit: u32
            ) -> Vec<Session>;
            redeem(redemption: &Redemption) -> Redeemed;
            put_long_grant(grant: &LongGrant) -> ();
            long_grant(request_id: &RequestId, id: &GrantId) -> Option<Vec<u8>>;
            token_standing(event: &EventId, request_id: &RequestId, grant: &GrantId) -> TokenStanding;
            reset(event: &EventId) -> Counters;
            document(name: &str) -> Option<Document>;
            replace_document(name: &str, expected: u64, body: &[u8]) -> bool;
            sweep(now: Timestamp) -> u64;
            health() -> ();
        }
        crate::store::timed::forward! { $wrapper Outbox {}
            post_letter(event: &EventId, tick: Timestamp, happening: &DomainEvent) -> bool;
            tell_joins(event: &EventId) -> bool;
            letters(after: u64, limit: u32) -> Vec<Letter>;
            newest_letter() -> u64;
            claim_delivery(sink: &str) -> Option<u64>;
            note_delivered(sink: &str, through: u64) -> ();
            bury_letters(sink: &str, letters: &[Letter], reason: &str, through: u64) -> ();
            dead_letters(after: Option<(String, u64)>, limit: u32) -> Vec<DeadLetter>;
            revive_dead_letters(sink: Option<&str>) -> u64;
            revived_letters(sink: &str, limit: u32) -> Vec<Letter>;
            settle_dead_letter(sink: &str, seq: u64, outcome: Resent) -> ();
            forget_letters(sinks: &[String], before: Timestamp) -> u64;
        }
    };
    ($wrapper:ident $port:ident { $($other:tt)* } $($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl<S: Store> $port for $wrapper<S> {
            $(
                async fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                    self.around(stringify!($name), self.store.$name($($argument),*)).await
                }
            )*

            $($other)*
        }
    };
}
pub(super) use forward;

forward! {
    Timed {
        fn changes(&self) -> broadcast::Receiver<Change> {
            self.store.changes()
        }

        async fn close(&self) {
            self.store.close().await;
        }
    }
}
