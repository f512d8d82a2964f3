//! Cross-origin requests (Fetch standard): which endpoints a browser application may call from its own page.
//!
//! The private calls of the REST contract are among them: the control panel of the retired system is a page that signs
//! them. It does not look at the status, so a refusal of its credentials must be one that it cannot read: without a
//! header of this kind, the browser fails its call.
//! No credentials are ever allowed, so any origin may ask: what is answered depends on the request alone.

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderName, HeaderValue};

/// On every answer that a page of another origin may read.
pub const ANY_ORIGIN: (HeaderName, HeaderValue) = (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));

/// Beside it, on errors: the headers that such a page may read of them, besides those that it always may.
pub const EXPOSED: (HeaderName, HeaderValue) =
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After, WWW-Authenticate"));

/// The answer to a preflight.
pub async fn preflight() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header(ANY_ORIGIN)
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"))
        .insert_header((
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Authorization, Content-Type, X-Amz-Content-Sha256, X-Amz-Date, X-Amz-Security-Token, X-Api-Key, \
             X-Requested-With",
        ))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "86400"))
        .finish()
}
