//! The keys of `[keys]`.

use super::{Setting, setting};
use crate::policy;

pub(super) fn settings() -> Vec<Setting> {
    let modes = "`\"automatic\"`, `\"manual\"`";
    let [shortest, longest] = [policy::MIN_KEY_ROTATION_PERIOD, policy::MAX_KEY_ROTATION_PERIOD];
    vec![
        setting(
            "keys.rotation",
            modes,
            "`\"automatic\"`",
            "Whether the keys that sign tokens of OpenID Connect rotate by themselves. `manual`: `anteroom keys rotate` alone does it.",
        ),
        setting(
            "keys.rotation_period",
            format!("seconds, {} to {}", shortest.as_secs(), longest.as_secs()),
            format!("`{}`", policy::KEY_ROTATION_PERIOD.as_secs()),
            "How long a key signs where it rotates by itself.",
        ),
        setting(
            "keys.rest_rotation",
            modes,
            "`\"manual\"`",
            "The same as `rotation`, for the RS256 key that signs the tokens of the REST calls (`/api/public_key`). `manual`, because the authorizer of the retired system keeps the key that it fetched first.",
        ),
    ]
}
