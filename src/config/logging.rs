//! `[log]`: level and format of the log.

use super::reader::{Read, Section};

/// The log, which goes to standard error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Log {
    /// The format.
    pub format: LogFormat,
    /// The least severe level that is written.
    pub level: LogLevel,
}

/// The format of a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// Human-readable.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The level of a log line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum LogLevel {
    /// An unexpected failure.
    Error,
    /// A problem that was handled.
    Warn,
    /// An event of interest to operators.
    #[default]
    Info,
    /// Details for debugging.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// All levels, the most severe first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// Its name in the configuration, which is also its name in `tracing`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

pub(super) fn read(section: &mut Section<'_>) -> Read<Log> {
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let levels = LogLevel::ALL.map(|level| (level.as_str(), level));
    let format = section.or("format", LogFormat::default(), |value| value.choice(&formats));
    let level = section.or("level", LogLevel::default(), |value| value.choice(&levels));
    Ok(Log { format: format?, level: level? })
}
