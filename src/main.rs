//! The program `anteroom`: its command line is in `cli`, all else in the library.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
