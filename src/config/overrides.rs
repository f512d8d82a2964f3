//! `ANTEROOM_*` variables: each overrides one key of the configuration file.
//!
//! `ANTEROOM_STORE__ENGINE` is `store.engine` and `ANTEROOM_EVENT__0__ID` is `event[0].id`: two underscores go one
//! level down, a number is an index into a list, and the index after the last adds an entry. Whether a key exists is
//! not known here; the reader refuses unknown keys from any source. Variables that Kubernetes sets for services are
//! ignored.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::diagnostic::Diagnostic;
use super::environment::Environment;
use super::kubernetes::is_service_variable;
use crate::text::unmarked;

/// The prefix of the variables.
const PREFIX: &str = "ANTEROOM_";

/// The variable that names the configuration file, so it sets no key.
pub const CONFIG_VARIABLE: &str = "ANTEROOM_CONFIG";

/// The keys that came from variables.
#[derive(Default)]
pub(super) struct Overrides {
    origins: BTreeMap<String, Origin>,
    /// The variables that Kubernetes sets for services; they set no key.
    ignored: Vec<String>,
}

/// The variable that set a key.
pub(super) struct Origin {
    /// Its name.
    pub(super) variable: String,
    /// Its text, unparsed.
    raw: String,
}

/// One step from a table or list to an entry.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Index(usize),
}

impl Overrides {
    /// Applies the variables of `environment` to `table`. A variable that a secret refers to (`env:NAME`) sets no key.
    pub(super) fn apply(table: &mut Table, environment: &Environment) -> (Self, Vec<Diagnostic>) {
        let mut secrets = BTreeSet::from([CONFIG_VARIABLE.to_owned()]);
        table.values().for_each(|value| collect_references(value, &mut secrets));
        for (_, raw) in environment.below(PREFIX) {
            collect_references(&value_of(text_of(raw)), &mut secrets);
        }
        let variables = environment.below(PREFIX).map(|(rest, raw)| (format!("{PREFIX}{rest}"), rest, text_of(raw)));
        let keys = variables.filter(|(variable, ..)| !secrets.contains(variable));
        let (ignored, keys): (Vec<_>, Vec<_>) =
            keys.partition(|(variable, _, raw)| is_service_variable(variable, raw, environment));
        let ignored = ignored.into_iter().map(|(variable, ..)| variable).collect();
        // Sorted by their steps: a list grows in order, and a whole table is set before a key in it.
        let mut chosen: Vec<(Vec<Step>, String, &str)> =
            keys.into_iter().map(|(variable, rest, raw)| (steps_of(rest), variable, raw)).collect();
        chosen.sort();
        let (mut origins, mut diagnostics) = (BTreeMap::new(), Vec::new());
        for (steps, variable, raw) in chosen {
            let key_path = key_path_of(&steps);
            // On a copy: a variable that fails half-way must leave nothing behind that would be reported too.
            let mut changed = table.clone();
            match set(&mut changed, &steps, value_of(raw)) {
                Ok(()) => {
                    *table = changed;
                    origins.insert(key_path, Origin { variable, raw: raw.to_owned() });
                }
                Err(message) => diagnostics.push(Diagnostic { key_path, variable: Some(variable), message }),
            }
        }
        (Self { origins, ignored }, diagnostics)
    }

    /// The variable that set the key at `key_path`, or a table or list that contains it.
    pub(super) fn origin(&self, key_path: &str) -> Option<&Origin> {
        let outer = self.origins.iter().filter(|(outer, _)| holds(outer, key_path));
        outer.max_by_key(|(outer, _)| outer.len()).map(|(_, origin)| origin)
    }

    /// The variable to name in a problem with `key_path`: the one that set it, or else one that set something within
    /// it.
    pub(super) fn origin_of_problem(&self, key_path: &str) -> Option<&Origin> {
        let within = || self.origins.iter().find(|(inner, _)| holds(key_path, inner)).map(|(_, origin)| origin);
        self.origin(key_path).or_else(within)
    }

    /// The ignored variables with Anteroom's prefix.
    pub(super) fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The unparsed text of the variable that set exactly this key: `2026` is a valid name, although TOML reads a
    /// number.
    pub(super) fn raw(&self, key_path: &str) -> Option<&str> {
        self.origins.get(key_path).map(|origin| origin.raw.as_str())
    }
}

/// Whether the key at `outer` is the key at `inner`, or a table or list that contains it.
fn holds(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Every `env:NAME` in a value.
fn collect_references(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => names.extend(text.strip_prefix("env:").map(str::to_owned)),
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, names)),
        Value::Table(table) => table.values().for_each(|item| collect_references(item, names)),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

/// The text of a variable, without the marks and line ends that shells and orchestrators add.
fn text_of(raw: &str) -> &str {
    let text = unmarked(raw);
    text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line))
}

/// A TOML value if the text is one, otherwise text: `["a"]`, `5` and `true` are parsed, addresses need no quotes.
fn value_of(raw: &str) -> Value {
    raw.parse().unwrap_or_else(|_| Value::String(raw.to_owned()))
}

fn steps_of(rest: &str) -> Vec<Step> {
    let step = |part: &str| part.parse().map_or_else(|_| Step::Key(part.to_ascii_lowercase()), Step::Index);
    rest.split("__").map(step).collect()
}

fn key_path_of(steps: &[Step]) -> String {
    let mut key_path = String::new();
    for step in steps {
        match step {
            Step::Key(key) if key_path.is_empty() => key_path.push_str(key),
            Step::Key(key) => key_path.extend([".", key]),
            Step::Index(index) => key_path.push_str(&format!("[{index}]")),
        }
    }
    key_path
}

fn set(table: &mut Table, steps: &[Step], value: Value) -> Result<(), String> {
    if steps.contains(&Step::Key(String::new())) {
        return Err("two underscores stand between the names of keys, and one of the names is missing".to_owned());
    }
    let [Step::Key(key), rest @ ..] = steps else {
        return Err("a number stands for an entry of a list, and this is a table".to_owned());
    };
    if rest.is_empty() {
        table.insert(key.clone(), value);
        return Ok(());
    }
    let empty =
        || if matches!(rest, [Step::Index(_), ..]) { Value::Array(Vec::new()) } else { Value::Table(Table::new()) };
    set_within(table.entry(key.clone()).or_insert_with(empty), rest, value)
}

fn set_within(holder: &mut Value, steps: &[Step], value: Value) -> Result<(), String> {
    let (holder, steps) = match (holder, steps) {
        (Value::Table(table), _) => return set(table, steps, value),
        (Value::Array(items), [Step::Index(index), rest @ ..]) => {
            let length = items.len();
            if *index > length {
                return Err(format!("the list holds {length} so far, so the next number is {length}"));
            }
            if *index == length {
                items.push(Value::Table(Table::new()));
            }
            (&mut items[*index], rest)
        }
        (Value::Array(_), _) => return Err("this is a list: a number has to follow".to_owned()),
        _ => return Err("nothing can stand within this key".to_owned()),
    };
    if steps.is_empty() {
        *holder = value;
        return Ok(());
    }
    set_within(holder, steps, value)
}
