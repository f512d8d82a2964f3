//! The program `anteroom`: its command line is in `cli`, everything else in the library.

mod cli;

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Returns memory to the system after a rush, which glibc's allocator does not (docs/adr/0030). It is configured in
/// `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
