//! The shop's pages: askama templates and what each of them shows. No rules here.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::ContentType;
use askama::Template;

/// The shop window.
#[derive(Template)]
#[template(path = "shop/window.html")]
pub(super) struct Window<'a> {
    /// Who holds the waiting room, shown for those who want to look behind the curtain.
    pub(super) issuer: &'a str,
    /// The visitor, when logged in.
    pub(super) seat: Option<Seat>,
}

/// A visitor inside, as the page names them.
pub(super) struct Seat {
    /// A name to greet by.
    pub(super) name: String,
    /// The subject identifier.
    pub(super) subject: String,
    /// Place in line, when the issuer tells it.
    pub(super) position: Option<u64>,
    /// Whole minutes until the session ends, rounded up.
    pub(super) minutes: u64,
}

/// Something went wrong.
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
            tracing::error!(%error, "a page of the shop could not be rendered");
            HttpResponse::InternalServerError().finish()
        }
    }
}
