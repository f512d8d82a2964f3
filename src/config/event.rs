//! `[[event]]`: a waiting room.

use super::reader::{Read, Section, Unique};
use super::value::Found;
use crate::policy;
use crate::room::{
    Entry, EventId, EventSettings, ExpiryRule, Inlet, MetricsEvents, OnExpiry, Periodic, Position, PublicTokens, Rhythm,
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
}

fn inlet(section: &mut Section<'_>) -> Read<Inlet> {
    let strategy = section.required("strategy", |found| {
        if found.text()? == "max_size" {
            return Err(found.refuse("the strategy \"max_size\" is not in this version"));
        }
        found.choice(&[("periodic", Strategy::Periodic), ("manual", Strategy::Manual)])
    });
    match strategy {
        Ok(Strategy::Manual) => {
            let others = ["increment_by", "every", "smooth", "start", "end"]
                .map(|key| section.not_yet(key, "it belongs to the strategy \"periodic\""));
            others.into_iter().collect::<Read<()>>().map(|()| Inlet::Manual)
        }
        Ok(Strategy::Periodic) => periodic(section).map(Inlet::Periodic),
        // The other keys depend on the strategy: they are looked at once it is known, and not called unknown.
        Err(noted) => {
            section.ignore_the_rest();
            Err(noted)
        }
    }
}

fn periodic(section: &mut Section<'_>) -> Read<Periodic> {
    let increment_by = section.required("increment_by", |found| found.number(1..=MAX_INCREMENT));
    let every = section.or("every", policy::DEFAULT_INLET_PERIOD, |found| found.seconds(policy::MAX_INLET_PERIOD));
    let rhythm = section.or("smooth", Rhythm::Smooth, |found| {
        found.flag().map(|smooth| if smooth { Rhythm::Smooth } else { Rhythm::AtOnce })
    });
    let start = section.optional("start", Found::instant);
    let end = section.optional("end", |found| {
        let end = found.instant()?;
        let backwards = matches!(start, Ok(Some(start)) if end <= start);
        if backwards { Err(found.refuse("it must be later than start")) } else { Ok(end) }
    });
    Ok(Periodic { increment_by: increment_by?, every: every?, rhythm: rhythm?, start: start?, end: end? })
}
