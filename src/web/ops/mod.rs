//! For whoever runs the service: health and metrics.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;
use serde_json::json;

use crate::lobby::Urgency;
use crate::telemetry::GateMetric;
use crate::web::App;

/// `GET /health/live`: the process answers.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(json!({ "status": "live" }))
}

/// `GET /health/ready`: visitors can join and log in; if not, what is wrong.
pub async fn ready(app: Data<App>) -> HttpResponse {
    match app.lobby.store().health().await {
        Ok(()) => HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(json!({ "status": "ready", "store": "ok" })),
        Err(error) => HttpResponse::ServiceUnavailable()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(json!({ "status": "not ready", "store": error.to_string() })),
    }
}

/// `GET /metrics`: OpenMetrics text, as Prometheus reads it.
pub async fn metrics(app: Data<App>) -> HttpResponse {
    app.telemetry.show_rooms(app.lobby.rooms().map(|room| (room.settings.id.as_str(), room.board.counters())));
    for room in app.lobby.rooms().filter(|room| room.settings.gate.is_some()) {
        let gate = if room.is_open() { GateMetric::Open } else { GateMetric::Closed };
        app.telemetry.show_gate(room.settings.id.as_str(), gate);
    }
    for urgency in Urgency::ALL {
        let queue = app.lobby.signing();
        app.telemetry.show_signing(urgency.name(), queue.taken(urgency) as u64, queue.refused(urgency));
    }
    HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(app.telemetry.render())
}
