//! Recent joins by browser, so that concurrent tabs of one browser share one place.
//!
//! The place is kept in a cookie, which a second tab's request does not have while the first is being answered; the
//! browser's name is in both. Owns the running join of each browser and the latest result; must not know the other
//! conditions of a place. Each node remembers only its own: ADR 24.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::Visitor;
use crate::ambient::Timestamp;
use crate::policy;

/// The name of a browser: the random bytes of its cookie.
pub type BrowserName = [u8; 16];

/// The joins of one browser: locked, across awaits, by the one that runs; holds the latest result.
pub(super) type BrowserJoins = tokio::sync::Mutex<Option<Visitor>>;

/// See the module's documentation.
#[derive(Default)]
pub(super) struct RecentJoins(Mutex<Browsers>);

#[derive(Default)]
struct Browsers {
    joins: HashMap<BrowserName, Arc<BrowserJoins>>,
    /// When each first joined, the earliest at the front.
    order: VecDeque<(Timestamp, BrowserName)>,
}

impl RecentJoins {
    /// The joins of `browser` in the last [`policy::JOIN_SHARED_FOR`].
    pub(super) fn of(&self, browser: BrowserName, now: Timestamp) -> Arc<BrowserJoins> {
        let mut browsers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        browsers.forget(now);
        if let Some(joins) = browsers.joins.get(&browser) {
            return Arc::clone(joins);
        }
        browsers.order.push_back((now, browser));
        Arc::clone(browsers.joins.entry(browser).or_default())
    }
}

impl Browsers {
    /// Drops old entries, and the earliest ones above the limit.
    fn forget(&mut self, now: Timestamp) {
        while let Some((came, browser)) = self.order.front().copied() {
            if now.since(came) <= policy::JOIN_SHARED_FOR && self.order.len() < policy::RECENT_JOINS {
                break;
            }
            self.order.pop_front();
            self.joins.remove(&browser);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn a_browsers_joins_are_shared_for_some_seconds() {
        let recent = RecentJoins::default();
        let (first, other) = (recent.of([1; 16], NOW), recent.of([2; 16], NOW));
        assert!(!Arc::ptr_eq(&first, &other));
        assert!(Arc::ptr_eq(&first, &recent.of([1; 16], NOW + policy::JOIN_SHARED_FOR)));
        let later = NOW + policy::JOIN_SHARED_FOR + Duration::from_secs(1);
        assert!(!Arc::ptr_eq(&first, &recent.of([1; 16], later)));
        assert_eq!(recent.0.lock().unwrap().joins.len(), 1, "what is over is forgotten");
    }

    #[test]
    fn recent_joins_use_bounded_memory_even_if_the_clock_stands_still() {
        let recent = RecentJoins::default();
        let name = |number: usize| (number as u128).to_be_bytes();
        let browsers = policy::RECENT_JOINS + 10;
        for number in 0..browsers {
            recent.of(name(number), NOW);
        }
        let held = recent.0.lock().unwrap().joins.len();
        assert_eq!((held, recent.0.lock().unwrap().order.len()), (policy::RECENT_JOINS, policy::RECENT_JOINS));
        let newest = recent.of(name(browsers - 1), NOW);
        assert!(Arc::ptr_eq(&newest, &recent.of(name(browsers - 1), NOW)));
    }
}
