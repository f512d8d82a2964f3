//! A timer for each connection. It moves with every request, so a later deadline costs no more than a comparison.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};

use crate::policy;

/// What `future` gives until `until`, or shortly after; `None`: nothing.
pub async fn given_by<T>(until: Instant, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    match timeout_at(until, &mut future).await {
        Ok(given) => Some(given),
        Err(_) => timeout(policy::DEADLINE_GRACE, future).await.ok(),
    }
}

/// A timer that is made with its first use.
#[derive(Default)]
pub(super) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// Ready once `at` has passed. Each call may name another time; the last one counts.
    pub(super) fn poll_until(&mut self, at: Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        // A timer that was set for an earlier time rings first, and is set anew only then.
        loop {
            ready!(sleep.as_mut().poll(context));
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
    }
}
