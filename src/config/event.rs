//! `[[event]]`: a waiting room.

use super::reader::{Read, Section, Unique};
use super::value::Found;
use crate::ambient::Timestamp;
use crate::policy;
use crate::room::{
    Entry, EventId, EventSettings, ExpiryRule, Inlet, MaxSize, MetricsEvents, OnExpiry, Periodic, Position,
    PublicTokens, Rhythm,
};

/// The largest step of the serving counter: as far as positions go.
const MAX_INCREMENT: u64 = Position::LAST.get();

pub(super) fn read(section: &mut Section<'_>, ids: &mut Unique) -> Read<EventSettings> {
    let id = section.required("id", |found| {
        let id = found.parsed(str::parse::<EventId>)?;
        ids.claim(found, id.as_str()).map(|()| id)
    });
    let validity = section.or("validity_period", policy::DEFAULT_VALIDITY, |found| found.seconds(policy::MAX_VALIDITY));
    let expiry = expiry(section);
    let increment_serving_on_expiry = section.or("increment_serving_on_expiry", OnExpiry::Leave, |found| {
        found.flag().map(|increment| if increment { OnExpiry::Increment } else { OnExpiry::Leave })
    });
    let metrics_events = section.or("metrics_events", MetricsEvents::Off, |found| {
        found.flag().map(|on| if on { MetricsEvents::EachMinute } else { MetricsEvents::Off })
    });
    let entries = [("automatic", Entry::Automatic), ("button", Entry::Button)];
    let entry = section.or("entry", Entry::Automatic, |found| found.choice(&entries));
    let public_tokens = section.or("public_tokens", PublicTokens::Issued, |found| {
        found.flag().map(|on| if on { PublicTokens::Issued } else { PublicTokens::Withheld })
    });
    let inlet = section.or("inlet", Inlet::Manual, |found| found.section(inlet));
    if matches!((&inlet, &expiry), (Ok(Inlet::MaxSize(_)), Ok(ExpiryRule::Never))) {
        let message = "it must be true with the strategy \"max_size\": who never comes would hold a place for ever";
        return Err(section.refuse("queue_position_expiry", message));
    }
    Ok(EventSettings {
        id: id?,
        validity: validity?,
        expiry: expiry?,
        increment_serving_on_expiry: increment_serving_on_expiry?,
        metrics_events: metrics_events?,
        entry: entry?,
        public_tokens: public_tokens?,
        inlet: inlet?,
    })
}

fn expiry(section: &mut Section<'_>) -> Read<ExpiryRule> {
    let enabled = section.or("queue_position_expiry", true, Found::flag);
    let default = policy::DEFAULT_POSITION_EXPIRY;
    let period =
        section.or("queue_position_expiry_period", default, |found| found.seconds(policy::MAX_POSITION_EXPIRY));
    let (enabled, period) = (enabled?, period?);
    Ok(if enabled { ExpiryRule::Within(period) } else { ExpiryRule::Never })
}

#[derive(Clone, Copy)]
enum Strategy {
    Manual,
    Periodic,
    MaxSize,
}

fn inlet(section: &mut Section<'_>) -> Read<Inlet> {
    let strategy = section.required("strategy", |found| {
        let all = [("periodic", Strategy::Periodic), ("max_size", Strategy::MaxSize), ("manual", Strategy::Manual)];
        found.choice(&all)
    });
    match strategy {
        Ok(Strategy::Manual) => {
            let of_periodic = foreign(section, &["increment_by", "every", "smooth", "start", "end"], "periodic");
            let of_max_size = foreign(section, &["max_size"], "max_size");
            of_periodic.and(of_max_size).map(|()| Inlet::Manual)
        }
        Ok(Strategy::Periodic) => {
            let inlet = periodic(section).map(Inlet::Periodic);
            foreign(section, &["max_size"], "max_size").and(inlet)
        }
        Ok(Strategy::MaxSize) => {
            let inlet = max_size(section).map(Inlet::MaxSize);
            foreign(section, &["increment_by", "every", "smooth"], "periodic").and(inlet)
        }
        // The other keys depend on the strategy: they are looked at once it is known, and not called unknown.
        Err(noted) => {
            section.ignore_the_rest();
            Err(noted)
        }
    }
}

/// Refuses keys that belong to another strategy.
fn foreign(section: &mut Section<'_>, keys: &[&'static str], strategy: &str) -> Read<()> {
    let message = format!("it belongs to the strategy \"{strategy}\"");
    let refused: Vec<_> = keys.iter().map(|key| section.not_yet(key, &message)).collect();
    refused.into_iter().collect()
}

fn max_size(section: &mut Section<'_>) -> Read<MaxSize> {
    let max_size = section.required("max_size", |found| found.number(1..=MAX_INCREMENT));
    let (start, end) = opening(section);
    Ok(MaxSize { max_size: max_size?, start: start?, end: end? })
}

/// Between when the inlet works.
fn opening(section: &mut Section<'_>) -> (Read<Option<Timestamp>>, Read<Option<Timestamp>>) {
    let start = section.optional("start", Found::instant);
    let end = section.optional("end", |found| {
        let end = found.instant()?;
        let backwards = matches!(start, Ok(Some(start)) if end <= start);
        if backwards { Err(found.refuse("it must be later than start")) } else { Ok(end) }
    });
    (start, end)
}

fn periodic(section: &mut Section<'_>) -> Read<Periodic> {
    let increment_by = section.required("increment_by", |found| found.number(1..=MAX_INCREMENT));
    let every = section.or("every", policy::DEFAULT_INLET_PERIOD, |found| found.seconds(policy::MAX_INLET_PERIOD));
    let rhythm = section.or("smooth", Rhythm::Smooth, |found| {
        found.flag().map(|smooth| if smooth { Rhythm::Smooth } else { Rhythm::AtOnce })
    });
    let (start, end) = opening(section);
    Ok(Periodic { increment_by: increment_by?, every: every?, rhythm: rhythm?, start: start?, end: end? })
}
