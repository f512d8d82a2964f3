//! Cross-origin requests (Fetch standard): which endpoints a browser application may call from its own page.
//!
//! The private calls of the REST contract are among them, because the retired system's control panel is a page that
//! signs them. The panel ignores the status, so a refusal of its credentials must be unreadable to it: without a CORS
//! header, the browser fails its call. Credentials are never allowed, so any origin may call: the answer depends on the
//! request alone.

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderName, HeaderValue};

/// For answers that pages of other origins may read.
pub const ANY_ORIGIN: (HeaderName, HeaderValue) = (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));

/// For errors, beside it: the additional response headers that such pages may read.
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
