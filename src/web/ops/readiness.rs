//! Readiness, checked at most once a second whatever the number of calls.
//!
//! Owns the running check and the latest outcome. `/health/ready` is public, and each check writes to the store: so
//! callers share a check, and one that disconnects does not end it. Must not know who may read the outcome.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::lobby::Lobby;
use crate::outbound::LogThrottle;
use crate::policy;
use crate::store::StoreError;

/// The outcome of a check.
pub type Outcome = Result<(), StoreError>;

/// See the module's documentation.
#[derive(Default)]
pub struct Readiness {
    latest: Mutex<Option<Check>>,
    log_throttle: Arc<LogThrottle>,
}

/// A running or finished check. Dropping it ends the task.
struct Check {
    begun: Duration,
    outcome: watch::Receiver<Option<Outcome>>,
    _task: JoinSet<()>,
}

impl Check {
    /// Whether no other check may begin yet: this one is running, or began less than the period ago.
    fn holds(&self, now: Duration) -> bool {
        // A sender that was dropped without an outcome: its task was ended.
        let under_way = self.outcome.borrow().is_none() && self.outcome.has_changed().is_ok();
        under_way || now.saturating_sub(self.begun) < policy::READINESS_PERIOD
    }
}

impl Readiness {
    /// The outcome of the running check, or of one that began less than [`policy::READINESS_PERIOD`] ago, or else of a
    /// new one. `None`: the check was ended, as at a stop.
    pub async fn check(&self, lobby: &Arc<Lobby>) -> Option<Outcome> {
        let mut outcome = self.latest(lobby);
        let found = outcome.wait_for(Option::is_some).await.ok()?;
        found.clone()
    }

    fn latest(&self, lobby: &Arc<Lobby>) -> watch::Receiver<Option<Outcome>> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = lobby.clock().steady();
        if let Some(check) = latest.as_ref().filter(|check| check.holds(now)) {
            return check.outcome.clone();
        }
        let (sender, outcome) = watch::channel(None);
        let (lobby, log_throttle) = (Arc::clone(lobby), Arc::clone(&self.log_throttle));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let found = lobby.store().health().await;
            log(&found, &log_throttle, &lobby);
            sender.send_replace(Some(found));
        });
        *latest = Some(Check { begun: now, outcome: outcome.clone(), _task: task });
        outcome
    }
}

/// The reason goes to the log, because callers without a key do not get it.
fn log(found: &Outcome, log_throttle: &LogThrottle, lobby: &Lobby) {
    match found {
        Ok(()) => log_throttle.reset(),
        Err(error) => {
            let reason = error.to_string();
            if log_throttle.should_log(&reason, lobby.now()) {
                tracing::warn!(reason, "the service is not ready");
            }
        }
    }
}
