//! The variables by which Kubernetes announces the services of a namespace to a container, in the form of Docker links.
//!
//! A service named `anteroom` or `anteroom-…` has variables with Anteroom's prefix. They set no key and do not prevent
//! a start. They are recognised by their form; where a key could have that form as well, by their value or by the
//! service's other variables.

use std::net::{IpAddr, SocketAddr};

use super::environment::Environment;

/// The suffixes of the two variables that every service has.
const HOST: &str = "SERVICE_HOST";
const PORT: &str = "SERVICE_PORT";

/// The protocols of a service, as variable names contain them.
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Whether Kubernetes sets `variable`, with this value and beside these others.
pub(super) fn is_service_variable(variable: &str, value: &str, environment: &Environment) -> bool {
    let service = [of_service(variable), of_port(variable), of_link(variable, value)].into_iter().flatten().next();
    service.is_some_and(|service| {
        // Two underscores separate the levels of the configuration, but a service may be named `anteroom--x` too.
        !variable.contains("__") || is_whole(service, environment)
    })
}

/// `NAME_SERVICE_HOST`, `NAME_SERVICE_PORT`, `NAME_SERVICE_PORT_HTTPS`: the service's name.
fn of_service(variable: &str) -> Option<&str> {
    let of_host = variable.strip_suffix(HOST);
    let of_port = variable.strip_suffix(PORT).or_else(|| {
        let (name, port) = variable.rsplit_once("SERVICE_PORT_")?;
        (!port.is_empty()).then_some(name)
    });
    of_host.or(of_port)?.strip_suffix('_')
}

/// `NAME_PORT_8080_TCP`, and the same followed by `_PROTO`, `_PORT` or `_ADDR`.
fn of_port(variable: &str) -> Option<&str> {
    let part = ["_PROTO", "_PORT", "_ADDR"].iter().find_map(|part| variable.strip_suffix(part));
    let (rest, protocol) = part.unwrap_or(variable).rsplit_once('_')?;
    let (rest, number) = rest.rsplit_once('_')?;
    let name = rest.strip_suffix("_PORT")?;
    (PROTOCOLS.contains(&protocol) && number.parse::<u16>().is_ok()).then_some(name)
}

/// `NAME_PORT`, which only its value tells apart from a key: `tcp://10.0.0.11:8080`.
fn of_link<'a>(variable: &'a str, value: &str) -> Option<&'a str> {
    let name = variable.strip_suffix("_PORT")?;
    let (protocol, address) = value.split_once("://")?;
    let known = PROTOCOLS.iter().any(|known| known.eq_ignore_ascii_case(protocol));
    (known && address.parse::<SocketAddr>().is_ok()).then_some(name)
}

/// Whether both variables of every service are present.
fn is_whole(service: &str, environment: &Environment) -> bool {
    let value = |suffix| environment.get(&format!("{service}_{suffix}"));
    value(HOST).is_some_and(|host| host.parse::<IpAddr>().is_ok())
        && value(PORT).is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(variable: &str, value: &str) -> bool {
        is_service_variable(variable, value, &Environment::default())
    }

    /// All variables of a service, as the kubelet defines them (`pkg/kubelet/envvars`).
    fn variables_of(service: &str, address: &str) -> Vec<(String, String)> {
        let joined = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let name = service.to_ascii_uppercase().replace('-', "_");
        let mut variables = vec![
            (format!("{name}_SERVICE_HOST"), address.to_owned()),
            (format!("{name}_SERVICE_PORT"), "8080".to_owned()),
            (format!("{name}_SERVICE_PORT_HTTP"), "8080".to_owned()),
            (format!("{name}_SERVICE_PORT_METRICS_2"), "9090".to_owned()),
            (format!("{name}_PORT"), format!("tcp://{joined}:8080")),
        ];
        for (port, protocol) in [(8080, "tcp"), (53, "udp"), (9090, "sctp")] {
            let prefix = format!("{name}_PORT_{port}_{}", protocol.to_ascii_uppercase());
            variables.extend([
                (prefix.clone(), format!("{protocol}://{joined}:{port}")),
                (format!("{prefix}_PROTO"), protocol.to_owned()),
                (format!("{prefix}_PORT"), port.to_string()),
                (format!("{prefix}_ADDR"), address.to_owned()),
            ]);
        }
        variables
    }

    #[test]
    fn every_variable_of_a_service_is_recognised() {
        for service in
            ["anteroom", "anteroom-api", "anteroom-store", "anteroom-2", "anteroom-port", "anteroom-service-port"]
        {
            for address in ["10.96.0.11", "fd00::11"] {
                for (variable, value) in variables_of(service, address) {
                    assert!(ignored(&variable, &value), "{variable}={value}");
                }
            }
        }
        for service in ["anteroom--api", "anteroom-store--blue"] {
            let variables = variables_of(service, "10.96.0.11");
            let environment = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            for (variable, value) in &variables {
                assert!(is_service_variable(variable, value, &environment), "{variable}={value}");
            }
        }
    }

    #[test]
    fn variables_that_may_be_meant_as_keys_are_not_ignored() {
        for (variable, value) in [
            ("ANTEROOM_PORT", "8080"),
            ("ANTEROOM_LISTEN_PORT", "8080"),
            ("ANTEROOM_PORT", "tcp://queue.example"),
            ("ANTEROOM_PORT", "https://10.0.0.1:80"),
            ("ANTEROOM_HOST", "10.0.0.1"),
            ("ANTEROOM_STORE__SERVICE_PORT", "6379"),
            ("ANTEROOM_STORE__REDIS_PORT", "tcp://10.0.0.1:6379"),
            ("ANTEROOM_PORT_TCP", "8080"),
            ("ANTEROOM_PORT_8080", "tcp://10.0.0.1:8080"),
            ("ANTEROOM_PORT_X_TCP", "tcp://10.0.0.1:8080"),
            ("ANTEROOM_PORT_8080_TLS", "x"),
            ("ANTEROOM_SERVICE_PORT_", "x"),
            ("ANTEROOM_SERVICES_HOST", "10.0.0.1"),
            ("ANTEROOM_LISTNE", "127.0.0.1:80"),
        ] {
            assert!(!ignored(variable, value), "{variable}={value}");
        }
    }

    #[test]
    fn no_key_of_the_configuration_has_such_a_name() {
        for setting in crate::config::reference() {
            let path = setting.path.replace("[]", ".0").replace('.', "__").to_ascii_uppercase();
            for value in ["x", "8080", "10.0.0.1", "tcp://10.0.0.1:80"] {
                assert!(!ignored(&format!("ANTEROOM_{path}"), value), "{path}");
            }
        }
    }
}
