//! The first arrivals of a browser's login requests that had to wait.
//!
//! A relying party gives up a login some time after it sent the browser here, and knows nothing of reloads, bookmarks
//! and restored tabs. So a request is as old as its first arrival. The browser keeps the list, encrypted, in a cookie:
//! the store writes nothing for waiting visitors, and a browser that drops the cookie affects only its own login. ADR
//! 23.

use actix_web::HttpRequest;
use actix_web::cookie::Cookie;
use zeroize::Zeroizing;

use super::App;
use super::cookies::{self, Browser};
use super::flow::unique_parameters;
use crate::ambient::Timestamp;
use crate::oauth::Params;
use crate::policy;
use crate::room::Opener;

/// The name of a login request in one browser: a digest of all its parameters and the browser's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestName {
    request: [u8; 8],
    /// A digest of its client alone. If two clients collide, the cost is one redirect.
    client: [u8; 2],
}

impl RequestName {
    /// The name of a request; `None`: the request has no unique parameters, so each one is new.
    pub fn of(params: &Params, browser: &Browser) -> Option<Self> {
        unique_parameters(params)?;
        let pairs = params.sorted();
        let texts = pairs.iter().flat_map(|&(name, value)| [name, value]);
        let client = params.get("client_id").ok().flatten().unwrap_or_default();
        Some(Self {
            request: digest(&[browser.as_str()].into_iter().chain(texts).collect::<Vec<_>>()),
            client: digest(&[client]),
        })
    }
}

/// The first bytes of the digest of these texts.
fn digest<const N: usize>(texts: &[&str]) -> [u8; N] {
    let named = Opener::named(texts);
    std::array::from_fn(|index| named.as_bytes()[index])
}

/// A request that had to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Arrival {
    name: RequestName,
    first: Timestamp,
    /// Whether the site was asked to start a new login instead, and has sent no other request since.
    given_up: bool,
}

/// The list of one browser, oldest entry first.
#[derive(Default, Debug)]
pub struct FirstArrivals {
    list: Vec<Arrival>,
    changed: bool,
}

/// Bytes of an entry: request, client, flag, and seconds since 1970.
const ENTRY: usize = 8 + 2 + 1 + 5;

impl FirstArrivals {
    /// The list of the browser of `request` at `now`; empty if its cookie is not valid.
    pub fn of(app: &App, request: &HttpRequest, now: Timestamp) -> Self {
        let plain = cookies::arrivals(app, request).and_then(|sealed| app.arrivals.open(&sealed).ok());
        Self::decode(&plain.unwrap_or_default(), now)
    }

    /// Records the arrival of a request at `now`. Returns its first arrival, if that was earlier.
    ///
    /// If all requests of a site are identical, one that is too old would block every later login. So a request that
    /// was given up and arrives again, before any other of its client, is new.
    pub fn arrive(&mut self, name: RequestName, now: Timestamp) -> Option<Timestamp> {
        for other in self.list.iter_mut().filter(|entry| entry.name.client == name.client) {
            if other.given_up && other.name != name {
                other.given_up = false;
                self.changed = true;
            }
        }
        let entry = self.list.iter_mut().find(|entry| entry.name == name)?;
        if !entry.given_up {
            return Some(entry.first);
        }
        (entry.first, entry.given_up) = (now, false);
        self.changed = true;
        None
    }

    /// Records that a request that first arrived when it `began` has to wait.
    pub fn remember(&mut self, name: RequestName, began: Timestamp) {
        if self.list.iter().any(|entry| entry.name == name) {
            return;
        }
        self.list.push(Arrival { name, first: began, given_up: false });
        let surplus = self.list.len().saturating_sub(policy::FIRST_ARRIVALS);
        self.list.drain(..surplus);
        self.changed = true;
    }

    /// Records that the site no longer waits for the request that first arrived when it `began`.
    pub fn give_up(&mut self, name: RequestName, began: Timestamp) {
        self.remember(name, began);
        for entry in self.list.iter_mut().filter(|entry| entry.name == name && !entry.given_up) {
            entry.given_up = true;
            self.changed = true;
        }
    }

    /// The cookie that keeps the list, if the list changed.
    pub fn cookie(&self, app: &App) -> Option<Cookie<'static>> {
        let sealed = self.changed.then(|| app.arrivals.seal(&self.encode(), app.lobby.entropy()))?;
        sealed.ok().map(|sealed| cookies::arrivals_cookie(app, sealed))
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.list.len() * ENTRY));
        for entry in &self.list {
            bytes.extend_from_slice(&entry.name.request);
            bytes.extend_from_slice(&entry.name.client);
            bytes.push(u8::from(entry.given_up));
            bytes.extend_from_slice(&entry.first.as_secs().to_be_bytes()[3..]);
        }
        bytes
    }

    /// Decodes the list, without entries that are too old. A malformed list is empty.
    fn decode(bytes: &[u8], now: Timestamp) -> Self {
        let (entries, rest) = bytes.as_chunks::<ENTRY>();
        let list = if rest.is_empty() { entries } else { &[] };
        let list = list.iter().map(Arrival::decode);
        let kept = list.filter(|entry| now.since(entry.first) <= policy::FIRST_ARRIVAL_MEMORY);
        Self { list: kept.collect(), changed: false }
    }
}

impl Arrival {
    fn decode(bytes: &[u8; ENTRY]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, flag, time @ ..] = *bytes;
        let [v, w, x, y, z] = time;
        Self {
            name: RequestName { request: [a, b, c, d, e, f, g, h], client: [i, j] },
            first: Timestamp::from_secs(u64::from_be_bytes([0, 0, 0, v, w, x, y, z])),
            given_up: flag != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn name(request: u8, client: u8) -> RequestName {
        RequestName { request: [request; 8], client: [client; 2] }
    }

    /// The list as the browser returns it at `now`.
    fn brought_back(list: &FirstArrivals, now: Timestamp) -> FirstArrivals {
        FirstArrivals::decode(&list.encode(), now)
    }

    #[test]
    fn a_request_is_as_old_as_its_first_arrival_for_a_week() {
        let mut list = FirstArrivals::default();
        assert_eq!(list.arrive(name(1, 1), NOW), None);
        list.remember(name(1, 1), NOW);
        let week = policy::FIRST_ARRIVAL_MEMORY;
        for later in [Duration::ZERO, Duration::from_secs(4), week] {
            let mut list = brought_back(&list, NOW + later);
            assert_eq!(list.arrive(name(1, 1), NOW + later), Some(NOW));
            list.remember(name(1, 1), NOW + later);
            assert_eq!((list.arrive(name(1, 1), NOW + later), list.changed), (Some(NOW), false));
            assert_eq!(list.arrive(name(2, 1), NOW + later), None);
        }
        let later = NOW + week + Duration::from_secs(1);
        assert_eq!(brought_back(&list, later).arrive(name(1, 1), later), None);
    }

    #[test]
    fn the_newest_requests_are_remembered_in_half_a_kilobyte() {
        let mut list = FirstArrivals::default();
        for request in 0..40 {
            list.remember(name(request, 1), NOW);
        }
        let mut list = brought_back(&list, NOW);
        let known: Vec<u8> = (0..40).filter(|&request| list.arrive(name(request, 1), NOW).is_some()).collect();
        assert_eq!(known, (24..40).collect::<Vec<_>>());
        assert!(list.encode().len() * 4 / 3 <= 400);
    }

    #[test]
    fn a_given_up_request_that_arrives_again_is_new_once() {
        let mut list = FirstArrivals::default();
        list.give_up(name(1, 1), NOW);
        let mut list = brought_back(&list, NOW);
        let later = NOW + Duration::from_secs(60);
        assert_eq!(list.arrive(name(1, 1), later), None);
        assert_eq!(list.arrive(name(1, 1), later + Duration::from_secs(5)), Some(later));
    }

    #[test]
    fn a_site_that_answers_with_a_fresh_request_does_not_renew_the_old_one() {
        let mut list = FirstArrivals::default();
        list.give_up(name(1, 1), NOW);
        assert_eq!(list.arrive(name(9, 2), NOW), None, "another site's request changes nothing");
        assert_eq!(list.arrive(name(2, 1), NOW), None);
        assert_eq!(list.arrive(name(1, 1), NOW + Duration::from_secs(5)), Some(NOW));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let list = FirstArrivals::decode(&bytes, Timestamp::from_secs(u64::MAX >> 24));
            prop_assert!(list.list.len() <= bytes.len() / ENTRY);
        }
    }
}
