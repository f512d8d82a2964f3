//! `[log]`: what is logged, and how.

use super::reader::{Read, Section};

/// The log, which goes to standard error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// From which level on.
    pub level: LogLevel,
}

/// How a log line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// A line to read.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// The least important lines that are still written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum LogLevel {
    /// Something failed that should not.
    Error,
    /// Something is wrong but was dealt with.
    Warn,
    /// What an operator wants to know in the end.
    #[default]
    Info,
    /// What helps to find a fault.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// All of them, the quietest first.
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
    let format = section.or("format", LogFormat::default(), |found| found.choice(&formats));
    let level = section.or("level", LogLevel::default(), |found| found.choice(&levels));
    Ok(Log { format: format?, level: level? })
}
