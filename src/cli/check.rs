//! `check-config`: validates the configuration and summarises it.

use std::path::Path;

use anteroom::ambient::{Clock, SystemClock};
use anteroom::config::{Config, Environment, StoreConfig, Subscription, TopicConfig};
use anteroom::room::{EventSettings, Inlet, Signal};
use anteroom::server;
use url::Url;

use super::{CliError, existing_config, print};

pub(super) fn check(file: Option<&Path>, environment: &Environment) -> Result<(), CliError> {
    let config = existing_config(file, environment)?;
    if let Some(files) = &config.endpoints.tls {
        server::check_tls(files).map_err(|error| CliError::Configuration(error.to_string()))?;
    }
    print(&format!("configuration is good\n\n{}\n", summary(&config)));
    config.warnings(SystemClock.now()).iter().for_each(|warning| print(&format!("warning  {warning}\n")));
    Ok(())
}

fn summary(config: &Config) -> String {
    let mut lines = vec![format!("issuer   {}", config.endpoints.public_url.as_str())];
    let transport = if config.endpoints.tls.is_some() { "TLS" } else { "plain HTTP" };
    lines.push(format!("listen   {} ({transport})", config.endpoints.listen));
    lines.extend(config.endpoints.private_listen.map(|address| format!("private  {address} (plain HTTP)")));
    lines.push(format!("data     {}", config.data_dir.display()));
    lines.extend(store(&config.store));
    lines.push(match (config.admin.keys.len(), config.admin.sigv4.len()) {
        (0, 0) => "admin    no key: the private API stays shut".to_owned(),
        (keys, pairs) => format!("admin    bearer keys: {keys}, SigV4 key pairs: {pairs}"),
    });
    for event in &config.events {
        lines.push(format!("event    {}: {}", event.id, inlet(event)));
        lines.extend(inlet_times(event).map(|times| format!("         {times}")));
    }
    lines.extend(config.clients.iter().map(|entry| {
        let kind = if entry.client.is_public() { ", public" } else { "" };
        format!("client   {}: waits for event {}{kind}", entry.client.id, entry.event)
    }));
    lines.extend(listeners(config));
    lines.extend(config.topics.iter().map(|TopicConfig { topic, event }| {
        let endpoint = topic.endpoint.as_ref().map_or_else(String::new, |url| format!(" (SNS at {})", origin(url)));
        format!("topic    {}: exits of event {event}{endpoint}", topic.arn)
    }));
    lines.extend(config.demo.as_ref().map(|shop| format!("demo     sample shop at {}", shop.url())));
    lines.join("\n")
}

/// The sinks of notices.
fn listeners(config: &Config) -> Vec<String> {
    let webhooks = config.webhooks.iter().map(|hook| {
        format!("webhook  {}: {}, {}", hook.subscription.name, origin(&hook.url), subscription_text(&hook.subscription))
    });
    let buses = config.event_buses.iter().map(|bus| {
        format!("bus      {}: EventBridge {}, {}", bus.subscription.name, bus.bus, subscription_text(&bus.subscription))
    });
    let stream = config.sends_events_out().then(|| "stream   events out at /private/events".to_owned());
    webhooks.chain(buses).chain(stream).collect()
}

fn subscription_text(subscription: &Subscription) -> String {
    let list = |names: Vec<String>, all: &str| if names.is_empty() { all.to_owned() } else { names.join(" ") };
    let kinds = list(subscription.kinds.iter().map(|kind| kind.name().to_owned()).collect(), "everything");
    let events = list(subscription.events.iter().map(ToString::to_string).collect(), "every event");
    format!("{kinds} of {events}")
}

/// The origin of an address. The rest of it may contain a secret.
fn origin(address: &Url) -> String {
    address.origin().ascii_serialization()
}

/// The location of the state, if it is not the data directory.
fn store(store: &StoreConfig) -> Vec<String> {
    let StoreConfig::Distributed(store) = store else { return Vec::new() };
    let redis: Vec<String> = store.redis_urls.iter().map(ToString::to_string).collect();
    let dynamodb = store.dynamodb_endpoint.as_ref().map_or("of AWS", |url| url.as_str());
    vec![format!("redis    {}", redis.join(", ")), format!("dynamodb {dynamodb}, tables {}*", store.table_prefix)]
}

/// The times between which the inlet works, if it does.
fn inlet_times(event: &EventSettings) -> Option<String> {
    let (start, end) = match event.inlet {
        Inlet::Manual => return None,
        Inlet::MaxSize(places) => (places.start, places.end),
        Inlet::Periodic(periodic) => (periodic.start, periodic.end),
    };
    let start = start.map_or_else(|| "at once".to_owned(), |start| start.to_string());
    let end = end.map_or_else(|| "never".to_owned(), |end| end.to_string());
    Some(format!("start: {start}, end: {end}"))
}

fn inlet(event: &EventSettings) -> String {
    let pace = match event.inlet {
        Inlet::Manual => "let in by hand".to_owned(),
        Inlet::MaxSize(places) => format!("{} inside at once", places.max_size),
        Inlet::Periodic(periodic) => {
            format!("{} let in each {} s", periodic.increment_by, periodic.every.as_secs())
        }
    };
    let Some(gate) = &event.gate else { return pace };
    let every = gate.check_every.as_secs();
    let signal = match &gate.signal {
        Signal::Alarm(name) => format!("the CloudWatch alarm {name} is silent"),
        Signal::Health(address) => format!("{} is well", origin(address)),
    };
    format!("{pace}, while {signal} (asked each {every} s)")
}
