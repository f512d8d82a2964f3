//! `[event.inlet]`: the strategy that moves the serving counter, and its gate.

use super::reader::{Read, Section};
use super::value::{Value, web_address};
use crate::ambient::Timestamp;
use crate::policy;
use crate::room::{Gate, Inlet, MaxSize, Periodic, Position, Rhythm, Signal};

/// The largest step of the serving counter: the last position.
const MAX_INCREMENT: u64 = Position::LAST.get();

#[derive(Clone, Copy)]
enum Strategy {
    Manual,
    Periodic,
    MaxSize,
}

pub(super) fn read(section: &mut Section<'_>) -> Read<(Inlet, Option<Gate>)> {
    let strategy = section.required("strategy", |value| {
        let all = [("periodic", Strategy::Periodic), ("max_size", Strategy::MaxSize), ("manual", Strategy::Manual)];
        value.choice(&all)
    });
    match strategy {
        Ok(Strategy::Manual) => {
            let of_both = ["start", "end", "alarm", "health_url", "check_every"];
            let of_both = foreign(section, &of_both, "\"periodic\" or \"max_size\"");
            let of_periodic = foreign(section, &["increment_by", "every", "smooth"], "\"periodic\"");
            let of_max_size = foreign(section, &["max_size"], "\"max_size\"");
            of_both.and(of_periodic).and(of_max_size).map(|()| (Inlet::Manual, None))
        }
        Ok(Strategy::Periodic) => {
            let inlet = periodic(section).map(Inlet::Periodic);
            let gate = gate(section);
            foreign(section, &["max_size"], "\"max_size\"").and(Ok((inlet?, gate?)))
        }
        Ok(Strategy::MaxSize) => {
            let inlet = max_size(section).map(Inlet::MaxSize);
            let gate = gate(section);
            foreign(section, &["increment_by", "every", "smooth"], "\"periodic\"").and(Ok((inlet?, gate?)))
        }
        // The other keys depend on the strategy: without a valid one, they are ignored instead of being called unknown.
        Err(reported) => {
            section.ignore_unknown_keys();
            Err(reported)
        }
    }
}

/// Refuses keys that belong to another strategy.
fn foreign(section: &mut Section<'_>, keys: &[&'static str], strategy: &str) -> Read<()> {
    let message = format!("it belongs to the strategy {strategy}");
    let refused: Vec<_> = keys.iter().map(|key| section.reject_if_set(key, &message)).collect();
    refused.into_iter().collect()
}

fn max_size(section: &mut Section<'_>) -> Read<MaxSize> {
    let max_size = section.required("max_size", |value| value.number(1..=MAX_INCREMENT));
    let (start, end) = opening(section);
    Ok(MaxSize { max_size: max_size?, start: start?, end: end? })
}

/// The times between which the inlet works.
fn opening(section: &mut Section<'_>) -> (Read<Option<Timestamp>>, Read<Option<Timestamp>>) {
    let start = section.optional("start", Value::instant);
    let end = section.optional("end", |value| {
        let end = value.instant()?;
        let backwards = matches!(start, Ok(Some(start)) if end <= start);
        if backwards { Err(value.refuse("it must be later than start")) } else { Ok(end) }
    });
    (start, end)
}

fn periodic(section: &mut Section<'_>) -> Read<Periodic> {
    let increment_by = section.required("increment_by", |value| value.number(1..=MAX_INCREMENT));
    let every = section.or("every", policy::DEFAULT_INLET_PERIOD, |value| value.seconds(policy::MAX_INLET_PERIOD));
    let rhythm = section.or("smooth", Rhythm::Smooth, |value| {
        value.flag().map(|smooth| if smooth { Rhythm::Smooth } else { Rhythm::AtOnce })
    });
    let (start, end) = opening(section);
    Ok(Periodic { increment_by: increment_by?, every: every?, rhythm: rhythm?, start: start?, end: end? })
}

fn gate(section: &mut Section<'_>) -> Read<Option<Gate>> {
    let alarm = section.optional("alarm", |value| value.parsed(alarm_name));
    let health = section.optional("health_url", |value| value.parsed(web_address));
    let signal = match (alarm?, health?) {
        (Some(_), Some(_)) => {
            return Err(section.refuse("health_url", "there is an alarm already: one of them decides"));
        }
        (Some(alarm), None) => Signal::Alarm(alarm),
        (None, Some(health)) => Signal::Health(health),
        (None, None) => {
            let message = "it belongs to an inlet with alarm or health_url";
            return section.reject_if_set("check_every", message).map(|()| None);
        }
    };
    let default = policy::DEFAULT_GATE_CHECK;
    let check_every = section.or("check_every", default, |value| value.seconds(policy::MAX_GATE_CHECK))?;
    Ok(Some(Gate { signal, check_every }))
}

fn alarm_name(text: &str) -> Result<String, String> {
    let most = policy::MAX_ALARM_NAME;
    let good = (1..=most).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if good { Ok(text.to_owned()) } else { Err(format!("it must be the name of an alarm: 1 to {most} characters")) }
}
