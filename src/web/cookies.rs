//! The cookies: the visitor's place in a line, the name of the browser that a flow is bound to, and what the browser
//! remembers of its login requests.
//!
//! `__Host-…; Secure; HttpOnly; SameSite=Lax; Path=/` (RFC 6265bis §4.1.3.2). Where browsers come by plain http (only
//! loopback is allowed to), `Secure` cookies would be dropped: then the name has no prefix and the flag is left out.

use std::borrow::Cow;

use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use super::App;
use crate::ambient::random;
use crate::http::cookie_values;
use crate::policy;

/// The random name of a browser.
#[derive(Clone)]
pub struct Browser(String);

impl Browser {
    /// The browser of a request, if it has been here before.
    pub fn of(app: &App, request: &HttpRequest) -> Option<Self> {
        let name = name(app, "browser");
        let is_name = |value: &str| URL_SAFE_NO_PAD.decode(value).is_ok_and(|bytes| bytes.len() == 16);
        cookie_values(request.headers(), &name).find(|value| is_name(value)).map(|value| Self(value.into_owned()))
    }

    /// A name for a browser that has none.
    pub fn new(app: &App) -> Self {
        Self(URL_SAFE_NO_PAD.encode(random::<16>(app.lobby.entropy())))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a flow that was bound to `other` is this browser's.
    pub fn is(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }

    /// The cookie that keeps it.
    pub fn cookie(&self, app: &App) -> Cookie<'static> {
        cookie(app, "browser", self.0.clone())
    }
}

/// The visitor's place in the line of `event`, as the browser keeps it.
pub fn place(app: &App, request: &HttpRequest, event: &str) -> Option<String> {
    cookie_values(request.headers(), &name(app, &place_name(event))).next().map(Cow::into_owned)
}

/// The cookie that keeps a place.
pub fn place_cookie(app: &App, event: &str, value: String) -> Cookie<'static> {
    cookie(app, &place_name(event), value)
}

/// What the browser remembers of its login requests, sealed.
pub fn arrivals(app: &App, request: &HttpRequest) -> Option<String> {
    cookie_values(request.headers(), &name(app, "arrivals")).next().map(Cow::into_owned)
}

/// The cookie that keeps it.
pub fn arrivals_cookie(app: &App, value: String) -> Cookie<'static> {
    cookie(app, "arrivals", value)
}

/// A cookie that the answer to a request sets, also when the request fails.
struct WithProblem(Cookie<'static>);

/// Has the answer to `request` set a cookie, should it be a problem's.
pub fn set_with_problem(request: &HttpRequest, cookie: Cookie<'static>) {
    request.extensions_mut().insert(WithProblem(cookie));
}

/// Adds to a problem's answer the cookie that the handler left for it.
pub fn add_to_problem(request: &HttpRequest, answer: &mut HttpResponse) {
    if let Some(WithProblem(cookie)) = request.extensions().get::<WithProblem>() {
        set(answer, cookie);
    }
}

/// Adds a cookie to an answer.
pub fn set(answer: &mut HttpResponse, cookie: &Cookie<'_>) {
    if let Err(error) = answer.add_cookie(cookie) {
        tracing::error!(%error, "a cookie cannot be set");
    }
}

fn place_name(event: &str) -> String {
    format!("place-{event}")
}

fn name(app: &App, suffix: &str) -> String {
    if app.site.https { format!("__Host-anteroom-{suffix}") } else { format!("anteroom-{suffix}") }
}

fn cookie(app: &App, suffix: &str, value: String) -> Cookie<'static> {
    let lifetime = i64::try_from(policy::COOKIE_LIFETIME.as_secs()).unwrap_or(i64::MAX);
    Cookie::build(name(app, suffix), value)
        .path("/")
        .secure(app.site.https)
        .http_only(true)
        .same_site(SameSite::Lax)
        .max_age(Duration::seconds(lifetime))
        .finish()
}
