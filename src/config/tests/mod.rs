//! Accepted configurations, refused ones, and the wording of the problems.

mod demonstration;
mod refusals;
mod secret_source;
mod sources;
mod store;
mod warnings;

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::keys::{RotationMode, RotationPlan};
use crate::oauth::{AuthMethod, SigningAlg};
use crate::room::{
    Channels, Entry, EventKind, ExpiryRule, Gate, Inlet, MaxSize, MetricsEvents, OnExpiry, Periodic, Rhythm, Signal,
};

/// 32 bytes.
const MASTER: &str = "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

const EXAMPLE: &str = include_str!("../../../docs/anteroom.example.toml");

/// The minimal valid configuration.
const SMALL: &str = r#"
[[event]]
id = "Sample"
"#;

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().copied().collect()
}

fn parse_with(text: &str, pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/anteroom/anteroom.toml"), &environment(pairs))
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    parse_with(text, &[])
}

/// The problems, without the file's name.
fn complaints(result: Result<Config, ConfigError>) -> Vec<String> {
    result.err().map(|error| error.diagnostics().iter().map(ToString::to_string).collect()).unwrap_or_default()
}

fn secrets() -> [(&'static str, &'static str); 3] {
    [("ANTEROOM_ADMIN_KEY", SECRET), ("ANTEROOM_SIGV4_SECRET", SECRET), ("SAMPLE_CLIENT_SECRET", SECRET)]
}

#[test]
fn the_example_is_valid() {
    let config = parse_with(EXAMPLE, &secrets()).unwrap();
    assert_eq!(config.endpoints.public_url.as_str(), "https://queue.example");
    assert_eq!(config.endpoints.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.endpoints.private_listen, Some("127.0.0.1:8081".parse().unwrap()));
    assert_eq!(config.data_dir, Path::new("/var/lib/anteroom"));
    assert_eq!(config.trusted_proxies, ["127.0.0.1/32".parse().unwrap()]);
    assert_eq!(config.admin.keys[0].name, "ops");
    assert!(config.admin.keys[0].key.matches(SECRET.as_bytes()));
    assert_eq!(config.admin.sigv4[0].access_key_id, "AKIDEXAMPLE");
    assert!(config.admin.sigv4[0].secret_access_key.matches(SECRET.as_bytes()));
    assert_eq!(config.log, Log { format: LogFormat::Json, level: LogLevel::Info });
    let Inlet::Periodic(inlet) = config.events[0].inlet else { panic!("the example has a periodic inlet") };
    assert_eq!((inlet.increment_by, inlet.every.as_secs(), inlet.rhythm), (100, 60, Rhythm::Smooth));
    assert!(inlet.start.is_none() && inlet.end.is_none(), "a date would be over one day");
    let ClientConfig { client, event } = &config.clients[0];
    assert_eq!((client.id.as_str(), event.as_str()), ("Sample", "Sample"));
    assert!(client.secret.as_ref().unwrap().matches(SECRET.as_bytes()));
    assert!(client.redirect("https://shop.example/oauth2/idpresponse").is_ok());
    assert_eq!(client.login_start().unwrap().as_str(), "https://shop.example/");
    assert_eq!(client.claims.names().collect::<Vec<_>>(), ["email", "email_verified", "preferred_username"]);
}

#[test]
fn omitted_keys_have_the_defaults_of_the_reference() {
    let config = parse(SMALL).unwrap();
    assert_eq!(config.endpoints.public_url.as_str(), "http://127.0.0.1:8080");
    assert_eq!(config.endpoints.listen, DEFAULT_LISTEN);
    assert_eq!(config.data_dir, Path::new("/etc/anteroom/data"));
    assert_eq!(config.events, [EventSettings::new("Sample".parse().unwrap())]);
    assert_eq!((config.log.format, config.log.level), (LogFormat::Text, LogLevel::Info));
    assert!(config.endpoints.private_listen.is_none() && config.endpoints.tls.is_none() && config.demo.is_none());
    assert!(config.admin.keys.is_empty() && config.admin.sigv4.is_empty() && config.trusted_proxies.is_empty());
    assert_eq!(config.limits.exempt, INTERNAL_NETWORKS);
    let joins = (config.limits.joins_ipv4, config.limits.joins_ipv6);
    assert_eq!(joins, (Budget::per_second(100, 6000), Budget::per_second(10, 300)));
    assert_eq!((config.metrics.allow.as_slice(), config.endpoints.hsts), (&INTERNAL_NETWORKS[..], Hsts::Sent));
    let client = format!(
        "{SMALL}[[client]]\nclient_id = 'c'\nevent = 'Sample'\nclient_secret = '{SECRET}'\nredirect_uris = ['https://s/cb']"
    );
    let client = &parse(&client).unwrap().clients[0].client;
    let default = crate::oauth::Client::confidential("c", crate::ambient::Secret::new(SECRET));
    assert_eq!(format!("{client:?}").replace(r#"RedirectUri("https://s/cb")"#, ""), format!("{default:?}"));
}

const EVENTS: &str = r#"[[event]]
id = "one"
validity_period = 60
queue_position_expiry = false
queue_position_expiry_period = 30
increment_serving_on_expiry = true
metrics_events = true
entry = "button"
channels = ["login"]
[event.inlet]
strategy = "periodic"
increment_by = 7
every = 10
smooth = false
start = 100
end = 2026-12-01T09:00:00Z
health_url = "http://10.0.0.7/health"
check_every = 30
[[event]]
id = "two"
inlet.strategy = "max_size"
inlet.max_size = 50
inlet.alarm = "site is slow"
channels = ["rest", "login"]
queue_position_expiry_period = 30
"#;

const EVENTS_OUT: &str = r#"[notices]
stream = true
[[webhook]]
name = "shop"
url = "https://shop.example/hook"
secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
events = ["one"]
kinds = ["room_reset"]
[[eventbridge]]
name = "bus"
bus = "arn:aws:events:eu-central-1:123456789012:event-bus/queue"
events = ["two"]
kinds = ["token_generated"]
[[sns_topic]]
arn = "arn:aws:sns:eu-central-1:123456789012:exits"
event = "two"
endpoint = "http://127.0.0.1:4566"
"#;

/// Every key, each with another value than its default.
fn full() -> String {
    format!(
        r#"
public_url = "https://queue.example/line"
listen = "[::]:8443"
private_listen = "127.0.0.1:8081"
data_dir = "state"
trusted_proxies = ["10.1.2.3/8", "::1"]
limits = {{ exempt = ["192.0.2.7/24", "::ffff:198.51.100.0/120"], joins_per_second = 7, joins_burst = 70, joins_per_second_ipv6 = 3, joins_burst_ipv6 = 30, client_failures_per_minute = 6, operator_failures_per_minute = 12 }}
metrics = {{ allow = ["192.0.2.9"] }}
hsts = false
keys = {{ rotation = "manual", rotation_period = 172800, rest_rotation = "automatic" }}
tls = {{ certificate = "c.pem", key = "/k.pem" }}
store = {{ engine = "distributed", redis_url = "rediss://line:{SECRET}@redis.example:6380", dynamodb_endpoint = "http://dynamodb:8000", table_prefix = "shop_", master_secret = "{MASTER}" }}
log = {{ format = "json", level = "trace" }}
demo = {{ shop_listen = "127.0.0.1:8090", shop_client = "all" }}
[admin]
keys = [{{ name = "ops", key = "{SECRET}" }}]
sigv4 = [{{ access_key_id = "AK_1", secret_access_key = "{SECRET}" }}]
{EVENTS}[[client]]
client_id = "all"
event = "two"
client_name = "Everything"
client_secret = "{SECRET}"
redirect_uris = ["http://127.0.0.1:8090/callback"]
post_logout_redirect_uris = ["https://shop.example/bye"]
initiate_login_uri = "https://shop.example/login"
client_uri = "https://shop.example/"
token_endpoint_auth_method = "client_secret_post"
application_type = "web"
login_timeout = 120
id_token_signed_response_alg = "EdDSA"
access_token_signing_alg = "RS256"
acr_values = ["urn:queue"]
claims = {{ nickname = "Visitor {{position}}", vip = false, level = 3 }}
[[client]]
client_id = "app"
event = "one"
application_type = "native"
token_endpoint_auth_method = "none"
redirect_uris = ["com.example.app:/cb", "http://127.0.0.1/cb"]
{EVENTS_OUT}"#
    )
}

#[test]
fn every_key_is_applied() {
    let config = parse(&full()).unwrap();
    assert_eq!(config.endpoints.public_url.path_prefix(), "/line");
    assert_eq!(config.data_dir, Path::new("/etc/anteroom/state"));
    assert_eq!(config.trusted_proxies, ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    let limits = Limits {
        exempt: vec!["192.0.2.0/24".parse().unwrap(), "198.51.100.0/24".parse().unwrap()],
        joins_ipv4: Budget::per_second(7, 70),
        joins_ipv6: Budget::per_second(3, 30),
        client_failures: Budget::per_minute(6),
        operator_failures: Budget::per_minute(12),
    };
    assert_eq!(config.limits, limits);
    assert_eq!(config.metrics.allow, ["192.0.2.9/32".parse().unwrap()]);
    assert_eq!(config.endpoints.hsts, Hsts::Off);
    let tls = TlsFiles { certificate: "/etc/anteroom/c.pem".into(), key: "/k.pem".into() };
    assert_eq!(config.endpoints.tls, Some(tls));
    let StoreConfig::Distributed(store) = &config.store else { panic!("{:?}", config.store) };
    assert_eq!(store.redis_urls[0].expose(), format!("rediss://line:{SECRET}@redis.example:6380"));
    assert_eq!(store.dynamodb_endpoint.as_ref().map(url::Url::as_str), Some("http://dynamodb:8000/"));
    assert_eq!(store.table_prefix, "shop_");
    assert_eq!(store.master_secret.as_ref().unwrap().secret().expose(), [0xa5; 32]);
    let [one, two] = config.events.as_slice() else { panic!("two events") };
    assert_eq!((one.validity.as_secs(), one.expiry, one.entry), (60, ExpiryRule::Never, Entry::Button));
    assert_eq!((one.increment_serving_on_expiry, one.metrics_events), (OnExpiry::Increment, MetricsEvents::EachMinute));
    let Inlet::Periodic(Periodic { increment_by: 7, every, rhythm: Rhythm::AtOnce, start, end }) = one.inlet else {
        panic!("{:?}", one.inlet)
    };
    let seconds = |at: Option<crate::ambient::Timestamp>| at.map(crate::ambient::Timestamp::as_secs);
    assert_eq!((every.as_secs(), seconds(start), seconds(end)), (10, Some(100), Some(1_796_115_600)));
    assert_eq!((one.channels, two.channels), (Channels::Login, Channels::Both));
    assert_eq!(two.expiry, ExpiryRule::Within(Duration::from_secs(30)));
    assert_eq!(two.inlet, Inlet::MaxSize(MaxSize { max_size: 50, start: None, end: None }));
    let health = Signal::Health("http://10.0.0.7/health".parse().unwrap());
    let gates = [(health, 30), (Signal::Alarm("site is slow".to_owned()), 10)];
    let gates = gates.map(|(signal, seconds)| Some(Gate { signal, check_every: Duration::from_secs(seconds) }));
    assert_eq!([&one.gate, &two.gate], [&gates[0], &gates[1]]);
    let period = Duration::from_secs(172_800);
    assert_eq!(config.rotation, RotationPlan { login: RotationMode::Manual, rest: RotationMode::Automatic, period });
    let [all, app] = config.clients.as_slice() else { panic!("two clients") };
    assert_eq!((all.client.auth_method, all.event.as_str()), (AuthMethod::Post, "two"));
    assert_eq!((all.client.id_token_alg, all.client.access_token_alg), (SigningAlg::EdDsa, SigningAlg::Rs256));
    assert_eq!((all.client.login_timeout.as_secs(), all.client.name.as_deref()), (120, Some("Everything")));
    assert_eq!(all.client.acr_values, ["urn:queue"]);
    assert_eq!(all.client.post_logout_redirect_uris[0].as_str(), "https://shop.example/bye");
    assert!(app.client.is_public() && app.client.secret.is_none());
    assert!(config.sends_events_out());
    let hook = &config.webhooks[0];
    assert_eq!((hook.subscription.name.as_str(), hook.secret.expose()), ("shop", SECRET.as_bytes()));
    assert_eq!(hook.subscription.events, ["one".parse().unwrap()]);
    assert_eq!(hook.subscription.kinds, [EventKind::RoomReset]);
    let bus = &config.event_buses[0];
    assert_eq!(bus.bus, "arn:aws:events:eu-central-1:123456789012:event-bus/queue");
    assert_eq!(
        (bus.subscription.name.as_str(), bus.subscription.kinds.as_slice()),
        ("bus", &[EventKind::TokenGenerated][..])
    );
    let topic = &config.topics[0];
    assert_eq!(topic.topic.arn.as_str(), "arn:aws:sns:eu-central-1:123456789012:exits");
    assert_eq!((topic.event.as_str(), topic.topic.endpoint.as_ref().unwrap().port()), ("two", Some(4566)));
    assert_eq!(config.demo.unwrap().url(), "http://127.0.0.1:8090");
}

#[test]
fn no_secret_is_displayed() {
    let config = parse(&full()).unwrap();
    assert!(!format!("{config:?} {config:#?}").contains(SECRET));
    assert!(!format!("{:?}", environment(&secrets())).contains(SECRET));
}

#[test]
fn the_reference_names_exactly_the_keys_that_are_read() {
    let (text, environment) = (full(), Environment::default());
    let reader = Reader::new(&environment, &NoSecretSource, Path::new(""), Overrides::default());
    assert!(reader.read(&text.parse().unwrap(), root).is_ok());
    let asked = reader.asked();
    let holds_others =
        |key: &str| asked.iter().any(|other| other.strip_prefix(key).is_some_and(|rest| rest.starts_with(['.', '['])));
    let read: Vec<&str> = asked.iter().map(String::as_str).filter(|key| !holds_others(key)).collect();
    let mut named: Vec<&str> = reference().iter().map(|setting| setting.path).collect();
    named.sort_unstable();
    assert_eq!(read, named);
}

#[test]
fn the_reference_page_is_up_to_date() {
    let page = include_str!("../../../docs/configuration.md");
    assert!(page == reference_page(), "run: cargo run -- config-reference > docs/configuration.md");
}
