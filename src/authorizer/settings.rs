//! The settings in the function's environment.

use url::Url;

use crate::oauth::{is_loopback, paths};

/// The settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Settings {
    /// The event whose tokens are valid: their `aud`.
    pub(super) event_id: String,
    /// Their issuer, byte for byte: their `iss`.
    pub(super) issuer: String,
    /// The address of the issuer's key set.
    pub(super) jwks_url: Url,
}

/// Why the function cannot start.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum SettingsError {
    #[error("{0} is not set: {1}")]
    Missing(&'static str, &'static str),
    #[error("{0} must be an https address (http only on a loopback address)")]
    Address(&'static str),
}

/// Variables that Lambda sets and its runtime library requires.
const OF_LAMBDA: [&str; 4] = [
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
];

impl Settings {
    /// Reads the settings from `variable`.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let need = |name, what| given(name).ok_or(SettingsError::Missing(name, what));
        let event_id = need("EVENT_ID", "the event whose tokens are let in")?;
        let issuer = need("ISSUER", "Anteroom's public_url, byte for byte")?;
        for name in OF_LAMBDA {
            need(name, "this program runs as an AWS Lambda function")?;
        }
        let address = |name, text: &str| {
            let url = Url::parse(text).map_err(|_| SettingsError::Address(name))?;
            let safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
            if safe { Ok(url) } else { Err(SettingsError::Address(name)) }
        };
        address("ISSUER", &issuer)?;
        let jwks_url = match given("JWKS_URL") {
            Some(text) => address("JWKS_URL", &text)?,
            None => address("ISSUER", &format!("{issuer}{}", paths::JWKS))?,
        };
        Ok(Self { event_id, issuer, jwks_url })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(other: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let usual = [("EVENT_ID", "sale"), ("ISSUER", "https://q.example/line")];
        let of_lambda = OF_LAMBDA.map(|name| (name, "1"));
        Settings::read(|name| {
            let all = other.iter().chain(&usual).chain(&of_lambda);
            all.clone().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_keys_are_where_the_issuer_publishes_them_unless_said_otherwise() {
        let jwks = |other: &[_]| read(other).unwrap().jwks_url.to_string();
        assert_eq!(jwks(&[]), "https://q.example/line/.well-known/jwks.json");
        assert_eq!(jwks(&[("JWKS_URL", "https://cdn.example/keys")]), "https://cdn.example/keys");
        assert_eq!(jwks(&[("ISSUER", "http://127.0.0.1:8080")]), "http://127.0.0.1:8080/.well-known/jwks.json");
    }

    #[test]
    fn a_missing_or_unsafe_setting_is_named() {
        for name in ["EVENT_ID", "ISSUER", "AWS_LAMBDA_RUNTIME_API"] {
            let problem = read(&[(name, "")]).unwrap_err().to_string();
            assert!(problem.starts_with(&format!("{name} is not set: ")), "{problem}");
        }
        for (name, value) in [("ISSUER", "http://q.example"), ("ISSUER", "queue"), ("JWKS_URL", "file:///keys")] {
            assert_eq!(read(&[(name, value)]), Err(SettingsError::Address(name)), "{value}");
        }
    }
}
