//! The delivery to one sink: in order, at least once, with patience, and not for ever.
//!
//! A letter is told before the next one is tried, unless the sink takes several at once. A sink that is away holds everything up for
//! [`policy::NOTICE_PATIENCE`]; then whatever is that old is given up. A letter that the sink refuses is given up
//! sooner, alone. What was given up is kept as dead letters, which an operator can have sent once more.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::ambient::{Entropy, Timestamp, random};
use crate::config::Subscription;
use crate::lobby::Lobby;
use crate::policy;
use crate::store::{Letter, Outbox, Resent, StoreError};

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
    fn reason(&self) -> &str {
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
}

/// How far a delivery got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Undelivered {
    /// How many letters were taken before the first that was not.
    pub(super) taken: usize,
    /// Why that one was not.
    pub(super) refusal: Refusal,
}

/// Somebody who listens.
#[async_trait]
pub(super) trait Sink: Send + Sync + 'static {
    /// What it listens to, and its name, under which the store keeps how far it got.
    fn subscription(&self) -> &Subscription;

    /// How many letters it takes at once.
    fn batch(&self) -> usize {
        1
    }

    /// Tells it `letters`, in order, [`batch`](Sink::batch) at most.
    async fn deliver(&self, letters: &[&Letter], now: Timestamp) -> Result<(), Undelivered>;
}

/// The failures in a row.
#[derive(Default)]
struct Trouble {
    failures: u32,
    since: Option<Timestamp>,
    /// For how long the sink asked to be left alone the last time.
    asked: Duration,
}

impl Trouble {
    fn note(&mut self, now: Timestamp, asked: Duration) {
        self.asked = asked;
        self.failures = self.failures.saturating_add(1);
        self.since.get_or_insert(now);
    }

    fn is_hopeless(&self, refusal: &Refusal, now: Timestamp) -> bool {
        let patience = match refusal {
            Refusal::Away(_) | Refusal::Busy(..) => policy::NOTICE_PATIENCE,
            Refusal::Refused(_) => policy::NOTICE_REFUSAL_PATIENCE,
        };
        let lasted = self.since.is_some_and(|since| now.since(since) >= patience);
        self.failures >= policy::NOTICE_ATTEMPTS && lasted
    }

    /// How long to wait before the next try: doubling, and spread over the upper half so that couriers do not knock
    /// in step; not less than the sink asked for, but never so long that it could keep letters from being given up.
    fn wait(&self, entropy: &dyn Entropy) -> Duration {
        let doubled = 2_u32.saturating_pow(self.failures.saturating_sub(1).min(16));
        let longest = policy::NOTICE_RETRY_FIRST.saturating_mul(doubled).min(policy::NOTICE_RETRY_LONGEST);
        let [byte] = random::<1>(entropy);
        longest.mul_f64(0.5 + f64::from(byte) / 512.0).max(self.asked.min(policy::NOTICE_RETRY_LONGEST))
    }
}

/// What a round came to.
enum Round {
    /// There may be more at once.
    More,
    /// Nothing is left.
    Idle,
    /// The sink did not take a letter.
    Failed,
}

/// See the module's documentation.
pub(super) struct Courier {
    lobby: Arc<Lobby>,
    sink: Arc<dyn Sink>,
    bell: watch::Receiver<Option<u64>>,
    trouble: Trouble,
}

impl Courier {
    pub(super) fn new(lobby: Arc<Lobby>, sink: Arc<dyn Sink>, bell: watch::Receiver<Option<u64>>) -> Self {
        Self { lobby, sink, bell, trouble: Trouble::default() }
    }

    fn name(&self) -> &str {
        &self.sink.subscription().name
    }

    fn outbox(&self) -> &dyn Outbox {
        self.lobby.store()
    }

    pub(super) async fn run(mut self) {
        loop {
            self.bell.borrow_and_update();
            match self.round().await {
                Ok(Round::More) => {}
                Ok(Round::Idle) => drop(timeout(policy::NOTICE_LOOK, self.bell.changed()).await),
                Ok(Round::Failed) => self.pause().await,
                Err(error) => {
                    tracing::warn!(sink = self.name(), %error, "the outbox cannot be used");
                    self.trouble.note(self.lobby.now(), Duration::ZERO);
                    self.pause().await;
                }
            }
        }
    }

    /// Waits until the next try.
    async fn pause(&self) {
        self.lobby.passes(self.trouble.wait(self.lobby.entropy())).await;
    }

    /// Delivers a page.
    async fn round(&mut self) -> Result<Round, StoreError> {
        let Some(cursor) = self.outbox().claim_delivery(self.name()).await? else { return Ok(Round::Idle) };
        let again = self.send_again().await?;
        let page = self.outbox().letters(cursor, policy::NOTICE_PAGE).await?;
        let Some(last) = page.last() else { return Ok(if again { Round::More } else { Round::Idle }) };
        let wanted: Vec<&Letter> = page.iter().filter(|letter| self.sink.subscription().wants(letter)).collect();
        for batch in wanted.chunks(self.sink.batch().max(1)) {
            if let Err(Undelivered { taken, refusal }) = self.sink.deliver(batch, self.lobby.now()).await {
                let refused = batch.get(taken).map_or(last.seq, |letter| letter.seq);
                let (before, rest) = page.split_at(page.partition_point(|letter| letter.seq < refused));
                if let Some(before) = before.last() {
                    self.outbox().note_delivered(self.name(), before.seq).await?;
                }
                if taken > 0 {
                    self.trouble = Trouble::default();
                }
                return self.refused(rest, &refusal).await;
            }
            self.trouble = Trouble::default();
        }
        self.outbox().note_delivered(self.name(), last.seq).await?;
        Ok(Round::More)
    }

    /// Decides what becomes of `rest`, whose first letter was not taken.
    async fn refused(&mut self, rest: &[Letter], refusal: &Refusal) -> Result<Round, StoreError> {
        let (sink, reason, now) = (self.name().to_owned(), refusal.reason(), self.lobby.now());
        self.trouble.note(now, refusal.asked());
        tracing::warn!(sink, reason, failures = self.trouble.failures, "a notice was not taken");
        if !self.trouble.is_hopeless(refusal, now) {
            return Ok(Round::Failed);
        }
        let too_old = |letter: &&Letter| now.since(letter.at) >= policy::NOTICE_PATIENCE;
        let given_up = match refusal {
            Refusal::Refused(_) => 1,
            Refusal::Away(_) | Refusal::Busy(..) => rest.iter().take_while(too_old).count().max(1),
        };
        let dead = rest
            .iter()
            .take(given_up)
            .filter(|letter| self.sink.subscription().wants(letter))
            .cloned()
            .collect::<Vec<_>>();
        self.outbox().bury_letters(&sink, &dead, reason).await?;
        tracing::error!(sink, reason, letters = dead.len(), "notices were given up: see /private/dead_letters");
        if matches!(refusal, Refusal::Refused(_)) {
            self.trouble = Trouble::default();
            return Ok(Round::More);
        }
        Ok(Round::Failed)
    }

    /// Tries once more what an operator asked for. Whether there was something.
    async fn send_again(&self) -> Result<bool, StoreError> {
        let letters = self.outbox().revived_letters(self.name(), policy::NOTICE_PAGE).await?;
        for letter in &letters {
            let outcome = match self.sink.deliver(&[letter], self.lobby.now()).await {
                Ok(()) => Resent::Taken,
                Err(Undelivered { refusal, .. }) => {
                    tracing::warn!(sink = self.name(), reason = refusal.reason(), "a dead letter stays one");
                    Resent::Refused
                }
            };
            self.outbox().settle_dead_letter(self.name(), letter.seq, outcome).await?;
        }
        Ok(!letters.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let entropy = SeededEntropy::new(1);
        let mut trouble = Trouble::default();
        for exponent in 0..20 {
            trouble.note(NOW, Duration::ZERO);
            let full = policy::NOTICE_RETRY_FIRST.saturating_mul(1 << exponent).min(policy::NOTICE_RETRY_LONGEST);
            let wait = trouble.wait(&entropy);
            assert!(wait >= full / 2 && wait <= full, "{exponent}: {wait:?}");
        }
    }

    #[test]
    fn a_sink_is_left_alone_for_as_long_as_it_asks_and_no_longer_than_the_longest_wait() {
        let entropy = SeededEntropy::new(1);
        let mut trouble = Trouble::default();
        let minute = Duration::from_secs(60);
        trouble.note(NOW, minute);
        assert_eq!(trouble.wait(&entropy), minute);
        trouble.note(NOW, Duration::from_secs(86_400));
        assert_eq!(trouble.wait(&entropy), policy::NOTICE_RETRY_LONGEST);
        // The last word counts, and a short one does not shorten what failures have lengthened.
        trouble.note(NOW, Duration::from_secs(1));
        assert!(trouble.wait(&entropy) >= policy::NOTICE_RETRY_FIRST * 2 && trouble.wait(&entropy) < minute);
    }

    #[test]
    fn a_letter_is_given_up_after_many_failures_over_a_time_and_not_before() {
        let (away, refused) = (Refusal::Away(String::new()), Refusal::Refused(String::new()));
        let mut trouble = Trouble::default();
        (1..policy::NOTICE_ATTEMPTS).for_each(|_| trouble.note(NOW, Duration::ZERO));
        let late = NOW + policy::NOTICE_PATIENCE;
        assert!(!trouble.is_hopeless(&away, late) && !trouble.is_hopeless(&refused, late));
        trouble.note(NOW, Duration::ZERO);
        assert!(!trouble.is_hopeless(&away, NOW) && !trouble.is_hopeless(&refused, NOW));
        assert!(trouble.is_hopeless(&refused, NOW + policy::NOTICE_REFUSAL_PATIENCE));
        assert!(!trouble.is_hopeless(&away, NOW + policy::NOTICE_REFUSAL_PATIENCE));
        let busy = Refusal::Busy(String::new(), Duration::ZERO);
        assert!(trouble.is_hopeless(&away, late) && trouble.is_hopeless(&busy, late));
    }
}
