//! `ANTEROOM_*` variables: each sets one key of the configuration, over what the file says.
//!
//! `ANTEROOM_STORE__ENGINE` is `store.engine` and `ANTEROOM_EVENT__0__ID` is `event[0].id`: two underscores go one
//! level down, a number counts from the first table of a list, and the number after the last adds one. Whether
//! such a key exists is not known here; the reader refuses unknown keys wherever they come from. Variables that
//! Kubernetes sets of its services are none of ours.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::environment::Environment;
use super::kubernetes::is_service_variable;
use super::problem::Problem;
use crate::text::unmarked;

/// What all variables of ours begin with.
const PREFIX: &str = "ANTEROOM_";

/// Names the configuration file itself, so it cannot be a key in it.
pub const CONFIG_VARIABLE: &str = "ANTEROOM_CONFIG";

/// The keys that came from variables.
#[derive(Default)]
pub(super) struct Overrides {
    origins: BTreeMap<String, Origin>,
    /// The variables that Kubernetes sets of services, which set no key.
    ignored: Vec<String>,
}

/// The variable that a key came from.
pub(super) struct Origin {
    /// Its name.
    pub(super) variable: String,
    /// Its text as it stands.
    raw: String,
}

/// One step from a table or list to what it holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Index(usize),
}

impl Overrides {
    /// Puts the variables of `environment` into `table`. A variable that a secret refers to (`env:NAME`) is that
    /// secret and sets no key.
    pub(super) fn apply(table: &mut Table, environment: &Environment) -> (Self, Vec<Problem>) {
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
        // In the order of their steps: a list grows in order, and a whole table is set before a key in it.
        let mut chosen: Vec<(Vec<Step>, String, &str)> =
            keys.into_iter().map(|(variable, rest, raw)| (steps_of(rest), variable, raw)).collect();
        chosen.sort();
        let (mut origins, mut problems) = (BTreeMap::new(), Vec::new());
        for (steps, variable, raw) in chosen {
            let place = place_of(&steps);
            // On a copy: a variable that fails half-way leaves nothing behind that would be complained about too.
            let mut changed = table.clone();
            match set(&mut changed, &steps, value_of(raw)) {
                Ok(()) => {
                    *table = changed;
                    origins.insert(place, Origin { variable, raw: raw.to_owned() });
                }
                Err(message) => problems.push(Problem { place, variable: Some(variable), message }),
            }
        }
        (Self { origins, ignored }, problems)
    }

    /// The variable that set the key at `place`, or a table or list that it stands in.
    pub(super) fn origin(&self, place: &str) -> Option<&Origin> {
        let outer = self.origins.iter().filter(|(outer, _)| holds(outer, place));
        outer.max_by_key(|(outer, _)| outer.len()).map(|(_, origin)| origin)
    }

    /// The variable to name in a complaint about `place`: the one that set it, or else something within it.
    pub(super) fn blamed(&self, place: &str) -> Option<&Origin> {
        let within = || self.origins.iter().find(|(inner, _)| holds(place, inner)).map(|(_, origin)| origin);
        self.origin(place).or_else(within)
    }

    /// The variables with our prefix that set no key, as nobody wrote them.
    pub(super) fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The text of the variable that set exactly this key: `2026` is a good name, though TOML sees a number.
    pub(super) fn raw(&self, place: &str) -> Option<&str> {
        self.origins.get(place).map(|origin| origin.raw.as_str())
    }
}

/// Whether the key at `outer` is the key at `inner`, or a table or list around it.
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

/// What a variable says, without what shells and orchestrators leave around it.
fn text_of(raw: &str) -> &str {
    let text = unmarked(raw);
    text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line))
}

/// A TOML value if it is one, else text: `["a"]`, `5` and `true` are what they look like, addresses need no quotes.
fn value_of(raw: &str) -> Value {
    raw.parse().unwrap_or_else(|_| Value::String(raw.to_owned()))
}

fn steps_of(rest: &str) -> Vec<Step> {
    let step = |part: &str| part.parse().map_or_else(|_| Step::Key(part.to_ascii_lowercase()), Step::Index);
    rest.split("__").map(step).collect()
}

fn place_of(steps: &[Step]) -> String {
    let mut place = String::new();
    for step in steps {
        match step {
            Step::Key(key) if place.is_empty() => place.push_str(key),
            Step::Key(key) => place.extend([".", key]),
            Step::Index(index) => place.push_str(&format!("[{index}]")),
        }
    }
    place
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
