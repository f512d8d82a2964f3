//! The demonstration shop: a site that lets people in through Anteroom, and the example to copy from.
//!
//! It is an ordinary OpenID Connect relying party, written with the `openidconnect` crate as any
//! integrator would write one. It owns its pages, its pending logins and its own sessions. It must
//! not know anything of Anteroom's inside: it speaks to the issuer over HTTP alone, so that
//! whatever works here works from anybody's site. (Of the crate it takes only [`crate::ambient`],
//! for the clock, randomness and secrets.)
//!
//! Reading order: `relying_party` speaks OpenID Connect, `pages` answers the browser, `shelf`
//! remembers, `trouble` says what went wrong.

mod pages;
mod relying_party;
mod shelf;
#[cfg(test)]
mod tests;
mod trouble;
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
use relying_party::{RelyingParty, Visitor};
use shelf::Shelf;
use trouble::Trouble;

/// How long a login may be under way. The visitor spends it in the waiting room; a load balancer
/// on AWS allows the same 15 minutes. Who waits longer is sent back to [`Shop::initiate_login_uri`]
/// and starts afresh without losing the place.
const LOGIN_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Logins under way, and visitors inside, that the shop remembers: some megabytes at most. When
/// there are more, the one that would end soonest is forgotten.
const SHELF_SIZE: usize = 4096;

/// Patience with the issuer: discovery, token and userInfo requests are answered in milliseconds.
const ISSUER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the shop has to be told: where it stands and how the issuer knows it.
#[derive(Debug)]
pub struct Shop {
    /// The address that browsers reach it at, without a path: `http://127.0.0.1:8090`.
    pub public_url: Url,
    /// The issuer identifier of the provider, byte for byte (OpenID Connect Discovery 1.0 §4.3).
    pub issuer: String,
    /// The client ID that the provider gave the shop.
    pub client_id: String,
    /// The client secret that goes with it; UTF-8.
    pub client_secret: Secret,
}

impl Shop {
    /// The one redirect URI, to be registered with the provider exactly so.
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
/// Bind its socket before: the redirect URI has to be registered with the provider before the first login, and it
/// contains the port. So bind first, build [`Shop::public_url`] from the address, register, then serve.
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

    /// What answers on one thread.
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
            .app_data(web::QueryConfig::default().error_handler(|_, _| Trouble::Malformed.into()))
            .route("/", web::get().to(pages::window))
            .route("/login", web::get().to(pages::login))
            .route("/callback", web::get().to(pages::callback))
            .route("/logout", web::post().to(pages::logout))
            .route("/shop.css", web::get().to(pages::stylesheet))
            .default_service(web::to(pages::nowhere))
            .wrap(headers)
    }
}

/// All that the pages share.
struct State {
    relying_party: RelyingParty,
    /// Logins under way, by their `state` parameter.
    logins: Shelf<pages::Login>,
    /// Visitors inside, by the value of their session cookie.
    visitors: Shelf<Visitor>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Whether cookies are for HTTPS alone: so wherever the shop itself stands on HTTPS.
    secure_cookies: bool,
    /// Sent with every answer.
    content_security_policy: String,
}

impl State {
    fn new(shop: Shop, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> io::Result<Self> {
        let secure_cookies = shop.public_url.scheme() == "https";
        let relying_party = RelyingParty::new(shop)?;
        Ok(Self {
            logins: Shelf::new(SHELF_SIZE),
            visitors: Shelf::new(SHELF_SIZE),
            clock,
            entropy,
            secure_cookies,
            // The log-out form is answered with a redirect to the issuer, and browsers hold
            // `form-action` against the redirect as well.
            content_security_policy: format!(
                "default-src 'none'; style-src 'self'; form-action 'self' {}; base-uri 'none'; frame-ancestors 'none'",
                relying_party.issuer_origin()
            ),
            relying_party,
        })
    }
}
