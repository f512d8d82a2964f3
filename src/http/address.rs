//! What limits by address count by.

use std::net::{IpAddr, Ipv4Addr};

/// One IPv4 address, or one IPv6 network of 64 bits, which a single customer of a provider has at least (RFC 6177).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum AddressKey {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// The first 64 bits of an IPv6 address.
    V6([u16; 4]),
}

impl AddressKey {
    /// The key of an address. IPv4 in IPv6 form is IPv4.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}
