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

/// How long a write of an event's item is attempted before its commands fail because the store is unavailable.
pub const COMMIT_DEADLINE: Duration = Duration::from_secs(3);

/// How many commands share one write of an event's item: a write with a hundred intents takes a fiftieth of what DynamoDB
/// allows an item in a second.
pub const COMMIT_BATCH: usize = 512;

/// How many bytes of an event's item intents and outbox records may take before no further intent begins: an item may have
/// 400 KB, and completing an intent must always find room.
pub const INTENT_LOG_ROOM: usize = 200 * 1024;

/// The first estimate of the time of a write: DynamoDB's documentation says "single-digit milliseconds".
pub const SLOT_FIRST: Duration = Duration::from_millis(4);

/// The longest slot that a node leaves another one to write an item.
pub const SLOT_LONGEST: Duration = Duration::from_millis(50);

/// A node is in the write schedule if one of so many latest writes is its own.
pub const SCHEDULE_WRITES: u64 = 64;

/// After how many refused writes a node requests a slot.
pub const SLOT_REQUEST_AFTER: u32 = 2;

/// How long a node waits for its slot at most: then it writes out of schedule, and is refused at worst.
pub const SCHEDULE_PATIENCE: Duration = Duration::from_millis(500);

/// The longest pause before a write is attempted again that was refused several times, or failed.
pub const COMMIT_LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The largest item that is published whole, in bytes: Redis carries a few megabytes a second.
pub const PUBSUB_LARGEST_ITEM: usize = 8 * 1024;

/// After how many writes of an item a node's writer record is removed: many more than fit into the deadline.
pub const WRITER_MEMORY: u64 = 10_000;

/// How many messages wait to be published, or to be received, before some are dropped: nodes also read DynamoDB.
pub const PUBSUB_BACKLOG: usize = 1024;

/// How many messages are published in one request: with whole items, half a megabyte.
pub const PUBSUB_BATCH: usize = 64;

/// How long Redis may take to answer.
pub const PUBSUB_TIMEOUT: Duration = Duration::from_secs(1);

/// After how long without a message a heartbeat is published, and after how long without that the connection is dead: a
/// machine that fails closes nothing.
pub const PUBSUB_SILENCE: Duration = Duration::from_secs(5);

/// How long to wait before Redis is tried again.
pub const PUBSUB_RETRY: Duration = Duration::from_millis(250);

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

/// How often each node reads an event's item, whether or not a change was announced.
pub const RECOVERY_PERIOD: Duration = Duration::from_secs(1);

/// How many items are read at the same time: a node with a thousand events that is 300 ms away from DynamoDB reads each every
/// three seconds, and does not open a thousand connections.
pub const RECOVERIES_AT_ONCE: usize = 128;

/// How old an intent may become before any node executes it: its own node takes milliseconds.
pub const INTENT_TIMEOUT: Duration = Duration::from_secs(4);

/// How long a lease on the outbox relay or on a sink lasts after it was last renewed.
pub const LEASE: Duration = Duration::from_secs(15);

/// How many records of an event are moved to the outbox at once: a transaction of DynamoDB changes a hundred items, and one
/// of them is the newest number.
pub const RELAY_BATCH: usize = 99;

/// How many batches of an event are moved before those of the next event.
pub const RELAY_ROUNDS: usize = 8;

/// How long one try of a request to DynamoDB may take: it answers within milliseconds, or not at all.
pub const DYNAMODB_TIMEOUT: Duration = Duration::from_secs(1);

/// How long all tries of a request to DynamoDB may take together.
pub const DYNAMODB_PATIENCE: Duration = Duration::from_secs(3);

/// How many lines of an export are under way at once, and taken together by an import.
pub const TRANSFER_LINES: usize = 256;

/// How often each node looks whether the signing keys were replaced, whether or not Redis told of it: stolen keys are not
/// to be good for long.
pub const DOCUMENT_PERIOD: Duration = Duration::from_secs(2);
