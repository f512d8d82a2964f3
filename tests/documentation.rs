//! Cheap checks of the documentation: links have targets, paths exist, every route and metric is described, and
//! examples are valid.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test, a panic reports a failure")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anteroom::config::{Config, Environment};
use anteroom::oauth::paths;
use anteroom::room::Counters;
use anteroom::store::timed::Stopwatch as _;
use anteroom::telemetry::Telemetry;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every page, with its text.
fn pages() -> Vec<(PathBuf, String)> {
    let folders = ["", "docs", "docs/adr"].map(|folder| root().join(folder));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    let pages = files.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// All pages in one text.
fn all_pages() -> String {
    pages().into_iter().map(|(_, text)| text).collect()
}

/// The text between each `open` and the next `close`.
fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split_once(close).map(|(inside, _)| inside))
}

/// The code blocks in a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut rest = text;
    let opening = format!("```{language}\n");
    while let Some((_, after)) = rest.split_once(opening.as_str()) {
        let (block, later) = after.split_once("```").unwrap();
        found.push(block);
        rest = later;
    }
    found
}

fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// The anchor of a heading on the pages' host.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|character| character.is_alphanumeric() || " -_".contains(*character));
    kept.map(|character| if character == ' ' { '-' } else { character }).collect()
}

fn anchors(text: &str) -> Vec<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

#[test]
fn every_link_has_a_target() {
    for (page, text) in pages() {
        for link in between(&prose(&text), "](", ")").filter(|link| !link.contains("://")) {
            let (file, wanted) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { page.clone() } else { page.with_file_name("").join(file) };
            assert!(target.exists(), "{}: {link}", page.display());
            if let Some(wanted) = wanted {
                let known = anchors(&fs::read_to_string(&target).unwrap());
                assert!(known.iter().any(|anchor| anchor == wanted), "{}: {link}; there is {known:?}", page.display());
            }
        }
    }
}

#[test]
fn every_path_that_a_page_names_exists() {
    let ours = ["src/", "tests/", "docs/", "deploy/", "scripts/", "templates/", "assets/"];
    for (page, text) in pages() {
        let named = text.split(|character: char| !(character.is_ascii_alphanumeric() || "/._-".contains(character)));
        let named = named.map(|name| name.trim_start_matches("../").trim_end_matches('.'));
        for name in named.filter(|name| ours.iter().any(|folder| name.starts_with(folder))) {
            assert!(root().join(name).exists(), "{}: {name}", page.display());
        }
    }
}

/// The rows of the map: the module's path and its description.
fn map() -> Vec<(String, String)> {
    let page = read("docs/architecture.md");
    let section = between(&page, "## The map", "\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `src/")?.split_once('`'));
    rows.map(|(path, row)| (format!("src/{path}"), row.to_owned())).collect()
}

#[test]
fn the_map_of_the_modules_is_complete_and_in_the_order_of_the_library() {
    let library = read("src/lib.rs");
    let modules: BTreeSet<&str> = between(&library, "pub mod ", ";").collect();
    let name = |path: &str| path.trim_start_matches("src/").trim_end_matches('/').trim_end_matches(".rs").to_owned();
    let mapped: Vec<String> = map().iter().map(|(path, _)| name(path)).filter(|module| module != "cli").collect();
    assert_eq!(mapped.iter().map(String::as_str).collect::<BTreeSet<_>>(), modules);
    let (map, _) = library.split_once("pub mod").unwrap();
    let position = |module: &str| map.find(&format!("[`{module}`]")).unwrap_or_else(|| panic!("{module}"));
    let first = ["ambient", "room", "oauth", "keys", "store", "lobby", "web", "demo", "server"];
    let in_map: Vec<&String> = mapped.iter().filter(|module| first.contains(&module.as_str())).collect();
    assert!(in_map.is_sorted_by_key(|module| position(module)), "{in_map:?}");
}

#[test]
fn the_files_that_the_map_names_are_in_their_module() {
    for (path, row) in map() {
        for file in row.split('`').skip(1).step_by(2).filter(|code| code.ends_with(".rs") || code.ends_with('/')) {
            let file = if file.starts_with("src/") { root().join(file) } else { root().join(&path).join(file) };
            assert!(file.exists(), "{}", file.display());
        }
    }
}

/// The text of every source file, without those that tests install.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let ours = entries.filter(|path| !path.ends_with("node_modules") && !path.ends_with("venv"));
    ours.map(|path| match path.extension() {
        _ if path.is_dir() => sources(&path),
        Some(extension) if extension == "rs" => fs::read_to_string(path).unwrap(),
        _ => String::new(),
    })
    .collect()
}

/// Every mounted path, whether it is in `routes.rs` itself or named there; not the pattern for all others.
fn routes() -> Vec<String> {
    let (routes, sources) = (read("src/web/routes.rs"), sources(&root().join("src")));
    let literal =
        routes.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/') && !text.contains([' ', '*']));
    let named = between(&routes, "at(", ",").filter_map(|name| name.rsplit("::").next());
    let named = named
        .filter(|name| !name.is_empty() && name.chars().all(|letter| letter == '_' || letter.is_ascii_uppercase()));
    let value = |name: &str| {
        let definition = format!("const {name}: &str = \"");
        between(&sources, &definition, "\"").next().unwrap_or_else(|| panic!("where is {name}?")).to_owned()
    };
    literal.map(str::to_owned).chain(named.map(value)).collect()
}

#[test]
fn every_route_is_described() {
    let (routes, described) = (routes(), all_pages());
    assert!([paths::USER_INFO, "/metrics"].iter().all(|known| routes.iter().any(|route| route == known)), "{routes:?}");
    for route in routes {
        let shown = route.replace("{event}", "EVENT").replace("{file}", "FILE");
        let found = ["`", "?", " "].iter().any(|end| described.contains(&format!("{shown}{end}")));
        assert!(found, "no page describes {shown}");
    }
}

/// The sentences that a source file answers with. Names of headers and schemes are no sentences: no small letter
/// follows.
fn sentences(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let (code, _) = text.split_once("#[cfg(test)]").unwrap_or((&text, ""));
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<String>().replace("\\\"", "'");
    let literals = code.split('"').skip(1).step_by(2);
    let sentence = |literal: &&str| {
        let second = literal.split(' ').nth(1).and_then(|word| word.chars().next());
        let begins = literal.starts_with(|letter: char| letter.is_ascii_uppercase());
        begins
            && second.is_some_and(|letter| letter.is_ascii_lowercase() || letter == 'I')
            && !literal.contains(['=', '{'])
    };
    literals.filter(sentence).map(str::to_owned).collect()
}

#[test]
fn every_sentence_that_the_rest_api_answers_is_described() {
    let folders = ["src/web/public", "src/web/private"].map(|folder| root().join(folder));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    let shared = ["extract", "exits", "respond", "routes"].map(|name| root().join(format!("src/web/{name}.rs")));
    // The messages of API Gateway (403) are in docs/operators.md.
    let files = files.chain(shared).filter(|path| path.is_file() && !path.ends_with("sigv4.rs"));
    let answered: BTreeSet<String> = files.flat_map(|path| sentences(&path)).collect();
    assert!(answered.contains("Invalid event ID") && answered.len() >= 35, "{answered:?}");
    let (page, document) = (read("docs/integrators.md"), read("docs/openapi.json"));
    let (_, page) = page.split_once("## The REST calls").unwrap();
    // Answers to unknown paths of the document.
    let elsewhere = ["There is no such line", "There is nothing at this path"];
    for sentence in answered {
        let shown = [format!("`{sentence}`"), format!("\"{sentence}\"")].iter().any(|shown| page.contains(shown));
        assert!(shown, "docs/integrators.md does not describe: {sentence}");
        let known = elsewhere.contains(&sentence.as_str()) || document.contains(&format!("\"{sentence}\""));
        assert!(known, "docs/openapi.json does not describe: {sentence}");
    }
}

#[test]
fn every_metric_is_described() {
    let telemetry = Telemetry::default();
    telemetry.show_rooms([("sale", Counters::default())].into_iter());
    telemetry.note("take_positions", true, Duration::ZERO);
    drop(telemetry.route("/"));
    let page = read("docs/operators.md");
    let (_, table) = page.split_once("## Metrics").unwrap();
    let rendered = telemetry.render();
    let samples =
        rendered.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next());
    let families: BTreeSet<&str> = samples
        .map(|name| ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name))
        .collect();
    assert!(families.len() >= 9, "{families:?}");
    for family in families {
        assert!(table.contains(&format!("| `{family}` |")), "docs/operators.md does not describe {family}");
    }
}

/// Parses a configuration with all its secrets present.
fn config(text: &str) -> Config {
    let environment: Environment = between(text, "\"env:", "\"").map(|name| (name, SECRET)).collect();
    Config::parse(text, Path::new("anteroom.toml"), &environment).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn the_readmes_configuration_is_valid() {
    let readme = read("README.md");
    let config = config(blocks(&readme, "toml")[0]);
    assert_eq!(config.endpoints.public_url.as_str(), "https://queue.example");
    assert_eq!(config.clients.len(), 1);
}

#[test]
fn every_configuration_on_a_page_is_valid() {
    let room = "public_url = \"https://queue.example\"\n[[event]]\nid = \"sale\"\n";
    let client = "[[client]]\nclient_id = \"shop\"\nevent = \"sale\"\nclient_secret = \"env:SHOP_CLIENT_SECRET\"\n";
    let anywhere = "redirect_uris = [\"https://shop.example/oidc/callback\"]\n";
    for page in ["docs/integrators.md", "docs/oidc.md"] {
        let text = read(page);
        // oauth2-proxy has a file of its own in the same language.
        for block in blocks(&text, "toml").into_iter().filter(|block| !block.contains("oidc_issuer_url")) {
            let given = block.contains("redirect_uris");
            config(&match (block.starts_with("[[client]]"), given) {
                (true, _) => format!("{room}{block}"),
                (false, true) => format!("{room}{client}{block}"),
                (false, false) => format!("{room}{client}{anywhere}{block}"),
            });
        }
    }
}

#[test]
fn every_toml_block_is_toml() {
    for (page, text) in pages() {
        for block in blocks(&text, "toml") {
            let parsed = block.parse::<toml::Table>();
            assert!(parsed.is_ok(), "{}: {parsed:?}\n{block}", page.display());
        }
    }
}

#[test]
fn the_apache_configuration_fits_the_readmes_and_is_the_same_everywhere() {
    let (readme, guide) = (read("README.md"), read("docs/integrators.md"));
    let apache = blocks(&readme, "apache")[0];
    assert_eq!(apache, blocks(&guide, "apache")[0]);
    let directive = |name: &str| {
        let line = apache.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}"));
        line.trim().trim_matches('"').to_owned()
    };
    let config = config(blocks(&readme, "toml")[0]);
    let client = &config.clients[0].client;
    assert_eq!(
        directive("OIDCProviderMetadataURL"),
        format!("{}{}", config.endpoints.public_url.as_str(), paths::DISCOVERY)
    );
    assert_eq!(directive("OIDCClientID "), client.id);
    assert!(client.redirect(&directive("OIDCRedirectURI")).is_ok());
    let patience = Duration::from_secs(directive("OIDCStateTimeout").parse().unwrap());
    assert!(client.login_timeout < patience, "a login must be answered before the module forgets it");
}

#[test]
fn the_error_pages_that_the_reference_names_exist() {
    let (reference, pages) = (read("docs/oidc.md"), read("src/web/pages/views.rs"));
    let titles: Vec<&str> = between(&reference, "| \"", "\"").collect();
    assert!(titles.len() >= 8, "{titles:?}");
    titles.iter().for_each(|title| assert!(pages.contains(&format!("\"{title}\"")), "there is no page {title}"));
}

#[test]
fn every_test_that_the_security_page_names_exists() {
    let (page, code) =
        (read("docs/security.md"), ["src", "tests"].map(|folder| sources(&root().join(folder))).concat());
    let is_name = |text: &str| text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    let named = page.split('`').skip(1).step_by(2).filter(|text| is_name(text) && text.matches('_').count() >= 3);
    let named: BTreeSet<&str> = named.collect();
    assert!(named.len() >= 40, "{named:?}");
    for name in named {
        assert!(code.contains(&format!("fn {name}(")), "docs/security.md names a test that is not there: {name}");
    }
    for target in between(&page, "fuzz target `", "`") {
        assert!(root().join(format!("fuzz/fuzz_targets/{target}.rs")).exists(), "there is no fuzz target {target}");
    }
}

#[test]
fn every_decision_is_listed() {
    let list = read("docs/adr/README.md");
    for entry in fs::read_dir(root().join("docs/adr")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || list.contains(&format!("({name})")), "docs/adr/README.md does not list {name}");
    }
}

/// Turns of phrase that only this project ever used, and that a reader has to translate: subject, verb, object instead.
const IDIOMS: [&str; 8] =
    [" anew", " by lot", " hears", "Who comes", "What was not", "What is not", " knocks", " set aside"];

/// Sources whose comments have not been rewritten yet.
const NOT_YET: [&str; 4] = ["src/store/", "src/room/", "src/http/", "src/policy"];

/// The comment of a line of Rust, if it has one.
fn comment(line: &str) -> Option<&str> {
    line.split_once("//").map(|(_, comment)| comment)
}

#[test]
fn prose_is_plain() {
    let mut found = Vec::new();
    let mut look = |place: String, text: &str| {
        found.extend(IDIOMS.iter().filter(|idiom| text.contains(*idiom)).map(|idiom| format!("{place}: {idiom}")));
    };
    for (page, text) in pages() {
        look(page.display().to_string(), &prose(&text));
    }
    let mut folders = vec![root().join("src"), root().join("tests"), root().join("benches"), root().join("fuzz/src")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") && !NOT_YET.iter().any(|begin| name.starts_with(begin)) {
                let text = fs::read_to_string(&path).unwrap();
                text.lines().filter_map(comment).for_each(|comment| look(name.clone(), comment));
            }
        }
    }
    assert!(found.is_empty(), "say it plainly:\n{}", found.join("\n"));
}
