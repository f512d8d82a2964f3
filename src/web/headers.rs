//! The headers that every response carries, whoever answers: a handler, an error page, the answer to an unknown path or
//! method, a connection that refuses what is no request. The one place that says which they are.

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::DefaultHeaders;

use super::{Mounts, Site};
use crate::policy;

/// A header with its value.
pub type Header = (HeaderName, HeaderValue);

/// The headers of all that an address serves.
pub fn on_every_response(site: &Site, mounts: Mounts) -> Vec<Header> {
    let mut headers = vec![(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))];
    // The private address speaks plain HTTP, where the header must not be sent (RFC 6797 §7.2).
    if site.hsts && mounts != Mounts::Private {
        let value = HeaderValue::try_from(format!("max-age={}", policy::HSTS_MAX_AGE.as_secs()));
        headers.extend(value.ok().map(|value| (header::STRICT_TRANSPORT_SECURITY, value)));
    }
    headers
}

/// The same, around a whole application.
pub fn common_headers(site: &Site, mounts: Mounts) -> DefaultHeaders {
    on_every_response(site, mounts).into_iter().fold(DefaultHeaders::new(), DefaultHeaders::add)
}
