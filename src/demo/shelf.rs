//! A bounded memory with an expiry date on everything: for logins under way and for sessions.
//!
//! It owns the rule that nothing a stranger sends can make the shop's memory grow without end. A
//! shop with more than one server would keep the same two things in its database or in a sealed
//! cookie instead.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ambient::Timestamp;

/// Values by a random key, each until its time.
pub(super) struct Shelf<V> {
    capacity: usize,
    /// Guards the map alone; held for one look or one change, never across an await.
    entries: Mutex<HashMap<String, Entry<V>>>,
}

struct Entry<V> {
    until: Timestamp,
    value: V,
}

impl<V> Shelf<V> {
    /// A shelf for at most `capacity` values.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, entries: Mutex::new(HashMap::new()) }
    }

    /// Puts `value` there until `until`. A full shelf drops what would end soonest, which is
    /// whatever has expired, if anything has.
    pub(super) fn put(&self, key: String, value: V, until: Timestamp) {
        let mut entries = self.entries();
        if entries.len() >= self.capacity {
            let soonest = entries.iter().min_by_key(|(_, entry)| entry.until).map(|(key, _)| key.clone());
            soonest.and_then(|key| entries.remove(&key));
        }
        entries.insert(key, Entry { until, value });
    }

    /// Takes the value away, so that nobody takes it twice; `None` when it has expired.
    pub(super) fn take(&self, key: &str, now: Timestamp) -> Option<V> {
        self.entries().remove(key).filter(|entry| now < entry.until).map(|entry| entry.value)
    }

    /// What `look` sees of the value and of the time it ends, in place; `None` when it has expired.
    pub(super) fn look<T>(&self, key: &str, now: Timestamp, look: impl FnOnce(&V, Timestamp) -> T) -> Option<T> {
        let entries = self.entries();
        entries.get(key).filter(|entry| now < entry.until).map(|entry| look(&entry.value, entry.until))
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry<V>>> {
        // A panic elsewhere leaves the map whole: each change is a single call.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_secs(43_200);
    const ONE_O_CLOCK: Timestamp = Timestamp::from_secs(46_800);

    #[test]
    fn a_value_is_taken_once() {
        let shelf = Shelf::new(2);
        shelf.put("a".into(), 1, ONE_O_CLOCK);
        assert_eq!(shelf.take("a", NOON), Some(1));
        assert_eq!(shelf.take("a", NOON), None);
    }

    #[test]
    fn an_expired_value_is_neither_seen_nor_taken() {
        let shelf = Shelf::new(2);
        shelf.put("a".into(), 1, NOON);
        assert_eq!(shelf.look("a", NOON, |value, _| *value), None);
        assert_eq!(shelf.take("a", NOON), None);
    }

    #[test]
    fn a_full_shelf_drops_what_ends_soonest_and_never_grows() {
        let shelf = Shelf::new(3);
        for second in 0..100 {
            shelf.put(second.to_string(), second, Timestamp::from_secs(1000 + second));
        }
        assert_eq!(shelf.entries().len(), 3);
        assert_eq!(shelf.take("96", Timestamp::default()), None);
        assert_eq!(shelf.take("97", Timestamp::default()), Some(97));
        assert_eq!(shelf.take("99", Timestamp::default()), Some(99));
    }
}
