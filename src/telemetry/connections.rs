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

/// Why a connection is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionRefusal {
    /// The visitors' part is full, and the request is not for an operators' path: answered 503.
    Visitors,
    /// The operators' part is full as well, and no connection in it could be evicted: closed without an answer.
    Operators,
    /// It was brief and was evicted for another.
    GaveWay,
}

/// Why a served connection is ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionEnd {
    /// The client read nothing for too long.
    Unread,
    /// A request did not arrive in time.
    Slow,
    /// The client sent no valid request, or its head is too long.
    Unreadable,
    /// A request continued for too long after its answer.
    Endless,
    /// The TLS handshake failed or took too long.
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

/// The metrics of the connections of all listeners; clones share them.
#[derive(Clone, Default)]
pub struct ConnectionMetrics {
    /// Whether they belong to an operators-only listener.
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
        // All series exist from the start: a rate needs the zero before the first count.
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

    /// The same, for an operators-only listener.
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

    /// Counts a connection for a single request: beyond the visitors' part, or beyond the share of its address.
    pub fn brief(&self) -> OpenConnection {
        self.open(if self.operators_alone { "operators" } else { "brief" })
    }

    /// Counts a refused connection.
    pub fn refused(&self, why: ConnectionRefusal) {
        self.refused.get_or_create(&why.label()).inc();
    }

    /// Counts an ended connection.
    pub fn ended(&self, why: ConnectionEnd) {
        self.ended.get_or_create(&why.label()).inc();
    }

    /// Counts a response that was not sent because too many long ones were being sent.
    pub fn long_response_refused(&self) {
        self.long_responses.inc();
    }
}
