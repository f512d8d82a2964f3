//! The program `anteroom`: its command line is in `cli`, all else in the library.

mod cli;

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Gives memory back once a rush is over, which glibc's does not (docs/adr/0030). How it does is set in
/// `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
