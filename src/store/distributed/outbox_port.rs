//! The port of the outbox, on this engine.

use async_trait::async_trait;

use super::DistributedStore;
use crate::ambient::Timestamp;
use crate::room::{DomainEvent, EventId};
use crate::store::StoreError;
use crate::store::outbox::{DeadLetter, Letter, Outbox, Resent};

#[async_trait]
impl Outbox for DistributedStore {
    async fn post_letter(&self, event: &EventId, tick: Timestamp, happening: &DomainEvent) -> Result<bool, StoreError> {
        let happening = happening.clone();
        self.engine.handle(event)?.run(move |draft| Ok(draft.post(tick, &happening))).await
    }

    async fn tell_joins(&self, event: &EventId) -> Result<bool, StoreError> {
        self.engine.handle(event)?.run(|draft| Ok(draft.tell_joins(false))).await
    }

    async fn letters(&self, after: u64, limit: u32) -> Result<Vec<Letter>, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.on_engine(move |engine| async move { engine.letters(after, limit).await }).await
    }

    async fn newest_letter(&self) -> Result<u64, StoreError> {
        self.on_engine(|engine| async move { engine.newest_letter().await }).await
    }

    async fn claim_delivery(&self, sink: &str) -> Result<Option<u64>, StoreError> {
        let sink = sink.to_owned();
        self.on_engine(move |engine| async move { engine.claim_delivery(&sink).await }).await
    }

    async fn note_delivered(&self, sink: &str, through: u64) -> Result<(), StoreError> {
        let sink = sink.to_owned();
        self.on_engine(move |engine| async move { engine.note_delivered(&sink, through).await }).await
    }

    async fn bury_letters(&self, sink: &str, letters: &[Letter], reason: &str, through: u64) -> Result<(), StoreError> {
        let (sink, letters, reason) = (sink.to_owned(), letters.to_vec(), reason.to_owned());
        self.on_engine(move |engine| async move {
            engine.bury_letters(&sink, &letters, &reason).await?;
            engine.note_delivered(&sink, through).await
        })
        .await
    }

    async fn dead_letters(&self, after: Option<(String, u64)>, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.on_engine(move |engine| async move { engine.dead_letters(after, limit).await }).await
    }

    async fn revive_dead_letters(&self, sink: Option<&str>) -> Result<u64, StoreError> {
        let sink = sink.map(str::to_owned);
        self.on_engine(move |engine| async move { engine.revive_dead_letters(sink.as_deref()).await }).await
    }

    async fn revived_letters(&self, sink: &str, limit: u32) -> Result<Vec<Letter>, StoreError> {
        let (sink, limit) = (sink.to_owned(), usize::try_from(limit).unwrap_or(usize::MAX));
        self.on_engine(move |engine| async move { engine.revived_letters(&sink, limit).await }).await
    }

    async fn settle_dead_letter(&self, sink: &str, seq: u64, outcome: Resent) -> Result<(), StoreError> {
        let sink = sink.to_owned();
        self.on_engine(move |engine| async move { engine.settle_dead_letter(&sink, seq, outcome).await }).await
    }

    async fn forget_letters(&self, sinks: &[String], before: Timestamp) -> Result<u64, StoreError> {
        let sinks = sinks.to_vec();
        self.on_engine(move |engine| async move { engine.forget_letters(&sinks, before).await }).await
    }
}
