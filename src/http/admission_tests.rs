//! Who gets a connection, and what becomes of its requests.

use super::*;

struct Paths;

impl Terms for Paths {
    fn key(&self, peer: IpAddr) -> Option<AddressKey> {
        (!peer.is_loopback()).then(|| AddressKey::of(peer))
    }

    fn is_for_operators(&self, path: &str) -> bool {
        path.starts_with("/private")
    }

    fn refuse(&self, _: Refusal<'_>) -> Response<BoxBody> {
        Response::new(StatusCode::SERVICE_UNAVAILABLE)
    }
}

fn admission(visitors: usize, operators: usize) -> Arc<Admission> {
    Admission::new(Parts { visitors, operators }, Paths, ConnectionMetrics::default())
}

fn admit(admission: &Arc<Admission>, peer: &str) -> Option<Slot> {
    admission.admit(Some(peer.parse().unwrap()))
}

fn several(admission: &Arc<Admission>, peer: &str, count: usize) -> Vec<Slot> {
    (0..count).map(|_| admit(admission, peer).unwrap()).collect()
}

fn verdict(slot: &Slot, path: &str) -> &'static str {
    let mut request = Request::new();
    *request.uri_mut() = path.parse().unwrap();
    match slot.judge(&request) {
        Verdict::Handle => "handle",
        Verdict::HandleLast => "last",
        Verdict::Refuse => "refuse",
    }
}

async fn is_evicted(slot: &Slot) -> bool {
    tokio::time::timeout(std::time::Duration::ZERO, slot.evicted()).await.is_ok()
}

#[test]
fn an_address_holds_a_quarter_and_what_exceeds_it_is_answered_once() {
    let admission = admission(40, 16);
    let mut held = several(&admission, "192.0.2.1", 10);
    assert!(held.iter().all(|slot| verdict(slot, "/") == "handle"));
    let beyond = admit(&admission, "192.0.2.1").unwrap();
    assert_eq!((verdict(&beyond, "/"), verdict(&beyond, "/private/x")), ("last", "last"));
    assert_eq!(verdict(&admit(&admission, "192.0.2.2").unwrap(), "/"), "handle", "another address");
    held.pop();
    assert_eq!(verdict(&admit(&admission, "192.0.2.1").unwrap(), "/"), "handle", "one was given back");
}

#[test]
fn all_of_an_ipv6_network_share_and_the_exempt_do_not() {
    let admission = admission(8, 4);
    let _held = [several(&admission, "2001:db8::1", 1), several(&admission, "2001:db8::ffff:2", 1)];
    assert_eq!(verdict(&admit(&admission, "2001:db8::3").unwrap(), "/"), "last");
    assert!(several(&admission, "127.0.0.1", 6).iter().all(|slot| verdict(slot, "/") == "handle"));
}

#[test]
fn beyond_the_visitors_part_only_operators_are_answered() {
    let admission = admission(4, 4);
    let visitors = several(&admission, "127.0.0.1", 4);
    let beyond = admit(&admission, "127.0.0.1").unwrap();
    assert_eq!((verdict(&beyond, "/"), verdict(&beyond, "/private/keys")), ("refuse", "last"));
    assert_eq!(verdict(&beyond, "/%70rivate/keys"), "refuse", "paths are matched as they are written");
    drop(visitors);
    assert_eq!(verdict(&admit(&admission, "127.0.0.1").unwrap(), "/"), "handle");
}

#[tokio::test]
async fn the_address_with_the_most_connections_gives_way() {
    let admission = admission(4, 16);
    let _visitors = several(&admission, "127.0.0.1", 4);
    let operator = admit(&admission, "198.51.100.1").unwrap();
    let flood: Vec<_> = (0..100).map(|index| admit(&admission, &format!("192.0.2.{}", index % 4)).unwrap()).collect();
    assert!(!is_evicted(&operator).await);
    let late = admit(&admission, "198.51.100.2").unwrap();
    let (mut evicted, mut held) = (0, 0);
    for slot in &flood {
        if is_evicted(slot).await { evicted += 1 } else { held += 1 }
    }
    assert_eq!((evicted, held), (86, 14));
    assert!(!is_evicted(&operator).await && !is_evicted(&late).await);
}

#[tokio::test]
async fn connections_without_a_limit_of_their_own_give_way_as_one_address_would() {
    let admission = admission(4, 16);
    let _visitors = several(&admission, "127.0.0.1", 4);
    let health_checks = several(&admission, "127.0.0.1", 3);
    let flood = several(&admission, "192.0.2.1", 13);
    let operator = admit(&admission, "198.51.100.1").unwrap();
    assert!(is_evicted(&flood[0]).await && !is_evicted(&operator).await);
    let _proxied = several(&admission, "127.0.0.1", 30);
    assert!(is_evicted(&health_checks[0]).await && !is_evicted(&operator).await);
}

#[tokio::test]
async fn what_is_handled_never_gives_way_and_what_is_awaited_does_before_what_is_written() {
    let admission = admission(4, 4);
    let _visitors = several(&admission, "127.0.0.1", 4);
    let held = several(&admission, "192.0.2.1", 4);
    assert!(held[0].set_stage(Stage::Handling) && held[1].set_stage(Stage::Writing));
    let mut later = Vec::new();
    for evicted in [2, 3, 1] {
        later.push(admit(&admission, &format!("198.51.100.{evicted}")).unwrap());
        assert!(is_evicted(&held[evicted]).await, "{evicted}");
        assert!(!held[evicted].set_stage(Stage::Handling), "it has given way");
    }
    assert!(later.iter().all(|slot| slot.set_stage(Stage::Handling)));
    assert!(admit(&admission, "192.0.2.9").is_none(), "all are being handled");
    assert!(!is_evicted(&held[0]).await);
    drop(later);
    assert!(admit(&admission, "192.0.2.9").is_some());
}

#[tokio::test]
async fn beyond_its_share_an_address_is_answered_from_what_is_free() {
    let admission = admission(40, 8);
    let held = several(&admission, "192.0.2.1", 10);
    let beyond = several(&admission, "192.0.2.1", 38);
    assert!(beyond.iter().all(|slot| verdict(slot, "/") == "last"));
    let other = admit(&admission, "192.0.2.2").unwrap();
    assert_eq!(verdict(&other, "/"), "handle");
    assert!(is_evicted(&beyond[0]).await && !is_evicted(&beyond[1]).await);
    drop((held, other));
}

#[test]
fn an_operators_path_with_a_host_before_it_is_none() {
    let admission = admission(4, 4);
    let _visitors = several(&admission, "127.0.0.1", 4);
    let beyond = admit(&admission, "127.0.0.1").unwrap();
    assert_eq!(verdict(&beyond, "http://queue/private/keys"), "refuse");
}

#[test]
fn what_is_given_back_is_forgotten() {
    let admission = admission(8, 4);
    let slots = several(&admission, "192.0.2.1", 6);
    slots[4].set_stage(Stage::Handling);
    slots[5].set_stage(Stage::Writing);
    drop(slots);
    let held = admission.held();
    assert!(held.visitors == 0 && held.by_address.is_empty() && held.brief.is_forgotten());
}
