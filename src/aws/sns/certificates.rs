//! The certificates of one SNS: fetched once each, and not as often as somebody likes to name another.
//!
//! Anybody can name addresses. So what is fetched is limited, over all and for each address; what has proved a message
//! is kept for as long as it is valid, is never pushed out by what has not, and waits for no fetch. No lock is held
//! while one is under way: whoever needs the same waits for the same.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::Client;
use tokio::sync::watch;
use url::Url;

use super::Rejection;
use super::certificate::Certificate;
use crate::ambient::Timestamp;
use crate::outbound::{self, OutboundError};
use crate::policy;

type Outcome = Result<Arc<Certificate>, Rejection>;

/// See the module's documentation.
pub(super) struct Certificates {
    client: Client,
    /// Whom they are made out to, where that is known.
    names: Option<Arc<[String]>>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Those that have proved a message.
    proven: Vec<(Url, Arc<Certificate>)>,
    /// What was fetched besides, [`policy::SNS_ATTEMPTS`] at most, the oldest first.
    attempts: VecDeque<Attempt>,
    budget: Budget,
}

/// A fetch that is under way or over.
struct Attempt {
    url: Url,
    began: Timestamp,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// How often something was fetched since when.
#[derive(Default)]
struct Budget {
    since: Timestamp,
    spent: u32,
}

impl Budget {
    fn spend(&mut self, now: Timestamp) -> Result<(), Rejection> {
        if now < self.since || now.since(self.since) >= policy::SNS_FETCH_PERIOD {
            *self = Self { since: now, spent: 0 };
        }
        if self.spent >= policy::SNS_FETCHES {
            return Err(Rejection::Busy);
        }
        self.spent += 1;
        Ok(())
    }
}

impl Certificates {
    /// An empty shelf, filled by `client`.
    pub(super) fn new(client: Client, names: Option<Vec<String>>) -> Self {
        Self { client, names: names.map(Into::into), kept: Mutex::default() }
    }

    /// The certificate at `url`, an address that SNS itself answers.
    pub(super) async fn get(&self, url: &Url, now: Timestamp) -> Outcome {
        let mut outcome = match self.look_up(url, now)? {
            Found::Proven(certificate) => return Ok(certificate),
            Found::Attempt(outcome) => outcome,
        };
        let outcome = outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or(Err(Rejection::Unverifiable))
    }

    /// Notes at `now` that the certificate at `url` has proved a message.
    pub(super) fn keep(&self, url: Url, certificate: Arc<Certificate>, now: Timestamp) {
        let mut kept = self.kept();
        if kept.proven.iter().all(|(known, _)| *known != url) {
            kept.attempts.retain(|attempt| attempt.url != url);
            kept.proven.retain(|(_, certificate)| certificate.is_valid_at(now));
            kept.proven.push((url, certificate));
        }
    }

    fn look_up(&self, url: &Url, now: Timestamp) -> Result<Found, Rejection> {
        let mut kept = self.kept();
        if let Some((_, certificate)) = kept.proven.iter().find(|(known, _)| known == url) {
            return Ok(Found::Proven(Arc::clone(certificate)));
        }
        if let Some(index) = kept.attempts.iter().position(|attempt| attempt.url == *url) {
            let known = kept.attempts.get(index).filter(|attempt| attempt.is_worth_keeping(now));
            if let Some(attempt) = known {
                return Ok(Found::Attempt(attempt.outcome.clone()));
            }
            kept.budget.spend(now)?;
            kept.attempts.remove(index);
        } else {
            kept.budget.spend(now)?;
        }
        if kept.attempts.len() >= policy::SNS_ATTEMPTS {
            kept.attempts.pop_front();
        }
        let outcome = self.fetch(url);
        kept.attempts.push_back(Attempt { url: url.clone(), began: now, outcome: outcome.clone() });
        Ok(Found::Attempt(outcome))
    }

    /// Begins to fetch. It goes on when whoever asked does not wait for it: or asking and leaving would get round the
    /// budget.
    fn fetch(&self, url: &Url) -> watch::Receiver<Option<Outcome>> {
        let (sender, outcome) = watch::channel(None);
        let (client, url, names) = (self.client.clone(), url.clone(), self.names.clone());
        tokio::spawn(async move {
            let fetched = outbound::fetch(&client, &url, policy::MAX_CERTIFICATE).await;
            sender.send_replace(Some(read(fetched, names.as_deref())));
        });
        outcome
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Found {
    Proven(Arc<Certificate>),
    Attempt(watch::Receiver<Option<Outcome>>),
}

impl Attempt {
    /// What failed is tried again, but not at once.
    fn is_worth_keeping(&self, now: Timestamp) -> bool {
        let failed = matches!(*self.outcome.borrow(), Some(Err(_)));
        !failed || (now >= self.began && now.since(self.began) < policy::SNS_CERTIFICATE_REFETCH)
    }
}

fn read(fetched: Result<Vec<u8>, OutboundError>, names: Option<&[String]>) -> Outcome {
    let pem = fetched.map_err(|error| match error {
        // There is no such certificate: nobody signed with it.
        OutboundError::Answered(400..=499) | OutboundError::TooLarge(_) => Rejection::Forged,
        error => {
            tracing::warn!(%error, "a certificate of Amazon SNS cannot be fetched");
            Rejection::Unverifiable
        }
    })?;
    Certificate::read(&pem, names).map(Arc::new).ok_or(Rejection::Forged)
}
