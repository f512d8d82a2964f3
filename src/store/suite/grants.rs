//! Requirements on what is kept of authorization codes: redemptions, revocations, grants that are too long for a code.

use super::{Shared, at, event, redemption, served_event, session, swept, ticket};
use crate::policy::LONG_GRANTS;
use crate::room::EventId;
use crate::store::{CodeAge, GrantId, GrantStanding, LongGrant, Redeemed, Redemption, TokenStanding};

/// When all that these tests write is over.
const NEXT_DAY: u64 = 86_400;

/// The same code, at an age that forbids to redeem it.
fn at_wrong_age(name: u8) -> Redemption {
    Redemption { code: CodeAge::Wrong, ..redemption(name) }
}

/// How the grant with this name stands.
async fn standing(store: &Shared, event: &EventId, name: u8) -> GrantStanding {
    store.token_standing(event, &ticket(1), &GrantId([name; 16])).await.unwrap().grant
}

pub(in crate::store) async fn a_code_is_redeemed_once_and_its_reuse_revokes(store: Shared) {
    let event = served_event(&store).await;
    let session = Some(store.open_session(&session(&event, 1, 3600)).await.unwrap().session);
    assert_eq!(store.redeem(&redemption(1)).await.unwrap(), Redeemed::Now);
    let whole = async |request_id| store.token_standing(&event, &request_id, &GrantId([1; 16])).await.unwrap();
    assert_eq!(whole(ticket(1)).await, TokenStanding { session: session.clone(), grant: GrantStanding::Good });
    for _ in 0..2 {
        assert_eq!(store.redeem(&redemption(1)).await.unwrap(), Redeemed::Before);
        assert_eq!(whole(ticket(1)).await, TokenStanding { session: session.clone(), grant: GrantStanding::Revoked });
    }
    assert_eq!(whole(ticket(8)).await, TokenStanding { session: None, grant: GrantStanding::Revoked });
    assert_eq!(standing(&store, &event, 2).await, GrantStanding::Good, "of another grant nothing is revoked");
    assert_eq!(store.redeem(&redemption(2)).await.unwrap(), Redeemed::Now);
}

pub(in crate::store) async fn reuse_revokes_whatever_the_clock_makes_of_the_codes_age(store: Shared) {
    let event = event(&store).await;
    assert_eq!(store.redeem(&redemption(1)).await.unwrap(), Redeemed::Now);
    for _ in 0..2 {
        assert_eq!(store.redeem(&at_wrong_age(1)).await.unwrap(), Redeemed::Before);
        assert_eq!(standing(&store, &event, 1).await, GrantStanding::Revoked);
    }
}

pub(in crate::store) async fn a_code_of_the_wrong_age_is_never_redeemed_and_not_used_up(store: Shared) {
    let event = event(&store).await;
    for _ in 0..2 {
        assert_eq!(store.redeem(&at_wrong_age(1)).await.unwrap(), Redeemed::Never);
    }
    assert_eq!(standing(&store, &event, 1).await, GrantStanding::Good, "it is a mistake, not an attack");
    assert_eq!(store.redeem(&redemption(1)).await.unwrap(), Redeemed::Now);
}

pub(in crate::store) async fn a_redemption_is_remembered_for_ten_minutes_and_then_forgotten(store: Shared) {
    event(&store).await;
    store.redeem(&redemption(1)).await.unwrap();
    assert_eq!(swept(&store, at(600)).await, 0);
    assert_eq!(store.redeem(&redemption(1)).await.unwrap(), Redeemed::Before);
    store.redeem(&redemption(2)).await.unwrap();
    let later = Redemption { issued_at: at(NEXT_DAY), ..redemption(3) };
    store.redeem(&later).await.unwrap();
    assert_eq!(swept(&store, at(NEXT_DAY)).await, 3, "two redemptions and a revocation");
    assert_eq!(store.redeem(&at_wrong_age(2)).await.unwrap(), Redeemed::Never);
    assert_eq!(store.redeem(&later).await.unwrap(), Redeemed::Before);
}

pub(in crate::store) async fn a_revocation_is_remembered_until_the_session_ends(store: Shared) {
    let event = event(&store).await;
    for _ in 0..2 {
        store.redeem(&redemption(1)).await.unwrap();
    }
    swept(&store, at(3599)).await;
    assert_eq!(standing(&store, &event, 1).await, GrantStanding::Revoked);
    swept(&store, at(NEXT_DAY)).await;
    assert_eq!(standing(&store, &event, 1).await, GrantStanding::Good, "its tokens are over");
}

pub(in crate::store) async fn a_sweep_by_a_clock_an_hour_ahead_forgets_no_redemption(store: Shared) {
    let event = event(&store).await;
    store.sweep(at(0)).await.unwrap();
    store.redeem(&redemption(1)).await.unwrap();
    store.sweep(at(3600)).await.unwrap();
    swept(&store, at(60)).await;
    assert_eq!(store.redeem(&redemption(1)).await.unwrap(), Redeemed::Before);
    store.sweep(at(3660)).await.unwrap();
    assert_eq!(standing(&store, &event, 1).await, GrantStanding::Revoked);
}

/// A long grant of the session of this ticket.
fn long(number: u64, name: u8, second: u64) -> LongGrant {
    let body = vec![name; 5000];
    LongGrant { id: GrantId([name; 16]), request_id: ticket(number), issued_at: at(second), body }
}

/// The names of the grants that are kept for a session.
async fn kept(store: &Shared, number: u64) -> Vec<u8> {
    let mut names = Vec::new();
    for name in 0..10 {
        if let Some(body) = store.long_grant(&ticket(number), &GrantId([name; 16])).await.unwrap() {
            assert_eq!(body, [name; 5000]);
            names.push(name);
        }
    }
    names
}

pub(in crate::store) async fn a_long_grant_is_kept_for_its_session_until_it_expires(store: Shared) {
    event(&store).await;
    store.put_long_grant(&long(1, 1, 0)).await.unwrap();
    store.put_long_grant(&long(2, 2, 1)).await.unwrap();
    assert_eq!((kept(&store, 1).await, kept(&store, 2).await, kept(&store, 3).await), (vec![1], vec![2], vec![]));
    assert_eq!(store.redeem(&redemption(1)).await.unwrap(), Redeemed::Now);
    assert_eq!(store.sweep(at(59)).await.unwrap(), 0);
    assert_eq!((kept(&store, 1).await, kept(&store, 2).await), (vec![1], vec![2]));
    assert_eq!(store.sweep(at(NEXT_DAY)).await.unwrap() / 2, 1, "both, and perhaps the redemption");
    assert_eq!((kept(&store, 1).await, kept(&store, 2).await), (vec![], vec![]));
}

pub(in crate::store) async fn a_session_has_at_most_four_long_grants_and_the_next_replaces_the_oldest(store: Shared) {
    event(&store).await;
    store.put_long_grant(&long(2, 9, 0)).await.unwrap();
    for name in 1..=6 {
        store.put_long_grant(&long(1, name, 0)).await.unwrap();
        let oldest = name.saturating_sub(LONG_GRANTS as u8) + 1;
        assert_eq!(kept(&store, 1).await, (oldest..=name).collect::<Vec<_>>());
    }
    assert_eq!(kept(&store, 2).await, [9], "sessions do not replace each other's");
}
