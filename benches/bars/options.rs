//! What the command line asks for.

use std::env;

use super::Outcome;

/// What to do.
pub enum Command {
    /// Be the yardstick: the run starts itself with this.
    Bare,
    /// Measure.
    Measure(Options),
}

/// How to measure.
pub struct Options {
    /// Bars to measure; empty: all.
    only: Vec<String>,
    /// How long a round takes, in seconds.
    pub seconds: u64,
    /// How many rounds each side of a comparison gets.
    pub rounds: usize,
    /// How many visitors the crowd of P8 has.
    pub visitors: u64,
    /// Whether the document is written.
    pub document: bool,
}

const USAGE: &str = "usage: scripts/bench [--only P1,P5,…] [--seconds N] [--rounds N] [--visitors N] [--no-document]
  Besides the bars: nodes (joins through several nodes), news (how soon a move at one is heard at another), cost (what
  visitors ask of DynamoDB).
  Without --only, docs/performance.md gets the new figures.";

impl Options {
    /// How long a round takes that nothing is held against, in seconds.
    pub fn long_round(&self) -> u64 {
        self.seconds.max(5)
    }

    /// Whether one of `bars` is asked for.
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
            // `cargo bench` says so to every bench.
            "--bench" => {}
            _ => return Err(USAGE.into()),
        }
    }
    options.document &= options.only.is_empty();
    Ok(Command::Measure(options))
}
