//! The table of bars, on the terminal and in `docs/performance.md`.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use super::{Options, Outcome};

/// A figure and its requirement.
pub struct Bar {
    /// Its name in the document.
    pub id: &'static str,
    /// The measurement.
    pub job: &'static str,
    /// The result.
    pub figure: String,
    /// The requirement.
    pub reach: &'static str,
    /// Whether it is met.
    pub reached: bool,
    /// The details of the figure.
    pub made_of: String,
}

/// The table in Markdown.
pub fn table(bars: &[Bar]) -> String {
    let mut text = "| bar | job | figure | has to be | reached | made of |\n|---|---|---|---|---|---|\n".to_owned();
    for Bar { id, job, figure, reach, reached, made_of } in bars {
        let reached = if *reached { "yes" } else { "**no**" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {id} | {job} | {figure} | {reach} | {reached} | {made_of} |");
    }
    text
}

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.md");
const SCALE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/scale.md");
const BEGIN: &str = "<!-- figures: written by scripts/bench -->\n";
const END: &str = "<!-- end of figures -->";

/// Replaces the table in the document, between its marks.
pub fn write(bars: &[Bar], options: &Options) -> Outcome<()> {
    let (rounds, seconds) = (options.rounds, options.seconds);
    let provenance = format!("{} {rounds} rounds of {seconds} s for each side.", provenance()?);
    put(DOCUMENT, &format!("{provenance}\n\n{}", table(bars)))
}

/// Replaces the tables of several nodes in their document.
pub fn write_scale(tables: &str, options: &Options) -> Outcome<()> {
    put(SCALE, &format!("{} rounds of {} s.\n\n{tables}", provenance()?, options.long_round()))
}

fn put(document: &str, figures: &str) -> Outcome<()> {
    let text = fs::read_to_string(document)?;
    let (before, rest) = text.split_once(BEGIN).ok_or_else(|| format!("{document} has lost its first mark"))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| format!("{document} has lost its second mark"))?;
    fs::write(document, format!("{before}{BEGIN}\n{figures}\n{END}{after}"))?;
    Ok(())
}

/// The machine and date of the measurement.
fn provenance() -> Outcome<String> {
    Ok(format!(
        "{}, {} cores, {} GiB; {}; commit {};",
        processor(),
        std::thread::available_parallelism()?,
        memory_gib(),
        said("date", &["-u", "+%Y-%m-%d"]),
        commit(),
    ))
}

/// The commit, and whether the tree differs from it except for the figures.
fn commit() -> String {
    let others = ["status", "--porcelain", "--", ".", ":!docs/performance.md", ":!docs/scale.md"];
    let dirty = if output("git", &others).is_empty() { "" } else { "-dirty" };
    format!("{}{dirty}", said("git", &["rev-parse", "--short", "HEAD"]))
}

fn processor() -> String {
    let described = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = described.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "an unnamed processor".to_owned(), |(_, name)| name.to_owned())
}

fn memory_gib() -> u64 {
    let described = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = described.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|total| total.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or_default().div_ceil(1024 * 1024)
}

fn said(program: &str, arguments: &[&str]) -> String {
    let text = output(program, arguments);
    if text.is_empty() { "unknown".to_owned() } else { text }
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let text = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    text.trim().to_owned()
}

/// A large number with its digits in groups.
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Bytes as MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
