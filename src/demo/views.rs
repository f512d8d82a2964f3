//! The data of the shop's pages, one struct per template.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::ContentType;
use askama::Template;

/// The shop window.
#[derive(Template)]
#[template(path = "shop/window.html")]
pub(super) struct Window<'a> {
    /// The issuer, for visitors who want to know it.
    pub(super) issuer: &'a str,
    /// The visitor, when logged in.
    pub(super) seat: Option<Seat>,
}

/// A visitor with a session.
pub(super) struct Seat {
    /// A display name.
    pub(super) name: String,
    /// The subject identifier.
    pub(super) subject: String,
    /// Position in the queue, if the issuer reports it.
    pub(super) position: Option<u64>,
    /// Whole minutes until the session ends, rounded up.
    pub(super) minutes: u64,
}

/// The error page.
#[derive(Template)]
#[template(path = "shop/sorry.html")]
pub(super) struct Sorry {
    /// One sentence for the visitor.
    pub(super) reason: String,
}

/// Renders `view` as an HTML page.
pub(super) fn page(status: StatusCode, view: &impl Template) -> HttpResponse {
    match view.render() {
        Ok(html) => HttpResponse::build(status).insert_header(ContentType::html()).body(html),
        Err(error) => {
            tracing::error!(%error, "a page of the shop cannot be rendered; the answer is 500");
            HttpResponse::InternalServerError().finish()
        }
    }
}
