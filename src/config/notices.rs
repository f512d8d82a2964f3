//! `[[webhook]]`, `[[eventbridge]]` and `[notices]`: the sinks of notices.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::reader::{Read, Section, Unique};
use super::value::{Value, event_of, safe_address};
use crate::ambient::Secret;
use crate::room::{EventId, EventKind};
use crate::store::Letter;

/// The notices that a sink gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscription {
    /// The sink's name, in the log and for its cursor in the outbox.
    pub name: String,
    /// The events whose notices it gets; empty: all.
    pub events: Vec<EventId>,
    /// The kinds of notices that it gets; empty: all.
    pub kinds: Vec<EventKind>,
}

impl Subscription {
    /// Whether the sink gets this notice.
    pub fn wants(&self, letter: &Letter) -> bool {
        (self.events.is_empty() || self.events.contains(&letter.event))
            && (self.kinds.is_empty() || self.kinds.contains(&letter.kind))
    }
}

/// A webhook.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// The notices that it gets.
    pub subscription: Subscription,
    /// Its address.
    pub url: Url,
    /// The secret that signs its requests.
    pub secret: Secret,
}

/// An EventBridge event bus.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventBridgeConfig {
    /// The notices that it gets.
    pub subscription: Subscription,
    /// The name or ARN of the bus.
    pub bus: String,
}

/// Whether operators can stream notices even without another sink.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NoticeStream {
    /// Only if there is a webhook or a bus.
    #[default]
    Off,
    /// Always.
    On,
}

/// The bytes of a signing secret (Standard Webhooks, *Signature scheme*).
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The default bus of every account.
const DEFAULT_BUS: &str = "default";

pub(super) fn stream(section: &mut Section<'_>) -> Read<NoticeStream> {
    section.or("stream", NoticeStream::Off, |value| {
        value.flag().map(|on| if on { NoticeStream::On } else { NoticeStream::Off })
    })
}

pub(super) fn webhook(section: &mut Section<'_>, events: &Unique, names: &mut Unique) -> Read<WebhookConfig> {
    let subscription = subscription(section, events, names);
    let url = section.required("url", |value| value.parsed(safe_address));
    let secret = section.required("secret", secret);
    Ok(WebhookConfig { subscription: subscription?, url: url?, secret: secret? })
}

pub(super) fn event_bus(section: &mut Section<'_>, events: &Unique, names: &mut Unique) -> Read<EventBridgeConfig> {
    let subscription = subscription(section, events, names);
    let bus = section.or("bus", DEFAULT_BUS.to_owned(), |value| value.parsed(bus));
    Ok(EventBridgeConfig { subscription: subscription?, bus: bus? })
}

fn subscription(section: &mut Section<'_>, events: &Unique, names: &mut Unique) -> Read<Subscription> {
    let name = section.required("name", |value| {
        let name = value.parsed(name)?;
        names.claim(value, &name).map(|()| name)
    });
    let events = section.list("events", |value| event_of(value, events));
    let known = EventKind::ALL.map(|kind| (kind.name(), kind));
    let kinds = section.list("kinds", |value| value.choice(&known));
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

fn secret(value: &Value<'_>) -> Read<Secret> {
    let text = value.secret()?;
    let key = text.expose().strip_prefix(b"whsec_").and_then(|encoded| STANDARD.decode(encoded).ok());
    let key = key.map(Secret::new).filter(|key| SECRET_BYTES.contains(&key.expose().len()));
    key.ok_or_else(|| value.refuse("it must be whsec_ and the base64 of 24 to 64 bytes"))
}
