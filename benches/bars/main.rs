//! The performance bars: the promised performance on a machine, measured beside a yardstick on that machine.
//!
//! Machines differ and are shared, so nearly every bar is a ratio within one run: the program and its yardstick in turn
//! (A B A B A B), medians compared. A wrong answer in a round fails the run, because its figure would be invalid.
//! `scripts/bench` prepares the machine; `docs/performance.md` explains each bar.

#![expect(clippy::disallowed_methods, reason = "a bench measures by the machine's clock")]

mod admitted;
mod bare;
mod cluster;
mod cost;
mod crowd;
mod distance;
mod ground;
mod http;
mod line;
mod options;
mod process;
mod report;
mod startup;
mod streams;
mod wrk;

use std::error::Error;
use std::process::ExitCode;

use options::{Command, Options};
use report::Bar;

/// The result of a measurement, or why it is invalid.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bars: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    match options::read()? {
        Command::Bare => bare::serve(),
        Command::Measure(options) => measure(&options),
    }
}

fn measure(options: &Options) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut bars: Vec<Bar> = Vec::new();
    if options.wants(&startup::BARS) {
        bars.extend(runtime.block_on(startup::measure(options))?);
    }
    if options.wants(&line::BARS) {
        bars.extend(runtime.block_on(line::measure(options))?);
    }
    if options.wants(&streams::BARS) {
        bars.extend(runtime.block_on(streams::measure(options))?);
    }
    if options.wants(&cluster::BARS) {
        bars.extend(runtime.block_on(cluster::measure(options))?);
    }
    if options.wants(&admitted::BARS) {
        bars.extend(runtime.block_on(admitted::measure(options))?);
    }
    if options.wants(&crowd::BARS) {
        bars.extend(runtime.block_on(crowd::measure(options))?);
    }
    bars.sort_by_key(|bar| bar.id);
    println!("\n{}", report::table(&bars));
    if options.document { report::write(&bars, options) } else { Ok(()) }
}

/// Fails with `problem` unless `good`.
fn ensure(good: bool, problem: impl FnOnce() -> String) -> Outcome<()> {
    if good { Ok(()) } else { Err(problem().into()) }
}

/// The median; of an even number of figures, the lower middle.
fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
