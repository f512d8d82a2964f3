//! One value of the configuration: its required form, and the problem if it has another.

use std::fmt::Display;
use std::fs;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value as TomlValue;
use url::Url;

use super::reader::{Read, Reader, Reported, Section, Unique};
use super::secret_source::SecretSourceError;
use crate::ambient::{Secret, Timestamp};
use crate::oauth::is_loopback;
use crate::policy;
use crate::room::EventId;
use crate::text::{without_byte_order_mark, without_line_end};

/// The value of a key that is set.
pub(super) struct Value<'a> {
    reader: &'a Reader<'a>,
    value: &'a TomlValue,
    key_path: String,
}

impl<'a> Value<'a> {
    pub(super) const fn new(reader: &'a Reader<'a>, value: &'a TomlValue, key_path: String) -> Self {
        Self { reader, value, key_path }
    }

    /// Reports a problem with this key.
    pub(super) fn refuse(&self, message: impl Into<String>) -> Reported {
        self.reader.report(&self.key_path, message.into())
    }

    /// Text.
    pub(super) fn text(&self) -> Read<&'a str> {
        match (self.value, self.reader.overrides().raw(&self.key_path)) {
            (TomlValue::String(text), _) => Ok(text),
            (_, Some(raw)) => Ok(raw),
            _ => Err(self.refuse("it must be text in quotes")),
        }
    }

    /// Text that is parsed further.
    pub(super) fn parsed<T, E: Display>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Read<T> {
        parse(self.text()?).map_err(|error| self.refuse(error.to_string()))
    }

    /// Text for people: not empty, on one line.
    pub(super) fn title(&self) -> Read<String> {
        self.parsed(|text| {
            let good = !text.trim().is_empty() && !text.chars().any(char::is_control);
            if good { Ok(text.to_owned()) } else { Err("it must be one line of text, and not empty") }
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Read<T> {
        let text = self.text()?;
        let chosen = choices.iter().find(|(name, _)| *name == text);
        chosen.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
            self.refuse(match names.as_slice() {
                [others @ .., last] if !others.is_empty() => format!("it must be {} or {last}", others.join(", ")),
                _ => format!("it must be {}", names.concat()),
            })
        })
    }

    /// True or false.
    pub(super) fn flag(&self) -> Read<bool> {
        self.value.as_bool().ok_or_else(|| self.refuse("it must be true or false, without quotes"))
    }

    /// An integer in a range.
    pub(super) fn number(&self, range: RangeInclusive<u64>) -> Read<u64> {
        let bounds = || format!("it must be a whole number from {} to {}", range.start(), range.end());
        let number = self.value.as_integer().and_then(|number| u64::try_from(number).ok());
        number.filter(|number| range.contains(number)).ok_or_else(|| self.refuse(bounds()))
    }

    /// A time in whole seconds, at least one.
    pub(super) fn seconds(&self, longest: Duration) -> Read<Duration> {
        let seconds = self.value.as_integer().and_then(|number| u64::try_from(number).ok());
        let duration = seconds.map(Duration::from_secs).filter(|duration| !duration.is_zero() && *duration <= longest);
        let bounds = || format!("it must be a whole number of seconds from 1 to {}", longest.as_secs());
        duration.ok_or_else(|| self.refuse(bounds()))
    }

    /// A point in time: a TOML date and time with its offset, or seconds since the Unix epoch.
    pub(super) fn instant(&self) -> Read<Timestamp> {
        let instant = match self.value {
            TomlValue::Integer(seconds) => u64::try_from(*seconds).ok().map(Timestamp::from_secs),
            TomlValue::Datetime(datetime) => Timestamp::from_rfc3339(&datetime.to_string()),
            _ => None,
        };
        instant.ok_or_else(|| {
            self.refuse(
                "it must be a date and time with its offset, such as 2026-12-01T09:00:00+01:00, or seconds since 1970",
            )
        })
    }

    /// An address and port to listen on.
    pub(super) fn address(&self) -> Read<SocketAddr> {
        self.parsed(|text| {
            text.parse().map_err(|_| "it must be an IP address and a port, such as 127.0.0.1:8080 or [::]:8080")
        })
    }

    /// The path of a file or directory. A relative one is based on the file's directory, or on the working directory if
    /// a variable set it.
    pub(super) fn path(&self) -> Read<PathBuf> {
        self.parsed(|text| if text.is_empty() { Err("it must name a path") } else { Ok(self.resolve(text)) })
    }

    fn resolve(&self, path: &str) -> PathBuf {
        let from_variable = self.reader.overrides().origin(&self.key_path).is_some();
        if from_variable { PathBuf::from(path) } else { self.reader.directory().join(path) }
    }

    /// A secret of sufficient length, literal or by reference.
    pub(super) fn secret(&self) -> Read<Secret> {
        let secret = self.referenced()?;
        self.note_secret();
        let length = secret.expose().len();
        if length < policy::MIN_SECRET_BYTES {
            let least = policy::MIN_SECRET_BYTES;
            return Err(self.refuse(format!("the secret has {length} bytes; at least {least} are needed")));
        }
        Ok(secret)
    }

    /// Records that the configuration file contains a secret, if this one is literal.
    pub(super) fn note_secret(&self) {
        let TomlValue::String(text) = self.value else { return };
        let named = ["env:", "file:", "secret:"].iter().any(|kind| text.starts_with(kind));
        if !named && self.reader.overrides().origin(&self.key_path).is_none() {
            self.reader.note_secret_file(None);
        }
    }

    /// A confidential text, literal or by reference: `env:NAME`, `file:PATH`, `secret:NAME`, `secret:NAME#MEMBER`. A
    /// leading byte order mark and a trailing line end are removed, whatever its source.
    pub(super) fn referenced(&self) -> Read<Secret> {
        let secret = self.resolve_reference()?;
        let meant = without_line_end(without_byte_order_mark(secret.expose()));
        Ok(if meant.len() == secret.expose().len() { secret } else { Secret::new(meant) })
    }

    fn resolve_reference(&self) -> Read<Secret> {
        let text = self.text()?;
        if let Some(name) = text.strip_prefix("env:") {
            let missing = || self.refuse(format!("the variable {name} is not set"));
            Ok(Secret::new(self.reader.environment.get(name).ok_or_else(missing)?))
        } else if let Some(path) = text.strip_prefix("file:") {
            self.secret_file(&self.resolve(path))
        } else if let Some(reference) = text.strip_prefix("secret:") {
            self.named_secret(reference)
        } else {
            Ok(Secret::new(text))
        }
    }

    fn secret_file(&self, path: &Path) -> Read<Secret> {
        let shown = path.display();
        self.reader.note_secret_file(Some(path));
        let text = fs::read_to_string(path)
            .map_err(|error| self.refuse(format!("the file {shown} cannot be read: {error}")))?;
        Ok(Secret::new(text))
    }

    /// The secret of this name in the secret source, or the member of it that is named after `#`, which names do not
    /// contain.
    fn named_secret(&self, reference: &str) -> Read<Secret> {
        let (name, member) = reference.split_once('#').map_or((reference, None), |(name, key)| (name, Some(key)));
        let whole = self.reader.secret_source.secret(name).map_err(|error| match error {
            SecretSourceError::NotRead => self.reader.skip_secret(),
            SecretSourceError::Failed(reason) => self.refuse(format!("the secret {name} cannot be had: {reason}")),
        })?;
        let Some(member) = member else { return Ok(whole) };
        let members = without_byte_order_mark(whole.expose());
        let members: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(members)
            .map_err(|_| self.refuse(format!("the secret {name} is no JSON object, so it has no members")))?;
        match members.into_iter().find(|(key, _)| key == member) {
            Some((_, serde_json::Value::String(text))) => Ok(Secret::new(text)),
            Some(_) => Err(self.refuse(format!("the member {member} of the secret {name} is no text"))),
            None => Err(self.refuse(format!("the secret {name} has no member {member}"))),
        }
    }

    /// Whether this is a list.
    pub(super) const fn is_list(&self) -> bool {
        matches!(self.value, TomlValue::Array(_))
    }

    /// The entries of a list. All are read, so that every problem is reported.
    pub(super) fn each<T>(&self, mut read: impl FnMut(&Self) -> Read<T>) -> Read<Vec<T>> {
        let items = match self.value {
            TomlValue::Array(items) => items,
            TomlValue::Table(_) => {
                let name = &self.key_path;
                return Err(self.refuse(format!("it must be a list: write [[{name}]] with double brackets")));
            }
            _ => return Err(self.refuse("it must be a list in brackets")),
        };
        let entry = |(index, value)| Self::new(self.reader, value, format!("{}[{index}]", self.key_path));
        let read: Vec<Read<T>> = items.iter().enumerate().map(entry).map(|value| read(&value)).collect();
        read.into_iter().collect()
    }

    /// A table with known keys.
    pub(super) fn section<T>(&self, read: impl FnOnce(&mut Section<'a>) -> Read<T>) -> Read<T> {
        match self.value {
            TomlValue::Table(table) => Section::new(self.reader, table, self.key_path.clone()).read(read),
            _ => Err(self.refuse("it must be a table")),
        }
    }

    /// A table whose keys the operator chooses, with their values.
    pub(super) fn entries(&self) -> Read<Vec<(&'a str, Self)>> {
        let table = self.value.as_table().ok_or_else(|| self.refuse("it must be a table"))?;
        let entry = |(key, value): (&'a String, _)| {
            (key.as_str(), Self::new(self.reader, value, format!("{}.{key}", self.key_path)))
        };
        Ok(table.iter().map(entry).collect())
    }

    /// The value as JSON.
    pub(super) fn json(&self) -> Read<serde_json::Value> {
        serde_json::to_value(self.value).map_err(|_| self.refuse("it must be text, a number, true or false"))
    }
}

/// A configured event.
pub(super) fn event_of(value: &Value<'_>, known: &Unique) -> Read<EventId> {
    let event = value.parsed(str::parse::<EventId>)?;
    let unknown = || value.refuse(format!("there is no event \"{event}\""));
    if known.contains(event.as_str()) { Ok(event) } else { Err(unknown()) }
}

/// An address on the Internet or on an internal network.
pub(super) fn web_address(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "it must be an absolute URL")?;
    if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err("it must be https or http") }
}

/// An address whose connection cannot be intercepted.
pub(super) fn safe_address(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "it must be an absolute URL")?;
    let safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    if safe { Ok(url) } else { Err("it must be https, or http on a loopback address") }
}
