//! Every duration and limit that is a decision of ours, in one place, each with its reason or source.
//! What an operator may change is in `config`; its defaults are here.

use std::time::Duration;

mod authorizer;
mod connections;
mod distributed;
mod events_out;
mod store;

pub use authorizer::*;
pub use connections::*;
pub use distributed::*;
pub use events_out::*;
pub use store::*;

/// How long an authorization code may be redeemed (RFC 6749 §4.1.2 recommends at most ten minutes;
/// relying parties redeem at once).
pub const CODE_LIFETIME: Duration = Duration::from_secs(60);

/// How far the date of a signed request may lie from our clock, either way: what AWS allows (API Gateway says
/// "Signature expired" after five minutes).
pub const SIGNATURE_SKEW: Duration = Duration::from_secs(300);

/// How long a redemption is remembered, so that a second use of the code is recognised and revokes: ten times longer than
/// a code is good, and as long as RFC 6749 §4.1.2 lets any code live.
pub const CODE_MEMORY: Duration = Duration::from_secs(600);

/// How far the time of issue in a code may lie ahead of our clock before the code is refused: clocks of nodes differ, and
/// one may be set back between the two steps of a login. As much as AWS allows a signed request.
pub const CODE_AHEAD: Duration = Duration::from_secs(300);

/// Longest authorization code, in characters: relying parties keep codes in columns and log lines, and no specification
/// promises more room.
pub const MAX_CODE_LENGTH: usize = 512;

/// How many grants that are too long for a code are kept for one session; the next replaces the oldest. A browser that
/// logs in to several sites at once has a few under way.
pub const LONG_GRANTS: u32 = 4;

/// How long browsers remember to come by https alone: a year, what the lists that browsers ship ask for at least.
pub const HSTS_MAX_AGE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Shortest client secret or admin key, in bytes: 256 bits as RFC 7518 §3.2 asks of an HMAC key.
pub const MIN_SECRET_BYTES: usize = 32;

/// How far a ticket's entry time may lie from the arrival log: clocks of nodes differ by a little.
pub const ARRIVAL_TOLERANCE: Duration = Duration::from_secs(5);

/// How long after admission a relying party still accepts the answer to its login request
/// (`login_timeout`; an AWS load balancer gives up after 15 minutes).
pub const DEFAULT_LOGIN_TIMEOUT: Duration = Duration::from_secs(600);

/// Longest time that a sealed flow stays good: a visitor may wait for a day.
pub const FLOW_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Default life of a session and of its tokens (`validity_period`, the old stack's default).
pub const DEFAULT_VALIDITY: Duration = Duration::from_secs(3600);

/// Default time in which a served position must be used (`queue_position_expiry_period`).
pub const DEFAULT_POSITION_EXPIRY: Duration = Duration::from_secs(900);

/// How many serving records the pace of a line is read from: five minutes of steps a second.
pub const PACE_RECORDS: u32 = 300;

/// How long the receiver of the feed pauses after it has shown all that was announced: a rush of commits wakes it a hundred
/// times a second at most, and a move is shown well within the tenth of a second in which every node knows of it.
pub const FEED_PAUSE: Duration = Duration::from_millis(10);

/// How often at most the rows of an event are read from the store because the feed announced a change: the counters are
/// shown before, and estimates and tickets of other nodes can wait a tenth of a second.
pub const FEED_THROTTLE: Duration = Duration::from_millis(100);

/// How many events a node reads the rows of at the same time. A refresh takes two reads in a row, so a store that is 300 ms
/// away serves some fifty a second; a node with a thousand events that lost the feed does not ask for all at once.
pub const REFRESHES_AT_ONCE: usize = 32;

/// How many events' inlets and expiry passes ask the store for something at the same time: each asks in turn, so a node that
/// is 300 ms away does some hundred a second.
pub const INLETS_AT_ONCE: usize = 64;

/// How long to wait before rows that could not be read are read again: the store has failed all its own tries by then.
pub const REFRESH_RETRY: Duration = Duration::from_secs(1);

/// From how far back a clock counts as set back, rather than as one of several that differ a little: then the inlet and the
/// arrival log go by the new time instead of standing still until the old one comes again. Nobody is to be delayed by
/// more than a minute.
pub const CLOCK_SET_BACK: Duration = Duration::from_secs(60);

/// How far ahead a recorded time may lie without counting as one of a clock that was wrong: clocks of nodes differ by
/// a little, as for [`ARRIVAL_TOLERANCE`].
pub const CLOCK_AHEAD: Duration = Duration::from_secs(5);

/// How often grants are swept and keys looked after.
pub const HOUSEKEEPING: Duration = Duration::from_secs(60);
/// How long a signing key signs before the next takes over: long enough that a relying party that pins
/// a key by mistake is rare work, short enough that rotation is routine and known to work.
pub const KEY_ROTATION_PERIOD: Duration = Duration::from_secs(90 * 24 * 3600);

/// The shortest rotation period that may be configured: twice [`KEY_PUBLICATION_LEAD`].
pub const MIN_KEY_ROTATION_PERIOD: Duration = Duration::from_secs(2 * 24 * 3600);

/// The longest: ten years. Whoever wants longer rotates by hand.
pub const MAX_KEY_ROTATION_PERIOD: Duration = Duration::from_secs(3650 * 24 * 3600);

/// How long a key stands in the JWK Set before it signs: relying parties and gateways keep a fetched set
/// for up to a day, and not all fetch anew when they meet an unknown `kid` (OIDC Core §10.1.1).
pub const KEY_PUBLICATION_LEAD: Duration = Duration::from_secs(24 * 3600);

/// How often the ring may be read anew because a token names a key that is not in it: rarely enough that tokens made up
/// by strangers cost the store nothing, often enough that nobody notices.
pub const KEYS_ASKED_ANEW: Duration = Duration::from_secs(1);

/// How much longer than its last token a retired key is published: other nodes learn of a rotation a little
/// late, and relying parties allow for clock skew.
pub const KEY_RETIREMENT_MARGIN: Duration = Duration::from_secs(600);

/// Longest token that is looked at, in bytes: what proxies let through in one header line. Ours have
/// about one thousand.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// When a crawler is asked to come again: a line lasts for hours, and crawlers slow down for the whole host when they
/// are refused often.
pub const CRAWLER_RETRY: Duration = Duration::from_secs(3600);

/// Default budget of joins from one IPv4 address (`joins_per_second`, `joins_burst`): a carrier puts thousands of phones
/// behind one address, and all of them come at the start of a sale; 6000 of them at once, and as many each minute.
pub const DEFAULT_JOINS_PER_SECOND: u32 = 100;
/// See [`DEFAULT_JOINS_PER_SECOND`].
pub const DEFAULT_JOINS_BURST: u32 = 6000;

/// The same of one IPv6 network of 64 bits, which is one household, phone or office: a school or hotel of 300 at once.
pub const DEFAULT_JOINS_PER_SECOND_IPV6: u32 = 10;
/// See [`DEFAULT_JOINS_PER_SECOND_IPV6`].
pub const DEFAULT_JOINS_BURST_IPV6: u32 = 300;

/// Default number of failures in a minute to prove to be a client, from one address (`client_failures_per_minute`): a
/// site with a wrong secret sees and logs its 401 that often; secrets of 32 bytes are not guessed at any rate.
pub const DEFAULT_CLIENT_FAILURES: u32 = 60;

/// Default number of failures in a minute to prove to be an operator, from one address (`operator_failures_per_minute`):
/// a script with a wrong key that calls twice a second is told what is wrong.
pub const DEFAULT_OPERATOR_FAILURES: u32 = 120;

/// The largest rate or burst that a limit by address may have: above that it limits nothing.
pub const MAX_RATE: u32 = 1_000_000;

/// Budgets by address that are kept, of each kind: a few MiB. Many more addresses than come in the time in which a budget
/// refills, unless somebody sends from a whole provider's network.
pub const MAX_BUDGETS: usize = 50_000;

/// Budgets that the others share when there are more, by network.
pub const SHARED_BUDGETS: u64 = 4096;

/// In how many seconds the page of a visitor who may not join yet tries again, at least and at most: those of one address
/// do not come all at once.
pub const JOIN_RETRY: (u64, u64) = (5, 15);

/// Longest sealed flow, in bytes: it travels in a request line, for which proxies allow 8 KiB.
pub const MAX_FLOW_BYTES: usize = 8 * 1024;

/// Largest file that is read as a master secret, in bytes: a file that was named by mistake is not slurped.
pub const MAX_MASTER_SECRET_FILE: u64 = 4 * 1024;

/// How much of a gap in its ticking a smooth inlet makes up for: a restart costs the line nothing, a long
/// stop does not end in a rush.
pub const INLET_CATCH_UP: Duration = Duration::from_secs(5);

/// How far back the pace of a line is measured: long enough for five steps of a minute.
pub const PACE_WINDOW: Duration = Duration::from_secs(300);

/// The newest part of that window, heard as a witness of its own: a change of pace shows within a minute.
pub const PACE_RECENT: Duration = Duration::from_secs(60);

/// How many moves the window is stretched to hold when they are rarer (a step every ten minutes has a pace too).
pub const PACE_MIN_MOVES: usize = 4;

/// How far it is stretched at most: what happened longer ago says nothing about now.
pub const PACE_HORIZON: Duration = Duration::from_secs(3600);

/// Longest authorization request that is carried through a line, in bytes: sealed, it must still fit into a URL
/// that every proxy lets through (8 KiB).
pub const MAX_AUTHORIZATION_REQUEST: usize = 5 * 1024;

/// Longest address that a proxy's visitor is led back to after the line, in bytes: what browsers and proxies let
/// through beside a login's own parameters. Longer ones lead to the site's own start.
pub const MAX_TARGET_LINK: usize = 4 * 1024;

/// Longest name of a cookie that a proxy may ask `/verify` to look into, in bytes.
pub const MAX_COOKIE_NAME: usize = 64;

/// Longest request body, in bytes: the longest good one is a form that holds an authorization request.
pub const MAX_BODY: usize = 32 * 1024;

/// How often the service finds out at most whether it is ready: each time it writes to the store, and anybody may ask.
pub const READINESS_PERIOD: Duration = Duration::from_secs(1);

/// How many refused operators' calls have a line of their own in the log in each [`COMPLAIN_EVERY`]: more than the
/// addresses from which operators work, and no flood.
pub const REFUSALS_LOGGED: usize = 50;

/// How long a client may take to send the body of its request: our longest takes a phone on a train a second.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a login looks anew at a line that went on meanwhile, before the visitor is asked to come again.
pub const LINE_UP_TRIES: u32 = 8;

/// How long a starting node waits before it tries again to open a store that is away; doubled with each try. An error of a
/// moment delays it by that alone.
pub const START_RETRY_FIRST: Duration = Duration::from_millis(250);

/// And at most: a store that is back is found soon, and the log says every few seconds what is missing.
pub const START_RETRY_LONGEST: Duration = Duration::from_secs(5);

/// How long a browser keeps a visitor's place and its own name.
pub const COOKIE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long the place that a browser was given is given to it again, should it come without: its other tabs asked for one
/// before the first had its answer. Some round trips of a slow network.
pub const JOIN_SHARED_FOR: Duration = Duration::from_secs(10);

/// How many browsers with such a place are remembered for one event: some ten megabytes, and all that join in a second
/// at the rate of the performance bars.
pub const RECENT_JOINS: usize = 65_536;

/// How long the cookie is kept that tells apart the first requests of a browser: they are over by then.
pub const CHECK_COOKIE_LIFETIME: Duration = Duration::from_secs(60);

/// How many login requests that had to wait a browser remembers, the newest: more tabs than somebody opens to one login, and
/// a cookie of half a kilobyte.
pub const FIRST_ARRIVALS: usize = 16;

/// How long it remembers them: as long as it keeps a place.
pub const FIRST_ARRIVAL_MEMORY: Duration = COOKIE_LIFETIME;

/// How long the request that opened a session may be answered again with the place alone: the answer that replaced the
/// place by the session may have been lost. A browser that reloads does so within a minute.
pub const OPENING_REPEAT: Duration = Duration::from_secs(60);

/// Sessions that are remembered for half as long at most because a site has redeemed a code of theirs: a minute of
/// 5000 logins a second, in 5 MiB.
pub const COMPLETED_LOGINS: usize = 300_000;

/// After how many seconds a browser whose place was used already looks once more by itself: its other tab has been
/// answered by then.
pub const PLACE_USED_RETRY: u64 = 3;

/// How often at most those who wait hear how their line stands, where it moves all the time.
pub const STREAM_THROTTLE: Duration = Duration::from_secs(1);

/// How much earlier they hear of moves that come now and then: some, one right after the other, are told at once.
pub const STREAM_SLACK: Duration = Duration::from_secs(3);

/// After how much silence a stream repeats itself: proxies close what is silent for 30 or 60 seconds.
pub const STREAM_HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a browser waits before it opens a broken stream again.
pub const STREAM_RETRY: Duration = Duration::from_secs(3);

/// How often a waiting page without script comes back, at the front of the line and far from it.
pub const REFRESH_SOONEST: Duration = Duration::from_secs(5);
/// See [`REFRESH_SOONEST`].
pub const REFRESH_LATEST: Duration = Duration::from_secs(60);

/// After how long at least a waiting page whose script gives no sign of life is loaded anew: a slow network has brought the
/// script by then.
pub const WATCHDOG_SOONEST: Duration = Duration::from_secs(15);

/// Longest session that an event may give (`validity_period`): signing keys are kept for as long, and who is
/// inside for more than a week is not waiting for a sale.
pub const MAX_VALIDITY: Duration = Duration::from_secs(7 * 24 * 3600);

/// Longest time in which a served position may be used (`queue_position_expiry_period`): as long as a session.
pub const MAX_POSITION_EXPIRY: Duration = MAX_VALIDITY;

/// Default step of a periodic inlet (`every`): the old system's was fixed to a minute.
pub const DEFAULT_INLET_PERIOD: Duration = Duration::from_secs(60);

/// Longest step of a periodic inlet (`every`): a line that moves less than once a day is moved by hand.
pub const MAX_INLET_PERIOD: Duration = Duration::from_secs(24 * 3600);

/// Longest `client_id`, in characters: it stands in every code, cookie and log line of its logins.
pub const MAX_CLIENT_ID_LENGTH: usize = 128;

/// How long `healthcheck` waits for an answer: container runtimes give a probe 30 seconds by default.
pub const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long `keys` waits for a running service to do what it was asked: six new keys, two of them RSA, on a machine
/// that is busy with visitors.
pub const KEYS_CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Batchers of joins for each line, so that worker threads need not share one: as many as threads are worth having for a
/// line that a single thread writes down.
pub const JOIN_BATCHERS: usize = 16;

/// Signatures of one key that are remembered as good: those of the last second or two of a rush, 128 KiB.
pub const FRESH_SIGNATURES: usize = 4096;

/// Logins that may wait for a signature at once: on two processors some two seconds of work, for which relying parties
/// wait, and far more than come at a time.
pub const SIGNING_LOGINS: usize = 4096;

/// Token sets of the REST calls that may wait to be signed at once: three signatures each, about the same time.
pub const SIGNING_REST: usize = 1024;

/// Token sets of the REST calls that are remembered: 10 MiB of those that were asked for last.
pub const SIGNED_SETS: usize = 4096;

/// Sessions of one page of `expired_tokens`: some 10 KiB of answer, which a connection may hold, a read of a millisecond.
pub const EXPIRED_PAGE: u32 = 256;

/// Longest `issuer` that the private `generate_token` takes, in bytes: it stands in every token of its session.
pub const MAX_ISSUER_BYTES: usize = 512;

/// How many of a message's malformed request IDs are named in the answer to it, and how many characters of each: enough
/// to find the mistake.
pub const INVALID_IDS_NAMED: usize = 100;

/// See [`INVALID_IDS_NAMED`]: a good one has 36.
pub const INVALID_ID_SHOWN: usize = 64;

/// Serving records that one expiry pass goes through at most: with a pass a second, more than an inlet makes.
pub const EXPIRY_RECORDS: usize = 100;

/// Networks of `trusted_proxies` with at most so many fixed bits hold visitors too: no operator's or content network has
/// 32 million IPv4 addresses in one piece, or more than the IPv6 addresses of a registry's largest customers.
pub const WIDE_NETWORK_IPV4: u8 = 7;

/// The same for IPv6.
pub const WIDE_NETWORK_IPV6: u8 = 15;

/// Secrets of 32 bytes with fewer different ones were typed rather than drawn: of 32 hexadecimal digits, 13 or so differ.
pub const FEWEST_DISTINCT_BYTES: usize = 5;

/// A start further ahead is more often a wrong date than a plan.
pub const START_FAR_AHEAD: Duration = Duration::from_secs(24 * 3600);
