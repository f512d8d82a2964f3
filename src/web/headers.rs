//! The headers of every response, whether it comes from a handler, an error page, an unknown path or method, or a
//! connection that refuses an invalid request. They are defined only here.

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::DefaultHeaders;

use super::{Mounts, Site};
use crate::policy;

/// A header with its value.
pub type Header = (HeaderName, HeaderValue);

/// The headers of everything that an address serves.
pub fn on_every_response(site: &Site, mounts: Mounts) -> Vec<Header> {
    let mut headers = vec![(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))];
    // The private address speaks plain HTTP, where the header must not be sent (RFC 6797 §7.2).
    if site.hsts && mounts != Mounts::Private {
        let value = HeaderValue::try_from(format!("max-age={}", policy::HSTS_MAX_AGE.as_secs()));
        headers.extend(value.ok().map(|value| (header::STRICT_TRANSPORT_SECURITY, value)));
    }
    headers
}

/// The same as a middleware for a whole application.
pub fn common_headers(site: &Site, mounts: Mounts) -> DefaultHeaders {
    on_every_response(site, mounts).into_iter().fold(DefaultHeaders::new(), DefaultHeaders::add)
}
