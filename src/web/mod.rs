//! HTTP: requests in, typed calls to the lobby, answers out. One file per endpoint.
//!
//! Owns the paths ([`routes`]), the form of every answer and error ([`respond`]), cookies and headers. Makes no
//! decision about queues or logins: the lobby does.

mod access_log;
mod cookies;
mod cors;
mod crawlers;
mod departures;
mod extract;
mod feeds;
mod first_arrivals;
mod flow;
mod forwarded;
mod headers;
mod navigation;
mod oidc;
mod ops;
pub mod pages;
mod private;
mod public;
mod rate_limits;
mod respond;
mod routes;
mod state;
mod streams;
mod terms;
mod visitor_address;

pub use feeds::Feeds;
pub use headers::common_headers;
pub use private::keys::{KEYS, KeyList, ROTATE_KEYS, RotateKeys};
pub use private::sigv4;
pub use routes::{Mounts, mount};
pub use state::{App, Site, Topics};
pub use streams::Streams;
pub use terms::ListenerTerms;
pub use visitor_address::{RequestOrigin, VisitorAddress};
