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
async fn one_address_evicts_itself_from_the_operators_part_and_nobody_else() {
    let admission = admission(4, 16);
    let _visitors = several(&admission, "127.0.0.1", 4);
    let operator = admit(&admission, "198.51.100.1").unwrap();
    let flood = several(&admission, "192.0.2.1", 100);
    assert!(!is_evicted(&operator).await);
    for (index, slot) in flood.iter().enumerate() {
        assert_eq!(is_evicted(slot).await, index < 96, "{index}");
    }
}

#[tokio::test]
async fn of_many_addresses_the_oldest_that_asked_nothing_is_evicted() {
    let admission = admission(4, 4);
    let _visitors = several(&admission, "127.0.0.1", 4);
    let operator = admit(&admission, "198.51.100.1").unwrap();
    assert_eq!(verdict(&operator, "/private/keys"), "last");
    let others: Vec<_> = (1..=4).map(|last| admit(&admission, &format!("192.0.2.{last}")).unwrap()).collect();
    assert!(!is_evicted(&operator).await && is_evicted(&others[0]).await && !is_evicted(&others[1]).await);
    others[1..].iter().for_each(|slot| assert_eq!(verdict(slot, "/private/keys"), "last"));
    assert!(admit(&admission, "192.0.2.9").is_none(), "all are being answered");
    drop(others);
    assert!(admit(&admission, "192.0.2.9").is_some());
}

#[test]
fn what_is_given_back_is_forgotten() {
    let admission = admission(8, 4);
    drop([several(&admission, "192.0.2.1", 2), several(&admission, "192.0.2.1", 1)]);
    let held = admission.held();
    assert_eq!((held.visitors, held.by_address.len(), held.extra.len()), (0, 0, 0));
}
