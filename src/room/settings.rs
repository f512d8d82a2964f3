//! What an operator decides about an event, checked and typed.
//!
//! Owns the settings' meaning and the old stack's defaults; must not know how they are written down
//! (`config`).

use std::time::Duration;

use super::{Door, EventId, ExpiryRule, Gate, Inlet};
use crate::policy::{DEFAULT_POSITION_EXPIRY, DEFAULT_VALIDITY};

/// The settings of one event (`docs/configuration.md`, `[[event]]`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventSettings {
    /// Its name.
    pub id: EventId,
    /// How long a session and its tokens are good (`validity_period`).
    pub validity: Duration,
    /// Whether a served position must be used in time (`queue_position_expiry`, `queue_position_expiry_period`).
    pub expiry: ExpiryRule,
    /// What becomes of the places of those who did not (`increment_serving_on_expiry`).
    pub increment_serving_on_expiry: OnExpiry,
    /// Whether the event's figures are sent out (`metrics_events`).
    pub metrics_events: MetricsEvents,
    /// Whether a served visitor must act to enter.
    pub entry: Entry,
    /// Whether the public API gives tokens for tickets (`public_tokens`).
    pub public_tokens: PublicTokens,
    /// How visitors join and use their places (`channels`).
    pub channels: Channels,
    /// What moves the serving counter.
    pub inlet: Inlet,
    /// What keeps the inlet closed.
    pub gate: Option<Gate>,
}

/// What the expiry of served positions does to the serving counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnExpiry {
    /// Nothing: the places stay empty.
    Leave,
    /// It grows by as many, so that others take the places.
    Increment,
}

/// Whether `waiting_room_metrics` goes out each minute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetricsEvents {
    /// No.
    Off,
    /// Yes.
    EachMinute,
}

/// How a served visitor enters from the waiting page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// At once.
    Automatic,
    /// By pressing a button: an open but forgotten tab takes no place.
    Button,
}

/// Whether the public `generate_token` gives tokens, or the login (and the private API) alone does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PublicTokens {
    /// It does, as in the old system.
    Issued,
    /// It does not: who comes by REST can wait, and enters by a login.
    Withheld,
}

/// How visitors join the line and use their places: by a login, by the public REST API, or by either.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Channels {
    /// By either, in one line.
    Both,
    /// By a login alone: programs get no places.
    Login,
    /// By the REST API alone: no relying party sends visitors to log in.
    Rest,
}

impl Channels {
    /// Whether visitors come by `door`.
    pub const fn include(self, door: Door) -> bool {
        matches!((self, door), (Self::Both, _) | (Self::Login, Door::Login) | (Self::Rest, Door::Rest))
    }
}

impl EventSettings {
    /// An event with the old stack's defaults, whose serving counter moves by hand until an inlet is chosen.
    pub const fn new(id: EventId) -> Self {
        Self {
            id,
            validity: DEFAULT_VALIDITY,
            expiry: ExpiryRule::Within(DEFAULT_POSITION_EXPIRY),
            increment_serving_on_expiry: OnExpiry::Leave,
            metrics_events: MetricsEvents::Off,
            entry: Entry::Automatic,
            public_tokens: PublicTokens::Issued,
            channels: Channels::Both,
            inlet: Inlet::Manual,
            gate: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_old_stack() {
        let id: EventId = "Sample".parse().unwrap();
        let expected = EventSettings {
            id: id.clone(),
            validity: Duration::from_secs(3_600),
            expiry: ExpiryRule::Within(Duration::from_secs(900)),
            increment_serving_on_expiry: OnExpiry::Leave,
            metrics_events: MetricsEvents::Off,
            entry: Entry::Automatic,
            public_tokens: PublicTokens::Issued,
            channels: Channels::Both,
            inlet: Inlet::Manual,
            gate: None,
        };
        assert_eq!(EventSettings::new(id), expected);
    }
}
