//! The keys of `[limits]` and `[metrics]`.

use super::{Setting, setting};
use crate::config::INTERNAL_NETWORKS;
use crate::policy;

pub(super) fn settings() -> Vec<Setting> {
    [limits(), metrics()].concat()
}

fn limits() -> Vec<Setting> {
    let number = |path, default: u32, meaning| {
        setting(path, format!("whole number, 1 to {}", policy::MAX_RATE), format!("`{default}`"), meaning)
    };
    vec![
        setting(
            "limits.exempt",
            "list of IP addresses and networks",
            internal_networks(),
            "Networks that no limit by address applies to: loopback, private, link-local and shared address space by default. `[]`: none.",
        ),
        number(
            "limits.joins_per_second",
            policy::DEFAULT_JOINS_PER_SECOND,
            "How many places one IPv4 address may take each second in the long run, for all events together, on each node. A mobile carrier puts thousands behind one address.",
        ),
        number("limits.joins_burst", policy::DEFAULT_JOINS_BURST, "How many of them at once."),
        number(
            "limits.joins_per_second_ipv6",
            policy::DEFAULT_JOINS_PER_SECOND_IPV6,
            "The same for one IPv6 network of 64 bits, which one household or office has.",
        ),
        number("limits.joins_burst_ipv6", policy::DEFAULT_JOINS_BURST_IPV6, "How many of them at once."),
        number(
            "limits.client_failures_per_minute",
            policy::DEFAULT_CLIENT_FAILURES,
            "How often an address may fail to authenticate as a client at `/token`, for each client. Further failures are answered 429; right credentials always pass.",
        ),
        number(
            "limits.operator_failures_per_minute",
            policy::DEFAULT_OPERATOR_FAILURES,
            "How often an address may fail to authenticate at the private API. Further failures are answered 429; right credentials always pass.",
        ),
    ]
}

fn metrics() -> Vec<Setting> {
    vec![setting(
        "metrics.allow",
        "list of IP addresses and networks",
        internal_networks(),
        "Without `private_listen`: from where `/metrics` is read without a key, if no proxy is in between. \
         Everybody else needs an operator's key. `[]`: everybody needs a key.",
    )]
}

fn internal_networks() -> String {
    INTERNAL_NETWORKS.map(|network| format!("`{network}`")).join(", ")
}
