//! How many connections the process can hold: each is an open file, and there are only so many.

use std::fs;
use std::thread::available_parallelism;

use super::Parts;
use crate::policy;

/// What is taken for the limit where the system does not tell: the usual one.
const USUAL_LIMIT: usize = 1024;

impl Parts {
    /// All connections that the process can hold, by its limit of open files.
    ///
    /// # Errors
    /// The limit, where it is below [`policy::LEAST_FILES`].
    pub fn of_process() -> Result<Self, usize> {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let files = open_files(&limits).unwrap_or(USUAL_LIMIT);
        if files < policy::LEAST_FILES { Err(files) } else { Ok(Self::within(files)) }
    }

    fn within(files: usize) -> Self {
        let total = files.saturating_sub(policy::RESERVED_FILES);
        let (least, most) = policy::OPERATORS_PART;
        let operators = (total / policy::OPERATORS_SHARE).clamp(least, most);
        Self { visitors: total - operators, operators }
    }

    /// Takes a part away for a listener of its own: at most `count` connections, and no more than half of what visitors have.
    #[must_use]
    pub fn split_off(&mut self, count: usize) -> Self {
        let count = count.min(self.visitors / 2).max(2);
        self.visitors -= count;
        Self { visitors: count / 2, operators: count - count / 2 }
    }
}

/// Connections that each of `threads` may hold, so that all together hold `total` and some that are just being refused.
pub(super) fn per_thread(total: usize, threads: Option<usize>) -> usize {
    let threads = threads.unwrap_or_else(|| available_parallelism().map_or(1, usize::from));
    (total.saturating_add(policy::REFUSED_CONNECTIONS) / threads).max(1)
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
    fn all_connections_are_fewer_than_open_files_and_operators_have_a_part_of_them() {
        for files in [policy::LEAST_FILES, 512, 1024, 4096, 20_000, 1 << 20, usize::MAX] {
            let Parts { visitors, operators } = Parts::within(files);
            assert!(visitors + operators + policy::RESERVED_FILES <= files, "{files}");
            assert!(operators >= 16 && visitors > 4 * operators, "{files}: {visitors}, {operators}");
        }
        assert!(Parts::within(20_000).visitors > 15_000);
    }

    #[test]
    fn what_is_split_off_is_taken_from_visitors() {
        let mut parts = Parts::within(1024);
        let before = parts.visitors + parts.operators;
        let private = parts.split_off(64);
        assert_eq!((private.visitors + private.operators, parts.visitors + parts.operators), (64, before - 64));
        let mut few = Parts { visitors: 40, operators: 16 };
        assert_eq!(few.split_off(64), Parts { visitors: 10, operators: 10 });
    }
}
