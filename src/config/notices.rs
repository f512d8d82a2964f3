//! `[[webhook]]`, `[[eventbridge]]` and `[notices]`: who hears what happens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::reader::{Read, Section, Unique};
use super::value::{Found, event_of, safe_address};
use crate::ambient::Secret;
use crate::room::{EventId, EventKind};
use crate::store::Letter;

/// What a listener listens to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscription {
    /// The listener's name, for the log and for its place in the outbox.
    pub name: String,
    /// Of which events it hears; empty: of all.
    pub events: Vec<EventId>,
    /// Which kinds of notices it gets; empty: all.
    pub kinds: Vec<EventKind>,
}

impl Subscription {
    /// Whether such a letter is for this listener.
    pub fn wants(&self, letter: &Letter) -> bool {
        (self.events.is_empty() || self.events.contains(&letter.event))
            && (self.kinds.is_empty() || self.kinds.contains(&letter.kind))
    }
}

/// Somebody who is called when something happens.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// What it hears.
    pub subscription: Subscription,
    /// Where it is called.
    pub url: Url,
    /// What calls are signed with.
    pub secret: Secret,
}

/// An EventBridge event bus that what happens is put on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventBridgeConfig {
    /// What it hears.
    pub subscription: Subscription,
    /// Its name or ARN.
    pub bus: String,
}

/// Whether operators can listen to the stream of events out although nobody else does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NoticeStream {
    /// Only where there is a webhook or a bus.
    #[default]
    Off,
    /// In any case.
    On,
}

/// The bytes of a signing secret (Standard Webhooks, *Signature scheme*).
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The bus that every account has.
const DEFAULT_BUS: &str = "default";

pub(super) fn stream(section: &mut Section<'_>) -> Read<NoticeStream> {
    section.or("stream", NoticeStream::Off, |found| {
        found.flag().map(|on| if on { NoticeStream::On } else { NoticeStream::Off })
    })
}

pub(super) fn webhook(section: &mut Section<'_>, events: &Unique, names: &mut Unique) -> Read<WebhookConfig> {
    let subscription = subscription(section, events, names);
    let url = section.required("url", |found| found.parsed(safe_address));
    let secret = section.required("secret", secret);
    Ok(WebhookConfig { subscription: subscription?, url: url?, secret: secret? })
}

pub(super) fn event_bus(section: &mut Section<'_>, events: &Unique, names: &mut Unique) -> Read<EventBridgeConfig> {
    let subscription = subscription(section, events, names);
    let bus = section.or("bus", DEFAULT_BUS.to_owned(), |found| found.parsed(bus));
    Ok(EventBridgeConfig { subscription: subscription?, bus: bus? })
}

fn subscription(section: &mut Section<'_>, events: &Unique, names: &mut Unique) -> Read<Subscription> {
    let name = section.required("name", |found| {
        let name = found.parsed(name)?;
        names.claim(found, &name).map(|()| name)
    });
    let events = section.list("events", |found| event_of(found, events));
    let known = EventKind::ALL.map(|kind| (kind.name(), kind));
    let kinds = section.list("kinds", |found| found.choice(&known));
    Ok(Subscription { name: name?, events: events?, kinds: kinds? })
}

fn name(text: &str) -> Result<String, &'static str> {
    let word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let good = word && (1..=64).contains(&text.len());
    if good { Ok(text.to_owned()) } else { Err("it must be 1 to 64 letters, digits, '_' and '-'") }
}

/// A name, or `arn:…:event-bus/NAME` (EventBridge API, *PutEventsRequestEntry*).
fn bus(text: &str) -> Result<String, &'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
    let good = (1..=1600).contains(&text.len()) && text.bytes().all(allowed);
    if good { Ok(text.to_owned()) } else { Err("it must be the name or the ARN of an event bus") }
}

fn secret(found: &Found<'_>) -> Read<Secret> {
    let text = found.secret()?;
    let key = text.expose().strip_prefix(b"whsec_").and_then(|encoded| STANDARD.decode(encoded).ok());
    let key = key.map(Secret::new).filter(|key| SECRET_BYTES.contains(&key.expose().len()));
    key.ok_or_else(|| found.refuse("it must be whsec_ and the base64 of 24 to 64 bytes"))
}
