//! How many connections there may be, and whose. Visitors have a part of them, of which one address holds a quarter at
//! most. The rest is for operators: a connection beyond the visitors' part is accepted there and must say at once what
//! it wants. It carries a single request, so that nobody keeps a place of the operators' part.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_http::body::{BodySize, BoxBody};
use actix_http::{Request, Response};
use actix_web::HttpMessage;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, TryAcquireError};
use tokio::time::Instant;

use super::AddressKey;
use crate::policy;

/// How many connections a listener may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parts {
    /// Those of visitors.
    pub visitors: usize,
    /// Those kept for operators.
    pub operators: usize,
}

impl Parts {
    /// Connections that one address may hold of `part`.
    const fn share(part: usize) -> usize {
        if part < policy::ADDRESS_SHARE { 1 } else { part / policy::ADDRESS_SHARE }
    }

    /// Connections of visitors that one address may hold.
    pub const fn visitors_share(self) -> usize {
        Self::share(self.visitors)
    }
}

/// What is asked on a listener, as far as it matters to who may hold a connection.
pub trait Terms: Send + Sync + 'static {
    /// What the connections of this peer are counted by; `None`: they have no limit of their own.
    fn key(&self, peer: IpAddr) -> Option<AddressKey>;
    /// Whether operators ask for this path. It is matched as it is written.
    fn is_for_operators(&self, path: &str) -> bool;
    /// The answer where all connections of visitors are taken.
    fn refuse(&self, request: &Request) -> Response<BoxBody>;
}

/// Gives out the connections of a listener.
pub struct Admission {
    parts: Parts,
    terms: Box<dyn Terms>,
    /// Never held while anything is awaited.
    held: Mutex<Held>,
    large: Semaphore,
}

/// What is given out.
#[derive(Default)]
struct Held {
    visitors: usize,
    by_address: HashMap<AddressKey, usize>,
    /// The connections in the operators' part, the oldest first.
    extra: BTreeMap<u64, Extra>,
    next: u64,
    complained: Option<Instant>,
}

struct Extra {
    key: Option<AddressKey>,
    /// Whether a request of it is being answered.
    asked: bool,
    evicted: Arc<Notify>,
}

/// Why a connection is in the operators' part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Why {
    /// All connections of visitors are taken.
    Full,
    /// Its address has its share of them.
    Share,
}

enum Kind {
    Visitor(Option<AddressKey>),
    Extra { number: u64, why: Why, evicted: Arc<Notify> },
}

/// A connection that was given out. It is free again when this is dropped.
pub(super) struct Slot {
    admission: Arc<Admission>,
    kind: Kind,
}

/// What is to be done with a request.
pub(super) enum Verdict {
    /// It is handled, and further ones may follow.
    Handle,
    /// It is handled and is the last of its connection.
    HandleLast,
    /// It is answered so.
    Refuse(Response<BoxBody>),
}

/// Among a request's extensions: its connection ends with it, so that it cannot become a stream.
pub struct LastOfConnection;

impl Admission {
    /// Gives out these many.
    pub fn new(parts: Parts, terms: impl Terms) -> Arc<Self> {
        Arc::new(Self {
            parts,
            terms: Box::new(terms),
            held: Mutex::default(),
            large: Semaphore::new(policy::LARGE_RESPONSES),
        })
    }

    /// All connections that there may be.
    pub(super) const fn total(&self) -> usize {
        self.parts.visitors.saturating_add(self.parts.operators)
    }

    /// A connection for a peer; `None`: there is none left.
    pub(super) fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Slot> {
        let key = peer.and_then(|peer| self.terms.key(peer));
        let mut held = self.held();
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
            return Some(Slot { admission: Arc::clone(self), kind: Kind::Visitor(key) });
        };
        held.make_room(self.parts.operators, key)?;
        let evicted = Arc::new(Notify::new());
        let number = held.next;
        held.next += 1;
        held.extra.insert(number, Extra { key, asked: false, evicted: Arc::clone(&evicted) });
        Some(Slot { admission: Arc::clone(self), kind: Kind::Extra { number, why, evicted } })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Frees a place in the operators' part, if there must be one and can be: of the address itself where that has its
    /// share, else the oldest that is not being answered.
    fn make_room(&mut self, part: usize, key: Option<AddressKey>) -> Option<()> {
        let own = || self.extra.iter().filter(|(_, extra)| key.is_some() && extra.key == key);
        let victim = if own().count() >= Parts::share(part) {
            own().next()
        } else if self.extra.len() >= part {
            Some(self.extra.iter().find(|(_, extra)| !extra.asked)?)
        } else {
            return Some(());
        };
        let number = victim.map(|(number, _)| *number)?;
        self.extra.remove(&number).map(|extra| extra.evicted.notify_one())
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
    /// Whether it is in the operators' part.
    pub(super) const fn is_extra(&self) -> bool {
        matches!(self.kind, Kind::Extra { .. })
    }

    /// What becomes of a request on this connection.
    pub(super) fn judge(&self, request: &Request) -> Verdict {
        let Kind::Extra { number, why, .. } = &self.kind else { return Verdict::Handle };
        let terms = &self.admission.terms;
        match why {
            Why::Full if !terms.is_for_operators(request.path()) => Verdict::Refuse(terms.refuse(request)),
            Why::Full | Why::Share => {
                self.set_asked(*number, true);
                request.extensions_mut().insert(LastOfConnection);
                Verdict::HandleLast
            }
        }
    }

    /// Says that the request is answered: from now on another connection may take the place.
    pub(super) fn answered(&self) {
        if let Kind::Extra { number, .. } = &self.kind {
            self.set_asked(*number, false);
        }
    }

    fn set_asked(&self, number: u64, asked: bool) {
        if let Some(extra) = self.admission.held().extra.get_mut(&number) {
            extra.asked = asked;
        }
    }

    /// Leave to hold a response of this length until it is sent; an error: too many long ones are being sent.
    pub(super) fn hold(&self, size: BodySize) -> Result<Option<SemaphorePermit<'_>>, TryAcquireError> {
        let is_large = matches!(size, BodySize::Sized(length) if length > policy::MAX_UNSENT as u64);
        is_large.then(|| self.admission.large.try_acquire()).transpose()
    }

    /// Ends when another connection needs the place.
    pub(super) async fn evicted(&self) {
        match &self.kind {
            Kind::Visitor(_) => std::future::pending().await,
            Kind::Extra { evicted, .. } => evicted.notified().await,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut held = self.admission.held();
        match &self.kind {
            Kind::Extra { number, .. } => drop(held.extra.remove(number)),
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
mod tests {
    use actix_http::StatusCode;

    use super::*;

    struct Paths;

    impl Terms for Paths {
        fn key(&self, peer: IpAddr) -> Option<AddressKey> {
            (!peer.is_loopback()).then(|| AddressKey::of(peer))
        }

        fn is_for_operators(&self, path: &str) -> bool {
            path.starts_with("/private")
        }

        fn refuse(&self, _: &Request) -> Response<BoxBody> {
            Response::new(StatusCode::SERVICE_UNAVAILABLE)
        }
    }

    fn admission(visitors: usize, operators: usize) -> Arc<Admission> {
        Admission::new(Parts { visitors, operators }, Paths)
    }

    fn admit(admission: &Arc<Admission>, peer: &str) -> Option<Slot> {
        admission.admit(Some(peer.parse().unwrap()))
    }

    fn several(admission: &Arc<Admission>, peer: &str, count: usize) -> Vec<Slot> {
        (0..count).map(|_| admit(admission, peer).unwrap()).collect()
    }

    fn verdict(slot: &Slot, path: &str) -> &'static str {
        let mut request = Request::new();
        *request.uri_mut() = path.parse().unwrap();
        match slot.judge(&request) {
            Verdict::Handle => "handle",
            Verdict::HandleLast => "last",
            Verdict::Refuse(_) => "refuse",
        }
    }

    async fn is_evicted(slot: &Slot) -> bool {
        tokio::time::timeout(std::time::Duration::ZERO, slot.evicted()).await.is_ok()
    }

    #[test]
    fn an_address_holds_a_quarter_and_what_exceeds_it_is_answered_once() {
        let admission = admission(40, 16);
        let mut held = several(&admission, "192.0.2.1", 10);
        assert!(held.iter().all(|slot| verdict(slot, "/") == "handle"));
        let beyond = admit(&admission, "192.0.2.1").unwrap();
        assert_eq!((verdict(&beyond, "/"), verdict(&beyond, "/private/x")), ("last", "last"));
        assert_eq!(verdict(&admit(&admission, "192.0.2.2").unwrap(), "/"), "handle", "another address");
        held.pop();
        assert_eq!(verdict(&admit(&admission, "192.0.2.1").unwrap(), "/"), "handle", "one was given back");
    }

    #[test]
    fn all_of_an_ipv6_network_share_and_the_exempt_do_not() {
        let admission = admission(8, 4);
        let _held = [several(&admission, "2001:db8::1", 1), several(&admission, "2001:db8::ffff:2", 1)];
        assert_eq!(verdict(&admit(&admission, "2001:db8::3").unwrap(), "/"), "last");
        assert!(several(&admission, "127.0.0.1", 6).iter().all(|slot| verdict(slot, "/") == "handle"));
    }

    #[test]
    fn beyond_the_visitors_part_only_operators_are_answered() {
        let admission = admission(4, 4);
        let visitors = several(&admission, "127.0.0.1", 4);
        let beyond = admit(&admission, "127.0.0.1").unwrap();
        assert_eq!((verdict(&beyond, "/"), verdict(&beyond, "/private/keys")), ("refuse", "last"));
        assert_eq!(verdict(&beyond, "/%70rivate/keys"), "refuse", "paths are matched as they are written");
        drop(visitors);
        assert_eq!(verdict(&admit(&admission, "127.0.0.1").unwrap(), "/"), "handle");
    }

    #[tokio::test]
    async fn one_address_evicts_itself_from_the_operators_part_and_nobody_else() {
        let admission = admission(4, 16);
        let _visitors = several(&admission, "127.0.0.1", 4);
        let operator = admit(&admission, "198.51.100.1").unwrap();
        let flood = several(&admission, "192.0.2.1", 100);
        assert!(!is_evicted(&operator).await);
        for (index, slot) in flood.iter().enumerate() {
            assert_eq!(is_evicted(slot).await, index < 96, "{index}");
        }
    }

    #[tokio::test]
    async fn of_many_addresses_the_oldest_that_asked_nothing_is_evicted() {
        let admission = admission(4, 4);
        let _visitors = several(&admission, "127.0.0.1", 4);
        let operator = admit(&admission, "198.51.100.1").unwrap();
        assert_eq!(verdict(&operator, "/private/keys"), "last");
        let others: Vec<_> = (1..=4).map(|last| admit(&admission, &format!("192.0.2.{last}")).unwrap()).collect();
        assert!(!is_evicted(&operator).await && is_evicted(&others[0]).await && !is_evicted(&others[1]).await);
        others[1..].iter().for_each(|slot| assert_eq!(verdict(slot, "/private/keys"), "last"));
        assert!(admit(&admission, "192.0.2.9").is_none(), "all are being answered");
        drop(others);
        assert!(admit(&admission, "192.0.2.9").is_some());
    }

    #[test]
    fn what_is_given_back_is_forgotten() {
        let admission = admission(8, 4);
        drop([several(&admission, "192.0.2.1", 2), several(&admission, "192.0.2.1", 1)]);
        let held = admission.held();
        assert_eq!((held.visitors, held.by_address.len(), held.extra.len()), (0, 0, 0));
    }
}
