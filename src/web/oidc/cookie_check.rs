//! The cookie check: a browser gets a place only after it has shown that it keeps cookies.
//!
//! The place is kept in a cookie. A browser that keeps none would wait through the whole queue and then be refused, and
//! a program without cookies would take a place with every request. So a new browser gets the browser cookie and is
//! redirected once to the same request with a mark: a request with the mark and without the cookie comes from a browser
//! that keeps no cookies. ADR 17.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse};

use super::answer::see_other;
use crate::oauth::{Params, paths};
use crate::web::App;
use crate::web::cookies::{self, Browser};

/// The parameter that marks the second request. Registered OAuth parameters have no such prefix, and a login ignores
/// it.
const MARK: &str = "anteroom_cookie_check";

/// What is known of a browser's cookies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cookies {
    /// The browser has sent a cookie of this provider.
    Kept,
    /// It has sent none, and was not tested before.
    Untried,
    /// It was given one and has not sent it back.
    Lost,
}

impl Cookies {
    /// The state that the request shows, for the queue of `event`.
    pub fn of(app: &App, request: &HttpRequest, event: &str) -> Self {
        if Browser::of(app, request).is_some() || cookies::place(app, request, event).is_some() {
            Self::Kept
        } else if Params::parse(request.query_string().as_bytes()).has(MARK) {
            Self::Lost
        } else {
            Self::Untried
        }
    }
}

/// Sets the browser cookie and redirects to the same authorization request.
pub fn try_once(app: &App, params: &Params) -> HttpResponse {
    let mut answer = see_other(&format!("{}?{}&{MARK}=1", app.path(paths::AUTHORIZE), params.encode()));
    let browser = Browser::new(app);
    cookies::set(&mut answer, &browser.cookie(app));
    cookies::set(&mut answer, &browser.check_cookie(app));
    answer
}

/// The address for another try after a lost cookie: the same without the mark. A posted form has none.
pub fn again(request: &HttpRequest) -> Option<String> {
    let query = Params::parse(request.query_string().as_bytes()).without(MARK).encode();
    (request.method() == Method::GET).then(|| format!("{}?{query}", request.uri().path()))
}
