//! `[keys]`: which signing keys rotate by themselves, and when.

use std::time::Duration;

use super::reader::{Read, Section};
use super::value::Found;
use crate::keys::{RotationMode, RotationPlan};
use crate::policy;

pub(super) fn read(section: &mut Section<'_>) -> Read<RotationPlan> {
    let default = RotationPlan::default();
    let login = section.or("rotation", default.login, mode);
    let period = section.or("rotation_period", default.period, period);
    let rest = section.or("rest_rotation", default.rest, mode);
    Ok(RotationPlan { login: login?, rest: rest?, period: period? })
}

fn mode(found: &Found<'_>) -> Read<RotationMode> {
    found.choice(&[("automatic", RotationMode::Automatic), ("manual", RotationMode::Manual)])
}

fn period(found: &Found<'_>) -> Read<Duration> {
    let range = policy::MIN_KEY_ROTATION_PERIOD.as_secs()..=policy::MAX_KEY_ROTATION_PERIOD.as_secs();
    found.number(range).map(Duration::from_secs)
}
