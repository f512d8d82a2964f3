//! The address that a visitor comes from: the one place that decides which headers are believed.
//!
//! The log shows the address, and limits count by it. A limit must not count a proxy as if it were a visitor, as then
//! everybody behind it would share the limit: where nobody trustworthy names the visitor, the address is unknown.

use std::net::{IpAddr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;

use super::Site;
use crate::config::{contains, is_internal};
pub use crate::http::AddressKey;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Where a request comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VisitorAddress {
    /// From this address.
    Known(IpAddr),
    /// From behind the peer of the connection: a trusted proxy that names nobody, or a peer in a loopback or private
    /// network that is not known to be a proxy. The peer is `None` where the connection has no address.
    Unknown {
        /// The peer of the connection.
        peer: Option<IpAddr>,
    },
}

impl VisitorAddress {
    /// The address that a request comes from. IPv4 in IPv6 form is shown as IPv4.
    pub fn of(site: &Site, request: &HttpRequest) -> Self {
        let peer = request.peer_addr().map(|peer| peer.ip());
        Self::behind(site, peer, request.headers())
    }

    /// The address that stands in `headers` of a request from `peer`: the peer itself, or, behind trusted proxies, the
    /// last address in `X-Forwarded-For` that is not one of them. Anybody could have written what stands before that.
    pub fn behind(site: &Site, peer: Option<IpAddr>, headers: &HeaderMap) -> Self {
        let peer = peer.map(|peer| peer.to_canonical());
        let Some(address) = peer else { return Self::Unknown { peer } };
        let trusted = |address: &IpAddr| contains(&site.trusted_proxies, *address);
        if !trusted(&address) {
            return if is_internal(address) { Self::Unknown { peer } } else { Self::Known(address) };
        }
        let lines: Vec<_> = headers.get_all(X_FORWARDED_FOR).collect();
        let hops = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','));
        // Empty list elements mean nothing (RFC 9110 §5.6.1.2).
        let hops = hops.map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty());
        // Read from the right: each trusted proxy vouches for the hop before it. Anything that is not an address ends
        // the chain.
        let mut addresses = hops.map_while(|hop| std::str::from_utf8(hop).ok().and_then(hop_address));
        addresses.find(|hop| !trusted(hop)).map_or(Self::Unknown { peer }, Self::Known)
    }

    /// The address for the log: the visitor's, or else the peer's.
    pub const fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Known(address) => Some(address),
            Self::Unknown { peer } => peer,
        }
    }

    /// What limits by address count this request under; `None` where none applies: the address is unknown or exempt.
    pub fn limited(self, site: &Site) -> Option<AddressKey> {
        match self {
            Self::Known(address) if !site.limits.exempts(address) => Some(AddressKey::of(address)),
            Self::Known(_) | Self::Unknown { .. } => None,
        }
    }
}

/// Whether the peer of the connection is a trusted proxy, whose headers are believed.
pub fn is_from_trusted_proxy(site: &Site, request: &HttpRequest) -> bool {
    request.peer_addr().is_some_and(|peer| contains(&site.trusted_proxies, peer.ip()))
}

/// The address of one hop, as proxies write it: bare, with a port, in brackets, in quotes, with a zone.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let hop = hop.strip_prefix('"').and_then(|hop| hop.strip_suffix('"')).unwrap_or(hop);
    let bare = || {
        let inside = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']')).unwrap_or(hop);
        inside.split('%').next().unwrap_or_default().parse::<IpAddr>().ok()
    };
    let with_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare().or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::config::{Limits, MetricsAccess};

    fn site(trusted_proxies: &[&str], exempt: Option<&[&str]>) -> Site {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let limits =
            exempt.map_or_else(Limits::default, |exempt| Limits { exempt: networks(exempt), ..Limits::default() });
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
    fn a_peer_that_no_proxy_can_be_is_the_visitor_whatever_it_says() {
        let site = site(&["10.0.0.0/8"], None);
        assert_eq!(of(&site, "192.0.2.1", &["198.51.100.7"]), known("192.0.2.1"));
        assert_eq!(of(&site, "::ffff:192.0.2.1", &[]), known("192.0.2.1"));
    }

    #[test]
    fn a_trusted_proxy_names_the_visitor_in_any_form_that_proxies_write() {
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
    fn a_trusted_proxy_that_names_nobody_leaves_the_visitor_unknown() {
        let site = site(&["10.0.0.0/8", "203.0.113.1/32"], None);
        let lines =
            ["", ",", "unknown", "10.1.1.1", "198.51.100.7, unknown", "198.51.100.7 10.0.0.1", "198.51.100.256"];
        for line in lines.into_iter().chain(["198.51.100.7:port", "198.51.100.7:65536", "[198.51.100.7", "_hidden"]) {
            assert_eq!(of(&site, "10.0.0.1", &[line]), unknown("10.0.0.1"), "{line}");
        }
        assert_eq!(of(&site, "203.0.113.1", &[]), unknown("203.0.113.1"));
    }

    #[test]
    fn behind_a_peer_of_the_inner_network_that_is_not_trusted_the_visitor_is_unknown() {
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
}
