//! `[[webhook]]` and `[notices]`: who hears what happens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::{Host, Url};

use super::reader::{Read, Section, Unique};
use super::value::Found;
use crate::ambient::Secret;
use crate::room::EventId;
use crate::store::Kind;

/// Somebody who is called when something happens.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// Its name, for the log and for its place in the outbox.
    pub name: String,
    /// Where it is called.
    pub url: Url,
    /// What calls are signed with.
    pub secret: Secret,
    /// Of which events it hears; empty: of all.
    pub events: Vec<EventId>,
    /// Which kinds of notices it gets; empty: all.
    pub kinds: Vec<Kind>,
}

/// Whether operators can listen to the stream of events out although nobody else does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NoticeStream {
    /// Only where there is a webhook.
    #[default]
    Off,
    /// In any case.
    On,
}

/// The bytes of a signing secret (Standard Webhooks, *Signature scheme*).
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

pub(super) fn stream(section: &mut Section<'_>) -> Read<NoticeStream> {
    section.or("stream", NoticeStream::Off, |found| {
        found.flag().map(|on| if on { NoticeStream::On } else { NoticeStream::Off })
    })
}

pub(super) fn read(section: &mut Section<'_>, events: &Unique, names: &mut Unique) -> Read<WebhookConfig> {
    let name = section.required("name", |found| {
        let name = found.parsed(name)?;
        names.claim(found, &name).map(|()| name)
    });
    let url = section.required("url", |found| found.parsed(url));
    let secret = section.required("secret", secret);
    let events = section.list("events", |found| {
        let event = found.parsed(str::parse::<EventId>)?;
        let unknown = || found.refuse(format!("there is no event \"{event}\""));
        if events.contains(event.as_str()) { Ok(event) } else { Err(unknown()) }
    });
    let known = Kind::ALL.map(|kind| (kind.name(), kind));
    let kinds = section.list("kinds", |found| found.choice(&known));
    Ok(WebhookConfig { name: name?, url: url?, secret: secret?, events: events?, kinds: kinds? })
}

fn name(text: &str) -> Result<String, &'static str> {
    let word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let good = word && (1..=64).contains(&text.len());
    if good { Ok(text.to_owned()) } else { Err("it must be 1 to 64 letters, digits, '_' and '-'") }
}

fn url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "it must be an absolute URL")?;
    let here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if here => Ok(url),
        _ => Err("it must be https, or http on a loopback address"),
    }
}

fn secret(found: &Found<'_>) -> Read<Secret> {
    let text = found.secret()?;
    let key = text.expose().strip_prefix(b"whsec_").and_then(|encoded| STANDARD.decode(encoded).ok());
    let key = key.map(Secret::new).filter(|key| SECRET_BYTES.contains(&key.expose().len()));
    key.ok_or_else(|| found.refuse("it must be whsec_ and the base64 of 24 to 64 bytes"))
}
