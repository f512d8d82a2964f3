//! Decisions about connections: how many there are, how long they last, and what each may hold.

use std::time::Duration;

/// How long a client may take to send the head of a request.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long is waited beyond a deadline for what may have come before it: after a machine or a process was paused, timers
/// ring before the system has said what it received meanwhile.
pub const DEADLINE_GRACE: Duration = Duration::from_millis(50);

/// How long a connection is kept without a request: longer than the load balancers in front, which reuse theirs for 60 s.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long a client may take nothing of what is sent to it: a train comes out of most tunnels in less.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may go on with a request that was answered before it was complete.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest head of a request, in bytes: as much as nginx takes (four buffers of 8 KiB).
pub const MAX_HEAD: usize = 32 * 1024;

/// Bytes of responses that may be unsent on a connection before nothing more is read from it.
pub const MAX_UNSENT: usize = 32 * 1024;

/// Responses longer than this, in bytes, share [`LARGE_RESPONSES`]. What visitors load is shorter, or in memory once for
/// all of them.
pub const LARGE_RESPONSE: u64 = 16 * 1024;

/// KiB of large responses that a listener holds in memory until they are sent: the metrics of some thirty scrapers.
pub const LARGE_RESPONSES: u32 = 8 * 1024;

/// What the kernel holds of a connection's requests, in bytes, before the client has to wait: left to itself, it takes
/// megabytes of a client whose requests are not read.
pub const SOCKET_RECEIVES: usize = 64 * 1024;

/// What it holds of responses: a slow client must take about a third of it in [`SEND_TIMEOUT`].
pub const SOCKET_SENDS: usize = 32 * 1024;

/// Bytes that a TLS session holds back beside those, in either state of encryption.
pub const TLS_BUFFER: usize = 8 * 1024;

/// How long answers announce at most that their connection ends, before nobody can connect any more.
pub const STOP_ANNOUNCED: Duration = Duration::from_secs(1);

/// How long requests under way may take to finish when the service stops; well under the ten seconds in which
/// orchestrators lose their patience.
pub const DRAIN: Duration = Duration::from_secs(5);

/// Files that are kept free for the store, for what is sent out, and for connections that are just being refused.
pub const RESERVED_FILES: usize = 128;

/// Connections that are accepted beyond all parts, to be closed at once: a part of [`RESERVED_FILES`].
pub const REFUSED_CONNECTIONS: usize = 64;

/// The lowest limit of open files with which the service starts: as many connections as are kept free besides. Every
/// system allows 1024 unless somebody chose fewer.
pub const LEAST_FILES: usize = 2 * RESERVED_FILES;

/// One of how many connections is kept for operators: enough that health checks, scrapers and panels get through while
/// as many more connections come as a rush brings in a round trip.
pub const OPERATORS_SHARE: usize = 8;

/// How many these are at least, and at most.
pub const OPERATORS_PART: (usize, usize) = (16, 1024);

/// Connections of a listener for operators alone: some panels, scrapers and scripts.
pub const PRIVATE_CONNECTIONS: usize = 256;

/// Connections of the sample shop.
pub const SHOP_CONNECTIONS: usize = 64;

/// One of how many connections and streams of visitors may belong to one address: a mobile carrier has thousands behind
/// one, and four such still leave somebody a connection.
pub const ADDRESS_SHARE: usize = 4;

/// How long a request may take to come whole on a connection beyond the visitors' part, or beyond the share of its
/// address: such a connection is there to be refused, or for one answer.
pub const BRIEF_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// How long somebody should wait who is refused because all connections are taken.
pub const CONNECTIONS_TAKEN_RETRY: Duration = Duration::from_secs(10);

/// How long a stream lasts: long enough that opening it anew costs nothing, short enough that streams spread again over
/// nodes that were added.
pub const STREAM_LIFETIME: Duration = Duration::from_secs(3600);

/// By which part of that a stream may last longer or shorter, so that those opened together do not end together.
pub const STREAM_LIFETIME_SPREAD: f64 = 0.2;

/// How many times as long as usual a browser may be told to wait before it opens a stream anew that has ended by age.
pub const STREAM_RETRY_SPREAD: f64 = 3.0;

/// Connections that may wait to be accepted: a rush comes faster than a worker wakes. The kernel allows 4096.
pub const BACKLOG: i32 = 4096;
