//! The visitor's address, and the requested host and scheme: the only place that decides which headers are trusted.
//!
//! The log shows the address, and limits count by it. A limit must not count a proxy as a visitor, because all visitors
//! behind it would share the limit: where no trusted proxy names the visitor, the address is unknown. Signatures and
//! `/verify` need the host.

use std::borrow::Cow;
use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;
use ipnet::IpNet;

use super::Site;
use super::forwarded::{elements, node_address};
use crate::config::{contains, is_internal};
pub use crate::http::AddressKey;

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const X_FORWARDED_HOST: &str = "x-forwarded-host";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
const FORWARDED: &str = "forwarded";

/// The origin of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VisitorAddress {
    /// This address.
    Known(IpAddr),
    /// Unknown, behind this peer: a trusted proxy that names no client, or a peer in a loopback or private network that
    /// is not a known proxy. The peer is `None` if the connection has no address.
    Unknown {
        /// The peer of the connection.
        peer: Option<IpAddr>,
    },
}

impl VisitorAddress {
    /// The address of a request. IPv4 in IPv6 form is returned as IPv4.
    pub fn of(site: &Site, request: &HttpRequest) -> Self {
        RequestOrigin::of(site, request).visitor
    }

    /// The address of a request from `peer` with these headers.
    pub fn behind(site: &Site, peer: Option<IpAddr>, headers: &HeaderMap) -> Self {
        RequestOrigin::behind(&site.trusted_proxies, peer, headers).visitor
    }

    /// The address for the log: the visitor's, or else the peer's.
    pub const fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Known(address) => Some(address),
            Self::Unknown { peer } => peer,
        }
    }

    /// The key for limits by address; `None` if no limit applies: the address is unknown or exempt.
    pub fn limited(self, site: &Site) -> Option<AddressKey> {
        match self {
            Self::Known(address) if !site.limits.exempts(address) => Some(AddressKey::of(address)),
            Self::Known(_) | Self::Unknown { .. } => None,
        }
    }
}

/// The origin and target of a request, as proxies report them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestOrigin<'a> {
    /// The visitor.
    pub visitor: VisitorAddress,
    /// The requested host, possibly with a port; `None`: no proxy names it, so the request's own applies.
    pub host: Option<Cow<'a, str>>,
    /// The visitor's scheme, in lower case; `None`: no proxy names it.
    pub scheme: Option<String>,
}

impl<'a> RequestOrigin<'a> {
    /// The origin of a request.
    pub fn of(site: &Site, request: &'a HttpRequest) -> Self {
        Self::behind(&site.trusted_proxies, request.peer_addr().map(|peer| peer.ip()), request.headers())
    }

    /// The origin of a request from `peer` with these headers, which count if the peer is one of the `trusted` proxies.
    /// IPv4 in IPv6 form is returned as IPv4.
    pub fn behind(trusted: &[IpNet], peer: Option<IpAddr>, headers: &'a HeaderMap) -> Self {
        let peer = peer.map(|peer| peer.to_canonical());
        let visitor = match peer {
            Some(address) if contains(trusted, address) => return Self::from_headers(trusted, peer, headers),
            Some(address) if !is_internal(address) => VisitorAddress::Known(address),
            _ => VisitorAddress::Unknown { peer },
        };
        Self { visitor, host: None, scheme: None }
    }

    /// The origin that the headers name, whoever the peer is: for uses in which a forged value does no harm.
    ///
    /// `X-Forwarded-For`, `-Host` and `-Proto` take precedence over the equivalent parameter of `Forwarded` (RFC 7239):
    /// proxies that write the former forward the latter as they received it.
    pub fn from_headers(trusted: &[IpNet], peer: Option<IpAddr>, headers: &'a HeaderMap) -> Self {
        let (address, host, scheme) = forwarded(trusted, headers);
        let address = if headers.contains_key(X_FORWARDED_FOR) { forwarded_for(trusted, headers) } else { address };
        let first = |name| first_value(headers, name).map(Cow::Borrowed);
        let scheme = first(X_FORWARDED_PROTO).or(scheme).map(|scheme| scheme.to_ascii_lowercase());
        Self {
            visitor: address.map_or(VisitorAddress::Unknown { peer }, VisitorAddress::Known),
            host: first(X_FORWARDED_HOST).or(host),
            scheme,
        }
    }
}

/// The last address in `X-Forwarded-For` that is not a trusted proxy's: each trusted proxy vouches for the hop before
/// it, and everything before that is untrusted. Anything but an address ends the chain.
fn forwarded_for(trusted: &[IpNet], headers: &HeaderMap) -> Option<IpAddr> {
    let lines: Vec<_> = headers.get_all(X_FORWARDED_FOR).collect();
    let hops = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','));
    // Empty list elements mean nothing (RFC 9110 §5.6.1.2).
    let hops = hops.map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty());
    let mut addresses = hops.map_while(|hop| std::str::from_utf8(hop).ok().and_then(node_address));
    addresses.find(|hop| !contains(trusted, *hop))
}

/// The same address from `Forwarded`, and the host and scheme that the first trusted proxy received.
fn forwarded<'a>(
    trusted: &[IpNet],
    headers: &'a HeaderMap,
) -> (Option<IpAddr>, Option<Cow<'a, str>>, Option<Cow<'a, str>>) {
    let lines: Vec<_> = headers.get_all(FORWARDED).collect();
    let (mut host, mut scheme) = (None, None);
    for element in elements(&lines).map_while(|element| element) {
        host = element.host.or(host);
        scheme = element.proto.or(scheme);
        match element.node.as_deref().and_then(node_address) {
            Some(address) if contains(trusted, address) => {}
            address => return (address, host, scheme),
        }
    }
    (None, host, scheme)
}

/// The first value of a header that may be a list: the one that the first proxy received, because each appends its own.
fn first_value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let values = headers.get_all(name).flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    let first = values.map(<[u8]>::trim_ascii).find(|value| !value.is_empty())?;
    std::str::from_utf8(first).ok()
}

#[cfg(test)]
mod tests;
