//! The answer to an authorization request, sent to the redirect URI: a code or an error, always with `iss` (RFC 9207)
//! and the client's own `state`.

use actix_web::HttpResponse;
use actix_web::http::header;

use crate::oauth::{OAuthError, Reply, ResponseMode};
use crate::web::App;
use crate::web::pages::views::FormPostPage;
use crate::web::respond::{ContentPolicy, page_response};

/// Sends a code.
pub fn granted(app: &App, reply: &Reply, site: &str, code: &str) -> HttpResponse {
    answer(app, reply, site, &[("code", code)])
}

/// Sends an error.
pub fn refused(app: &App, reply: &Reply, site: &str, error: &OAuthError) -> HttpResponse {
    tracing::debug!(%error, "an authorization request is refused");
    answer(app, reply, site, &[("error", error.code.as_str()), ("error_description", error.description())])
}

fn answer(app: &App, reply: &Reply, site: &str, content: &[(&str, &str)]) -> HttpResponse {
    let state = reply.state.as_deref().map(|state| ("state", state));
    let issuer = ("iss", app.lobby.issuer());
    let fields: Vec<_> = content.iter().copied().chain(state).chain([issuer]).collect();
    match reply.mode {
        ResponseMode::Query => see_other(&reply.redirect.with_query(&fields)),
        ResponseMode::FormPost => {
            let page =
                FormPostPage { base_path: &app.site.base_path, site, action: reply.redirect.as_str(), fields: &fields };
            page_response(&mut HttpResponse::Ok(), &page, &ContentPolicy::leading_to(&reply.redirect))
        }
    }
}

/// 303: the browser continues with GET, whatever the request's method was (RFC 9700 §4.12 forbids 307).
pub fn see_other(target: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((header::LOCATION, target))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "strict-origin"))
        .finish()
}
