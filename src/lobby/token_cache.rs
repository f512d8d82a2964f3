//! A cache of signed token sets: the same session gets the same bytes, and its tokens are signed once.
//!
//! Owns the cached sets, and makes concurrent requests for one set share its signing; must not know how a set is
//! signed. A set belongs to a session as stored and to the key that signed it: a session after a reset, or another key,
//! has another set.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::LobbyError;
use crate::policy;
use crate::room::{EventId, RequestId, Session};

/// The three tokens of a session.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct SignedSet {
    pub(super) access_token: String,
    pub(super) refresh_token: String,
    pub(super) id_token: String,
}

type CacheKey = (EventId, RequestId);

struct Entry {
    session: Session,
    kid: String,
    set: Arc<OnceCell<Arc<SignedSet>>>,
}

/// Locked for a lookup or an insertion.
#[derive(Default)]
struct Entries {
    entries: HashMap<CacheKey, Entry>,
    /// The oldest first; each key once.
    order: VecDeque<CacheKey>,
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct TokenCache(Mutex<Entries>);

impl TokenCache {
    /// The set of `session` signed by the key `kid`: the cached one, or the result of `sign`.
    ///
    /// # Errors
    /// Those of `sign`; the next call tries again.
    pub(super) async fn get(
        &self,
        session: &Session,
        kid: &str,
        sign: impl Future<Output = Result<SignedSet, LobbyError>>,
    ) -> Result<Arc<SignedSet>, LobbyError> {
        let set = self.entry(session, kid);
        set.get_or_try_init(|| async { sign.await.map(Arc::new) }).await.cloned()
    }

    fn entry(&self, session: &Session, kid: &str) -> Arc<OnceCell<Arc<SignedSet>>> {
        let name = (session.event.clone(), session.request_id);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = known.entries.get(&name)
            && entry.kid == kid
            && entry.session == *session
        {
            return Arc::clone(&entry.set);
        }
        let set = Arc::default();
        let entry = Entry { session: session.clone(), kid: kid.to_owned(), set: Arc::clone(&set) };
        if known.entries.insert(name.clone(), entry).is_none() {
            known.order.push_back(name);
        }
        if known.order.len() > policy::SIGNED_SETS
            && let Some(oldest) = known.order.pop_front()
        {
            known.entries.remove(&oldest);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;
    use crate::ambient::Timestamp;
    use crate::room::{Admission, Counters, Door, ExpiryRule, Generation, Position, Ticket};

    fn session(number: u64) -> Session {
        let (now, generation) = (Timestamp::from_secs(1), Generation(0));
        let ticket = Ticket { position: Position::FIRST, entry: now, generation, door: Door::Rest };
        let counters = Counters { queue: 1, serving: 1, ..Counters::default() };
        let Admission::Served(served) = Admission::decide(ticket, &counters, ExpiryRule::Never, None, now) else {
            panic!("the first is served")
        };
        let request_id = RequestId::from_bytes(u128::from(number).to_be_bytes());
        served.session("Sample".parse().unwrap(), request_id, Duration::from_secs(1))
    }

    /// A cache, and the number of times that it had a set signed.
    #[derive(Default)]
    struct Counted {
        cache: TokenCache,
        signed: Cell<u32>,
    }

    impl Counted {
        async fn get(&self, session: &Session, kid: &str) -> Arc<SignedSet> {
            let sign = async {
                tokio::task::yield_now().await;
                self.signed.set(self.signed.get() + 1);
                let token = |name| format!("{name} {}", self.signed.get());
                let (access_token, refresh_token, id_token) = (token("access"), token("refresh"), token("id"));
                Ok(SignedSet { access_token, refresh_token, id_token })
            };
            self.cache.get(session, kid, sign).await.unwrap()
        }
    }

    #[tokio::test]
    async fn concurrent_requests_share_one_signing() {
        let counted = Counted::default();
        let session = session(1);
        let sets = join_all((0..100).map(|_| counted.get(&session, "a"))).await;
        assert!(sets.iter().all(|set| *set == sets[0]));
        assert_eq!((counted.get(&session, "a").await, counted.signed.get()), (Arc::clone(&sets[0]), 1));
    }

    #[tokio::test]
    async fn a_set_depends_on_key_generation_and_end_of_the_session() {
        let counted = Counted::default();
        let first = session(1);
        let [mut reset, mut longer, mut elsewhere] = [first.clone(), first.clone(), first.clone()];
        reset.generation = Generation(1);
        longer.expires_at = Timestamp::from_secs(3);
        elsewhere.issuer = Some("https://elsewhere.example".to_owned());
        for (session, kid) in [(&first, "a"), (&first, "b"), (&reset, "b"), (&longer, "b"), (&elsewhere, "b")] {
            let before = counted.signed.get();
            let set = counted.get(session, kid).await;
            assert_eq!(counted.signed.get(), before + 1);
            assert_eq!(counted.get(session, kid).await, set);
        }
        assert_eq!(counted.cache.0.lock().unwrap().order.len(), 1, "each set replaces the one before");
    }

    #[tokio::test]
    async fn a_failed_signing_is_retried() {
        let counted = Counted::default();
        let busy = counted.cache.get(&session(1), "a", async { Err(LobbyError::Busy) }).await;
        assert!(matches!(busy, Err(LobbyError::Busy)));
        counted.get(&session(1), "a").await;
        assert_eq!(counted.signed.get(), 1);
    }

    #[tokio::test]
    async fn the_cache_is_bounded() {
        let counted = Counted::default();
        for number in 0..policy::SIGNED_SETS as u64 + 10 {
            counted.get(&session(number), "a").await;
        }
        let known = counted.cache.0.lock().unwrap();
        assert_eq!((known.entries.len(), known.order.len()), (policy::SIGNED_SETS, policy::SIGNED_SETS));
        assert!(!known.entries.contains_key(&(session(9).event, session(9).request_id)));
    }
}
