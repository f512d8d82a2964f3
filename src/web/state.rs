//! The state that handlers share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::web::Bytes;
use ipnet::IpNet;
use tokio::sync::Semaphore;

use super::feeds::Feeds;
use super::ops::Readiness;
use super::private::refusals::RefusalLog;
use super::public::openapi::with_server;
use super::rate_limits::RateLimits;
use super::streams::Streams;
use crate::ambient::random;
use crate::aws::sns::Inbox;
use crate::config::{Admin, Limits, MetricsAccess};
use crate::keys::{ArrivalsSeal, FlowSeal, MasterSecret};
use crate::lobby::Lobby;
use crate::notices::Notices;
use crate::oauth::Discovery;
use crate::policy;
use crate::room::EventId;
use crate::telemetry::Telemetry;

/// The provider's public address and the policy of its clients.
#[derive(Debug, Clone)]
pub struct Site {
    /// `public_url`, byte for byte.
    pub issuer: String,
    /// The path under which everything is mounted: empty, or like `/queue`.
    pub base_path: String,
    /// Whether browsers use https.
    pub https: bool,
    /// Whether browsers are told to use https only (RFC 6797).
    pub hsts: bool,
    /// Proxies that are trusted to name the visitor's address and the requested host.
    pub trusted_proxies: Vec<IpNet>,
    /// The limits of one address.
    pub limits: Limits,
    /// Who may read the metrics without a key.
    pub metrics: MetricsAccess,
}

/// The configured topics, by ARN, each with the event whose departures it publishes.
pub type Topics = HashMap<String, (Inbox, EventId)>;

/// The state of the application, shared by all workers.
pub struct App {
    /// The use cases.
    pub lobby: Arc<Lobby>,
    /// The public address.
    pub site: Site,
    /// Encrypts pending authorization requests.
    pub flows: FlowSeal,
    /// Encrypts the first arrivals of a browser's login requests.
    pub arrivals: ArrivalsSeal,
    /// Who may use the private API.
    pub admin: Admin,
    /// Metrics.
    pub telemetry: Arc<Telemetry>,
    /// The waiting visitors' streams.
    pub feeds: Arc<Feeds>,
    /// The number of open streams.
    pub streams: Arc<Streams>,
    /// The discovery document.
    pub discovery: Bytes,
    /// The description of the REST API.
    pub openapi: Bytes,
    /// The delivery of notices, if it is configured.
    pub notices: Option<Arc<Notices>>,
    /// The SNS topics.
    pub topics: Topics,
    /// The rate limits by address.
    pub rate_limits: RateLimits,
    /// Permits for bodies above the usual limit.
    pub large_bodies: Arc<Semaphore>,
    /// Whether the service is ready.
    pub readiness: Readiness,
    /// The log of refused operator calls.
    pub refusals: RefusalLog,
    request_ids: RequestIds,
}

impl App {
    /// Puts the application together.
    ///
    /// # Errors
    /// When the discovery document cannot be written as JSON.
    pub fn new(
        lobby: Arc<Lobby>,
        site: Site,
        master: &MasterSecret,
        admin: Admin,
        telemetry: Arc<Telemetry>,
        feeds: Arc<Feeds>,
    ) -> Result<Self, serde_json::Error> {
        let discovery = serde_json::to_vec(&Discovery::new(&site.issuer, lobby.clients().iter()))?.into();
        let request_ids = RequestIds::new(u64::from_le_bytes(random(lobby.entropy())));
        let (flows, arrivals) = (FlowSeal::new(master), ArrivalsSeal::new(master));
        let (notices, topics) = (None, Topics::new());
        let large_bodies = Arc::new(Semaphore::new(policy::LARGE_BODIES));
        let rate_limits = RateLimits::new(&site.limits, lobby.clock(), &telemetry);
        let (streams, openapi) = (Streams::new(usize::MAX), with_server(&site.issuer));
        Ok(Self {
            lobby,
            site,
            flows,
            arrivals,
            admin,
            telemetry,
            feeds,
            streams,
            discovery,
            openapi,
            notices,
            topics,
            rate_limits,
            large_bodies,
            readiness: Readiness::default(),
            refusals: RefusalLog::default(),
            request_ids,
        })
    }

    /// With the delivery of notices.
    #[must_use]
    pub fn with_notices(self, notices: Option<Arc<Notices>>) -> Self {
        Self { notices, ..self }
    }

    /// With this limit of streams per address.
    #[must_use]
    pub fn with_streams(self, streams: Arc<Streams>) -> Self {
        Self { streams, ..self }
    }

    /// With SNS topics.
    #[must_use]
    pub fn with_topics(self, topics: Topics) -> Self {
        Self { topics, ..self }
    }

    /// An ID for a request, for logs and error pages: unique in this process, and unlikely to occur elsewhere.
    pub fn next_request_id(&self) -> String {
        self.request_ids.next()
    }

    /// `path` as browsers request it.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.site.base_path)
    }
}

struct RequestIds {
    start: u64,
    count: AtomicU64,
}

impl RequestIds {
    const fn new(start: u64) -> Self {
        Self { start, count: AtomicU64::new(0) }
    }

    fn next(&self) -> String {
        // An odd multiplier permutes the numbers, so that the IDs of one process do not look alike.
        const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}", self.start.wrapping_add(count.wrapping_mul(STRIDE)))
    }
}

/// The feeds by event, as [`Feeds`] keeps them.
pub(super) type ByEvent<T> = HashMap<EventId, T>;
