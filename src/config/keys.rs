//! `[keys]`: which signing keys rotate automatically, and when.

use std::time::Duration;

use super::reader::{Read, Section};
use super::value::Value;
use crate::keys::{RotationMode, RotationPlan};
use crate::policy;

pub(super) fn read(section: &mut Section<'_>) -> Read<RotationPlan> {
    let default = RotationPlan::default();
    let login = section.or("rotation", default.login, mode);
    let period = section.or("rotation_period", default.period, period);
    let rest = section.or("rest_rotation", default.rest, mode);
    Ok(RotationPlan { login: login?, rest: rest?, period: period? })
}

fn mode(value: &Value<'_>) -> Read<RotationMode> {
    value.choice(&[("automatic", RotationMode::Automatic), ("manual", RotationMode::Manual)])
}

fn period(value: &Value<'_>) -> Read<Duration> {
    let range = policy::MIN_KEY_ROTATION_PERIOD.as_secs()..=policy::MAX_KEY_ROTATION_PERIOD.as_secs();
    value.number(range).map(Duration::from_secs)
}
