//! Warnings about a valid configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::limits::unknown_addresses;
use super::store::StoreConfig;
use super::{Config, is_internal};
use crate::ambient::{Secret, Timestamp};
use crate::policy;
use crate::room::{EventSettings, Inlet};

impl Config {
    /// The warnings about it at this moment.
    pub fn warnings(&self, now: Timestamp) -> Vec<String> {
        let mut warnings: Vec<String> = unknown_addresses(self).into_iter().collect();
        warnings.extend(self.operators_in_public());
        warnings.extend(self.trusted_proxies.iter().filter(|network| is_wide(network)).map(|network| {
            format!(
                "trusted_proxies {network} trusts visitors too: each of them can name the address that it comes from"
            )
        }));
        warnings.extend(self.readable_files());
        warnings.extend(self.weak_secrets());
        warnings.extend(self.shared_secrets());
        warnings.extend(self.events.iter().filter_map(|event| untimely(event, now)));
        warnings
    }

    /// Whether the operators' paths are reachable from other networks.
    fn operators_in_public(&self) -> Option<String> {
        let (listen, private) = (self.endpoints.listen, self.endpoints.private_listen);
        match private {
            None if !is_internal(listen.ip()) => Some(format!(
                "listen {listen} without private_listen: the private API, health and metrics are reached wherever \
                 visitors reach it, and admin keys alone guard them"
            )),
            Some(private) if !is_internal(private.ip()) => Some(format!(
                "private_listen {private}: the private API and metrics are reached from outside, over plain HTTP, \
                 which shows admin keys to all on the way"
            )),
            _ => None,
        }
    }

    /// The files that contain secrets and that every user of the machine may read.
    fn readable_files(&self) -> impl Iterator<Item = String> {
        let keys = self.endpoints.tls.iter().map(|files| files.key.as_path());
        let files = self.secret_files.iter().map(PathBuf::as_path).chain(keys);
        files.filter(|path| is_for_everybody(path)).map(|path| {
            format!("{} holds secrets, and every user of this machine may read it: chmod o-r", path.display())
        })
    }

    /// All configured secrets, each with its location.
    fn secrets(&self) -> Vec<(String, &Secret)> {
        let keys = self.admin.keys.iter().map(|admin| (format!("the key {:?} of admin.keys", admin.name), &admin.key));
        let pairs =
            self.admin.sigv4.iter().map(|pair| {
                (format!("the secret of {:?} in admin.sigv4", pair.access_key_id), &pair.secret_access_key)
            });
        let clients = self.clients.iter().filter_map(|entry| {
            let secret = entry.client.secret.as_ref()?;
            Some((format!("the secret of the client {:?}", entry.client.id), secret))
        });
        let webhooks = self
            .webhooks
            .iter()
            .map(|hook| (format!("the secret of the webhook {:?}", hook.subscription.name), &hook.secret));
        let master = match &self.store {
            StoreConfig::Distributed(shared) => shared.master_secret.as_ref(),
            StoreConfig::Embedded => None,
        };
        let master = master.map(|master| ("store.master_secret".to_owned(), master.secret()));
        keys.chain(pairs).chain(clients).chain(webhooks).chain(master).collect()
    }

    /// The secrets that are not random.
    fn weak_secrets(&self) -> Vec<String> {
        let weak = |(key_path, secret): (String, &Secret)| match distinct_bytes(secret.expose()) {
            1 => Some(format!("{key_path} is one repeated character")),
            few if few < policy::FEWEST_DISTINCT_BYTES => {
                Some(format!("{key_path} has {few} different characters alone, and is easy to guess"))
            }
            _ => None,
        };
        self.secrets().into_iter().filter_map(weak).collect()
    }

    /// The clients whose secret is also an operator's.
    fn shared_secrets(&self) -> Vec<String> {
        let keys = self.admin.keys.iter().map(|admin| &admin.key);
        let of_operators: Vec<_> = keys.chain(self.admin.sigv4.iter().map(|pair| &pair.secret_access_key)).collect();
        let shared = |secret: &Secret| of_operators.iter().any(|key| key.matches(secret.expose()));
        let clients = self.clients.iter().map(|entry| &entry.client);
        let clients = clients.filter(|client| client.secret.as_ref().is_some_and(shared));
        clients
            .map(|client| {
                format!("the secret of the client {:?} equals an admin key: its site is an operator", client.id)
            })
            .collect()
    }
}

/// A network that includes more than proxies.
fn is_wide(network: &IpNet) -> bool {
    let narrowest = match network {
        IpNet::V4(_) => policy::WIDE_NETWORK_IPV4,
        IpNet::V6(_) => policy::WIDE_NETWORK_IPV6,
    };
    network.prefix_len() <= narrowest && !is_internal(network.addr())
}

fn is_for_everybody(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

fn distinct_bytes(bytes: &[u8]) -> usize {
    (0..=u8::MAX).filter(|byte| bytes.contains(byte)).count()
}

/// A suspicious start or end of an event's inlet.
fn untimely(event: &EventSettings, now: Timestamp) -> Option<String> {
    let (start, end) = match event.inlet {
        Inlet::Manual => return None,
        Inlet::MaxSize(places) => (places.start, places.end),
        Inlet::Periodic(periodic) => (periodic.start, periodic.end),
    };
    let id = &event.id;
    match (start, end) {
        (_, Some(end)) if end <= now => Some(format!("event {id} ended at {end}: its inlet admits no more visitors")),
        (Some(start), _) if start.since(now) > policy::START_FAR_AHEAD => {
            Some(format!("event {id} starts at {start}, more than a day from now: its inlet admits no visitors before"))
        }
        _ => None,
    }
}
