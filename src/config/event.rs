//! `[[event]]`: a waiting room.

use super::inlet;
use super::reader::{Read, Section, Unique};
use super::value::Value;
use crate::policy;
use crate::room::{Channels, Entry, EventId, EventSettings, ExpiryRule, Inlet, MetricsEvents, OnExpiry, PublicTokens};

pub(super) fn read(section: &mut Section<'_>, ids: &mut Unique) -> Read<EventSettings> {
    let id = section.required("id", |value| {
        let id = value.parsed(str::parse::<EventId>)?;
        ids.claim(value, id.as_str()).map(|()| id)
    });
    let validity = section.or("validity_period", policy::DEFAULT_VALIDITY, |value| value.seconds(policy::MAX_VALIDITY));
    let expiry = expiry(section);
    let increment_serving_on_expiry = section.or("increment_serving_on_expiry", OnExpiry::Leave, |value| {
        value.flag().map(|increment| if increment { OnExpiry::Increment } else { OnExpiry::Leave })
    });
    let metrics_events = section.or("metrics_events", MetricsEvents::Off, |value| {
        value.flag().map(|on| if on { MetricsEvents::EachMinute } else { MetricsEvents::Off })
    });
    let entries = [("automatic", Entry::Automatic), ("button", Entry::Button)];
    let entry = section.or("entry", Entry::Automatic, |value| value.choice(&entries));
    let public_tokens = section.or("public_tokens", PublicTokens::Issued, |value| {
        value.flag().map(|on| if on { PublicTokens::Issued } else { PublicTokens::Withheld })
    });
    let channels = section.or("channels", Channels::Both, channels);
    let inlet = section.or("inlet", (Inlet::Manual, None), |value| value.section(inlet::read));
    if matches!((&inlet, &expiry), (Ok((Inlet::MaxSize(_), _)), Ok(ExpiryRule::Never))) {
        let message = "it must be true with the strategy \"max_size\": who never comes would hold a place for ever";
        return Err(section.refuse("queue_position_expiry", message));
    }
    let (inlet, gate) = inlet?;
    Ok(EventSettings {
        id: id?,
        validity: validity?,
        expiry: expiry?,
        increment_serving_on_expiry: increment_serving_on_expiry?,
        metrics_events: metrics_events?,
        entry: entry?,
        public_tokens: public_tokens?,
        channels: channels?,
        inlet,
        gate,
    })
}

/// The channels that the list names.
fn channels(value: &Value<'_>) -> Read<Channels> {
    let mut names = Unique::default();
    let channels = value.each(|entry| {
        let channel = entry.choice(&[("login", Channels::Login), ("rest", Channels::Rest)])?;
        names.claim(entry, entry.text()?).map(|()| channel)
    })?;
    match channels.as_slice() {
        [] => Err(value.refuse("at least one is needed: otherwise no visitor could join")),
        [alone] => Ok(*alone),
        [..] => Ok(Channels::Both),
    }
}

fn expiry(section: &mut Section<'_>) -> Read<ExpiryRule> {
    let enabled = section.or("queue_position_expiry", true, Value::flag);
    let default = policy::DEFAULT_POSITION_EXPIRY;
    let period =
        section.or("queue_position_expiry_period", default, |value| value.seconds(policy::MAX_POSITION_EXPIRY));
    let (enabled, period) = (enabled?, period?);
    Ok(if enabled { ExpiryRule::Within(period) } else { ExpiryRule::Never })
}
