//! Retries: why a sink did not accept a notice, how long to wait, and when to give up.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::ambient::{Entropy, Timestamp, random};
use crate::policy;
use crate::room::EventKind;
use crate::store::Letter;

/// Why a sink did not accept a notice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum SinkError {
    /// It is unavailable.
    Unavailable(String),
    /// It asks for a pause of this length.
    RetryAfter(String, Duration),
    /// It rejects this notice.
    Rejected(String),
}

impl SinkError {
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Unavailable(reason) | Self::RetryAfter(reason, _) | Self::Rejected(reason) => reason,
        }
    }

    const fn requested_delay(&self) -> Duration {
        match self {
            Self::RetryAfter(_, asked) => *asked,
            Self::Unavailable(_) | Self::Rejected(_) => Duration::ZERO,
        }
    }

    /// How long this failure is retried.
    const fn patience(&self) -> Duration {
        match self {
            Self::Unavailable(_) | Self::RetryAfter(..) => policy::NOTICE_PATIENCE,
            Self::Rejected(_) => policy::NOTICE_REFUSAL_PATIENCE,
        }
    }
}

/// Whether a notice has reached the age limit of the outbox.
pub(super) fn is_old(letter: &Letter, now: Timestamp) -> bool {
    now.since(letter.at) >= policy::NOTICE_PATIENCE
}

/// Consecutive failures. Times are steady, so a clock that is set back does not prolong the retries.
#[derive(Default)]
pub(super) struct RetryState {
    failures: u32,
    since: Option<Duration>,
    /// The pause that the sink asked for the last time.
    requested_delay: Duration,
    /// How long the last failure is retried.
    patience: Duration,
}

impl RetryState {
    pub(super) fn record_failure(&mut self, error: &SinkError, now: Duration) {
        self.requested_delay = error.requested_delay();
        self.patience = error.patience();
        self.failures = self.failures.saturating_add(1);
        self.since.get_or_insert(now);
    }

    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn is_exhausted(&self, now: Duration) -> bool {
        let lasted = self.since.is_some_and(|since| now.saturating_sub(since) >= self.patience);
        self.failures >= policy::NOTICE_ATTEMPTS && lasted
    }

    /// The wait before the next attempt. It doubles, and is spread over its upper half so that workers do not retry in
    /// step; it is not shorter than the sink asked for. It ends no later than when the notice may become a dead letter.
    pub(super) fn wait(&self, entropy: &dyn Entropy, now: Duration) -> Duration {
        let doubled = 2_u32.saturating_pow(self.failures.saturating_sub(1).min(16));
        let longest = policy::NOTICE_RETRY_FIRST.saturating_mul(doubled).min(policy::NOTICE_RETRY_LONGEST);
        let [byte] = random::<1>(entropy);
        let wait =
            longest.mul_f64(0.5 + f64::from(byte) / 512.0).max(self.requested_delay.min(policy::NOTICE_RETRY_LONGEST));
        let last_try = self.since.unwrap_or(now) + self.patience;
        if last_try > now { wait.min(last_try - now) } else { wait }
    }
}

/// A wait that ends by the injected clock or by the machine's, whichever is first.
pub(super) struct Backoff {
    began: Timestamp,
    started: Instant,
    wait: Duration,
}

impl Backoff {
    pub(super) fn new(wait: Duration, now: Timestamp) -> Self {
        Self { began: now, started: Instant::now(), wait }
    }

    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.started.elapsed() >= self.wait || now.since(self.began) >= self.wait
    }
}

/// Rejected kinds: after a rejection became a dead letter, and until a delivery succeeds, further notices get few
/// attempts, so that those behind them are not delayed.
#[derive(Default)]
pub(super) struct RejectionPolicy {
    /// Nothing was accepted since.
    any: bool,
    /// Kinds of which nothing was accepted since.
    kinds: BTreeSet<EventKind>,
}

impl RejectionPolicy {
    pub(super) fn record_rejection(&mut self, kind: EventKind) {
        self.any = true;
        self.kinds.insert(kind);
    }

    pub(super) fn record_delivery(&mut self, kind: EventKind) {
        self.any = false;
        self.kinds.remove(&kind);
    }

    /// Whether a notice that was rejected `failures` times becomes a dead letter.
    pub(super) fn gives_up(&self, letter: &Letter, failures: u32, now: Timestamp) -> bool {
        let weary = self.any || self.kinds.contains(&letter.kind);
        weary && (failures >= policy::NOTICE_FEW_ATTEMPTS || is_old(letter, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;

    const NOW: Duration = Duration::from_secs(1_800_000);

    fn away() -> SinkError {
        SinkError::Unavailable(String::new())
    }

    fn refused() -> SinkError {
        SinkError::Rejected(String::new())
    }

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let entropy = SeededEntropy::new(1);
        let mut retry = RetryState::default();
        for exponent in 0..20 {
            retry.record_failure(&away(), NOW);
            let full = policy::NOTICE_RETRY_FIRST.saturating_mul(1 << exponent).min(policy::NOTICE_RETRY_LONGEST);
            let wait = retry.wait(&entropy, NOW);
            assert!(wait >= full / 2 && wait <= full, "{exponent}: {wait:?}");
        }
    }

    #[test]
    fn a_requested_pause_is_kept_up_to_the_longest_wait() {
        let entropy = SeededEntropy::new(1);
        let mut retry = RetryState::default();
        let minute = Duration::from_secs(60);
        let mut waits = |asked| {
            retry.record_failure(&SinkError::RetryAfter(String::new(), asked), NOW);
            retry.wait(&entropy, NOW)
        };
        assert_eq!(waits(minute), minute);
        assert_eq!(waits(Duration::from_secs(86_400)), policy::NOTICE_RETRY_LONGEST);
        // The last answer counts, and a short pause does not shorten the doubled wait.
        let wait = waits(Duration::from_secs(1));
        assert!(wait >= policy::NOTICE_RETRY_FIRST * 2 && wait < minute);
    }

    #[test]
    fn the_last_attempt_is_at_the_end_of_the_retry_period() {
        let entropy = SeededEntropy::new(1);
        for (error, patience) in [(refused(), policy::NOTICE_REFUSAL_PATIENCE), (away(), policy::NOTICE_PATIENCE)] {
            let (mut retry, mut now) = (RetryState::default(), NOW);
            retry.record_failure(&error, now);
            while !retry.is_exhausted(now) {
                let wait = retry.wait(&entropy, now);
                // A clock of whole seconds arrives a little later.
                now += Duration::from_secs(wait.as_millis().div_ceil(1000).try_into().unwrap());
                retry.record_failure(&error, now);
            }
            assert_eq!(now, NOW + patience);
            assert!(retry.wait(&entropy, now) > Duration::ZERO);
        }
    }

    #[test]
    fn retries_end_after_enough_failures_over_the_retry_period() {
        for error in [away(), refused(), SinkError::RetryAfter(String::new(), Duration::ZERO)] {
            let mut retry = RetryState::default();
            (1..policy::NOTICE_ATTEMPTS).for_each(|_| retry.record_failure(&error, NOW));
            assert!(!retry.is_exhausted(NOW + error.patience()));
            retry.record_failure(&error, NOW);
            assert!(!retry.is_exhausted(NOW + error.patience() - Duration::from_secs(1)));
            assert!(retry.is_exhausted(NOW + error.patience()));
        }
    }
}
