//! Cross-origin requests (Fetch standard): which endpoints a browser application may call from its own page.
//!
//! No credentials are ever allowed, so any origin may ask: what is answered depends on the request alone.

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderName, HeaderValue};

/// On every answer that a page of another origin may read.
pub const ANY_ORIGIN: (HeaderName, HeaderValue) = (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));

/// The answer to a preflight.
pub async fn preflight() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header(ANY_ORIGIN)
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type"))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "86400"))
        .finish()
}
