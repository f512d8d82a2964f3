//! Reads TOML key by key: a problem is reported with the key's path, and reading continues.
//!
//! Hand-written rather than derived with serde, so that one run reports *all* problems, including wrong types and
//! unknown keys, and so that no message repeats a value that could be a secret. A key that was never read is unknown:
//! the code that reads a section is also the list of its keys. Knows TOML and variables; must not know the meaning of
//! any key.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::Table;

use super::diagnostic::Diagnostic;
use super::environment::Environment;
use super::overrides::Overrides;
use super::secret_source::SecretSource;
use super::value::Value;

/// Proof that a problem was reported, or that a secret was not read, so that the configuration is incomplete. Only the
/// reader creates it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported(());

/// A value, or the proof that its problem was reported.
pub(super) type Read<T> = Result<T, Reported>;

/// One reading of a configuration.
pub(super) struct Reader<'a> {
    pub(super) environment: &'a Environment,
    pub(super) secret_source: &'a dyn SecretSource,
    file: &'a Path,
    overrides: Overrides,
    diagnostics: RefCell<Vec<Diagnostic>>,
    /// Every key that was read, with `[]` for the index of a list's entry.
    asked: RefCell<BTreeSet<String>>,
    /// Every file that a secret was read from.
    secret_files: RefCell<BTreeSet<PathBuf>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        environment: &'a Environment,
        secret_source: &'a dyn SecretSource,
        file: &'a Path,
        overrides: Overrides,
    ) -> Self {
        let (diagnostics, asked, secret_files) = (RefCell::default(), RefCell::default(), RefCell::default());
        Self { environment, secret_source, file, overrides, diagnostics, asked, secret_files }
    }

    /// The directory of the file, the base of its relative paths.
    pub(super) fn directory(&self) -> &'a Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    /// Records a file that contains a secret; `None`: the configuration itself.
    pub(super) fn note_secret_file(&self, file: Option<&Path>) {
        self.secret_files.borrow_mut().insert(file.unwrap_or(self.file).to_owned());
    }

    /// Reads the outermost table.
    pub(super) fn read<T>(&self, table: &Table, read: impl FnOnce(&mut Section<'_>) -> Read<T>) -> Read<T> {
        Section::new(self, table, String::new()).read(read)
    }

    /// All reported problems.
    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics.into_inner()
    }

    /// Every key that was read: a test compares them with the reference.
    #[cfg(test)]
    pub(super) fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }

    pub(super) const fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    pub(super) fn report(&self, key_path: &str, message: String) -> Reported {
        let variable = self.overrides.origin_of_problem(key_path).map(|origin| origin.variable.clone());
        self.diagnostics.borrow_mut().push(Diagnostic { key_path: key_path.to_owned(), variable, message });
        Reported(())
    }

    /// Skips a secret that must not be read. There is no problem to report.
    pub(super) const fn skip_secret(&self) -> Reported {
        Reported(())
    }
}

/// A table, whose keys are read one by one.
pub(super) struct Section<'a> {
    reader: &'a Reader<'a>,
    table: &'a Table,
    path: String,
    asked: Vec<&'static str>,
    rest: Rest,
}

/// What happens to keys that were not read.
#[derive(PartialEq, Eq)]
enum Rest {
    Refused,
    Ignored,
}

impl<'a> Section<'a> {
    pub(super) const fn new(reader: &'a Reader<'a>, table: &'a Table, path: String) -> Self {
        Self { reader, table, path, asked: Vec::new(), rest: Rest::Refused }
    }

    /// Reads the section, then refuses the remaining keys.
    pub(super) fn read<T>(mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        let value = read(&mut self);
        if self.rest == Rest::Ignored {
            return value;
        }
        let unknown = self.table.keys().filter(|key| !self.asked.contains(&key.as_str()));
        let reported = unknown.fold(None, |_, key| Some(self.reader.report(&self.key_path(key), self.unknown(key))));
        reported.map_or(value, Err)
    }

    fn unknown(&self, key: &str) -> String {
        let near = self.asked.iter().map(|known| (strsim::osa_distance(key, known), known)).min();
        match near {
            // Up to a third of its letters may differ; beyond that it is another word.
            Some((distance, known)) if distance * 3 <= known.len() => {
                format!("there is no such key; is {known} meant?")
            }
            _ => "there is no such key".to_owned(),
        }
    }

    fn key_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of a key, if it is set.
    pub(super) fn find(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.asked.push(key);
        let key_path = self.key_path(key);
        self.reader.asked.borrow_mut().insert(pattern(&key_path));
        self.table.get(key).map(|value| Value::new(self.reader, value, key_path))
    }

    /// An optional key.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value<'a>) -> Read<T>,
    ) -> Read<Option<T>> {
        self.find(key).map(|value| read(&value)).transpose()
    }

    /// A key with a default.
    pub(super) fn or<T>(&mut self, key: &'static str, default: T, read: impl FnOnce(&Value<'a>) -> Read<T>) -> Read<T> {
        self.optional(key, read).map(|value| value.unwrap_or(default))
    }

    /// A required key.
    pub(super) fn required<T>(&mut self, key: &'static str, read: impl FnOnce(&Value<'a>) -> Read<T>) -> Read<T> {
        match self.find(key) {
            Some(value) => read(&value),
            None => Err(self.refuse(key, "it is missing")),
        }
    }

    /// A list, empty when the key is left out.
    pub(super) fn list<T>(&mut self, key: &'static str, read: impl FnMut(&Value<'a>) -> Read<T>) -> Read<Vec<T>> {
        self.or(key, Vec::new(), |value| value.each(read))
    }

    /// A list of tables, empty when the key is left out.
    pub(super) fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'a>) -> Read<T>,
    ) -> Read<Vec<T>> {
        self.list(key, |value| value.section(&mut read))
    }

    /// Refuses a key that has no meaning beside the others.
    pub(super) fn reject_if_set(&mut self, key: &'static str, message: &str) -> Read<()> {
        self.asked.push(key);
        if self.table.contains_key(key) { Err(self.refuse(key, message)) } else { Ok(()) }
    }

    /// Ignores the remaining keys: a reported problem must be fixed before they have a meaning.
    pub(super) fn ignore_unknown_keys(&mut self) {
        self.rest = Rest::Ignored;
    }

    /// The base directory of relative paths.
    pub(super) fn directory(&self) -> &'a Path {
        self.reader.directory()
    }

    /// The files that secrets were read from so far.
    pub(super) fn secret_files(&self) -> Vec<PathBuf> {
        self.reader.secret_files.borrow().iter().cloned().collect()
    }

    /// The ignored variables with Anteroom's prefix.
    pub(super) fn ignored_variables(&self) -> &'a [String] {
        self.reader.overrides().ignored()
    }

    /// Reports a problem with a key of this section, whether it is set or not.
    pub(super) fn refuse(&self, key: &str, message: impl Into<String>) -> Reported {
        self.reader.report(&self.key_path(key), message.into())
    }
}

/// A path without indexes: `client[3].event` → `client[].event`.
fn pattern(key_path: &str) -> String {
    let mut inside = false;
    key_path
        .chars()
        .filter(|&character| {
            inside = character == '[' || (inside && character != ']');
            !inside || character == '['
        })
        .collect()
}

/// Names that must be unique: of events, clients, keys.
#[derive(Default)]
pub(super) struct Unique(BTreeSet<String>);

impl Unique {
    /// Takes the name at `value`.
    pub(super) fn claim(&mut self, value: &Value<'_>, name: &str) -> Read<()> {
        if self.0.insert(name.to_owned()) { Ok(()) } else { Err(value.refuse(format!("{name:?} is there twice"))) }
    }

    /// Whether a name was taken.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}
