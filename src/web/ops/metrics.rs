//! `GET /metrics`: the metrics, and who may read them on the public address.

use actix_web::http::header;
use actix_web::http::header::HeaderMap;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use crate::http::LargeResponses;
use crate::lobby::Urgency;
use crate::telemetry::GateMetric;
use crate::web::App;
use crate::web::extract::Body;
use crate::web::private::access::operator;
use crate::web::respond::Problem;
use crate::web::terms::busy;

/// Prefixes of headers that proxies add when they forward a request.
const ADDED_BY_PROXIES: [&str; 4] = ["x-forwarded", "x-original-", "x-envoy-", "cf-"];

/// Other such headers: RFC 7239, RFC 9110 §7.6.3, RFC 8586, and those of proxies and content networks.
const OF_PROXIES: [&str; 24] = [
    "forwarded",
    "via",
    "cdn-loop",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "client-ip",
    "proxy-client-ip",
    "wl-proxy-client-ip",
    "do-connecting-ip",
    "x-coming-from",
    "forwarded-for",
    "x-forward-for",
    "x-amzn-trace-id",
    "x-cloud-trace-context",
    "true-client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-amz-cf-id",
    "x-proxyuser-ip",
    "x-remote-ip",
    "x-varnish",
];

/// Whether a proxy forwarded the request, so that the peer is not its origin.
fn is_passed_on(headers: &HeaderMap) -> bool {
    headers
        .keys()
        .map(header::HeaderName::as_str)
        .any(|name| OF_PROXIES.contains(&name) || ADDED_BY_PROXIES.iter().any(|beginning| name.starts_with(beginning)))
}

/// On the private address: for every client.
pub async fn open(request: HttpRequest, app: Data<App>) -> HttpResponse {
    metrics(&request, &app)
}

/// On the public address: for operators, and without a key for direct peers in `metrics.allow`.
pub async fn guarded(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    let allowed = request.peer_addr().is_some_and(|peer| app.site.metrics.allows(peer.ip()));
    if !allowed || is_passed_on(request.headers()) {
        operator(&app, &request, &body)?;
    }
    Ok(metrics(&request, &app))
}

/// OpenMetrics text for Prometheus. It takes a millisecond to render and is long, so it is not rendered for clients
/// that do not read it.
fn metrics(request: &HttpRequest, app: &App) -> HttpResponse {
    let large = request.app_data::<LargeResponses>();
    if large.is_some_and(|large| !large.have_room_for(app.telemetry.rendered_length())) {
        app.telemetry.connections().long_response_refused();
        return busy();
    }
    app.telemetry.show_rooms(app.lobby.rooms().map(|room| (room.settings.id.as_str(), room.cache.counters())));
    for room in app.lobby.rooms().filter(|room| room.settings.gate.is_some()) {
        let gate = if room.is_open() { GateMetric::Open } else { GateMetric::Closed };
        app.telemetry.show_gate(room.settings.id.as_str(), gate);
    }
    for urgency in Urgency::ALL {
        let queue = app.lobby.signing();
        app.telemetry.show_signing(urgency.name(), queue.slots_in_use(urgency) as u64, queue.refused(urgency));
    }
    HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(app.telemetry.render())
}
