//! The listeners, and the connections that each may hold.

use std::net::{IpAddr, TcpListener};
use std::sync::Arc;

use actix_http::body::BoxBody;
use actix_http::{Response, StatusCode};
use actix_web::App as HttpApp;
use actix_web::dev::Server;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Data;

use super::{StartError, address_of};
use crate::demo::ShopApp;
use crate::http::{self, AddressKey, Admission, Listener, Parts, Refusal, Shutdown, Terms, Timeouts};
use crate::policy;
use crate::telemetry::ConnectionMetrics;
use crate::web::{App, ListenerTerms, Mounts, common_headers, mount};

/// The connections of each listener.
pub(super) struct Connections {
    /// Those of the public listener.
    pub public: Parts,
    /// Those of the private listener, if there is one.
    pub private: Parts,
    /// Those of the sample shop, if it runs.
    pub shop: Parts,
}

impl Connections {
    /// Divides the connections that the process can hold.
    pub(super) fn divide(private: bool, shop: bool) -> Result<Self, StartError> {
        let none = Parts { visitors: 0, operators: 0 };
        let mut public = Parts::of_process().map_err(|limit| StartError::OpenFiles { limit })?;
        let mut split = |needed, count| if needed { public.split_off(count) } else { none };
        let (private, shop) = (split(private, policy::PRIVATE_CONNECTIONS), split(shop, policy::SHOP_CONNECTIONS));
        Ok(Self { public, private, shop })
    }
}

/// A listening socket and its connections.
pub(super) struct Socket {
    pub listener: TcpListener,
    pub tls: Option<rustls::ServerConfig>,
    pub parts: Parts,
}

/// Serves the application.
pub(super) fn serve(
    app: &Data<App>,
    mounts: Mounts,
    socket: Socket,
    shutdown: &Arc<Shutdown>,
) -> Result<Server, StartError> {
    let address = address_of(&socket.listener)?;
    let metrics = match mounts {
        Mounts::Private => app.telemetry.connections().of_operators(),
        Mounts::All | Mounts::Public => app.telemetry.connections(),
    };
    let admission = Admission::new(socket.parts, ListenerTerms::new(Data::clone(app), mounts), metrics);
    let large = admission.large_responses();
    let listener = Listener {
        socket: socket.listener,
        tls: socket.tls.map(Arc::new),
        threads: None,
        timeouts: Timeouts::default(),
        admission,
    };
    let app = Data::clone(app);
    let application = move || {
        let headers = common_headers(&app.site, mounts);
        HttpApp::new().app_data(large.clone()).configure(|routes| mount(&app, mounts, routes)).wrap(headers)
    };
    http::serve(listener, shutdown, application).map_err(|source| StartError::Listen { address, source })
}

/// Serves the sample shop, for which one thread is enough.
pub(super) fn serve_shop(shop: ShopApp, socket: Socket, shutdown: &Arc<Shutdown>) -> Result<Server, StartError> {
    let listener = Listener {
        socket: socket.listener,
        tls: socket.tls.map(Arc::new),
        threads: Some(1),
        timeouts: Timeouts::default(),
        admission: Admission::new(socket.parts, ShopTerms, ConnectionMetrics::default()),
    };
    http::serve(listener, shutdown, move || shop.app()).map_err(StartError::Shop)
}

/// The shop has no operators and no limits per visitor.
struct ShopTerms;

impl Terms for ShopTerms {
    fn key(&self, _: IpAddr) -> Option<AddressKey> {
        None
    }

    fn is_for_operators(&self, _: &str) -> bool {
        false
    }

    fn refuse(&self, refusal: Refusal<'_>) -> Response<BoxBody> {
        let (status, text) = match refusal {
            Refusal::Unreadable(status) => (status, "The shop cannot read this.\n"),
            Refusal::Taken(_) | Refusal::Busy | Refusal::Failed => {
                (StatusCode::SERVICE_UNAVAILABLE, "The shop is full. Try again in a moment.\n")
            }
        };
        let mut response = Response::with_body(status, BoxBody::new(text));
        for (name, value) in [
            (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-store"),
            (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
