//! Reads TOML key by key: what is wrong is noted with the key's path, and reading goes on.
//!
//! Hand-written rather than derived with serde, so that one run names *all* that is wrong, wrong types and unknown
//! keys included, and so that no message ever repeats a value that could be a secret. A key that was never asked
//! for is unknown: the code that reads a section is also the list of its keys. Knows TOML and variables; must not
//! know what any key means.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::Table;

use super::environment::Environment;
use super::overrides::Overrides;
use super::problem::Problem;
use super::value::Found;
use super::vault::Vault;

/// Proof that a problem was noted, or a secret left alone, so that there will be no whole configuration. Only the reader
/// makes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted(());

/// What was read, or the proof that it is being complained about.
pub(super) type Read<T> = Result<T, Noted>;

/// One reading of a configuration.
pub(super) struct Reader<'a> {
    pub(super) environment: &'a Environment,
    pub(super) vault: &'a dyn Vault,
    file: &'a Path,
    overrides: Overrides,
    problems: RefCell<Vec<Problem>>,
    /// Every key that was asked for, with `[]` for the number of a list's entry.
    asked: RefCell<BTreeSet<String>>,
    /// Every file that a secret was read from.
    secret_files: RefCell<BTreeSet<PathBuf>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        environment: &'a Environment,
        vault: &'a dyn Vault,
        file: &'a Path,
        overrides: Overrides,
    ) -> Self {
        let (problems, asked, secret_files) = (RefCell::default(), RefCell::default(), RefCell::default());
        Self { environment, vault, file, overrides, problems, asked, secret_files }
    }

    /// The directory of the file, which relative paths in it start from.
    pub(super) fn directory(&self) -> &'a Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    /// Remembers a file that a secret stands in; `None`: the configuration itself.
    pub(super) fn note_secret_file(&self, file: Option<&Path>) {
        self.secret_files.borrow_mut().insert(file.unwrap_or(self.file).to_owned());
    }

    /// Reads the outermost table.
    pub(super) fn read<T>(&self, table: &Table, read: impl FnOnce(&mut Section<'_>) -> Read<T>) -> Read<T> {
        Section::new(self, table, String::new()).read(read)
    }

    /// All problems that were noted.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }

    /// Every key that was asked for: a test holds the reference against it.
    #[cfg(test)]
    pub(super) fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }

    pub(super) const fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    pub(super) fn note(&self, place: &str, message: String) -> Noted {
        let variable = self.overrides.blamed(place).map(|origin| origin.variable.clone());
        self.problems.borrow_mut().push(Problem { place: place.to_owned(), variable, message });
        Noted(())
    }

    /// Goes on without a secret that nobody is to ask for. There is nothing to complain about.
    pub(super) const fn leave_alone(&self) -> Noted {
        Noted(())
    }
}

/// A table, of which keys are asked one by one.
pub(super) struct Section<'a> {
    reader: &'a Reader<'a>,
    table: &'a Table,
    path: String,
    asked: Vec<&'static str>,
    rest: Rest,
}

/// What becomes of the keys that nobody asked for.
#[derive(PartialEq, Eq)]
enum Rest {
    Refused,
    Ignored,
}

impl<'a> Section<'a> {
    pub(super) const fn new(reader: &'a Reader<'a>, table: &'a Table, path: String) -> Self {
        Self { reader, table, path, asked: Vec::new(), rest: Rest::Refused }
    }

    /// Reads the section, then refuses what is left over.
    pub(super) fn read<T>(mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        let value = read(&mut self);
        if self.rest == Rest::Ignored {
            return value;
        }
        let unknown = self.table.keys().filter(|key| !self.asked.contains(&key.as_str()));
        let noted = unknown.fold(None, |_, key| Some(self.reader.note(&self.place(key), self.unknown(key))));
        noted.map_or(value, Err)
    }

    fn unknown(&self, key: &str) -> String {
        let near = self.asked.iter().map(|known| (strsim::osa_distance(key, known), known)).min();
        match near {
            // A third of its letters may be wrong; beyond that it is another word.
            Some((distance, known)) if distance * 3 <= known.len() => {
                format!("there is no such key; is {known} meant?")
            }
            _ => "there is no such key".to_owned(),
        }
    }

    fn place(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of a key, if it is set.
    pub(super) fn find(&mut self, key: &'static str) -> Option<Found<'a>> {
        self.asked.push(key);
        let place = self.place(key);
        self.reader.asked.borrow_mut().insert(pattern(&place));
        self.table.get(key).map(|value| Found::new(self.reader, value, place))
    }

    /// A key that may be left out.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Found<'a>) -> Read<T>,
    ) -> Read<Option<T>> {
        self.find(key).map(|found| read(&found)).transpose()
    }

    /// A key with a default.
    pub(super) fn or<T>(&mut self, key: &'static str, default: T, read: impl FnOnce(&Found<'a>) -> Read<T>) -> Read<T> {
        self.optional(key, read).map(|found| found.unwrap_or(default))
    }

    /// A key that has to be there.
    pub(super) fn required<T>(&mut self, key: &'static str, read: impl FnOnce(&Found<'a>) -> Read<T>) -> Read<T> {
        match self.find(key) {
            Some(found) => read(&found),
            None => Err(self.refuse(key, "it is missing")),
        }
    }

    /// A list, empty when the key is left out.
    pub(super) fn list<T>(&mut self, key: &'static str, read: impl FnMut(&Found<'a>) -> Read<T>) -> Read<Vec<T>> {
        self.or(key, Vec::new(), |found| found.each(read))
    }

    /// A list of tables, empty when the key is left out.
    pub(super) fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'a>) -> Read<T>,
    ) -> Read<Vec<T>> {
        self.list(key, |found| found.section(&mut read))
    }

    /// Refuses, by name, a key that means nothing beside the others.
    pub(super) fn unfit(&mut self, key: &'static str, message: &str) -> Read<()> {
        self.asked.push(key);
        if self.table.contains_key(key) { Err(self.refuse(key, message)) } else { Ok(()) }
    }

    /// Leaves the other keys alone: a problem was noted that has to be mended before they mean anything.
    pub(super) fn ignore_the_rest(&mut self) {
        self.rest = Rest::Ignored;
    }

    /// The directory that relative paths of the file start from.
    pub(super) fn directory(&self) -> &'a Path {
        self.reader.directory()
    }

    /// The files that secrets were read from so far.
    pub(super) fn secret_files(&self) -> Vec<PathBuf> {
        self.reader.secret_files.borrow().iter().cloned().collect()
    }

    /// The variables with our prefix that set no key.
    pub(super) fn ignored_variables(&self) -> &'a [String] {
        self.reader.overrides().ignored()
    }

    /// Notes a problem with a key of this section, whether it is there or not.
    pub(super) fn refuse(&self, key: &str, message: impl Into<String>) -> Noted {
        self.reader.note(&self.place(key), message.into())
    }
}

/// A path without the numbers of entries: `client[3].event` → `client[].event`.
fn pattern(place: &str) -> String {
    let mut inside = false;
    place
        .chars()
        .filter(|&character| {
            inside = character == '[' || (inside && character != ']');
            !inside || character == '['
        })
        .collect()
}

/// Names that must be different from one another: of events, clients, keys.
#[derive(Default)]
pub(super) struct Unique(BTreeSet<String>);

impl Unique {
    /// Takes the name that stands at `found`.
    pub(super) fn claim(&mut self, found: &Found<'_>, name: &str) -> Read<()> {
        if self.0.insert(name.to_owned()) { Ok(()) } else { Err(found.refuse(format!("{name:?} is there twice"))) }
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
