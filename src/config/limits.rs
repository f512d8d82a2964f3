//! `[limits]`: the limits per visitor address, and the networks exempt from them.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::reader::{Read, Section};
use super::{Config, network};
use crate::policy;

/// The limits per address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Networks exempt from the limits per address.
    pub exempt: Vec<IpNet>,
    /// Joins from one IPv4 address, for all events together.
    pub joins_ipv4: Budget,
    /// Joins from one IPv6 network of 64 bits.
    pub joins_ipv6: Budget,
    /// Failed authentications of a client, per address and client.
    pub client_failures: Budget,
    /// Failed authentications of an operator, per address.
    pub operator_failures: Budget,
}

/// A burst, and then one per refill period.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// The size of the burst.
    pub burst: NonZeroU32,
    /// The time in which one more is allowed.
    pub refill: Duration,
}

impl Budget {
    /// `rate` per second with a burst of `burst`; each at least one.
    pub fn per_second(rate: u32, burst: u32) -> Self {
        Self::new(Duration::from_secs(1), rate, burst)
    }

    /// `rate` per minute, in a burst or spread out.
    pub fn per_minute(rate: u32) -> Self {
        Self::new(Duration::from_secs(60), rate, rate)
    }

    fn new(period: Duration, rate: u32, burst: u32) -> Self {
        Self { burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN), refill: period / rate.max(1) }
    }
}

impl Limits {
    /// Whether `address` is exempt from the limits per address.
    pub fn exempts(&self, address: IpAddr) -> bool {
        contains(&self.exempt, address)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            exempt: INTERNAL_NETWORKS.to_vec(),
            joins_ipv4: Budget::per_second(policy::DEFAULT_JOINS_PER_SECOND, policy::DEFAULT_JOINS_BURST),
            joins_ipv6: Budget::per_second(policy::DEFAULT_JOINS_PER_SECOND_IPV6, policy::DEFAULT_JOINS_BURST_IPV6),
            client_failures: Budget::per_minute(policy::DEFAULT_CLIENT_FAILURES),
            operator_failures: Budget::per_minute(policy::DEFAULT_OPERATOR_FAILURES),
        }
    }
}

/// Loopback, private and link-local networks: their addresses do not occur on the Internet, only among proxies, health
/// checks and colleagues (RFC 1122 §3.2.1.3, RFC 1918, RFC 3927, RFC 4193, RFC 4291 §2.5.3 and §2.5.6). The shared
/// address space of RFC 6598 is included: carriers translate it before a packet leaves their network, and clouds use it
/// for load balancers.
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

/// Whether one of `networks` contains `address`. An IPv4 address in IPv6 form (`::ffff:192.0.2.1`, as a socket on
/// `[::]` names its peers) counts as the IPv4 address.
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// Why visitor addresses are unknown with this configuration, if that follows from it: the peer can only be a proxy,
/// and `trusted_proxies` is empty. A demonstration has its visitors on its own machine.
pub(super) fn unknown_addresses(config: &Config) -> Option<String> {
    let listen = config.endpoints.listen.ip();
    let named = |network: &IpNet| match listen.is_loopback() {
        true => LOOPBACK.iter().any(|loopback| loopback.contains(network) || network.contains(loopback)),
        false => true,
    };
    let direct = !is_internal(listen) && (config.endpoints.tls.is_some() || !listen.is_unspecified());
    if direct || config.demo.is_some() || config.trusted_proxies.iter().any(named) {
        return None;
    }
    let address = config.endpoints.listen;
    Some(format!(
        "trusted_proxies names no proxy that could reach {address}: behind one, the addresses of visitors are unknown, \
         and no limit by address applies to them"
    ))
}

const LOOPBACK: [IpNet; 2] = [v4([127, 0, 0, 0], 8), v6([0, 0, 0, 0, 0, 0, 0, 1], 128)];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix))
}

pub(super) fn read(section: &mut Section<'_>) -> Read<Limits> {
    let exempt = section.or("exempt", Limits::default().exempt, |value| value.each(|entry| entry.parsed(network)));
    let joins_ipv4 = joins(
        section,
        ("joins_per_second", policy::DEFAULT_JOINS_PER_SECOND),
        ("joins_burst", policy::DEFAULT_JOINS_BURST),
    );
    let joins_ipv6 = joins(
        section,
        ("joins_per_second_ipv6", policy::DEFAULT_JOINS_PER_SECOND_IPV6),
        ("joins_burst_ipv6", policy::DEFAULT_JOINS_BURST_IPV6),
    );
    let client_failures = rate(section, ("client_failures_per_minute", policy::DEFAULT_CLIENT_FAILURES));
    let operator_failures = rate(section, ("operator_failures_per_minute", policy::DEFAULT_OPERATOR_FAILURES));
    Ok(Limits {
        exempt: exempt?,
        joins_ipv4: joins_ipv4?,
        joins_ipv6: joins_ipv6?,
        client_failures: client_failures.map(Budget::per_minute)?,
        operator_failures: operator_failures.map(Budget::per_minute)?,
    })
}

fn joins(section: &mut Section<'_>, per_second: (&'static str, u32), burst: (&'static str, u32)) -> Read<Budget> {
    let (per_second, burst) = (rate(section, per_second), rate(section, burst));
    Ok(Budget::per_second(per_second?, burst?))
}

fn rate(section: &mut Section<'_>, (key, default): (&'static str, u32)) -> Read<u32> {
    let number = section.or(key, u64::from(default), |value| value.number(1..=u64::from(policy::MAX_RATE)))?;
    Ok(u32::try_from(number).unwrap_or(policy::MAX_RATE))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ambient::Timestamp;
    use crate::config::Environment;

    #[test]
    fn unknown_visitor_addresses_are_reported_where_only_an_unnamed_proxy_can_be_the_peer() {
        let public = "public_url = 'https://queue.example'\n";
        let tls = "tls = { certificate = 'c', key = 'k' }\n";
        let warned = |lines: &str| {
            let text = format!("{public}{lines}[[event]]\nid = 'Sample'\n");
            let config = Config::parse(&text, Path::new("anteroom.toml"), &Environment::default()).unwrap();
            config
                .warnings(Timestamp::from_secs(1_800_000_000))
                .iter()
                .any(|warning| warning.contains("trusted_proxies names no proxy"))
        };
        for unnamed in [
            "",
            "listen = '127.0.0.1:80'\n",
            "listen = '127.0.0.1:80'\ntrusted_proxies = ['10.0.0.0/8']\n",
            "listen = '10.1.1.1:80'\n",
            "listen = '0.0.0.0:80'\n",
            "listen = '[::]:80'\n",
        ] {
            assert!(warned(unnamed), "{unnamed}");
        }
        for named in [
            "trusted_proxies = ['127.0.0.1']\n",
            "listen = '[::1]:80'\ntrusted_proxies = ['::1']\n",
            "trusted_proxies = ['0.0.0.0/0']\n",
            "listen = '10.1.1.1:80'\ntrusted_proxies = ['10.1.1.0/24']\n",
            "listen = '0.0.0.0:80'\ntrusted_proxies = ['10.1.1.0/24']\n",
            "listen = '192.0.2.1:80'\n",
            &format!("listen = '0.0.0.0:443'\n{tls}"),
        ] {
            assert!(!warned(named), "{named}");
        }
    }

    #[test]
    fn internal_networks_have_no_addresses_of_the_internet() {
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
