//! The application's terms for `http`: which clients may hold a connection, judged by address and path, and the answers
//! that connections give without a handler. Those answers have the form and the headers of all others.

use std::net::IpAddr;

use actix_http::body::BoxBody;
use actix_http::{Request, Response, StatusCode};
use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpMessage, HttpResponse, HttpResponseBuilder};
use serde_json::json;

use super::access_log::request_id_header;
use super::headers::{Header, on_every_response};
use super::respond::{ContentPolicy, for_any_origin, no_store, oauth_json, page_headers};
use super::routes::is_for_operators;
use super::{App, Mounts};
use crate::config::contains;
use crate::http::{AddressKey, Refusal, Terms};
use crate::oauth::{ErrorCode, OAuthError, paths};
use crate::policy;

/// Retries by itself. It refers to no other file, whose request would be refused as well.
const PAGE: &str = concat!(
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"robots\" content=\"noindex\">",
    "<meta http-equiv=\"refresh\" content=\"10\"><title>One moment</title>",
    "<p>Too many people are connected at the moment. This page tries again by itself.</p></html>\n"
);

const TAKEN: &str = "All connections are taken";

/// The terms of a listener of the application.
pub struct ListenerTerms {
    app: Data<App>,
    mounts: Mounts,
    headers: Vec<Header>,
}

impl ListenerTerms {
    /// The terms of a listener that serves `mounts`.
    pub fn new(app: Data<App>, mounts: Mounts) -> Self {
        let headers = on_every_response(&app.site, mounts);
        Self { app, mounts, headers }
    }

    /// The path of a request below that of the public URL.
    fn below<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.app.site.base_path.as_str())
    }

    fn taken(&self, request: &Request) -> HttpResponse {
        let mut builder = unavailable();
        if matches!(self.below(request.path()), Some(paths::TOKEN | paths::USER_INFO)) {
            return oauth_json(&mut builder, &OAuthError::new(ErrorCode::TemporarilyUnavailable, TAKEN));
        }
        let accepted = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
        if accepted.is_some_and(|accepted| accepted.contains("text/html")) {
            return page_headers(&mut builder, &ContentPolicy::default()).body(PAGE);
        }
        for_any_origin(&mut builder).json(json!({ "error": TAKEN }))
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
            Mounts::All => self.below(path).is_some_and(is_for_operators),
            Mounts::Public => false,
            Mounts::Private => true,
        }
    }

    fn refuse(&self, refusal: Refusal<'_>) -> Response<BoxBody> {
        let answer = match refusal {
            Refusal::Taken(request) => self.taken(request),
            Refusal::Busy => busy(),
            Refusal::Unreadable(status) => {
                no_store(&mut HttpResponse::build(status)).json(json!({ "error": unreadable(status) }))
            }
            Refusal::Failed => {
                no_store(&mut unavailable()).json(json!({ "error": "The service is temporarily unavailable" }))
            }
        };
        let mut response = Response::from(answer);
        let id = request_id_header(&self.app.next_request_id());
        for (name, value) in self.headers.iter().cloned().chain(id) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The answer while too many large responses are being sent.
pub fn busy() -> HttpResponse {
    no_store(&mut unavailable()).json(json!({ "error": "Too much is being sent" }))
}

fn unavailable() -> HttpResponseBuilder {
    let mut builder = HttpResponse::ServiceUnavailable();
    builder.insert_header((header::RETRY_AFTER, policy::CONNECTIONS_TAKEN_RETRY.as_secs()));
    builder
}

const fn unreadable(status: StatusCode) -> &'static str {
    match status {
        StatusCode::REQUEST_TIMEOUT => "The request did not come in time",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "The head of the request is too long",
        _ => "The request cannot be read",
    }
}
