//! The cookies: the visitor's place in the queue, the name of the browser that a flow is bound to, and the first
//! arrivals of its login requests.
//!
//! `__Host-…; Secure; HttpOnly; SameSite=Lax; Path=/` (RFC 6265bis §4.1.3.2). Over plain HTTP, which only loopback may
//! use, browsers drop `Secure` cookies: the name then has no prefix and the flag is left out.

use std::borrow::Cow;

use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use super::App;
use crate::ambient::random;
use crate::http::{cookie_values, cookie_values_beginning};
use crate::lobby::BrowserName;
use crate::policy;

/// The random name of a browser.
#[derive(Clone)]
pub struct Browser(String);

/// Bytes of a browser's name.
const NAME_BYTES: usize = 16;

impl Browser {
    /// The browser of a request, if it has been here before.
    ///
    /// A browser that opens several tabs at first gets a name in the answer to each. The cookies of the cookie check
    /// then contain all of them, in the order in which they were set (RFC 6265 §5.4). The first is in the requests of
    /// all its tabs, so it is the browser's name.
    pub fn of(app: &App, request: &HttpRequest) -> Option<Self> {
        let (checks, browser) = (name(app, CHECK), name(app, "browser"));
        let headers = request.headers();
        let mut names = cookie_values_beginning(headers, &checks).chain(cookie_values(headers, &browser));
        names.find(|value| decode(value).is_some()).map(|value| Self(value.into_owned()))
    }

    /// A name for a browser that has none.
    pub fn new(app: &App) -> Self {
        Self(URL_SAFE_NO_PAD.encode(random::<NAME_BYTES>(app.lobby.entropy())))
    }

    /// The bytes of the name.
    pub fn bytes(&self) -> BrowserName {
        decode(&self.0).unwrap_or_default()
    }

    /// The cookie that an answer of the cookie check sets beside the browser's own, under a name that no other answer uses.
    pub fn check_cookie(&self, app: &App) -> Cookie<'static> {
        let mut cookie = cookie(app, &format!("{CHECK}{}", &self.0[..CHECK_NAME]), self.0.clone());
        cookie.set_max_age(seconds(policy::CHECK_COOKIE_LIFETIME));
        cookie
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a flow that was bound to `other` belongs to this browser.
    pub fn is(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }

    /// The cookie that keeps the name.
    pub fn cookie(&self, app: &App) -> Cookie<'static> {
        cookie(app, "browser", self.0.clone())
    }
}

/// The prefix of the cookie check's cookies, and how many letters of the browser's name follow it.
const CHECK: &str = "check-";
const CHECK_NAME: usize = 8;

fn decode(name: &str) -> Option<BrowserName> {
    let bytes = URL_SAFE_NO_PAD.decode(name).ok()?;
    bytes.try_into().ok()
}

/// The place cookie for `event`.
pub fn place(app: &App, request: &HttpRequest, event: &str) -> Option<String> {
    cookie_values(request.headers(), &name(app, &place_name(event))).next().map(Cow::into_owned)
}

/// The cookie that keeps a place.
pub fn place_cookie(app: &App, event: &str, value: String) -> Cookie<'static> {
    cookie(app, &place_name(event), value)
}

/// The browser's first arrivals, encrypted.
pub fn arrivals(app: &App, request: &HttpRequest) -> Option<String> {
    cookie_values(request.headers(), &name(app, "arrivals")).next().map(Cow::into_owned)
}

/// The cookie that keeps the first arrivals.
pub fn arrivals_cookie(app: &App, value: String) -> Cookie<'static> {
    cookie(app, "arrivals", value)
}

/// A cookie that the answer to a request sets even if the request fails.
struct WithProblem(Cookie<'static>);

/// Sets a cookie in the answer to `request` if that answer is a problem.
pub fn set_with_problem(request: &HttpRequest, cookie: Cookie<'static>) {
    request.extensions_mut().insert(WithProblem(cookie));
}

/// Adds the cookie that the handler left for a problem's answer.
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
    Cookie::build(name(app, suffix), value)
        .path("/")
        .secure(app.site.https)
        .http_only(true)
        .same_site(SameSite::Lax)
        .max_age(seconds(policy::COOKIE_LIFETIME))
        .finish()
}

fn seconds(duration: std::time::Duration) -> Duration {
    Duration::seconds(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
}
