//! `check-config`: whether the configuration is good, and what it amounts to.

use std::path::Path;

use anteroom::config::{Config, Environment};
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

fn inlet(event: &EventSettings) -> String {
    match event.inlet {
        Inlet::Manual => "let in by hand".to_owned(),
        Inlet::MaxSize(places) => format!("{} inside at once", places.max_size),
        Inlet::Periodic(periodic) => {
            format!("{} let in each {} s", periodic.increment_by, periodic.every.as_secs())
        }
    }
}
