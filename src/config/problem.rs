//! What is wrong with a configuration, so that its writer can find it.
//!
//! Owns the wording of the place: a key by its path, and the variable when the value came from one. Never holds
//! a value of the configuration that could be a secret.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The key by its path (`client[0].redirect_uris[1]`), a line of the file, or nothing: the file as a whole.
    pub(super) place: String,
    /// The variable that set the key, if one did.
    pub(super) variable: Option<String>,
    /// What is wrong with it, as the rest of a sentence.
    pub(super) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(formatter, "{}: ", self.place)?;
        }
        formatter.write_str(&self.message)?;
        self.variable.as_ref().map_or(Ok(()), |variable| write!(formatter, " (set by {variable})"))
    }
}

/// A configuration that cannot be used: every problem that was found, so that all can be mended at once.
///
/// Shown as one line for each, which begins with the file's name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct ConfigError {
    file: String,
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn new(file: &str, problems: Vec<Problem>) -> Self {
        Self { file: file.to_owned(), problems }
    }

    /// A problem of the file as a whole, or of one of its lines.
    pub(super) fn of_file(file: &str, place: String, message: String) -> Self {
        Self::new(file, vec![Problem { place, variable: None, message }])
    }

    /// All that is wrong, in the order of the file's sections.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{}: {problem}", self.file)?;
        }
        Ok(())
    }
}
