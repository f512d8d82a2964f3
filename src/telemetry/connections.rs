//! The metrics of connections. They change when a connection begins or ends, not with its requests.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct PartLabels {
    part: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

type Count = Counter<u64, AtomicU64>;

/// Why a connection is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionRefusal {
    /// The visitors' part is full, and it did not ask for an operators' path: answered 503.
    Visitors,
    /// The operators' part is full as well, and no connection in it could give way: closed without an answer.
    Operators,
    /// It was brief and gave way to another.
    GaveWay,
}

/// Why a connection is ended that was being served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionEnd {
    /// Nothing of what was sent was taken for too long.
    Unread,
    /// A request did not come in time.
    Slow,
    /// What came is no request, or its head is too long.
    Unreadable,
    /// A request went on for too long after its answer.
    Endless,
    /// TLS was not agreed upon, or not in time.
    Handshake,
}

impl ConnectionRefusal {
    const ALL: [Self; 3] = [Self::Visitors, Self::Operators, Self::GaveWay];

    const fn label(self) -> ReasonLabels {
        let reason = match self {
            Self::Visitors => "visitors",
            Self::Operators => "operators",
            Self::GaveWay => "gave_way",
        };
        ReasonLabels { reason }
    }
}

impl ConnectionEnd {
    const ALL: [Self; 5] = [Self::Unread, Self::Slow, Self::Unreadable, Self::Endless, Self::Handshake];

    const fn label(self) -> ReasonLabels {
        let reason = match self {
            Self::Unread => "unread",
            Self::Slow => "slow",
            Self::Unreadable => "unreadable",
            Self::Endless => "endless",
            Self::Handshake => "handshake",
        };
        ReasonLabels { reason }
    }
}

/// The metrics of the connections of all listeners; those of a clone are the same.
#[derive(Clone, Default)]
pub struct ConnectionMetrics {
    /// Whether they are of a listener that is for operators alone.
    operators_alone: bool,
    open: Family<PartLabels, Gauge<i64>>,
    refused: Family<ReasonLabels, Count>,
    ended: Family<ReasonLabels, Count>,
    long_responses: Count,
}

/// A connection that is counted as open until this is dropped.
pub struct OpenConnection(Gauge<i64>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl ConnectionMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        // All of them are there from the start: a rate needs the zero before the first.
        for part in ["visitors", "brief", "operators"] {
            drop(self.open.get_or_create(&PartLabels { part }));
        }
        for refusal in ConnectionRefusal::ALL {
            drop(self.refused.get_or_create(&refusal.label()));
        }
        for end in ConnectionEnd::ALL {
            drop(self.ended.get_or_create(&end.label()));
        }
        registry.register("connections", "Open connections", self.open.clone());
        registry.register("connections_refused", "Connections that were not served", self.refused.clone());
        registry.register("connections_ended", "Connections that were ended for what they did", self.ended.clone());
        let help = "Long responses that were not sent as too many were being sent";
        registry.register("long_responses_refused", help, self.long_responses.clone());
    }

    /// The same, for a listener that is for operators alone.
    #[must_use]
    pub fn of_operators(self) -> Self {
        Self { operators_alone: true, ..self }
    }

    fn open(&self, part: &'static str) -> OpenConnection {
        let gauge = self.open.get_or_create_owned(&PartLabels { part });
        gauge.inc();
        OpenConnection(gauge)
    }

    /// Counts a connection of the visitors' part.
    pub fn visitor(&self) -> OpenConnection {
        self.open(if self.operators_alone { "operators" } else { "visitors" })
    }

    /// Counts a connection that carries one request: beyond the visitors' part, or beyond the share of its address.
    pub fn brief(&self) -> OpenConnection {
        self.open(if self.operators_alone { "operators" } else { "brief" })
    }

    /// Notes that a connection was not served.
    pub fn refused(&self, why: ConnectionRefusal) {
        self.refused.get_or_create(&why.label()).inc();
    }

    /// Notes that a connection was ended.
    pub fn ended(&self, why: ConnectionEnd) {
        self.ended.get_or_create(&why.label()).inc();
    }

    /// Notes that a response was not sent because too many long ones were being sent.
    pub fn long_response_refused(&self) {
        self.long_responses.inc();
    }
}
