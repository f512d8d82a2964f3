//! The demonstration shop: a site that admits visitors through Anteroom, and an example to copy from.
//!
//! It is an ordinary OpenID Connect relying party, written with the `openidconnect` crate as any integrator would write
//! one. It owns its pages, its pending logins and its own sessions. It must not use Anteroom's internals: it talks to
//! the issuer over HTTP alone, so that whatever works here works from any site. (Of the crate it takes only
//! [`crate::ambient`], for the clock, randomness and secrets.)
//!
//! Reading order: `relying_party` speaks OpenID Connect, `pages` answers the browser, `expiring_map` stores logins and
//! sessions, `error` maps errors to pages.

mod error;
mod expiring_map;
mod pages;
mod relying_party;
#[cfg(test)]
mod tests;
mod views;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::DefaultHeaders;
use actix_web::{App, web};
use url::Url;

use crate::ambient::{Clock, Entropy, Secret};
use error::ShopError;
use expiring_map::ExpiringMap;
use relying_party::{RelyingParty, Visitor};

/// The lifetime of a pending login. The visitor spends it in the waiting room; a load balancer on AWS allows the same
/// 15 minutes. A visitor who waits longer is sent back to [`Shop::initiate_login_uri`] and starts again without losing
/// the place.
const LOGIN_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// The most pending logins and sessions that the shop stores: some megabytes. Above it, the one that ends soonest is
/// dropped.
const SHELF_SIZE: usize = 4096;

/// The timeout of requests to the issuer, which answers discovery, token and userInfo requests in milliseconds.
const ISSUER_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of the shop.
#[derive(Debug)]
pub struct Shop {
    /// The origin that browsers use: `http://127.0.0.1:8090`.
    pub public_url: Url,
    /// The issuer identifier of the provider, byte for byte (OpenID Connect Discovery 1.0 §4.3).
    pub issuer: String,
    /// The client ID that the provider assigned.
    pub client_id: String,
    /// Its client secret; UTF-8.
    pub client_secret: Secret,
}

impl Shop {
    /// The only redirect URI, to be registered with the provider exactly.
    pub fn redirect_uri(&self) -> Url {
        self.page("/callback")
    }

    /// Where the provider may send a browser to begin a login (OpenID Connect Core 1.0 §4).
    pub fn initiate_login_uri(&self) -> Url {
        self.page("/login")
    }

    /// Where the provider sends a browser after a logout (RP-Initiated Logout 1.0 §2).
    pub fn post_logout_redirect_uri(&self) -> Url {
        self.page("/")
    }

    fn page(&self, path: &str) -> Url {
        let mut url = self.public_url.clone();
        url.set_path(path);
        url.set_query(None);
        url
    }
}

/// The shop, to be served on any number of threads: one is enough for a demonstration.
///
/// The redirect URI contains the port and must be registered before the first login. So bind the socket first, build
/// [`Shop::public_url`] from its address, register, then serve.
#[derive(Clone)]
pub struct ShopApp(web::Data<State>);

impl ShopApp {
    /// Opens the shop.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the issuer is not a URL or the secret is not UTF-8.
    pub fn new(shop: Shop, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> io::Result<Self> {
        Ok(Self(web::Data::new(State::new(shop, clock, entropy)?)))
    }

    /// The application of one thread.
    pub fn app(
        &self,
    ) -> App<
        impl ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<impl MessageBody + use<>>,
            Error = actix_web::Error,
            InitError = (),
        > + use<>,
    > {
        let headers = DefaultHeaders::new()
            .add(("Content-Security-Policy", self.0.content_security_policy.as_str()))
            .add(("X-Content-Type-Options", "nosniff"))
            .add(("Referrer-Policy", "no-referrer"))
            .add(("Cache-Control", "no-store"));
        App::new()
            .app_data(self.0.clone())
            .app_data(web::QueryConfig::default().error_handler(|_, _| ShopError::Malformed.into()))
            .route("/", web::get().to(pages::window))
            .route("/login", web::get().to(pages::login))
            .route("/callback", web::get().to(pages::callback))
            .route("/logout", web::post().to(pages::logout))
            .route("/shop.css", web::get().to(pages::stylesheet))
            .default_service(web::to(pages::nowhere))
            .wrap(headers)
    }
}

/// The state that all pages share.
struct State {
    relying_party: RelyingParty,
    /// Pending logins, by their `state` parameter.
    logins: ExpiringMap<pages::Login>,
    /// Sessions, by the value of their cookie.
    visitors: ExpiringMap<Visitor>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Whether cookies are for HTTPS alone: if the shop itself is on HTTPS.
    secure_cookies: bool,
    /// Headers of every answer.
    content_security_policy: String,
}

impl State {
    fn new(shop: Shop, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> io::Result<Self> {
        let secure_cookies = shop.public_url.scheme() == "https";
        let relying_party = RelyingParty::new(shop)?;
        Ok(Self {
            logins: ExpiringMap::new(SHELF_SIZE),
            visitors: ExpiringMap::new(SHELF_SIZE),
            clock,
            entropy,
            secure_cookies,
            // The log-out form is answered with a redirect to the issuer, and browsers apply `form-action` to the
            // redirect as well.
            content_security_policy: format!(
                "default-src 'none'; style-src 'self'; form-action 'self' {}; base-uri 'none'; frame-ancestors 'none'",
                relying_party.issuer_origin()
            ),
            relying_party,
        })
    }
}
