//! Durations and limits of what is sent out and asked of others: webhooks, buses, topics, gates. As in `policy`, each has its
//! reason.

use std::time::Duration;

/// How long a webhook may take to answer (Standard Webhooks recommends 15 to 30 s).
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(15);

/// Letters that are read from the outbox at once, and sent at most twice after a crash.
pub const NOTICE_PAGE: u32 = 64;

/// How long a sink that failed is left alone at first; doubled with each failure.
pub const NOTICE_RETRY_FIRST: Duration = Duration::from_secs(1);

/// And at last: a receiver that comes back is not told off for hours.
pub const NOTICE_RETRY_LONGEST: Duration = Duration::from_secs(300);

/// How often a letter is tried at least before it is given up.
pub const NOTICE_ATTEMPTS: u32 = 8;

/// How long a sink that is away holds its letters up: a deployment that went wrong is mended within the hour; what is
/// told later is history, which an operator asks for.
pub const NOTICE_PATIENCE: Duration = Duration::from_secs(3600);

/// How long a letter that is refused holds up those behind it.
pub const NOTICE_REFUSAL_PATIENCE: Duration = Duration::from_secs(300);

/// How often whoever waits for a time to pass looks at the clock.
pub const CLOCK_POLL: Duration = Duration::from_millis(250);

/// How often a letter that is refused is tried at least once another was given up for that: until one is taken, what
/// is behind need not wait as long again.
pub const NOTICE_FEW_ATTEMPTS: u32 = 2;

/// After how much silence a courier looks by itself, should a ring have been lost.
pub const NOTICE_LOOK: Duration = Duration::from_secs(30);

/// How long letters are kept for streams that were broken: as long as sinks may be away.
pub const OUTBOX_RETENTION: Duration = NOTICE_PATIENCE;

/// Dead letters in one answer.
pub const DEAD_LETTER_PAGE: u32 = 100;

/// How often free places are counted anew when somebody else moved the line meanwhile: then the next step has its turn.
pub const FILL_ATTEMPTS: usize = 3;

/// How long a connection to AWS may take to come about, and a call with all its repetitions: a service of ours waits
/// behind most of them.
pub const AWS_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// See [`AWS_CONNECT_TIMEOUT`].
pub const AWS_OPERATION_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a health address may take to answer: a site that needs longer cannot take more visitors.
pub const HEALTH_PATIENCE: Duration = Duration::from_secs(5);

/// How often the log hears at most of what goes wrong in the same way again and again.
pub const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Longest reason of AWS's that is logged, in characters: it writes whole policies into some.
pub const MAX_AWS_REASON: usize = 300;

/// Default pause between two looks at a gate (`check_every`): often enough to spare a site the worst of a rush, seldom
/// enough for what CloudWatch allows an account.
pub const DEFAULT_GATE_CHECK: Duration = Duration::from_secs(10);

/// Longest pause between two looks (`check_every`): the old system looked once a minute; an hour late is never.
pub const MAX_GATE_CHECK: Duration = Duration::from_secs(3600);

/// Longest name of a CloudWatch alarm (CloudWatch API, *DescribeAlarms*), in characters.
pub const MAX_ALARM_NAME: usize = 255;

/// Longest message of an SNS topic, in bytes: 256 KiB that were published (SNS quotas), an eighth more for the two quotes
/// around each request ID of 36 characters and its line's end, which SNS escapes, and 4 KiB for the envelope.
pub const MAX_SNS_MESSAGE: usize = (256 + 32 + 4) * 1024;

/// Bodies longer than [`MAX_BODY`] that are read or worked on at once: 2.3 MiB of memory that anybody may claim.
pub const LARGE_BODIES: usize = 8;

/// How old a message may be, or how far ahead of our clock: SNS tries to deliver for an hour at most (SNS developer
/// guide, *Message delivery retries*), and clocks differ.
pub const SNS_MESSAGE_AGE: Duration = Duration::from_secs(3600 + 300);

/// How long SNS may take to hand out a certificate or take a confirmation; it waits fifteen seconds for us itself.
pub const SNS_PATIENCE: Duration = Duration::from_secs(5);

/// How long a certificate is not fetched again that could not be.
pub const SNS_CERTIFICATE_REFETCH: Duration = Duration::from_secs(10);

/// How many certificates are fetched at most in each [`SNS_FETCH_PERIOD`]: SNS has one or two in use, but anybody can name
/// addresses that do not exist.
pub const SNS_FETCHES: u32 = 10;
/// See [`SNS_FETCHES`].
pub const SNS_FETCH_PERIOD: Duration = Duration::from_secs(10);

/// Fetches of certificates that are remembered though nothing was proved by them: those of a minute.
pub const SNS_ATTEMPTS: usize = 64;

/// Largest certificate that is read, in bytes: theirs has two thousand.
pub const MAX_CERTIFICATE: usize = 64 * 1024;
