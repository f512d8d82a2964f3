//! No file of a module imports, directly or by others, a file that imports it: so a reader can begin somewhere.
//!
//! An import counts for the file that defines the item. Test code does not count.

#![expect(clippy::unwrap_used, reason = "in a test, a panic reports a failure")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Modules that still have a cycle.
const NOT_YET: [&str; 7] = ["config", "demo", "lobby", "oauth", "server", "store", "web"];

/// Their parts that have none.
const DONE: [&str; 1] = ["store::distributed"];

/// The path of a module: `["store", "embedded"]`.
type Module = Vec<String>;

struct Crate(BTreeMap<Module, String>);

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

impl Crate {
    /// Every module with its text, without tests.
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut paths = Vec::new();
        files(&root, &mut paths);
        let mut modules = BTreeMap::new();
        for path in paths {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.strip_prefix(&root).unwrap().with_extension("");
            let mut module: Module = name.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            modules.insert(module, text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned());
        }
        let mut found = Self(modules);
        found.leave_out_tests();
        found
    }

    /// Removes the modules that are declared under `#[cfg(test)]`, and what is below them.
    fn leave_out_tests(&mut self) {
        let mut tests = BTreeSet::new();
        for (module, text) in &self.0 {
            for rest in text.split("#[cfg(test)]\n").skip(1) {
                let line = rest.lines().next().unwrap();
                if let Some((_, name)) = line.split_once("mod ").filter(|_| line.ends_with(';')) {
                    tests.insert([module.as_slice(), &[name.trim_end_matches(';').to_owned()]].concat());
                }
            }
        }
        self.0.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
    }

    /// The modules whose items a module imports.
    fn imports(&self, module: &Module) -> BTreeSet<Module> {
        // A re-export (`pub use`) is no import.
        let statements = self.0[module].split(";\n").filter_map(|statement| {
            let lines: Vec<&str> = statement.lines().collect();
            let begins = lines.iter().rposition(|line| line.starts_with("use "))?;
            Some(lines[begins..].concat().split_off("use ".len()))
        });
        let paths = statements.flat_map(|statement| expanded("", &statement));
        paths.filter_map(|path| self.defines(module, &path)).filter(|other| other != module).collect()
    }

    /// The module that defines what a path names.
    fn defines(&self, from: &Module, path: &[String]) -> Option<Module> {
        let mut full = match path.first()?.as_str() {
            "crate" => path[1..].to_vec(),
            "super" | "self" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                let rest = path.iter().skip_while(|part| ["super", "self"].contains(&part.as_str()));
                from[..from.len() - ups].iter().chain(rest).cloned().collect()
            }
            _ => [from.as_slice(), path].concat(),
        };
        let mut item = None;
        while !full.is_empty() && !self.0.contains_key(&full) {
            item = full.pop();
        }
        self.0.contains_key(&full).then(|| item.and_then(|item| self.re_exported(&full, &item)).unwrap_or(full))
    }

    /// The child of `module` from which it re-exports the item.
    fn re_exported(&self, module: &Module, item: &str) -> Option<Module> {
        let uses = self.0[module].split(";\n").filter_map(|statement| statement.split_once("use "));
        let mut found =
            uses.flat_map(|(_, path)| expanded("", path)).filter(|path| path.last().is_some_and(|last| last == item));
        let child = found.find_map(|path| Some([module.as_slice(), &[path.first()?.clone()]].concat()))?;
        self.0.contains_key(&child).then_some(child)
    }

    /// Whether a module imports another, directly or by others, within `top`.
    fn reaches(&self, graph: &BTreeMap<Module, BTreeSet<Module>>, from: &Module, to: &Module) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            for other in graph.get(module).into_iter().flatten() {
                if other == to {
                    return true;
                }
                if seen.insert(other) {
                    next.push(other);
                }
            }
        }
        false
    }
}

/// The single paths of `a::{b, c::{d, e}}`.
fn expanded(before: &str, tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        let path = format!("{before}{}", tree.split(" as ").next().unwrap());
        return vec![path.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()];
    };
    let (inside, mut depth, mut part, mut paths) =
        (rest.rsplit_once('}').map_or(rest, |(inside, _)| inside), 0, String::new(), Vec::new());
    for letter in inside.chars().chain([',']) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = std::mem::take(&mut part);
                if !part.trim().is_empty() {
                    paths.extend(expanded(&format!("{before}{head}"), &part));
                }
                continue;
            }
            _ => {}
        }
        part.push(letter);
    }
    paths
}

#[test]
fn no_file_imports_a_file_that_imports_it() {
    let all = Crate::read();
    let graph: BTreeMap<Module, BTreeSet<Module>> = all
        .0
        .keys()
        .map(|module| (module.clone(), all.imports(module).into_iter().filter(|other| other[0] == module[0]).collect()))
        .collect();
    let in_cycle: BTreeSet<String> =
        graph.keys().filter(|module| all.reaches(&graph, module, module)).map(|module| module.join("::")).collect();
    let begins = |name: &String, with: &str| name == with || name.starts_with(&format!("{with}::"));
    let excused =
        |name: &&String| NOT_YET.iter().any(|top| begins(name, top)) && !DONE.iter().any(|part| begins(name, part));
    let wrong: Vec<_> = in_cycle.iter().filter(|name| !excused(name)).collect();
    assert!(wrong.is_empty(), "these import one another: {wrong:?}");
    let over: Vec<_> = NOT_YET.iter().filter(|top| !in_cycle.iter().any(|name| begins(name, top))).collect();
    assert!(over.is_empty(), "these have no cycle any more: {over:?}");
}
