//! Rate limits by visitor address: joins, and failed authentications.
//!
//! `governor` counts (GCRA: a burst that refills evenly), on the injected clock's steady time, in the memory of this
//! node. Owns the budgets and the bound on their memory; must not know the answer to a refused request.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::HttpRequest;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::Site;
use super::visitor_address::{AddressKey, VisitorAddress};
use crate::ambient::Clock;
use crate::config::{Budget, Limits};
use crate::policy;
use crate::telemetry::{RefusalCounter, Telemetry};

/// An address has exceeded its limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimitError {
    /// When the next request is allowed.
    pub retry_after: Duration,
}

/// The budgets of all addresses on this node.
pub struct RateLimits {
    joins_ipv4: Limiter<AddressKey>,
    joins_ipv6: Limiter<AddressKey>,
    client_failures: Limiter<(AddressKey, Option<String>)>,
    operator_failures: Limiter<AddressKey>,
}

impl RateLimits {
    /// Full budgets; `telemetry` counts refusals.
    pub fn new(limits: &Limits, clock: &Arc<dyn Clock>, telemetry: &Telemetry) -> Self {
        Self {
            joins_ipv4: Limiter::new(limits.joins_ipv4, clock, telemetry.limited("joins")),
            joins_ipv6: Limiter::new(limits.joins_ipv6, clock, telemetry.limited("joins")),
            client_failures: Limiter::new(limits.client_failures, clock, telemetry.limited("client_failures")),
            operator_failures: Limiter::new(limits.operator_failures, clock, telemetry.limited("operator_failures")),
        }
    }

    /// Counts a join, through any channel and for any event.
    ///
    /// # Errors
    /// [`RateLimitError`] when the address of the request has used up its joins.
    pub fn join(&self, site: &Site, request: &HttpRequest) -> Result<(), RateLimitError> {
        let Some(address) = VisitorAddress::of(site, request).limited(site) else { return Ok(()) };
        match address {
            AddressKey::V4(_) => self.joins_ipv4.count(&address, address),
            AddressKey::V6(_) => self.joins_ipv6.count(&address, address),
        }
    }

    /// Counts a failed authentication of the client of this ID; `None` for an ID that no client has.
    ///
    /// # Errors
    /// [`RateLimitError`] when the address of the request has failed too often.
    pub fn client_failure(
        &self,
        site: &Site,
        request: &HttpRequest,
        client_id: Option<&str>,
    ) -> Result<(), RateLimitError> {
        let Some(address) = VisitorAddress::of(site, request).limited(site) else { return Ok(()) };
        self.client_failures.count(&(address, client_id.map(str::to_owned)), address)
    }

    /// Counts a failed authentication of an operator.
    ///
    /// # Errors
    /// [`RateLimitError`] when the address of the request has failed too often.
    pub fn operator_failure(&self, site: &Site, request: &HttpRequest) -> Result<(), RateLimitError> {
        let Some(address) = VisitorAddress::of(site, request).limited(site) else { return Ok(()) };
        self.operator_failures.count(&address, address)
    }
}

type Budgets<K> = RateLimiter<K, HashMapStateStore<K>, Steady, NoOpMiddleware<Duration>>;

/// Budgets of one kind, one per key.
struct Limiter<K: Hash + Eq + Clone> {
    own: Budgets<K>,
    /// Budgets per network, for keys that arrive while the number of budgets is at its limit.
    shared: Budgets<u64>,
    /// When full budgets were last dropped, in seconds.
    swept_at: AtomicU64,
    slots: RandomState,
    /// The number of refusals.
    refused: RefusalCounter,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    fn new(budget: Budget, clock: &Arc<dyn Clock>, refused: RefusalCounter) -> Self {
        let clock = Steady(Arc::clone(clock));
        let quota = Quota::with_period(budget.refill).unwrap_or(Quota::per_second(NonZeroU32::MIN));
        let quota = quota.allow_burst(budget.burst);
        Self {
            own: RateLimiter::hashmap_with_clock(quota, clock.clone()),
            shared: RateLimiter::hashmap_with_clock(quota, clock),
            swept_at: AtomicU64::new(0),
            slots: RandomState::new(),
            refused,
        }
    }

    /// Takes one from the budget of `key`, or from the shared budget of its network.
    fn count(&self, key: &K, address: AddressKey) -> Result<(), RateLimitError> {
        let counted = if self.has_room() {
            self.own.check_key(key)
        } else {
            self.shared.check_key(&(self.slots.hash_one(network(address)) % policy::SHARED_BUDGETS))
        };
        counted.map_err(|not_until| {
            self.refused.inc();
            RateLimitError { retry_after: not_until.wait_time_from(self.own.clock().now()) }
        })
    }

    /// Whether one more budget fits. Full budgets are dropped first, once a second at most.
    fn has_room(&self) -> bool {
        if self.own.len() < policy::MAX_BUDGETS {
            return true;
        }
        let (now, swept_at) = (self.own.clock().now().as_secs() + 1, self.swept_at.load(Ordering::Relaxed));
        let due = now > swept_at;
        if due && self.swept_at.compare_exchange(swept_at, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.own.retain_recent();
        }
        self.own.len() < policy::MAX_BUDGETS
    }
}

/// The network of an address, which shares a budget: the size that registries assign to one provider (IPv6), or of
/// which many hold a part (IPv4).
const fn network(address: AddressKey) -> [u16; 2] {
    match address {
        AddressKey::V4(address) => {
            let [a, b, ..] = address.octets();
            [0, u16::from_be_bytes([a, b])]
        }
        AddressKey::V6([a, b, ..]) => [a, b],
    }
}

/// The injected steady clock for `governor`: steps of the wall clock do not change it.
#[derive(Clone)]
struct Steady(Arc<dyn Clock>);

impl governor::clock::Clock for Steady {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.steady()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;
    use crate::ambient::{FrozenClock, Timestamp};

    fn limiter(budget: Budget) -> (Arc<FrozenClock>, Limiter<AddressKey>) {
        let clock = Arc::new(FrozenClock::at(Timestamp::from_secs(1_800_000_000)));
        let injected: Arc<dyn Clock> = clock.clone();
        (clock, Limiter::new(budget, &injected, Telemetry::default().limited("joins")))
    }

    fn address(number: u32) -> AddressKey {
        AddressKey::of(IpAddr::V4(number.into()))
    }

    /// How many of `tries` are allowed.
    fn passed(limiter: &Limiter<AddressKey>, address: AddressKey, tries: usize) -> usize {
        (0..tries).filter(|_| limiter.count(&address, address).is_ok()).count()
    }

    #[test]
    fn a_budget_is_used_up_at_once_or_as_it_refills_and_each_address_has_its_own() {
        let (clock, limiter) = limiter(Budget::per_second(10, 30));
        assert_eq!(passed(&limiter, address(1), 100), 30);
        let refused = limiter.count(&address(1), address(1)).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_millis(100));
        assert_eq!(passed(&limiter, address(2), 100), 30);
        clock.advance(Duration::from_secs(1));
        assert_eq!(passed(&limiter, address(1), 100), 10);
        clock.advance(Duration::from_secs(3600));
        assert_eq!(passed(&limiter, address(1), 100), 30);
    }

    #[test]
    fn a_step_of_the_wall_clock_changes_no_budget() {
        let (clock, limiter) = limiter(Budget::per_second(10, 30));
        assert_eq!(passed(&limiter, address(1), 100), 30);
        for seconds in [1_700_000_000, 1_900_000_000, 1_800_000_000] {
            clock.set(Timestamp::from_secs(seconds));
            assert_eq!(passed(&limiter, address(1), 100), 0);
        }
        clock.advance(Duration::from_secs(1));
        assert_eq!(passed(&limiter, address(1), 100), 10);
    }

    #[test]
    fn a_client_with_many_addresses_uses_bounded_memory_and_shares_a_budget() {
        let (clock, limiter) = limiter(Budget::per_second(1, 2));
        let of_one_provider = |number: u16| {
            AddressKey::of(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, number >> 8, number & 0xff, 0, 0, 0, 1)))
        };
        let mut more = (0..=u16::MAX).map(of_one_provider);
        let passes = more.by_ref().take(policy::MAX_BUDGETS).filter(|key| limiter.count(key, *key).is_ok()).count();
        assert_eq!((passes, limiter.own.len()), (policy::MAX_BUDGETS, policy::MAX_BUDGETS));
        let others = AddressKey::of(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb9, 0, 0, 0, 0, 0, 1)));
        let passes = more.by_ref().take(100).filter(|key| limiter.count(key, *key).is_ok()).count();
        assert_eq!((passes, limiter.own.len()), (2, policy::MAX_BUDGETS));
        // Other networks are not affected, unless two networks share a budget by chance.
        assert!(network(others) != network(of_one_provider(0)));
        // Full budgets are dropped, and every address has a budget of its own again.
        clock.advance(Duration::from_secs(5));
        assert_eq!(passed(&limiter, others, 100), 2);
        assert_eq!(limiter.own.len(), 1);
    }

    #[test]
    fn the_number_of_shared_budgets_is_bounded() {
        let (_, limiter) = limiter(Budget::per_second(1, 1));
        for number in 0..4 * policy::SHARED_BUDGETS {
            let _counted = limiter.shared.check_key(&(limiter.slots.hash_one(number) % policy::SHARED_BUDGETS));
        }
        assert!(limiter.shared.len() as u64 <= policy::SHARED_BUDGETS);
    }
}
