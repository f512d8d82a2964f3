//! `[metrics]`: who may read the metrics on the public address without a key.

use std::net::IpAddr;

use ipnet::IpNet;

use super::reader::{Read, Section};
use super::{INTERNAL_NETWORKS, contains, network};

/// Who may read the metrics without a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetricsAccess {
    /// The networks of those who may, if no proxy is in between.
    pub allow: Vec<IpNet>,
}

impl MetricsAccess {
    /// Whether a scraper at `address` needs no key.
    pub fn allows(&self, address: IpAddr) -> bool {
        contains(&self.allow, address)
    }
}

impl Default for MetricsAccess {
    fn default() -> Self {
        Self { allow: INTERNAL_NETWORKS.to_vec() }
    }
}

pub(super) fn read(section: &mut Section<'_>) -> Read<MetricsAccess> {
    let allow = section.or("allow", MetricsAccess::default().allow, |value| value.each(|entry| entry.parsed(network)));
    Ok(MetricsAccess { allow: allow? })
}
