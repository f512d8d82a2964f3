//! The open streams of visitors: the limit per address, and their lifetime.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::ambient::{Entropy, random};
use crate::http::AddressKey;
use crate::policy;
use actix_web::web::Bytes;

/// Counts the streams of each address.
pub struct Streams {
    share: usize,
    /// Never held across an await.
    open: Mutex<HashMap<AddressKey, usize>>,
}

/// A stream that is counted until this is dropped.
pub struct OpenStream {
    streams: Arc<Streams>,
    key: Option<AddressKey>,
}

impl Streams {
    /// Allows `share` streams per address.
    pub fn new(share: usize) -> Arc<Self> {
        Arc::new(Self { share, open: Mutex::default() })
    }

    /// A stream for this address; `None` if it has reached its limit. An unknown address has no limit.
    pub fn open(self: &Arc<Self>, key: Option<AddressKey>) -> Option<OpenStream> {
        if let Some(key) = key {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let count = open.entry(key).or_default();
            if *count >= self.share {
                return None;
            }
            *count += 1;
        }
        Some(OpenStream { streams: Arc::clone(self), key })
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut open = self.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(&key).copied().unwrap_or_default();
        if count > 1 {
            open.insert(key, count - 1);
        } else {
            open.remove(&key);
        }
    }
}

/// When a stream reaches its lifetime, on the steady clock, and how long its client then waits.
pub struct StreamEnd {
    at: Duration,
    retry: Duration,
}

impl StreamEnd {
    /// [`policy::STREAM_LIFETIME`] from now, with a random spread.
    pub fn new(entropy: &dyn Entropy, now: Duration) -> Self {
        let [a, b, c, d, e, f, g, h] = random::<8>(entropy);
        let share = |bytes| f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX);
        let spread = policy::STREAM_LIFETIME_SPREAD;
        let lifetime = policy::STREAM_LIFETIME.mul_f64(1.0 - spread + 2.0 * spread * share([a, b, c, d]));
        let retry = policy::STREAM_RETRY.mul_f64(1.0 + (policy::STREAM_RETRY_SPREAD - 1.0) * share([e, f, g, h]));
        Self { at: now + lifetime, retry }
    }

    /// Whether the stream ends with its next message.
    pub fn has_come(&self, now: Duration) -> bool {
        now >= self.at
    }

    /// The last message: when to reconnect.
    pub fn message(&self) -> Bytes {
        format!("retry: {}\n\n", self.retry.as_millis()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;

    #[test]
    fn each_address_has_its_own_limit_of_streams() {
        let streams = Streams::new(2);
        let key = |text: &str| Some(AddressKey::of(text.parse().unwrap()));
        let mut held: Vec<_> = (0..2).map(|_| streams.open(key("2001:db8::1")).unwrap()).collect();
        assert!(streams.open(key("2001:db8::2")).is_none(), "the same network");
        assert!(streams.open(key("192.0.2.1")).is_some());
        let _unknown: Vec<_> = (0..9).map(|_| streams.open(None).unwrap()).collect();
        held.pop();
        let again = streams.open(key("2001:db8::2"));
        assert!(again.is_some());
        drop((held, again));
        assert!(streams.open.lock().unwrap().is_empty());
    }

    #[test]
    fn streams_that_begin_together_end_and_reconnect_at_different_times() {
        let entropy = SeededEntropy::new(1);
        let minutes = |count: u64| Duration::from_secs(count * 60);
        let begun = minutes(7);
        let mut ends: Vec<_> = (0..1000).map(|_| StreamEnd::new(&entropy, begun)).collect();
        let ended = |passed: Duration| ends.iter().filter(|end| end.has_come(begun + passed)).count();
        assert_eq!(ended(minutes(48) - Duration::from_secs(1)), 0);
        for minute in 48..72 {
            let within = ended(minutes(minute + 1)) - ended(minutes(minute));
            assert!(within < 100, "{within} of 1000 end in minute {minute}");
        }
        assert_eq!(ended(minutes(72)), 1000);
        ends.sort_by_key(|end| end.retry);
        assert!(ends[0].retry >= policy::STREAM_RETRY && ends[999].retry > ends[0].retry * 2);
        assert!(ends[999].retry <= policy::STREAM_RETRY.mul_f64(policy::STREAM_RETRY_SPREAD));
    }
}
