//! How many connections the process can hold: each is an open file, and there are only so many.

use std::fs;
use std::thread::available_parallelism;

use crate::policy;

/// What is taken for the limit where the system does not tell: the usual one.
const USUAL_LIMIT: usize = 1024;

/// Connections for visitors that each worker may hold: all files but the reserved ones. Whoever comes when all are taken
/// waits to be accepted, instead of starving the store and the operators of files.
pub(super) fn connections_per_worker() -> usize {
    let workers = available_parallelism().map_or(1, usize::from);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = open_files(&limits).unwrap_or(USUAL_LIMIT);
    (files.saturating_sub(policy::RESERVED_FILES) / workers).max(1)
}

/// The soft limit of open files in the text of `/proc/self/limits` (proc(5)).
fn open_files(limits: &str) -> Option<usize> {
    let row = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match row.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_of_open_files_is_found() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             95989                95989                processes \n\
                      Max open files            20000                524288               files     \n";
        assert_eq!(open_files(limits), Some(20_000));
        assert_eq!(
            open_files("Max open files            unlimited            unlimited            files"),
            Some(usize::MAX)
        );
        assert_eq!(open_files(""), None);
    }

    #[test]
    fn some_connections_are_held_and_some_files_are_left() {
        let workers = available_parallelism().map_or(1, usize::from);
        assert!(connections_per_worker() >= 1);
        let limit = open_files(&fs::read_to_string("/proc/self/limits").unwrap()).unwrap();
        assert!(connections_per_worker() * workers <= limit.saturating_sub(policy::RESERVED_FILES).max(workers));
    }
}
