//! What the log hears of refused operators' calls: who, and why. Never the key.
//!
//! Anybody can send wrong keys as fast as the network carries them, so each address is named once a minute for each
//! reason, a minute has so many lines and no more, and the rest is counted.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::sigv4;
use crate::policy;

/// Why a call is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyRefusal {
    /// No `Authorization` header, or none of a scheme that is known here.
    Missing,
    /// The bearer key is none of the configured ones.
    UnknownKey,
    /// The signature is not good.
    Signature(sigv4::Refusal),
}

impl KeyRefusal {
    /// What the caller is told, worded as API Gateway does.
    pub fn message(&self) -> Cow<'static, str> {
        match self {
            Self::Missing => "Missing Authentication Token".into(),
            Self::UnknownKey => "Forbidden".into(),
            Self::Signature(refusal) => refusal.message(),
        }
    }

    /// The reason, for the log.
    fn reason(&self) -> String {
        match self {
            Self::Missing => "no bearer key and no signature".to_owned(),
            Self::UnknownKey => "unknown bearer key".to_owned(),
            Self::Signature(refusal) => refusal.message().into_owned(),
        }
    }

    /// A word for the reason, the same for all details: what lines are counted by.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::UnknownKey => "unknown key",
            Self::Signature(refusal) => refusal.kind(),
        }
    }
}

/// The lines of the current minute.
#[derive(Default)]
pub struct RefusalLog(Mutex<Minute>);

#[derive(Default)]
struct Minute {
    begun: Duration,
    named: HashSet<(Option<IpAddr>, &'static str)>,
    left_out: u64,
}

impl RefusalLog {
    /// Logs a refusal of a call from `client` at this time of the steady clock, if it is not one of too many.
    pub fn note(&self, refusal: &KeyRefusal, client: Option<IpAddr>, now: Duration) {
        if let Some(left_out) = self.line(refusal.kind(), client, now) {
            let (reason, client) = (refusal.reason(), client.map(tracing::field::display));
            tracing::warn!(client, reason, left_out, "an operator's call was refused");
        }
    }

    /// Whether there is a line for it: the number of refusals since the last minute's first that had none.
    fn line(&self, kind: &'static str, client: Option<IpAddr>, now: Duration) -> Option<u64> {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(minute.begun) >= policy::COMPLAIN_EVERY {
            minute.begun = now;
            minute.named.clear();
        }
        let room_left = minute.named.len() < policy::REFUSALS_LOGGED;
        if !room_left || !minute.named.insert((client, kind)) {
            minute.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut minute.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn an_address_is_named_once_a_minute_for_each_reason_and_the_rest_is_counted() {
        let (log, second) = (RefusalLog::default(), Duration::from_secs);
        assert_eq!(log.line("unknown key", from(1), second(0)), Some(0));
        assert_eq!(log.line("unknown key", from(1), second(59)), None);
        assert_eq!(log.line("unknown key", from(1), second(59)), None);
        assert_eq!(log.line("missing", from(1), second(59)), Some(2));
        assert_eq!(log.line("unknown key", from(2), second(59)), Some(0));
        assert_eq!(log.line("unknown key", from(1), second(60)), Some(0));
    }

    #[test]
    fn many_addresses_fill_no_log() {
        let log = RefusalLog::default();
        let lines = (0..=255).filter(|last| log.line("missing", from(*last), Duration::ZERO).is_some()).count();
        assert_eq!(lines, policy::REFUSALS_LOGGED);
        let left_out = u64::try_from(256 - lines).unwrap();
        assert_eq!(log.line("missing", from(0), policy::COMPLAIN_EVERY), Some(left_out));
    }
}
