//! Discovery and the JWK Set.

use actix_web::http::header;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpResponse, Responder};

use crate::web::App;
use crate::web::cors::ANY_ORIGIN;

/// `GET /.well-known/openid-configuration` and `/.well-known/oauth-authorization-server`.
pub async fn discovery(app: Data<App>) -> impl Responder {
    json(app.discovery.clone(), "application/json")
}

/// `GET /.well-known/jwks.json`.
pub async fn jwks(app: Data<App>) -> impl Responder {
    let keys = app.lobby.keys().jwks(app.lobby.now()).to_string();
    json(keys.into(), "application/jwk-set+json")
}

/// Relying parties fetch these on their own schedule. A few minutes in a cache spare the provider a rush, and are far
/// below the time for which a new key is published before it signs.
fn json(body: Bytes, media_type: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(media_type)
        .insert_header(ANY_ORIGIN)
        .insert_header((header::CACHE_CONTROL, "public, max-age=300"))
        .body(body)
}
