//! Retries at startup: a store that is briefly away does not end a starting node.
//!
//! Owns which errors are transient, and the wait before the next try. The node does not listen meanwhile, so a load
//! balancer sends it no requests. An error that an operator must fix ends the start at once.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::sleep;

use super::StartError;
use crate::lobby::KeyServiceError;
use crate::notices::NoticesError;
use crate::policy::{START_RETRY_FIRST, START_RETRY_LONGEST};
use crate::store::StoreError;

/// Whether the next try may succeed without a change by an operator.
fn is_transient(error: &StartError) -> bool {
    match error {
        StartError::Tables(error)
        | StartError::State { source: KeyServiceError::Store(error), .. }
        | StartError::Notices(NoticesError::Store(error)) => matches!(error, StoreError::Unavailable(_)),
        // Another of several starting nodes was first.
        StartError::State { source: KeyServiceError::Contended, .. } => true,
        _ => false,
    }
}

/// Runs `opening` until it succeeds or fails permanently. `address`: where the node will listen.
pub(super) async fn retry_until_open<T>(
    address: SocketAddr,
    opening: impl AsyncFn() -> Result<T, StartError>,
) -> Result<T, StartError> {
    let mut wait = START_RETRY_FIRST;
    let mut failed = false;
    loop {
        match opening().await {
            Ok(opened) => {
                if failed {
                    tracing::info!("the store is open");
                }
                return Ok(opened);
            }
            Err(error) if !is_transient(&error) => return Err(error),
            Err(error) => {
                failed = true;
                let retry_in = seconds(wait);
                tracing::warn!(%error, %address, retry_in, "the store cannot be opened; not listening until it is");
                sleep(wait).await;
                wait = (wait * 2).min(START_RETRY_LONGEST);
            }
        }
    }
}

fn seconds(wait: Duration) -> String {
    format!("{} s", wait.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::keys::UnsealError;
    use crate::lobby::KeyServiceError;
    use crate::room::EventId;

    const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 80);

    fn state(source: KeyServiceError) -> StartError {
        StartError::State { place: "the tables".to_owned(), source }
    }

    /// The result of an opening that fails with these errors in turn, and the number of errors left.
    async fn opened(failures: Vec<StartError>) -> (Result<(), StartError>, usize) {
        let failures = RefCell::new(failures);
        let opening = async || match failures.borrow_mut().pop() {
            Some(failure) => Err(failure),
            None => Ok(()),
        };
        let opened = retry_until_open(ADDRESS, opening).await;
        (opened, failures.into_inner().len())
    }

    #[tokio::test]
    async fn a_transient_error_is_retried_wherever_it_occurs() {
        let away = || StoreError::Unavailable("throttled".to_owned());
        let failures = vec![state(KeyServiceError::Store(away())), StartError::Tables(away())];
        assert!(matches!(opened(failures).await, (Ok(()), 0)));
        let failures = vec![state(KeyServiceError::Contended), NoticesError::Store(away()).into()];
        assert!(matches!(opened(failures).await, (Ok(()), 0)));
    }

    #[tokio::test]
    async fn an_error_that_an_operator_must_fix_ends_the_start_at_once() {
        let event: EventId = "Sample".parse().unwrap();
        let permanent = [
            StartError::Tables(StoreError::Unusable("there is no such table".to_owned())),
            StartError::Tables(StoreError::Corrupt("a row".to_owned())),
            state(KeyServiceError::Store(StoreError::UnknownEvent(event))),
            state(KeyServiceError::Unseal(UnsealError::WrongMasterSecret)),
            StartError::HalfImported,
        ];
        for error in permanent {
            let expected = error.to_string();
            let (outcome, left) = opened(vec![StartError::HalfImported, error]).await;
            assert_eq!((outcome.unwrap_err().to_string(), left), (expected, 1));
        }
    }
}
