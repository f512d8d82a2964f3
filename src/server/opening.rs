//! Patience at the start: a store that is away for a moment does not end a node that starts.
//!
//! Owns which failures pass by themselves, and how long the next try is waited for. The node does not listen meanwhile, so
//! a load balancer sends nobody to it. What an operator has to mend ends the start at once.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::sleep;

use super::StartError;
use crate::lobby::KeyServiceError;
use crate::notices::NoticesError;
use crate::policy::{START_RETRY_FIRST, START_RETRY_LONGEST};
use crate::store::StoreError;

/// Whether the next try may succeed though nobody changes anything.
fn passes(error: &StartError) -> bool {
    match error {
        StartError::Tables(error)
        | StartError::State { source: KeyServiceError::Store(error), .. }
        | StartError::Notices(NoticesError::Store(error)) => matches!(error, StoreError::Unavailable(_)),
        // Nodes that start together, of which another one was quicker.
        StartError::State { source: KeyServiceError::Contended, .. } => true,
        _ => false,
    }
}

/// Does `opening` until it succeeds, or fails in a way that does not pass. `address`: where the node will listen.
pub(super) async fn patiently<T>(
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
            Err(error) if !passes(&error) => return Err(error),
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

    /// What comes of an opening that fails in these ways, one after the other, and how many ways are left then.
    async fn opened(failures: Vec<StartError>) -> (Result<(), StartError>, usize) {
        let failures = RefCell::new(failures);
        let opening = async || match failures.borrow_mut().pop() {
            Some(failure) => Err(failure),
            None => Ok(()),
        };
        let opened = patiently(ADDRESS, opening).await;
        (opened, failures.into_inner().len())
    }

    #[tokio::test]
    async fn what_passes_is_tried_again_wherever_it_comes_up() {
        let away = || StoreError::Unavailable("throttled".to_owned());
        let failures = vec![state(KeyServiceError::Store(away())), StartError::Tables(away())];
        assert!(matches!(opened(failures).await, (Ok(()), 0)));
        let failures = vec![state(KeyServiceError::Contended), NoticesError::Store(away()).into()];
        assert!(matches!(opened(failures).await, (Ok(()), 0)));
    }

    #[tokio::test]
    async fn what_an_operator_has_to_mend_ends_the_start_at_once() {
        let event: EventId = "Sample".parse().unwrap();
        let permanent = [
            StartError::Tables(StoreError::Unusable("there is no such table".to_owned())),
            StartError::Tables(StoreError::Corrupt("a row".to_owned())),
            state(KeyServiceError::Store(StoreError::UnknownEvent(event))),
            state(KeyServiceError::Unseal(UnsealError::WrongMasterSecret)),
            StartError::HalfImported,
        ];
        for error in permanent {
            let told = error.to_string();
            let (outcome, left) = opened(vec![StartError::HalfImported, error]).await;
            assert_eq!((outcome.unwrap_err().to_string(), left), (told, 1));
        }
    }
}
