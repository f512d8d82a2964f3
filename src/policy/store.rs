//! Decisions about the stores: what is reserved ahead, kept, and written together.

use std::time::Duration;

/// How often a reservation is renewed while many join: fifty writes a second.
pub const RESERVATION_PERIOD: Duration = Duration::from_millis(20);

/// From how many joins in that time on positions are reserved: below, a write for each batch is as good.
pub const RESERVATION_LEAST: u64 = 16;

/// The largest reservation, in positions, which a crash loses at most: a tenth of a second of joins.
pub const RESERVATION_MOST: u64 = 10_000;

/// How long after they are served the lost positions of a crashed process are expected to be used. Few have holders, and
/// those have their answers already.
pub const LOST_POSITIONS_EXPECTED: Duration = Duration::from_secs(60);

/// Most commands that share one commit: a bound on the time that the first of them waits for the last,
/// far above what can be in flight while one fsync runs.
pub const STORE_BATCH: usize = 1024;

/// Connections for reading by key, used in turn: such a read holds one for some microseconds, so two
/// serve the worker threads of a small machine and four those of any.
pub const STORE_READERS: usize = 4;

/// How long a session is kept after its time is over: `expired_tokens` lists the last day.
pub const SESSION_RETENTION: Duration = Duration::from_secs(24 * 3600);

/// How long a dead letter is kept: long enough for an operator who looks once a month.
pub const DEAD_LETTER_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// How many dead letters are kept, the newest: some three megabytes, whatever is told and nobody takes.
pub const DEAD_LETTERS_KEPT: u32 = 10_000;

/// Rows deleted in one step of a sweep: about a millisecond of the writer's time, so that nobody who
/// joins meanwhile notices.
pub const SWEEP_STEP: u32 = 50;

/// Redemptions of codes deleted in one step of a sweep: neighbours in one table, so many more of them take as long.
pub const REDEMPTION_STEP: u32 = 1000;

/// Pages (4 KiB) in the write-ahead log before it is copied back into the database: SQLite's own
/// default, a pause of some milliseconds about once a second under full load.
pub const WAL_CHECKPOINT_PAGES: u32 = 1000;

/// Pages (4 KiB) that the database keeps for operators' calls on a full disk: each takes some hundred bytes at most, so
/// that they last for some thousand calls.
pub const RESERVE_PAGES: u64 = 256;

/// Pages of one row of that reserve: the steps in which it can be smaller on a disk that is small.
pub const RESERVE_ROW_PAGES: u64 = 16;

/// Pages that the write-ahead log keeps for them: many times what the largest of their transactions writes (a step of a
/// sweep, a hundred pages at most).
pub const RESERVE_LOG_PAGES: u64 = 256;

/// Pages by which the database file is kept longer than it must be: several times what a batch of joins or logins adds.
pub const RESERVE_HEADROOM_PAGES: u64 = 64;

/// Pages by which it is made longer for a batch that had too few: more than the largest batch adds.
pub const RESERVE_RETRY_PAGES: u64 = 2_048;

/// To how many bytes the write-ahead log shrinks after a long read has made it grow.
pub const WAL_SIZE_LIMIT: u32 = 16 << 20;
