//! Failures in a row: what a sink says when it does not take a letter, how long to wait, and when to give up.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::ambient::{Entropy, Timestamp, random};
use crate::policy;
use crate::room::EventKind;
use crate::store::Letter;

/// Why a sink did not take a letter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// It cannot be reached, or not now.
    Away(String),
    /// It asks to be left alone for so long.
    Busy(String, Duration),
    /// It does not want it.
    Refused(String),
}

impl Refusal {
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Away(reason) | Self::Busy(reason, _) | Self::Refused(reason) => reason,
        }
    }

    const fn asked(&self) -> Duration {
        match self {
            Self::Busy(_, asked) => *asked,
            Self::Away(_) | Self::Refused(_) => Duration::ZERO,
        }
    }

    /// How long it is put up with.
    const fn patience(&self) -> Duration {
        match self {
            Self::Away(_) | Self::Busy(..) => policy::NOTICE_PATIENCE,
            Self::Refused(_) => policy::NOTICE_REFUSAL_PATIENCE,
        }
    }
}

/// Whether a letter has waited for as long as letters may.
pub(super) fn is_old(letter: &Letter, now: Timestamp) -> bool {
    now.since(letter.at) >= policy::NOTICE_PATIENCE
}

/// The failures in a row. Times are steady: a clock that is set back must not have a letter hold up others for longer.
#[derive(Default)]
pub(super) struct Trouble {
    failures: u32,
    since: Option<Duration>,
    /// For how long the sink asked to be left alone the last time.
    asked: Duration,
    /// How long what it said the last time is put up with.
    patience: Duration,
}

impl Trouble {
    pub(super) fn note(&mut self, refusal: &Refusal, now: Duration) {
        self.asked = refusal.asked();
        self.patience = refusal.patience();
        self.failures = self.failures.saturating_add(1);
        self.since.get_or_insert(now);
    }

    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn is_hopeless(&self, now: Duration) -> bool {
        let lasted = self.since.is_some_and(|since| now.saturating_sub(since) >= self.patience);
        self.failures >= policy::NOTICE_ATTEMPTS && lasted
    }

    /// How long to wait before the next try: doubling, and spread over the upper half so that couriers do not knock
    /// in step; not less than the sink asked for. Never so long that it could keep letters from being given up, and no
    /// longer than until they may be.
    pub(super) fn wait(&self, entropy: &dyn Entropy, now: Duration) -> Duration {
        let doubled = 2_u32.saturating_pow(self.failures.saturating_sub(1).min(16));
        let longest = policy::NOTICE_RETRY_FIRST.saturating_mul(doubled).min(policy::NOTICE_RETRY_LONGEST);
        let [byte] = random::<1>(entropy);
        let wait = longest.mul_f64(0.5 + f64::from(byte) / 512.0).max(self.asked.min(policy::NOTICE_RETRY_LONGEST));
        let last_try = self.since.unwrap_or(now) + self.patience;
        if last_try > now { wait.min(last_try - now) } else { wait }
    }
}

/// A wait, over when it is by our clock or by the machine's, whichever is there first.
pub(super) struct Pause {
    began: Timestamp,
    started: Instant,
    wait: Duration,
}

impl Pause {
    pub(super) fn of(wait: Duration, now: Timestamp) -> Self {
        Self { began: now, started: Instant::now(), wait }
    }

    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.started.elapsed() >= self.wait || now.since(self.began) >= self.wait
    }
}

/// What a sink refused for good, and has not shown to want again since: the next of it gets few tries, so that what is
/// behind moves on.
#[derive(Default)]
pub(super) struct Weariness {
    /// Nothing was taken since.
    of_all: bool,
    /// None of this kind was taken since.
    of: BTreeSet<EventKind>,
}

impl Weariness {
    pub(super) fn given_up(&mut self, kind: EventKind) {
        self.of_all = true;
        self.of.insert(kind);
    }

    pub(super) fn taken(&mut self, kind: EventKind) {
        self.of_all = false;
        self.of.remove(&kind);
    }

    /// Whether a letter that was refused `failures` times has had its tries.
    pub(super) fn is_enough(&self, letter: &Letter, failures: u32, now: Timestamp) -> bool {
        let weary = self.of_all || self.of.contains(&letter.kind);
        weary && (failures >= policy::NOTICE_FEW_ATTEMPTS || is_old(letter, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;

    const NOW: Duration = Duration::from_secs(1_800_000);

    fn away() -> Refusal {
        Refusal::Away(String::new())
    }

    fn refused() -> Refusal {
        Refusal::Refused(String::new())
    }

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let entropy = SeededEntropy::new(1);
        let mut trouble = Trouble::default();
        for exponent in 0..20 {
            trouble.note(&away(), NOW);
            let full = policy::NOTICE_RETRY_FIRST.saturating_mul(1 << exponent).min(policy::NOTICE_RETRY_LONGEST);
            let wait = trouble.wait(&entropy, NOW);
            assert!(wait >= full / 2 && wait <= full, "{exponent}: {wait:?}");
        }
    }

    #[test]
    fn a_sink_is_left_alone_for_as_long_as_it_asks_and_no_longer_than_the_longest_wait() {
        let entropy = SeededEntropy::new(1);
        let mut trouble = Trouble::default();
        let minute = Duration::from_secs(60);
        let mut waits = |asked| {
            trouble.note(&Refusal::Busy(String::new(), asked), NOW);
            trouble.wait(&entropy, NOW)
        };
        assert_eq!(waits(minute), minute);
        assert_eq!(waits(Duration::from_secs(86_400)), policy::NOTICE_RETRY_LONGEST);
        // The last word counts, and a short one does not shorten what failures have lengthened.
        let wait = waits(Duration::from_secs(1));
        assert!(wait >= policy::NOTICE_RETRY_FIRST * 2 && wait < minute);
    }

    #[test]
    fn the_last_try_is_when_patience_ends() {
        let entropy = SeededEntropy::new(1);
        for (refusal, patience) in [(refused(), policy::NOTICE_REFUSAL_PATIENCE), (away(), policy::NOTICE_PATIENCE)] {
            let (mut trouble, mut now) = (Trouble::default(), NOW);
            trouble.note(&refusal, now);
            while !trouble.is_hopeless(now) {
                let wait = trouble.wait(&entropy, now);
                // A clock of whole seconds is there a little later.
                now += Duration::from_secs(wait.as_millis().div_ceil(1000).try_into().unwrap());
                trouble.note(&refusal, now);
            }
            assert_eq!(now, NOW + patience);
            assert!(trouble.wait(&entropy, now) > Duration::ZERO);
        }
    }

    #[test]
    fn a_letter_is_given_up_after_many_failures_over_a_time_and_not_before() {
        for refusal in [away(), refused(), Refusal::Busy(String::new(), Duration::ZERO)] {
            let mut trouble = Trouble::default();
            (1..policy::NOTICE_ATTEMPTS).for_each(|_| trouble.note(&refusal, NOW));
            assert!(!trouble.is_hopeless(NOW + refusal.patience()));
            trouble.note(&refusal, NOW);
            assert!(!trouble.is_hopeless(NOW + refusal.patience() - Duration::from_secs(1)));
            assert!(trouble.is_hopeless(NOW + refusal.patience()));
        }
    }
}
