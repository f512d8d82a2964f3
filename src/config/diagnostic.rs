//! The problems of a configuration, worded so that its author can find them.
//!
//! Owns the wording of the location: a key by its path, and the variable if it set the value. Never contains a value
//! that could be a secret.

use std::fmt;

/// One problem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// The path of the key (`client[0].redirect_uris[1]`), a line of the file, or empty: the file as a whole.
    pub(super) key_path: String,
    /// The variable that set the key, if one did.
    pub(super) variable: Option<String>,
    /// The problem, as the rest of a sentence.
    pub(super) message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key_path.is_empty() {
            write!(formatter, "{}: ", self.key_path)?;
        }
        formatter.write_str(&self.message)?;
        self.variable.as_ref().map_or(Ok(()), |variable| write!(formatter, " (set by {variable})"))
    }
}

/// An invalid configuration, with every problem, so that all can be fixed at once.
///
/// Displayed as one line for each, which begins with the file's name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct ConfigError {
    file: String,
    diagnostics: Vec<Diagnostic>,
}

impl ConfigError {
    pub(super) fn new(file: &str, diagnostics: Vec<Diagnostic>) -> Self {
        Self { file: file.to_owned(), diagnostics }
    }

    /// A problem of the file as a whole, or of one of its lines.
    pub(super) fn of_file(file: &str, key_path: String, message: String) -> Self {
        Self::new(file, vec![Diagnostic { key_path, variable: None, message }])
    }

    /// All problems, in the order of the file's sections.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.diagnostics.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{}: {problem}", self.file)?;
        }
        Ok(())
    }
}
