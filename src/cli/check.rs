//! `check-config`: whether the configuration is good, and what it amounts to.

use std::path::Path;

use anteroom::config::{Config, Environment, StoreConfig};
use anteroom::room::{EventSettings, Inlet};

use super::{Failure, existing_config, print};

pub(super) fn check(file: Option<&Path>, environment: &Environment) -> Result<(), Failure> {
    let config = existing_config(file, environment)?;
    print(&format!("configuration is good\n\n{}\n", summary(&config)));
    Ok(())
}

fn summary(config: &Config) -> String {
    let mut lines = vec![format!("issuer   {}", config.public_url.as_str())];
    let transport = if config.tls.is_some() { "TLS" } else { "plain HTTP" };
    lines.push(format!("listen   {} ({transport})", config.listen));
    lines.extend(config.private_listen.map(|address| format!("private  {address} (plain HTTP)")));
    lines.push(format!("data     {}", config.data_dir.display()));
    lines.extend(store(&config.store));
    lines.push(match (config.admin.keys.len(), config.admin.sigv4.len()) {
        (0, 0) => "admin    no key: the private API and the control panel stay shut".to_owned(),
        (keys, pairs) => format!("admin    bearer keys: {keys}, SigV4 key pairs: {pairs}"),
    });
    lines.extend(config.events.iter().map(|event| format!("event    {}: {}", event.id, inlet(event))));
    lines.extend(config.clients.iter().map(|entry| {
        let kind = if entry.client.is_public() { ", public" } else { "" };
        format!("client   {}: waits for event {}{kind}", entry.client.id, entry.event)
    }));
    lines.extend(config.demo.as_ref().map(|shop| format!("demo     sample shop at {}", shop.url())));
    lines.join("\n")
}

/// Where state is, if it is not in the data directory.
fn store(store: &StoreConfig) -> Vec<String> {
    let StoreConfig::Distributed(store) = store else { return Vec::new() };
    let redis: Vec<String> = store.redis_urls.iter().map(ToString::to_string).collect();
    let dynamodb = store.dynamodb_endpoint.as_ref().map_or("of AWS", |url| url.as_str());
    vec![format!("redis    {}", redis.join(", ")), format!("dynamodb {dynamodb}, tables {}*", store.table_prefix)]
}

fn inlet(event: &EventSettings) -> String {
    match event.inlet {
        Inlet::Manual => "let in by hand".to_owned(),
        Inlet::MaxSize(places) => format!("{} inside at once", places.max_size),
        Inlet::Periodic(periodic) => {
            format!("{} let in each {} s", periodic.increment_by, periodic.every.as_secs())
        }
    }
}
