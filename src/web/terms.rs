//! Who may hold a connection, as far as addresses and paths tell: what `http` has to be told of what is asked.

use std::net::IpAddr;

use actix_http::body::BoxBody;
use actix_http::{Request, Response};
use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpMessage, HttpResponse};
use serde_json::json;

use super::routes::is_for_operators;
use super::{App, Mounts};
use crate::config::contains;
use crate::http::{AddressKey, Terms};
use crate::policy;

/// Tries again by itself, as whoever reads it would have to.
const PAGE: &str = concat!(
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"robots\" content=\"noindex\">",
    "<meta http-equiv=\"refresh\" content=\"10\"><title>One moment</title>",
    "<p>Too many people are connected at the moment. This page tries again by itself.</p></html>\n"
);

/// The terms of a listener of the application.
pub struct ListenerTerms {
    app: Data<App>,
    mounts: Mounts,
}

impl ListenerTerms {
    /// Those of a listener that serves `mounts`.
    pub const fn new(app: Data<App>, mounts: Mounts) -> Self {
        Self { app, mounts }
    }
}

impl Terms for ListenerTerms {
    fn key(&self, peer: IpAddr) -> Option<AddressKey> {
        let site = &self.app.site;
        let free = self.mounts == Mounts::Private || site.limits.exempts(peer) || contains(&site.trusted_proxies, peer);
        (!free).then(|| AddressKey::of(peer))
    }

    fn is_for_operators(&self, path: &str) -> bool {
        match self.mounts {
            Mounts::All => path.strip_prefix(self.app.site.base_path.as_str()).is_some_and(is_for_operators),
            Mounts::Public => false,
            Mounts::Private => true,
        }
    }

    fn refuse(&self, request: &Request) -> Response<BoxBody> {
        let accepted = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let mut response = HttpResponse::ServiceUnavailable();
        response
            .insert_header((header::RETRY_AFTER, policy::CONNECTIONS_TAKEN_RETRY.as_secs()))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
        if accepted.is_some_and(|accepted| accepted.contains("text/html")) {
            response.content_type("text/html; charset=utf-8").body(PAGE).into()
        } else {
            response.json(json!({ "error": "All connections are taken" })).into()
        }
    }
}
