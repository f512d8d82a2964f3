//! How many connections there may be, and whose. Visitors have a part of them, of which one address holds a quarter at
//! most; the rest is for operators. Every further connection is brief (see `brief`): beyond the visitors' part, it is
//! answered 503 unless it asks for an operators' path; beyond the share of its address, it is answered from whatever
//! room is free.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_http::{Request, Response, StatusCode};
use actix_web::HttpMessage;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, TryAcquireError};
use tokio::time::Instant;

use super::AddressKey;
use super::brief::{BriefConnections, Stage};
use crate::policy;
use crate::telemetry::{ConnectionMetrics, ConnectionRefusal, OpenConnection};

/// How many connections a listener may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parts {
    /// Those of visitors.
    pub visitors: usize,
    /// Those kept for operators.
    pub operators: usize,
}

impl Parts {
    /// Connections of visitors that one address may hold.
    pub const fn visitors_share(self) -> usize {
        if self.visitors < policy::ADDRESS_SHARE { 1 } else { self.visitors / policy::ADDRESS_SHARE }
    }

    /// All of them.
    pub const fn total(self) -> usize {
        self.visitors.saturating_add(self.operators)
    }
}

/// What is asked on a listener, as far as it matters to who may hold a connection.
pub trait Terms: Send + Sync + 'static {
    /// What the connections of this peer are counted by; `None`: they have no limit of their own.
    fn key(&self, peer: IpAddr) -> Option<AddressKey>;
    /// Whether operators ask for this path. It is matched as it is written.
    fn is_for_operators(&self, path: &str) -> bool;
    /// What is answered where no handler is asked. It ends the connection.
    fn refuse(&self, refusal: Refusal<'_>) -> Response<BoxBody>;
}

/// Why no handler is asked.
#[derive(Clone, Copy, Debug)]
pub enum Refusal<'a> {
    /// All connections of visitors are taken.
    Taken(&'a Request),
    /// Too much that is long is being sent to others.
    Busy,
    /// What came is no request that a handler could see, or did not come in time.
    Unreadable(StatusCode),
    /// The application failed.
    Failed,
}

/// Among a response's extensions: its body is in memory once, however many are sent it.
pub struct SharedBody;

/// The room for the large responses of a listener; that of a clone is the same.
#[derive(Clone)]
pub struct LargeResponses(Arc<Semaphore>);

impl Default for LargeResponses {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(policy::LARGE_RESPONSES as usize)))
    }
}

impl LargeResponses {
    /// Whether a response of this length could be sent now. For handlers whose responses cost much to make.
    pub fn have_room_for(&self, length: u64) -> bool {
        length <= policy::LARGE_RESPONSE || self.0.available_permits() >= Self::permits(length) as usize
    }

    /// A permit for each KiB. A response that is longer than all may be together is sent while there is no other.
    fn permits(length: u64) -> u32 {
        u32::try_from(length / 1024 + 1).unwrap_or(u32::MAX).min(policy::LARGE_RESPONSES)
    }
}

/// Gives out the connections of a listener.
pub struct Admission {
    parts: Parts,
    terms: Box<dyn Terms>,
    /// Never held while anything is awaited.
    held: Mutex<Held>,
    large: LargeResponses,
    metrics: ConnectionMetrics,
}

/// What is given out.
#[derive(Default)]
struct Held {
    visitors: usize,
    by_address: HashMap<AddressKey, usize>,
    brief: BriefConnections,
    complained: Option<Instant>,
}

/// Why a connection is brief.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Why {
    /// All connections of visitors are taken.
    Full,
    /// Its address has its share of them.
    Share,
}

enum Kind {
    Visitor(Option<AddressKey>),
    Brief { number: u64, why: Why, evicted: Arc<Notify> },
}

/// A connection that was given out. It is free again when this is dropped.
pub(super) struct Slot {
    admission: Arc<Admission>,
    kind: Kind,
    _open: OpenConnection,
}

/// What is to be done with a request.
pub(super) enum Verdict {
    /// It is handled, and further ones may follow.
    Handle,
    /// It is handled once it has come whole, and is the last of its connection.
    HandleLast,
    /// All connections of visitors are taken.
    Refuse,
}

/// Among a request's extensions: its connection ends with it, so that it cannot become a stream.
pub struct LastOfConnection;

impl Admission {
    /// Gives out these many.
    pub fn new(parts: Parts, terms: impl Terms, metrics: ConnectionMetrics) -> Arc<Self> {
        Arc::new(Self {
            parts,
            terms: Box::new(terms),
            held: Mutex::default(),
            large: LargeResponses::default(),
            metrics,
        })
    }

    /// The room for large responses.
    pub fn large_responses(&self) -> LargeResponses {
        self.large.clone()
    }

    /// All connections that there may be.
    pub(super) const fn total(&self) -> usize {
        self.parts.total()
    }

    /// A connection for a peer; `None`: there is none left.
    pub(super) fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Slot> {
        let key = peer.and_then(|peer| self.terms.key(peer));
        let mut held = self.held();
        if !held.has_room(self.parts) && !held.brief.evict() {
            self.metrics.refused(ConnectionRefusal::Operators);
            return None;
        }
        let of_address = key.map_or(0, |key| held.by_address.get(&key).copied().unwrap_or_default());
        let why = if held.visitors >= self.parts.visitors {
            held.complain(self.parts);
            Why::Full
        } else if of_address >= self.parts.visitors_share() {
            Why::Share
        } else {
            held.visitors += 1;
            if let Some(key) = key {
                held.by_address.insert(key, of_address + 1);
            }
            return Some(self.slot(Kind::Visitor(key)));
        };
        let evicted = Arc::new(Notify::new());
        let number = held.brief.insert(key, Arc::clone(&evicted));
        Some(self.slot(Kind::Brief { number, why, evicted }))
    }

    fn slot(self: &Arc<Self>, kind: Kind) -> Slot {
        let open = match kind {
            Kind::Visitor(_) => self.metrics.visitor(),
            Kind::Brief { .. } => self.metrics.brief(),
        };
        Slot { admission: Arc::clone(self), kind, _open: open }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn has_room(&self, parts: Parts) -> bool {
        self.visitors + self.brief.len() < parts.total()
    }

    fn complain(&mut self, parts: Parts) {
        let now = Instant::now();
        if self.complained.is_none_or(|last| now - last >= policy::COMPLAIN_EVERY) {
            self.complained = Some(now);
            tracing::warn!(visitors = parts.visitors, "all connections of visitors are taken: others are answered 503");
        }
    }
}

impl Slot {
    /// Whether the connection is brief.
    pub(super) const fn is_brief(&self) -> bool {
        matches!(self.kind, Kind::Brief { .. })
    }

    /// What becomes of a request on this connection.
    pub(super) fn judge(&self, request: &Request) -> Verdict {
        let Kind::Brief { why, .. } = &self.kind else { return Verdict::Handle };
        // An operators' path that comes with a host is none: see `Matching::AsWritten`.
        let is_operators =
            || request.uri().authority().is_none() && self.admission.terms.is_for_operators(request.path());
        if *why == Why::Full && !is_operators() {
            self.admission.metrics.refused(ConnectionRefusal::Visitors);
            return Verdict::Refuse;
        }
        request.extensions_mut().insert(LastOfConnection);
        Verdict::HandleLast
    }

    /// Says how far the connection is, if it is brief; `false`: it has given way to another.
    pub(super) fn set_stage(&self, stage: Stage) -> bool {
        match &self.kind {
            Kind::Visitor(_) => true,
            Kind::Brief { number, .. } => self.admission.held().brief.set_stage(*number, stage),
        }
    }

    /// What is answered where no handler is asked.
    pub(super) fn refuse(&self, refusal: Refusal<'_>) -> Response<BoxBody> {
        self.admission.terms.refuse(refusal)
    }

    /// The metrics of connections.
    pub(super) fn metrics(&self) -> &ConnectionMetrics {
        &self.admission.metrics
    }

    /// Leave to hold a response until it is sent; an error: as much is held of large ones as may be.
    pub(super) fn hold(&self, response: &Response<BoxBody>) -> Result<Option<SemaphorePermit<'_>>, TryAcquireError> {
        match response.body().size() {
            BodySize::Sized(length)
                if length > policy::LARGE_RESPONSE && !response.extensions().contains::<SharedBody>() =>
            {
                self.admission.large.0.try_acquire_many(LargeResponses::permits(length)).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Ends when another connection needs the place.
    pub(super) async fn evicted(&self) {
        match &self.kind {
            Kind::Visitor(_) => std::future::pending().await,
            Kind::Brief { evicted, .. } => evicted.notified().await,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut held = self.admission.held();
        match &self.kind {
            Kind::Brief { number, .. } => held.brief.remove(*number),
            Kind::Visitor(key) => {
                held.visitors -= 1;
                let Some(key) = key else { return };
                let count = held.by_address.get(key).copied().unwrap_or_default();
                if count > 1 {
                    held.by_address.insert(*key, count - 1);
                } else {
                    held.by_address.remove(key);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
