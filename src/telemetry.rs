//! Metrics for Prometheus, and logs.
//!
//! Knows names and numbers, not their meaning. No label contains a value that visitors choose, so the number of series
//! is bounded.

mod connections;

use std::io::IsTerminal;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat, LogLevel};
use crate::room::Counters;
use crate::store::distributed::{Meter, RequestKind};
use crate::store::timed::Stopwatch;

pub use connections::{ConnectionEnd, ConnectionMetrics, ConnectionRefusal, OpenConnection};

/// The filter of a log level. Libraries log only warnings and errors.
pub fn log_filter(level: LogLevel) -> String {
    format!("warn,anteroom={}", level.as_str())
}

/// Starts the log, on standard error.
pub fn start_logging(log: &Log) {
    let filter = EnvFilter::new(log_filter(log.level));
    // A line that cannot be written (a full disk, a closed reader) is lost; the subscriber's own message about it would
    // go to standard error as well, and panic there in the logging thread.
    let log_lines =
        tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false).with_writer(std::io::stderr);
    // A second start in one process keeps the first log.
    let _already_started = match log.format {
        LogFormat::Text => log_lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log_lines.json().flatten_event(true).try_init(),
    };
}

/// The upper bounds of the latency buckets, in seconds: from a cached read to a client's patience.
const LATENCY_BUCKETS: [f64; 12] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
    status: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct StoreLabels {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct EventLabels {
    event: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct CapacityLabels {
    kind: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct SigningLabels {
    kind: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;
/// Counts the refusals of a limit by address.
pub type RefusalCounter = Counter<u64, AtomicU64>;
type Gauges = Family<EventLabels, Gauge<u64, AtomicU64>>;
type Counts = Family<EventLabels, Counter<u64, AtomicU64>>;

/// All metrics.
pub struct Telemetry {
    registry: Registry,
    requests: Histograms<RouteLabels>,
    store: Histograms<StoreLabels>,
    dynamodb: DynamoDb,
    limited: Family<LimitLabels, RefusalCounter>,
    rooms: Rooms,
    signing: Signing,
    connections: ConnectionMetrics,
    rendered_length: AtomicU64,
}

/// The signing queue: waiting jobs, and refusals because it was full.
#[derive(Default)]
struct Signing {
    queue: Family<SigningLabels, Gauge<u64, AtomicU64>>,
    refused: Family<SigningLabels, Counter<u64, AtomicU64>>,
}

impl Signing {
    fn register(&self, registry: &mut Registry) {
        registry.register("signing_queue", "What waits to be signed, or is being signed", self.queue.clone());
        registry.register("signing_refused", "What was refused because too much waited", self.refused.clone());
    }
}

/// Requests to DynamoDB, by kind of capacity.
#[derive(Default)]
struct DynamoDb {
    requests: Family<CapacityLabels, Counter<u64, AtomicU64>>,
    units: Family<CapacityLabels, Counter<f64, AtomicU64>>,
}

impl DynamoDb {
    fn register(&self, registry: &mut Registry) {
        registry.register("dynamodb_requests", "Requests to DynamoDB", self.requests.clone());
        registry.register("dynamodb_units", "Request units that they took", self.units.clone());
    }
}

impl Meter for Telemetry {
    fn request(&self, kind: RequestKind, units: f64) {
        let kind = match kind {
            RequestKind::Read => "read",
            RequestKind::Write => "write",
        };
        self.dynamodb.requests.get_or_create(&CapacityLabels { kind }).inc();
        self.dynamodb.units.get_or_create(&CapacityLabels { kind }).inc_by(units);
    }
}

/// The counters of rooms. Growing numbers are exported as counters; a reset of the event restarts them, as Prometheus
/// expects of counters.
#[derive(Default)]
struct Rooms {
    joins: Counts,
    admissions: Counts,
    completed: Counts,
    abandoned: Counts,
    expired: Counts,
    serving: Gauges,
    waiting: Gauges,
    inlet_open: Gauges,
}

impl Rooms {
    fn register(&self, registry: &mut Registry) {
        registry.register("joins", "Positions handed out since the last reset", self.joins.clone());
        registry.register("admissions", "Sessions opened since the last reset", self.admissions.clone());
        registry.register("sessions_completed", "Sessions completed since the last reset", self.completed.clone());
        registry.register("sessions_abandoned", "Sessions abandoned since the last reset", self.abandoned.clone());
        registry.register("positions_expired", "Positions expired since the last reset", self.expired.clone());
        registry.register("serving_counter", "Last position admitted", self.serving.clone());
        registry.register("waiting", "Visitors in line", self.waiting.clone());
        registry.register("inlet_open", "Whether the gate of the inlet is open", self.inlet_open.clone());
    }

    fn show(&self, event: &str, counters: &Counters) {
        let labels = EventLabels { event: event.to_owned() };
        let count = |counts: &Counts, value: u64| counts.get_or_create(&labels).inner().store(value, Relaxed);
        count(&self.joins, counters.queue);
        count(&self.admissions, counters.sessions_opened);
        count(&self.completed, counters.completed);
        count(&self.abandoned, counters.abandoned);
        count(&self.expired, counters.expired_positions);
        self.serving.get_or_create(&labels).set(counters.serving);
        self.waiting.get_or_create(&labels).set(counters.waiting());
    }
}

/// The exported state of a gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GateMetric {
    /// The inlet admits no visitors.
    Closed = 0,
    /// The inlet works.
    Open = 1,
}

/// The metrics of one route, looked up once: one histogram per class of status.
#[derive(Clone)]
pub struct RouteMetrics([Histogram; 5]);

impl RouteMetrics {
    /// Records an answer.
    pub fn observe(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(1, self.0.len()) - 1;
        if let Some(histogram) = self.0.get(class) {
            histogram.observe(took.as_secs_f64());
        }
    }
}

const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Default for Telemetry {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("anteroom");
        let histogram: fn() -> Histogram = || Histogram::new(LATENCY_BUCKETS);
        let requests = Histograms::new_with_constructor(histogram);
        let store = Histograms::new_with_constructor(histogram);
        let seconds = Unit::Seconds;
        registry.register_with_unit("http_request_duration", "Time to answer, by route", seconds, requests.clone());
        registry.register_with_unit("store_duration", "Time of store operations", Unit::Seconds, store.clone());
        let rooms = Rooms::default();
        rooms.register(&mut registry);
        let dynamodb = DynamoDb::default();
        dynamodb.register(&mut registry);
        let limited = Family::default();
        registry.register("limited_requests", "Requests beyond a limit by address", limited.clone());
        let signing = Signing::default();
        signing.register(&mut registry);
        let connections = ConnectionMetrics::default();
        connections.register(&mut registry);
        let rendered_length = AtomicU64::default();
        Self { registry, requests, store, dynamodb, limited, rooms, signing, connections, rendered_length }
    }
}

impl Stopwatch for Telemetry {
    fn note(&self, operation: &'static str, succeeded: bool, took: Duration) {
        let outcome = if succeeded { "ok" } else { "error" };
        self.store.get_or_create(&StoreLabels { operation, outcome }).observe(took.as_secs_f64());
    }
}

impl Telemetry {
    /// The metrics of a route.
    pub fn route(&self, route: &'static str) -> RouteMetrics {
        RouteMetrics(STATUS_CLASSES.map(|status| self.requests.get_or_create_owned(&RouteLabels { route, status })))
    }

    /// The metrics of connections.
    pub fn connections(&self) -> ConnectionMetrics {
        self.connections.clone()
    }

    /// The counter of a limit by address.
    pub fn limited(&self, limit: &'static str) -> RefusalCounter {
        self.limited.get_or_create_owned(&LimitLabels { limit })
    }

    /// Updates the counters of the rooms.
    pub fn show_rooms<'a>(&self, rooms: impl Iterator<Item = (&'a str, Counters)>) {
        rooms.for_each(|(event, counters)| self.rooms.show(event, &counters));
    }

    /// Updates the gate of a room.
    pub fn show_gate(&self, event: &str, gate: GateMetric) {
        self.rooms.inlet_open.get_or_create(&EventLabels { event: event.to_owned() }).set(gate as u64);
    }

    /// Updates the signing queue: waiting jobs of a `kind`, and refusals since the start.
    pub fn show_signing(&self, kind: &'static str, waiting: u64, refused: u64) {
        let labels = SigningLabels { kind };
        self.signing.queue.get_or_create(&labels).set(waiting);
        self.signing.refused.get_or_create(&labels).inner().store(refused, Relaxed);
    }

    /// All metrics as OpenMetrics text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        // A slow client may hold it for a while.
        text.shrink_to_fit();
        self.rendered_length.store(text.len() as u64, Relaxed);
        text
    }

    /// The length of the last rendered text, in bytes; 0 before the first.
    pub fn rendered_length(&self) -> u64 {
        self.rendered_length.load(Relaxed)
    }
}
