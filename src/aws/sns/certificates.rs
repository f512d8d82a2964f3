//! A cache of the certificates of one SNS endpoint, with a budget for fetches.
//!
//! Any sender can name addresses, so fetches are limited, in total and per address. A certificate that verified a
//! message is kept as long as it is valid, is never evicted by others, and needs no further fetch. No lock is held
//! during a fetch; concurrent requests for the same address share it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::Client;
use tokio::sync::watch;
use url::Url;

use super::SnsError;
use super::certificate::Certificate;
use crate::ambient::Timestamp;
use crate::outbound::{self, OutboundError};
use crate::policy;

type Outcome = Result<Arc<Certificate>, SnsError>;

/// See the module's documentation.
pub(super) struct Certificates {
    client: Client,
    /// The names that certificates are issued to, if known.
    names: Option<Arc<[String]>>,
    cache: Mutex<CertificateCache>,
}

#[derive(Default)]
struct CertificateCache {
    /// Certificates that verified a message.
    proven: Vec<(Url, Arc<Certificate>)>,
    /// Other fetches, [`policy::SNS_ATTEMPTS`] at most, the oldest first.
    attempts: VecDeque<Attempt>,
    budget: Budget,
}

/// A running or finished fetch.
struct Attempt {
    url: Url,
    began: Timestamp,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// The number of fetches since a time.
#[derive(Default)]
struct Budget {
    since: Timestamp,
    spent: u32,
}

impl Budget {
    fn spend(&mut self, now: Timestamp) -> Result<(), SnsError> {
        if now < self.since || now.since(self.since) >= policy::SNS_FETCH_PERIOD {
            *self = Self { since: now, spent: 0 };
        }
        if self.spent >= policy::SNS_FETCHES {
            return Err(SnsError::Busy);
        }
        self.spent += 1;
        Ok(())
    }
}

impl Certificates {
    /// An empty cache, filled by `client`.
    pub(super) fn new(client: Client, names: Option<Vec<String>>) -> Self {
        Self { client, names: names.map(Into::into), cache: Mutex::default() }
    }

    /// The certificate at `url`, an address of the SNS endpoint.
    pub(super) async fn get(&self, url: &Url, now: Timestamp) -> Outcome {
        let mut outcome = match self.look_up(url, now)? {
            Lookup::Proven(certificate) => return Ok(certificate),
            Lookup::Attempt(outcome) => outcome,
        };
        let outcome = outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or(Err(SnsError::Unverifiable))
    }

    /// Records at `now` that the certificate at `url` verified a message.
    pub(super) fn insert_proven(&self, url: Url, certificate: Arc<Certificate>, now: Timestamp) {
        let mut cache = self.cache();
        if cache.proven.iter().all(|(known, _)| *known != url) {
            cache.attempts.retain(|attempt| attempt.url != url);
            cache.proven.retain(|(_, certificate)| certificate.is_valid_at(now));
            cache.proven.push((url, certificate));
        }
    }

    fn look_up(&self, url: &Url, now: Timestamp) -> Result<Lookup, SnsError> {
        let mut cache = self.cache();
        if let Some((_, certificate)) = cache.proven.iter().find(|(known, _)| known == url) {
            return Ok(Lookup::Proven(Arc::clone(certificate)));
        }
        if let Some(index) = cache.attempts.iter().position(|attempt| attempt.url == *url) {
            let known = cache.attempts.get(index).filter(|attempt| attempt.is_usable(now));
            if let Some(attempt) = known {
                return Ok(Lookup::Attempt(attempt.outcome.clone()));
            }
            cache.budget.spend(now)?;
            cache.attempts.remove(index);
        } else {
            cache.budget.spend(now)?;
        }
        if cache.attempts.len() >= policy::SNS_ATTEMPTS {
            cache.attempts.pop_front();
        }
        let outcome = self.fetch(url);
        cache.attempts.push_back(Attempt { url: url.clone(), began: now, outcome: outcome.clone() });
        Ok(Lookup::Attempt(outcome))
    }

    /// Starts a fetch. It continues if its caller goes away; otherwise callers that go away would evade the budget.
    fn fetch(&self, url: &Url) -> watch::Receiver<Option<Outcome>> {
        let (sender, outcome) = watch::channel(None);
        let (client, url, names) = (self.client.clone(), url.clone(), self.names.clone());
        tokio::spawn(async move {
            let fetched = outbound::fetch(&client, &url, policy::MAX_CERTIFICATE).await;
            sender.send_replace(Some(read(fetched, names.as_deref())));
        });
        outcome
    }

    fn cache(&self) -> MutexGuard<'_, CertificateCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Lookup {
    Proven(Arc<Certificate>),
    Attempt(watch::Receiver<Option<Outcome>>),
}

impl Attempt {
    /// A failed fetch is retried, but not at once.
    fn is_usable(&self, now: Timestamp) -> bool {
        let failed = matches!(*self.outcome.borrow(), Some(Err(_)));
        !failed || (now >= self.began && now.since(self.began) < policy::SNS_CERTIFICATE_REFETCH)
    }
}

fn read(fetched: Result<Vec<u8>, OutboundError>, names: Option<&[String]>) -> Outcome {
    let pem = fetched.map_err(|error| match error {
        // No such certificate exists, so it signed nothing.
        OutboundError::Answered(400..=499) | OutboundError::TooLarge(_) => SnsError::Forged,
        error => {
            tracing::warn!(%error, "a certificate of Amazon SNS cannot be fetched; its message is not accepted");
            SnsError::Unverifiable
        }
    })?;
    Certificate::read(&pem, names).map(Arc::new).ok_or(SnsError::Forged)
}
