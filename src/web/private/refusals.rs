//! The log of refused operator calls: client and reason, never the key.
//!
//! A client can send wrong keys at any rate, so each address is logged once a minute per reason, the lines per minute
//! are bounded, and the rest is counted.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::sigv4;
use crate::policy;

/// Why a call is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccessError {
    /// No `Authorization` header, or none of a scheme that is known here.
    Missing,
    /// The bearer key is not a configured one.
    UnknownKey,
    /// The signature is not valid.
    Signature(sigv4::SigV4Error),
}

impl AccessError {
    /// The message for the caller, worded as API Gateway does.
    pub fn message(&self) -> Cow<'static, str> {
        match self {
            Self::Missing => "Missing Authentication Token".into(),
            Self::UnknownKey => "Forbidden".into(),
            Self::Signature(error) => error.message(),
        }
    }

    /// The reason, for the log.
    fn reason(&self) -> String {
        match self {
            Self::Missing => "no bearer key and no signature".to_owned(),
            Self::UnknownKey => "unknown bearer key".to_owned(),
            Self::Signature(error) => error.message().into_owned(),
        }
    }

    /// The kind of reason, without details, by which lines are counted.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::UnknownKey => "unknown key",
            Self::Signature(error) => error.kind(),
        }
    }
}

/// The lines of the current window.
#[derive(Default)]
pub struct RefusalLog(Mutex<LogWindow>);

#[derive(Default)]
struct LogWindow {
    begun: Duration,
    named: HashSet<(Option<IpAddr>, &'static str)>,
    left_out: u64,
}

impl RefusalLog {
    /// Logs a refused call from `client` at this time of the steady clock, unless the limit is reached.
    pub fn log(&self, error: &AccessError, client: Option<IpAddr>, now: Duration) {
        if let Some(left_out) = self.unlogged_before(error.kind(), client, now) {
            let (reason, client) = (error.reason(), client.map(tracing::field::display));
            tracing::warn!(client, reason, left_out, "an operator's call was refused");
        }
    }

    /// Whether this refusal gets a line: the number of refusals without one since the previous line.
    fn unlogged_before(&self, kind: &'static str, client: Option<IpAddr>, now: Duration) -> Option<u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(window.begun) >= policy::COMPLAIN_EVERY {
            window.begun = now;
            window.named.clear();
        }
        let room_left = window.named.len() < policy::REFUSALS_LOGGED;
        if !room_left || !window.named.insert((client, kind)) {
            window.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut window.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn an_address_is_logged_once_a_minute_per_reason_and_the_rest_is_counted() {
        let (log, second) = (RefusalLog::default(), Duration::from_secs);
        assert_eq!(log.unlogged_before("unknown key", from(1), second(0)), Some(0));
        assert_eq!(log.unlogged_before("unknown key", from(1), second(59)), None);
        assert_eq!(log.unlogged_before("unknown key", from(1), second(59)), None);
        assert_eq!(log.unlogged_before("missing", from(1), second(59)), Some(2));
        assert_eq!(log.unlogged_before("unknown key", from(2), second(59)), Some(0));
        assert_eq!(log.unlogged_before("unknown key", from(1), second(60)), Some(0));
    }

    #[test]
    fn lines_per_minute_are_bounded_for_many_addresses() {
        let log = RefusalLog::default();
        let lines =
            (0..=255).filter(|last| log.unlogged_before("missing", from(*last), Duration::ZERO).is_some()).count();
        assert_eq!(lines, policy::REFUSALS_LOGGED);
        let left_out = u64::try_from(256 - lines).unwrap();
        assert_eq!(log.unlogged_before("missing", from(0), policy::COMPLAIN_EVERY), Some(left_out));
    }
}
