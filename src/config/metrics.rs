//! `[metrics]`: who may read the metrics without a key, where they are served beside the public paths.

use std::net::IpAddr;

use ipnet::IpNet;

use super::reader::{Read, Section};
use super::{INTERNAL_NETWORKS, contains, network};

/// Who may read the metrics without a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetricsAccess {
    /// The networks of those who may, if they come without a proxy in between.
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
    let allow = section.or("allow", MetricsAccess::default().allow, |found| found.each(|entry| entry.parsed(network)));
    Ok(MetricsAccess { allow: allow? })
}
