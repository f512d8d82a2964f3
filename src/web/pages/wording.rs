//! The wording of a visitor's place, and its rules.
//!
//! The server writes it into the page, and `assets/waiting/` rewrites it whenever the queue moves. So that the two
//! never differ, words and thresholds are data ([`ENGLISH`]) that the page hands to the script. The few lines that
//! apply them exist twice, and a test compares both over the same cases.

use std::fmt;
use std::sync::LazyLock;

use serde::Serialize;

use crate::room;

/// A wait in seconds: at least `low_s`, at most `high_s`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Estimate {
    /// The lower bound, s.
    pub low_s: u64,
    /// The upper bound, s.
    pub high_s: u64,
}

impl From<room::Estimate> for Estimate {
    fn from(estimate: room::Estimate) -> Self {
        let part = u64::from(estimate.at_most.subsec_nanos() > 0);
        Self { low_s: estimate.at_least.as_secs(), high_s: estimate.at_most.as_secs().saturating_add(part) }
    }
}

/// A unit of waiting times, and its rounding.
#[derive(Debug, Serialize)]
pub struct Unit {
    /// Its length, s.
    seconds: u64,
    /// Used for waits of at most this many seconds.
    up_to: u64,
    /// Pairs (below, step): numbers below the first are rounded to the second; the lower end of a range
    /// down, the upper end up.
    steps: &'static [(u64, u64)],
    /// Used when both ends round to `{n}`.
    exact: &'static str,
    /// Used for `{low}` to `{high}`.
    range: &'static str,
    /// Used when the lower end rounds to zero.
    under: &'static str,
}

/// The texts and rules that server and script share, in one language.
#[derive(Debug, Serialize)]
pub struct Words {
    thousands: &'static str,
    next: &'static str,
    one_ahead: &'static str,
    many_ahead: &'static str,
    title_ahead: &'static str,
    unknown: &'static str,
    moment: &'static str,
    moment_s: u64,
    units: &'static [Unit],
    ages: &'static str,
    ages_s: u64,
    turn: &'static str,
    turn_detail: &'static str,
    turn_elsewhere: &'static str,
    here: &'static str,
    announcement: &'static str,
    lost: &'static str,
}

/// English.
pub const ENGLISH: Words = Words {
    thousands: ",",
    next: "You are next",
    one_ahead: "person ahead of you",
    many_ahead: "people ahead of you",
    title_ahead: "{n} ahead",
    unknown: "not known yet",
    moment: "less than a minute",
    moment_s: 60,
    units: &[
        Unit {
            seconds: 60,
            up_to: 5400,
            steps: &[(10, 1), (30, 5), (u64::MAX, 10)],
            exact: "about {n} minutes",
            range: "about {low} to {high} minutes",
            under: "less than {n} minutes",
        },
        Unit {
            seconds: 3600,
            up_to: u64::MAX,
            steps: &[(u64::MAX, 1)],
            exact: "about {n} hours",
            range: "about {low} to {high} hours",
            under: "less than {n} hours",
        },
    ],
    ages: "more than a day",
    ages_s: 86_400,
    turn: "It’s your turn",
    turn_detail: "Taking you in …",
    turn_elsewhere: "You go on in the tab in which you last opened the site",
    here: "Go on in this tab",
    announcement: "{place}. Estimated wait: {wait}.",
    lost: "Connection lost. Reconnecting; your place is kept.",
};

/// [`ENGLISH`] as the JSON that the page hands to its script.
pub static ENGLISH_JSON: LazyLock<String> = LazyLock::new(|| {
    // A struct of numbers and texts always serialises; otherwise the script would leave the page unchanged.
    serde_json::to_string(&ENGLISH).unwrap_or_default()
});

/// The number of visitors ahead, in two parts: one large, the other beneath it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Count {
    /// The number, or words if there is none.
    pub big: String,
    /// What is counted; empty when `big` says it all.
    pub small: &'static str,
}

impl fmt::Display for Count {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.big)?;
        if self.small.is_empty() { Ok(()) } else { write!(formatter, " {}", self.small) }
    }
}

impl Words {
    /// `number` with thousands separators.
    pub fn number(&self, number: u64) -> String {
        let digits = number.to_string();
        let mut text = String::with_capacity(digits.len() * 4 / 3);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push_str(self.thousands);
            }
            text.push(digit);
        }
        text
    }

    /// The wording of the number of visitors ahead.
    pub fn count(&self, ahead: u64) -> Count {
        match ahead {
            0 => Count { big: self.next.into(), small: "" },
            1 => Count { big: self.number(ahead), small: self.one_ahead },
            _ => Count { big: self.number(ahead), small: self.many_ahead },
        }
    }

    /// The place as the beginning of the page's title.
    pub fn title(&self, ahead: u64) -> String {
        if ahead == 0 { self.next.into() } else { self.title_ahead.replace("{n}", &self.number(ahead)) }
    }

    /// The wording of the estimated wait, as a range.
    pub fn wait(&self, estimate: Option<Estimate>) -> String {
        let Some(Estimate { low_s, high_s }) = estimate else { return self.unknown.into() };
        if high_s <= self.moment_s {
            return self.moment.into();
        }
        if low_s >= self.ages_s {
            return self.ages.into();
        }
        self.units
            .iter()
            .find(|unit| high_s <= unit.up_to)
            .map_or_else(|| self.unknown.into(), |unit| unit.range(low_s, high_s))
    }
}

impl Unit {
    fn step(&self, number: u64) -> u64 {
        self.steps.iter().find(|(below, _)| number < *below).map_or(1, |(_, step)| *step)
    }

    fn range(&self, low_s: u64, high_s: u64) -> String {
        let (low, high) = (low_s / self.seconds, high_s.div_ceil(self.seconds));
        let low = low - low % self.step(low);
        let high = high.next_multiple_of(self.step(high));
        if low == 0 {
            self.under.replace("{n}", &high.to_string())
        } else if low == high {
            self.exact.replace("{n}", &high.to_string())
        } else {
            self.range.replace("{low}", &low.to_string()).replace("{high}", &high.to_string())
        }
    }
}

/// The wording of the time left until `seconds` have passed, rounded down so that no visitor comes too late.
pub fn time_left(seconds: u64) -> String {
    match seconds {
        1 => "1 second".into(),
        0..60 => format!("{seconds} seconds"),
        60..120 => "a minute".into(),
        120..7200 => format!("{} minutes", seconds / 60),
        _ => format!("{} hours", seconds / 3600),
    }
}

#[cfg(test)]
#[path = "wording_tests.rs"]
mod tests;
