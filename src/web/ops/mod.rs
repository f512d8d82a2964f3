//! Health and metrics for the service's operators.

pub mod metrics;
mod readiness;

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use crate::web::App;
use crate::web::extract::Body;
use crate::web::private::access::is_operator;

pub use readiness::Readiness;

/// `GET /health/live`: the process answers.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(json!({ "status": "live" }))
}

/// `GET /health/ready`: visitors can join and log in. Load balancers call it without a key; the cause of a failure goes
/// to operators and the log only.
pub async fn ready(request: HttpRequest, app: Data<App>, body: Body) -> HttpResponse {
    let outcome = app.readiness.check(&app.lobby).await;
    if matches!(outcome, Some(Ok(()))) {
        return HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(json!({ "status": "ready", "store": "ok" }));
    }
    let mut answer = json!({ "status": "not ready" });
    if let Some(Err(error)) = outcome
        && is_operator(&app, &request, &body)
    {
        answer["store"] = error.to_string().into();
    }
    HttpResponse::ServiceUnavailable().insert_header((header::CACHE_CONTROL, "no-store")).json(answer)
}
