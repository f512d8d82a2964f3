//! The forms in which proxies report the origin of a request.

use std::net::SocketAddr;

use actix_web::test::TestRequest;

use super::*;
use crate::config::{Limits, MetricsAccess};

fn site(trusted_proxies: &[&str], exempt: Option<&[&str]>) -> Site {
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let limits = exempt.map_or_else(Limits::default, |exempt| Limits { exempt: networks(exempt), ..Limits::default() });
    let trusted_proxies = networks(trusted_proxies);
    let (issuer, base_path, metrics) = (String::new(), String::new(), MetricsAccess::default());
    Site { issuer, base_path, https: true, hsts: true, trusted_proxies, limits, metrics }
}

/// The address of a request from `peer` with these lines of `X-Forwarded-For`.
fn of(site: &Site, peer: &str, forwarded: &[&str]) -> VisitorAddress {
    let request = TestRequest::default().peer_addr(SocketAddr::new(peer.parse().unwrap(), 4711));
    let request = forwarded.iter().fold(request, |request, line| request.append_header((X_FORWARDED_FOR, *line)));
    VisitorAddress::of(site, &request.to_http_request())
}

fn known(address: &str) -> VisitorAddress {
    VisitorAddress::Known(address.parse().unwrap())
}

fn unknown(peer: &str) -> VisitorAddress {
    VisitorAddress::Unknown { peer: Some(peer.parse().unwrap()) }
}

#[test]
fn a_public_peer_is_the_visitor_whatever_its_headers() {
    let site = site(&["10.0.0.0/8"], None);
    assert_eq!(of(&site, "192.0.2.1", &["198.51.100.7"]), known("192.0.2.1"));
    assert_eq!(of(&site, "::ffff:192.0.2.1", &[]), known("192.0.2.1"));
}

#[test]
fn a_trusted_proxy_names_the_visitor_in_any_form() {
    let site = site(&["10.0.0.0/8", "2001:db8:1::/48"], None);
    for (line, address) in [
        ("198.51.100.7", "198.51.100.7"),
        (" 198.51.100.7 ", "198.51.100.7"),
        ("198.51.100.7:51234", "198.51.100.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:51234", "2001:db8::7"),
        ("\"[2001:db8::7]:51234\"", "2001:db8::7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("[::ffff:198.51.100.7]:80", "198.51.100.7"),
        ("fe80::7%eth0", "fe80::7"),
        ("203.0.113.9, 198.51.100.7", "198.51.100.7"),
        ("unknown, 198.51.100.7, 10.1.1.1", "198.51.100.7"),
        ("198.51.100.7,, 10.1.1.1:9, [2001:db8:1::1]:80,", "198.51.100.7"),
    ] {
        for peer in ["10.0.0.1", "::ffff:10.0.0.1"] {
            assert_eq!(of(&site, peer, &[line]), known(address), "{line}");
        }
    }
    assert_eq!(of(&site, "10.0.0.1", &["203.0.113.9", "198.51.100.7", "10.2.2.2"]), known("198.51.100.7"));
}

#[test]
fn a_trusted_proxy_without_a_client_address_leaves_the_visitor_unknown() {
    let site = site(&["10.0.0.0/8", "203.0.113.1/32"], None);
    let lines = ["", ",", "unknown", "10.1.1.1", "198.51.100.7, unknown", "198.51.100.7 10.0.0.1", "198.51.100.256"];
    for line in lines.into_iter().chain(["198.51.100.7:port", "198.51.100.7:65536", "[198.51.100.7", "_hidden"]) {
        assert_eq!(of(&site, "10.0.0.1", &[line]), unknown("10.0.0.1"), "{line}");
    }
    assert_eq!(of(&site, "203.0.113.1", &[]), unknown("203.0.113.1"));
}

#[test]
fn behind_an_untrusted_private_peer_the_visitor_is_unknown() {
    let site = site(&["10.0.0.1/32"], Some(&[]));
    for peer in ["127.0.0.1", "::1", "10.0.0.2", "192.168.0.1", "fd00::1"] {
        let address = of(&site, peer, &["198.51.100.7"]);
        assert_eq!(address, unknown(peer));
        assert_eq!(address.limited(&site), None);
    }
    let without_peer = VisitorAddress::of(&site, &TestRequest::default().to_http_request());
    assert_eq!(without_peer, VisitorAddress::Unknown { peer: None });
}

#[test]
fn limits_count_by_ipv4_address_and_by_ipv6_network_of_64_bits() {
    let key = |text: &str| AddressKey::of(text.parse().unwrap());
    assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    assert_eq!(key("2001:db8:0:1::1"), key("2001:db8:0:1:ffff::2"));
    assert_ne!(key("2001:db8:0:1::1"), key("2001:db8:0:2::1"));
}

#[test]
fn an_exempt_address_is_not_limited() {
    let by_default = site(&["203.0.113.1/32"], None);
    assert_eq!(of(&by_default, "203.0.113.1", &["10.9.9.9"]).limited(&by_default), None);
    assert!(of(&by_default, "198.51.100.7", &[]).limited(&by_default).is_some());
    let without = site(&["203.0.113.1/32"], Some(&[]));
    assert!(of(&without, "203.0.113.1", &["10.9.9.9"]).limited(&without).is_some());
    let named = site(&[], Some(&["198.51.100.0/24"]));
    assert_eq!(of(&named, "198.51.100.7", &[]).limited(&named), None);
}

/// The visitor, the host and the scheme by the headers of a request from `peer`; `-` if unknown.
fn origin(trusted_proxies: &[&str], peer: &str, headers: &[(&str, &str)]) -> [String; 3] {
    let request = TestRequest::default().peer_addr(SocketAddr::new(peer.parse().unwrap(), 4711));
    let request = headers.iter().fold(request, |request, header| request.append_header(*header)).to_http_request();
    let origin = RequestOrigin::of(&site(trusted_proxies, None), &request);
    let visitor = match origin.visitor {
        VisitorAddress::Known(address) => Some(address.to_string()),
        VisitorAddress::Unknown { .. } => None,
    };
    [visitor, origin.host.map(Cow::into_owned), origin.scheme].map(|origin| origin.unwrap_or_else(|| "-".to_owned()))
}

const FOR: &str = "X-Forwarded-For";
const HOST: &str = "X-Forwarded-Host";
const PROTO: &str = "X-Forwarded-Proto";
const RFC_7239: &str = "Forwarded";

/// Headers of a trusted proxy, and the expected origin.
type Form = (&'static [(&'static str, &'static str)], [&'static str; 3]);

const FORMS: &[Form] = &[
    (&[], ["-", "-", "-"]),
    (
        &[(FOR, "198.51.100.7:51234"), (HOST, "shop.example"), (PROTO, "https")],
        ["198.51.100.7", "shop.example", "https"],
    ),
    (
        &[(FOR, "[2001:db8::7]"), (HOST, "shop.example:8443"), (PROTO, "HTTPS")],
        ["2001:db8::7", "shop.example:8443", "https"],
    ),
    (
        &[(FOR, "2001:db8::7, 10.1.1.1"), (HOST, "shop.example, inner.example"), (PROTO, "https,http")],
        ["2001:db8::7", "shop.example", "https"],
    ),
    (
        &[(FOR, "::ffff:198.51.100.7"), (HOST, ", shop.example ,"), (PROTO, " , https")],
        ["198.51.100.7", "shop.example", "https"],
    ),
    (
        &[(HOST, "shop.example"), (HOST, "inner.example"), (PROTO, "https"), (PROTO, "http")],
        ["-", "shop.example", "https"],
    ),
    (&[(HOST, ","), (PROTO, "")], ["-", "-", "-"]),
    (&[(RFC_7239, "for=198.51.100.7;host=shop.example;proto=https")], ["198.51.100.7", "shop.example", "https"]),
    (
        &[(RFC_7239, "For=\"198.51.100.7:4711\";Host=\"shop.example:8443\";Proto=HTTPS")],
        ["198.51.100.7", "shop.example:8443", "https"],
    ),
    (&[(RFC_7239, "for=\"[2001:db8::7]:4711\"")], ["2001:db8::7", "-", "-"]),
    (&[(RFC_7239, "for=\"[2001:db8::7]:_hidden\"")], ["2001:db8::7", "-", "-"]),
    (&[(RFC_7239, "for=\"[::ffff:198.51.100.7]\"")], ["198.51.100.7", "-", "-"]),
    (&[(RFC_7239, "for=unknown;host=shop.example")], ["-", "shop.example", "-"]),
    (&[(RFC_7239, "for=_hidden;proto=https")], ["-", "-", "https"]),
    (&[(RFC_7239, "by=10.0.0.1;host=shop.example")], ["-", "shop.example", "-"]),
    // The first trusted proxy received the visitor's request.
    (
        &[(RFC_7239, "for=198.51.100.7;host=shop.example;proto=https, for=10.1.1.1;host=inner.example;proto=http")],
        ["198.51.100.7", "shop.example", "https"],
    ),
    (
        &[(RFC_7239, "for=198.51.100.7;host=shop.example"), (RFC_7239, "for=\"[2001:db8:1::1]\", for=\"10.1.1.1:80\"")],
        ["198.51.100.7", "shop.example", "-"],
    ),
    // Everything before that is untrusted.
    (
        &[(RFC_7239, "for=203.0.113.9;host=evil.example;proto=http, for=198.51.100.7;host=shop.example")],
        ["198.51.100.7", "shop.example", "-"],
    ),
    (
        &[(RFC_7239, "for=\"203.0.113.9;host=evil.example, for=198.51.100.7;host=shop.example")],
        ["198.51.100.7", "shop.example", "-"],
    ),
    (&[(RFC_7239, "for=198.51.100.7, for=unknown")], ["-", "-", "-"]),
    (&[(RFC_7239, "for=198.51.100.7, for=10.1.1.1;for=10.1.1.2")], ["-", "-", "-"]),
    // Proxies that write the older headers forward this one as they received it, and the other way round.
    (
        &[
            (RFC_7239, "for=203.0.113.9;host=evil.example;proto=http"),
            (FOR, "198.51.100.7"),
            (HOST, "shop.example"),
            (PROTO, "https"),
        ],
        ["198.51.100.7", "shop.example", "https"],
    ),
    (&[(RFC_7239, "for=203.0.113.9"), (FOR, "unknown")], ["-", "-", "-"]),
    (&[(RFC_7239, "for=198.51.100.7;proto=https"), (HOST, "shop.example")], ["198.51.100.7", "shop.example", "https"]),
];

#[test]
fn visitor_host_and_scheme_are_read_in_each_form() {
    let proxies = ["10.0.0.0/8", "2001:db8:1::/48"];
    for (headers, expected) in FORMS {
        for peer in ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8:1::9"] {
            assert_eq!(origin(&proxies, peer, headers), *expected, "{peer}: {headers:?}");
        }
        // Of untrusted peers, only the address counts.
        assert_eq!(origin(&proxies, "::ffff:192.0.2.1", headers), ["192.0.2.1", "-", "-"], "{headers:?}");
        assert_eq!(origin(&proxies, "192.168.0.1", headers), ["-", "-", "-"], "{headers:?}");
    }
}

#[test]
fn a_harmless_origin_is_read_from_any_peer() {
    let request = TestRequest::default().insert_header((RFC_7239, "for=192.0.2.1;host=shop.example;proto=https"));
    let request = request.to_http_request();
    let origin = RequestOrigin::from_headers(&[], None, request.headers());
    assert_eq!((origin.host.as_deref(), origin.scheme.as_deref()), (Some("shop.example"), Some("https")));
}
