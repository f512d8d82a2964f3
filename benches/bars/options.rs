//! The options of the command line.

use std::env;

use super::Outcome;

/// The mode.
pub enum Command {
    /// Run as the yardstick: the benchmark starts itself in this mode.
    Bare,
    /// Measure.
    Measure(Options),
}

/// The settings of a measurement.
pub struct Options {
    /// Bars to measure; empty: all.
    only: Vec<String>,
    /// The duration of a round, in seconds.
    pub seconds: u64,
    /// The number of rounds for each side of a comparison.
    pub rounds: usize,
    /// The number of visitors in P8.
    pub visitors: u64,
    /// Whether the document is written.
    pub document: bool,
}

const USAGE: &str = "usage: scripts/bench [--only P1,P5,…] [--seconds N] [--rounds N] [--visitors N] [--no-document]
  Besides the bars: nodes (joins through several nodes), news (how soon a move at one is heard at another), cost (what
  visitors ask of DynamoDB).
  Without --only, docs/performance.md gets the new figures.";

impl Options {
    /// The duration of an unjudged round, in seconds.
    pub fn long_round(&self) -> u64 {
        self.seconds.max(5)
    }

    /// Whether one of `bars` is selected.
    pub fn wants(&self, bars: &[&str]) -> bool {
        self.only.is_empty() || bars.iter().any(|bar| self.only.iter().any(|wanted| wanted == bar))
    }
}

/// Reads the command line.
pub fn read() -> Outcome<Command> {
    let mut options = Options { only: Vec::new(), seconds: 2, rounds: 9, visitors: 100_000, document: true };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match argument.as_str() {
            "bare" => return Ok(Command::Bare),
            "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
            "--seconds" => options.seconds = value()?.parse().map_err(|_| USAGE)?,
            "--rounds" => options.rounds = value()?.parse().map_err(|_| USAGE)?,
            "--visitors" => options.visitors = value()?.parse().map_err(|_| USAGE)?,
            "--no-document" => options.document = false,
            // `cargo bench` passes this to every bench.
            "--bench" => {}
            _ => return Err(USAGE.into()),
        }
    }
    options.document &= options.only.is_empty();
    Ok(Command::Measure(options))
}
