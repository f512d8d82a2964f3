//! The headers that every response carries, whoever answers: a handler, an error page, the answer to an unknown path or
//! method. The one place that sets them, around the whole application.
//!
//! What the HTTP library answers before there is a request (a malformed or oversized head, a head that does not arrive
//! in time) does not pass here; those responses have no body.

use actix_web::http::header;
use actix_web::middleware::DefaultHeaders;

use super::{Mounts, Site};
use crate::policy;

/// The headers of all that an address serves.
pub fn common_headers(site: &Site, mounts: Mounts) -> DefaultHeaders {
    let headers = DefaultHeaders::new().add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
    // The private address speaks plain HTTP, where the header must not be sent (RFC 6797 §7.2).
    if !site.hsts || mounts == Mounts::Private {
        return headers;
    }
    headers.add((header::STRICT_TRANSPORT_SECURITY, format!("max-age={}", policy::HSTS_MAX_AGE.as_secs())))
}
