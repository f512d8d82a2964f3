//! Sessions whose code a site has redeemed recently. The answer that replaced the place cookie has then arrived, so a
//! place cookie alone no longer opens the session.
//!
//! Owns the set of these sessions, for as long as a place cookie could open one ([`policy::OPENING_REPEAT`]). Each node
//! remembers only its own: ADR 18. Must not know the other conditions of a login.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::policy;
use crate::room::RequestId;

/// See the module's documentation.
#[derive(Default)]
pub(super) struct CompletedLogins(Mutex<Periods>);

/// Sessions by a part of their request ID, in two periods: this takes half the memory of a list ordered by time.
#[derive(Default)]
struct Periods {
    current: HashSet<u64>,
    previous: HashSet<u64>,
    /// The start of the current period, in steady time.
    began: Duration,
}

impl CompletedLogins {
    /// Records that a code of this session was redeemed at `now`, in steady time.
    pub(super) fn note(&self, session: &RequestId, now: Duration) {
        let mut periods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        periods.forget(now);
        periods.current.insert(part(session));
    }

    /// Whether a code of the session was redeemed within [`policy::OPENING_REPEAT`]; older redemptions may be
    /// forgotten.
    pub(super) fn contains(&self, session: &RequestId) -> bool {
        let periods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        periods.current.contains(&part(session)) || periods.previous.contains(&part(session))
    }
}

impl Periods {
    fn forget(&mut self, now: Duration) {
        let age = now.saturating_sub(self.began);
        if age > policy::OPENING_REPEAT || self.current.len() >= policy::COMPLETED_LOGINS {
            self.previous = std::mem::take(&mut self.current);
            self.began = now;
        }
        if age > 2 * policy::OPENING_REPEAT {
            self.previous.clear();
        }
    }
}

/// 62 random bits of the request ID; two sessions share them only by chance.
fn part(session: &RequestId) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = *session.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: usize) -> RequestId {
        RequestId::from_bytes((number as u128).to_be_bytes())
    }

    #[test]
    fn a_login_is_remembered_for_a_minute_and_forgotten_later() {
        let logins = CompletedLogins::default();
        let at = |seconds: u64| Duration::from_secs(1_000_000 + seconds);
        logins.note(&session(1), at(0));
        logins.note(&session(2), at(60));
        assert!(logins.contains(&session(1)) && !logins.contains(&session(9)));
        logins.note(&session(3), at(100));
        assert!(logins.contains(&session(2)));
        logins.note(&session(4), at(300));
        assert!(!logins.contains(&session(1)) && !logins.contains(&session(2)) && logins.contains(&session(4)));
    }

    #[test]
    fn many_logins_use_bounded_memory() {
        let logins = CompletedLogins::default();
        for number in 0..3 * policy::COMPLETED_LOGINS {
            logins.note(&session(number), Duration::from_secs(1));
        }
        let periods = logins.0.lock().unwrap();
        assert!(periods.current.len() + periods.previous.len() <= 2 * policy::COMPLETED_LOGINS);
    }
}
