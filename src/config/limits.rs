//! `[limits]`: what one visitor's address may use, and the networks that no such limit applies to.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::network;
use super::reader::{Read, Section};

/// The limits that apply by address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Networks that no limit by address applies to.
    pub exempt: Vec<IpNet>,
}

impl Limits {
    /// Whether no limit by address applies to `address`.
    pub fn exempts(&self, address: IpAddr) -> bool {
        contains(&self.exempt, address)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { exempt: INTERNAL_NETWORKS.to_vec() }
    }
}

/// Loopback, private and link-local networks: nobody on the Internet comes from there, only proxies, health checks and
/// colleagues (RFC 1122 §3.2.1.3, RFC 1918, RFC 3927, RFC 4193, RFC 4291 §2.5.3 and §2.5.6). The shared address space
/// of RFC 6598 counts too: carriers translate it before a packet leaves their network, clouds number load balancers in it.
pub const INTERNAL_NETWORKS: [IpNet; 9] = [
    v4([127, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([172, 16, 0, 0], 12),
    v4([192, 168, 0, 0], 16),
    v4([169, 254, 0, 0], 16),
    v4([100, 64, 0, 0], 10),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
];

/// Whether `address` is in one of [`INTERNAL_NETWORKS`].
pub fn is_internal(address: IpAddr) -> bool {
    contains(&INTERNAL_NETWORKS, address)
}

/// Whether one of `networks` contains `address`. An IPv4 address in IPv6 form (`::ffff:192.0.2.1`, as a socket that
/// listens on `[::]` names its peers) is the IPv4 address.
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix))
}

pub(super) fn read(section: &mut Section<'_>) -> Read<Limits> {
    let exempt = section.or("exempt", Limits::default().exempt, |found| found.each(|entry| entry.parsed(network)));
    Ok(Limits { exempt: exempt? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_networks_are_those_that_no_visitor_of_the_internet_comes_from() {
        let internal = |text: &str| is_internal(text.parse().unwrap());
        for address in
            ["127.0.0.1", "127.9.9.9", "10.255.0.1", "172.31.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "::1"]
        {
            assert!(internal(address), "{address}");
        }
        for address in ["fd00::1", "fe80::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1"] {
            assert!(internal(address), "{address}");
        }
        for address in
            ["192.0.2.1", "172.32.0.1", "100.128.0.1", "11.0.0.1", "2001:db8::1", "::ffff:192.0.2.1", "::2", "fec0::1"]
        {
            assert!(!internal(address), "{address}");
        }
    }
}
