//! The cookie check: a browser gets a place in line only after it has shown that it keeps cookies.
//!
//! The place is kept in a cookie. A browser that keeps none would wait through the whole line and be refused at its turn,
//! and a program without cookies would take a place with every request. So a newcomer is given the browser cookie and
//! redirected once to the same request, which bears a mark then: whoever comes with the mark and without the cookie
//! keeps no cookies. ADR 17.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse};

use super::answer::see_other;
use crate::oauth::{Params, paths};
use crate::web::App;
use crate::web::cookies::{self, Browser};

/// The parameter that marks the second request. OAuth parameters are registered without such a prefix, and ours are read
/// by their names, so it means nothing to a login.
const MARK: &str = "anteroom_cookie_check";

/// What is known of a browser's cookies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cookies {
    /// The browser has sent one of ours.
    Kept,
    /// It has sent none, and was not asked to before.
    Untried,
    /// It was given one and has not sent it back.
    Lost,
}

impl Cookies {
    /// What the request tells, for the line of `event`.
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

/// Gives the browser its cookie and sends it to the same authorization request once more.
pub fn try_once(app: &App, params: &Params) -> HttpResponse {
    let mut answer = see_other(&format!("{}?{}&{MARK}=1", app.path(paths::AUTHORIZE), params.encode()));
    let browser = Browser::new(app);
    cookies::set(&mut answer, &browser.cookie(app));
    cookies::set(&mut answer, &browser.check_cookie(app));
    answer
}

/// Where a browser tries again that lost its cookie: the same address without the mark. A posted form cannot be linked to.
pub fn again(request: &HttpRequest) -> Option<String> {
    let query = Params::parse(request.query_string().as_bytes()).without(MARK).encode();
    (request.method() == Method::GET).then(|| format!("{}?{query}", request.uri().path()))
}
