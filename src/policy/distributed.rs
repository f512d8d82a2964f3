//! Decisions of the distributed engine: DynamoDB, Redis, and how nodes share them.

use std::time::Duration;

/// How long the creation of DynamoDB's tables is waited for: it takes them seconds.
pub const TABLE_WAIT: Duration = Duration::from_secs(120);

/// How often it is asked whether they are there.
pub const TABLE_POLL: Duration = Duration::from_millis(250);

/// How long a node may hand out positions of its reservation, counted from the beginning of the write that made or renewed
/// it: several writes of DynamoDB, so that a slow one delays no join. The first join at another node waits as long.
pub const LEASE_TIME: Duration = Duration::from_millis(80);

/// A node reserves positions if no other took any in so many of the latest writes of the item.
pub const LEASE_SOLE_WRITES: u64 = 2_048;

/// How long a write of an event's item is tried before whoever waits for it is told that the store is away.
pub const DESK_DEADLINE: Duration = Duration::from_secs(3);

/// How many verbs one write of an event's item carries: a write of a hundred sessions under way is a fiftieth of what the
/// item bears in a second.
pub const DESK_MAX_BATCH: usize = 512;

/// How many bytes of an event's item may be of what is under way before no more of it is begun: an item may have 400 KB,
/// and what ends something must always find room.
pub const JOURNAL_ROOM: usize = 200 * 1024;

/// How long at first a node takes a write of an item to take: DynamoDB says "single-digit milliseconds".
pub const TURN_FIRST: Duration = Duration::from_millis(4);

/// How long at most a node leaves another one for its turn to write an item.
pub const TURN_LONGEST: Duration = Duration::from_millis(50);

/// Among how many of the latest writes of an item a node's is, if others leave it time for more.
pub const TURN_COMPANY: u64 = 64;

/// How often a node is refused before it asks the others for a turn.
pub const TURN_PATIENCE: u32 = 2;

/// How long a node waits at most for its turn: then it writes out of turn, and is refused at worst.
pub const TURN_ENDURANCE: Duration = Duration::from_millis(500);

/// How long a node waits at most before it tries a write again that was refused several times, or failed.
pub const DESK_LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The largest item that nodes tell each other whole, in bytes: Redis carries a few megabytes a second.
pub const BELL_LARGEST_ITEM: usize = 8 * 1024;

/// After how many writes of an item a node's latest one may be forgotten: many more than fit into the deadline.
pub const DESK_NODE_MEMORY: u64 = 10_000;

/// How many changes wait to be said by Redis, or to be heard, before some are left out: others look by themselves.
pub const BELL_BACKLOG: usize = 1024;

/// How many changes are said in one request: with items told whole, half a megabyte.
pub const BELL_BATCH: usize = 64;

/// How long Redis may take to answer.
pub const BELL_TIMEOUT: Duration = Duration::from_secs(1);

/// For how long Redis may say nothing before it is asked for a sign of life, and then before its connection is taken for
/// dead: a machine that is gone does not say so.
pub const BELL_SILENCE: Duration = Duration::from_secs(5);

/// How long to wait before Redis is tried again.
pub const BELL_RETRY: Duration = Duration::from_millis(250);

/// By how much the clocks of nodes may differ, and no code is redeemed twice nor a revocation forgotten: a clock that is
/// off by an hour (a wrong time zone) or two is a fault that happens.
pub const CLOCK_DIFFERENCE: Duration = Duration::from_secs(2 * 3600);

/// How many redemptions of codes one sweep of DynamoDB looks at: reading is paid for.
pub const SWEEP_LOOK: i32 = 1_000;

/// How many rows that nobody reads any more one sweep deletes of each event: a few seconds' work, in which memory holds a
/// page of their keys.
pub const SWEEP_ROWS: usize = 20_000;

/// How long an arrival is kept after its position was given up: as long as the longest session and its retention.
pub const ARRIVAL_RETENTION: Duration = Duration::from_secs((7 + 1) * 24 * 3600);

/// How often at most an event's item notes how far its positions are given up: some nine numbers in all.
pub const PASSED_STEP: Duration = Duration::from_secs(24 * 3600);

/// How often a node looks whether dead letters are old: reading all of them is paid for.
pub const DEAD_LETTER_LOOK: Duration = Duration::from_secs(3600);

/// How many rows a sweep deletes at once: visitors use DynamoDB at the same time.
pub const SWEEP_HANDS: usize = 32;

/// How often each node looks at an event's item, whether or not Redis told of a change.
pub const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// How many of these looks are under way at once: a node with a thousand events that is 300 ms away from DynamoDB looks at each
/// every three seconds, and does not open a thousand connections.
pub const WATCHES_AT_ONCE: usize = 128;

/// How long a task may stand in an event's journal before any node carries it out: its own takes milliseconds.
pub const ORPHAN_AGE: Duration = Duration::from_secs(4);

/// How long a node may move letters, or deliver to a sink, after it last said that it does.
pub const LEASE: Duration = Duration::from_secs(15);

/// How many letters are moved from an event to the outbox at once: a transaction of DynamoDB changes a hundred items, and
/// one of them says the newest number.
pub const LETTERS_AT_ONCE: usize = 99;

/// How often letters of an event are moved before it is another's turn, and whoever waits for the outbox gets it.
pub const LETTER_MOVES: usize = 8;

/// How long one try of a request to DynamoDB may take: it answers within milliseconds, or not at all.
pub const DYNAMODB_TIMEOUT: Duration = Duration::from_secs(1);

/// How long all tries of a request to DynamoDB may take together.
pub const DYNAMODB_PATIENCE: Duration = Duration::from_secs(3);

/// How many lines of an export are under way at once, and taken together by an import.
pub const TRANSFER_LINES: usize = 256;

/// How often each node looks whether the signing keys were replaced, whether or not Redis told of it: stolen keys are not
/// to be good for long.
pub const DOCUMENT_PERIOD: Duration = Duration::from_secs(2);
