//! A bounded map whose entries expire: for pending logins and for sessions.
//!
//! It ensures that requests cannot make the shop's memory grow without bound. A shop with several servers would keep
//! the same data in its database or in an encrypted cookie instead.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ambient::Timestamp;

/// Values by a random key, each with its end.
pub(super) struct ExpiringMap<V> {
    capacity: usize,
    /// Guards the map; held for one lookup or one change, never across an await.
    entries: Mutex<HashMap<String, Entry<V>>>,
}

struct Entry<V> {
    until: Timestamp,
    value: V,
}

impl<V> ExpiringMap<V> {
    /// A map for at most `capacity` values.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, entries: Mutex::new(HashMap::new()) }
    }

    /// Inserts `value` until `until`. A full map drops the entry that ends soonest, which is an expired one if there is
    /// any.
    pub(super) fn put(&self, key: String, value: V, until: Timestamp) {
        let mut entries = self.entries();
        if entries.len() >= self.capacity {
            let soonest = entries.iter().min_by_key(|(_, entry)| entry.until).map(|(key, _)| key.clone());
            soonest.and_then(|key| entries.remove(&key));
        }
        entries.insert(key, Entry { until, value });
    }

    /// Removes the value, so that it is used once; `None` when it has expired.
    pub(super) fn take(&self, key: &str, now: Timestamp) -> Option<V> {
        self.entries().remove(key).filter(|entry| now < entry.until).map(|entry| entry.value)
    }

    /// The result of `read` on the value and its end; `None` when it has expired.
    pub(super) fn read<T>(&self, key: &str, now: Timestamp, read: impl FnOnce(&V, Timestamp) -> T) -> Option<T> {
        let entries = self.entries();
        entries.get(key).filter(|entry| now < entry.until).map(|entry| read(&entry.value, entry.until))
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry<V>>> {
        // A panic elsewhere leaves the map consistent: each change is a single call.
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
        let shelf = ExpiringMap::new(2);
        shelf.put("a".into(), 1, ONE_O_CLOCK);
        assert_eq!(shelf.take("a", NOON), Some(1));
        assert_eq!(shelf.take("a", NOON), None);
    }

    #[test]
    fn an_expired_value_is_not_returned() {
        let shelf = ExpiringMap::new(2);
        shelf.put("a".into(), 1, NOON);
        assert_eq!(shelf.read("a", NOON, |value, _| *value), None);
        assert_eq!(shelf.take("a", NOON), None);
    }

    #[test]
    fn a_full_map_drops_the_entry_that_ends_soonest() {
        let shelf = ExpiringMap::new(3);
        for second in 0..100 {
            shelf.put(second.to_string(), second, Timestamp::from_secs(1000 + second));
        }
        assert_eq!(shelf.entries().len(), 3);
        assert_eq!(shelf.take("96", Timestamp::default()), None);
        assert_eq!(shelf.take("97", Timestamp::default()), Some(97));
        assert_eq!(shelf.take("99", Timestamp::default()), Some(99));
    }
}
