//! The shop's five addresses: window, login, callback, logout, stylesheet.
//!
//! Owns cookies, and binds a login to the browser that began it. The protocol with the issuer belongs to
//! [`super::relying_party`].

use std::borrow::Cow;

use actix_web::cookie::{Cookie, SameSite, time};
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::error::ShopError;
use super::relying_party::LoginSecrets;
use super::{LOGIN_LIFETIME, State, views};
use crate::ambient::random;
use crate::http::cookie_values;

/// The cookie that identifies the browser of a login. It serves several tabs.
const BROWSER_COOKIE: &str = "shop_browser";

/// The cookie of the visitor's session.
const SESSION_COOKIE: &str = "shop_session";

/// Length of the cookies' values: 32 random bytes in base64url.
const TOKEN_CHARACTERS: usize = 43;

/// A pending login.
pub(super) struct Login {
    browser: String,
    secrets: LoginSecrets,
}

/// `GET /`: the window, with the login link or the visitor's seat.
pub(super) async fn window(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    let now = state.clock.now();
    let seat = sent(&request, SESSION_COOKIE).and_then(|session| {
        state.visitors.read(&session, now, |visitor, until| views::Seat {
            name: visitor.name.clone(),
            subject: visitor.subject.clone(),
            position: visitor.position,
            minutes: until.since(now).as_secs().div_ceil(60),
        })
    });
    views::page(StatusCode::OK, &views::Window { issuer: state.relying_party.issuer(), seat })
}

/// The only parameter of OpenID Connect Core 1.0 §4 that is used. `target_link_uri` is not: the shop has one page, and
/// following a foreign link would make it an open redirector.
#[derive(Deserialize)]
pub(super) struct LoginQuery {
    iss: Option<String>,
}

/// `GET /login`: sends the browser to the issuer. Also the `initiate_login_uri`.
pub(super) async fn login(
    request: HttpRequest,
    query: web::Query<LoginQuery>,
    state: web::Data<State>,
) -> Result<HttpResponse, ShopError> {
    if query.iss.as_deref().is_some_and(|iss| iss != state.relying_party.issuer()) {
        return Err(ShopError::ForeignIssuer);
    }
    let login = state.relying_party.request_login().await?;
    let browser = browser_mark(&request).unwrap_or_else(|| token(&state));
    let cookie = cookie(&state, BROWSER_COOKIE, browser.clone(), LOGIN_LIFETIME.as_secs());
    state.logins.put(login.state, Login { browser, secrets: login.secrets }, state.clock.now() + LOGIN_LIFETIME);
    Ok(redirect(login.url.as_str(), cookie))
}

/// The answer to an authorization request (RFC 6749 §4.1.2, RFC 9207 §2).
#[derive(Deserialize)]
pub(super) struct CallbackQuery {
    state: String,
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

/// `GET /callback`: the issuer's answer, carried by the browser and therefore untrusted.
pub(super) async fn callback(
    request: HttpRequest,
    query: web::Query<CallbackQuery>,
    state: web::Data<State>,
) -> Result<HttpResponse, ShopError> {
    let query = query.into_inner();
    // First check that this browser began the login. Taking it also makes it single-use.
    let login = state.logins.take(&query.state, state.clock.now()).ok_or(ShopError::UnknownLogin)?;
    if browser_mark(&request).as_ref() != Some(&login.browser) {
        return Err(ShopError::UnknownLogin);
    }
    state.relying_party.check_issuer(query.iss.as_deref()).await?;
    let code = match (query.code, query.error) {
        (Some(code), None) => code,
        (_, Some(error)) => return Err(ShopError::Declined(error)),
        (None, None) => return Err(ShopError::Malformed),
    };
    let visitor = state.relying_party.complete_login(code, login.secrets).await?;

    // A new session ID, whatever the browser had before.
    let now = state.clock.now();
    if let Some(old) = sent(&request, SESSION_COOKIE) {
        state.visitors.take(&old, now);
    }
    let (session, until) = (token(&state), visitor.until);
    state.visitors.put(session.clone(), visitor, until);
    Ok(redirect("/", cookie(&state, SESSION_COOKIE, session, until.since(now).as_secs())))
}

/// `POST /logout`: ends the shop's session, then the issuer's. POST, so that links and images on other sites cannot
/// cause it: a `SameSite=Lax` cookie is not sent with a cross-site POST.
pub(super) async fn logout(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    let session = sent(&request, SESSION_COOKIE);
    let visitor = session.and_then(|session| state.visitors.take(&session, state.clock.now()));
    let elsewhere = visitor.and_then(|visitor| state.relying_party.logout_url(&visitor));
    redirect(elsewhere.as_ref().map_or("/", |url| url.as_str()), cookie(&state, SESSION_COOKIE, String::new(), 0))
}

/// `GET /shop.css`.
pub(super) async fn stylesheet() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/css; charset=utf-8")
        .insert_header(("Cache-Control", "public, max-age=300"))
        .body(include_str!("../../assets/shop.css"))
}

/// Every other address.
pub(super) async fn nowhere() -> Result<HttpResponse, ShopError> {
    Err(ShopError::Nowhere)
}

/// The browser's cookie, if it has a valid form.
fn browser_mark(request: &HttpRequest) -> Option<String> {
    sent(request, BROWSER_COOKIE).filter(|mark| mark.len() == TOKEN_CHARACTERS)
}

/// The value of a cookie that the browser sent.
fn sent(request: &HttpRequest, name: &str) -> Option<String> {
    cookie_values(request.headers(), name).next().map(Cow::into_owned)
}

fn token(state: &State) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(random::<32>(state.entropy.as_ref()))
}

/// A cookie that scripts cannot read and that other sites' requests do not send, except when the visitor follows a link
/// or redirect here, as with the callback.
fn cookie(state: &State, name: &'static str, value: String, seconds: u64) -> Cookie<'static> {
    Cookie::build(name, value)
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(state.secure_cookies)
        .max_age(time::Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX)))
        .finish()
}

/// 303, so that the browser continues with GET.
fn redirect(to: &str, cookie: Cookie<'static>) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, to)).cookie(cookie).finish()
}
