//! The routes.

use actix_web::dev::HttpServiceFactory;
use actix_web::guard::GuardContext;
use actix_web::http::{Method, StatusCode, header};
use actix_web::web::{self, Data, Payload, ServiceConfig};
use actix_web::{Handler, HttpRequest, HttpResponse, Resource, Responder, Route, guard};

use super::access_log::{AccessLog, LogLevel};
use super::extract::header_text;
use super::oidc::{authorize, metadata, resume, token, user_info};
use super::pages::serve;
use super::private::access::{PRIVATE, operators_alone};
use super::private::{inlet, keys, notices, serving, sessions};
use super::public::{counters, line, openapi, queue, sns, tokens, verify};
use super::respond::{NOTHING_HERE, PageProblem, Problem};
use super::{App, cors, ops};
use crate::oauth::paths;
use crate::policy;

/// What an address serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mounts {
    /// Everything.
    All,
    /// Only the paths of visitors and relying parties.
    Public,
    /// Only the paths of operators.
    Private,
}

/// Mounts everything that an address serves, under the path of the public URL.
pub fn mount(app: &Data<App>, mounts: Mounts, config: &mut ServiceConfig) {
    config.app_data(Data::clone(app));
    let base_path = app.site.base_path.as_str();
    let routes = |config: &mut ServiceConfig| {
        if mounts != Mounts::Private {
            public_routes(app, config);
        }
        if mounts != Mounts::Public {
            private_routes(app, mounts, config);
        }
        nowhere(app, mounts, config);
    };
    if base_path.is_empty() {
        return routes(config);
    }
    // RFC 8414 §3.1: the path of the issuer comes after the well-known one.
    if mounts != Mounts::Private {
        let path = format!("{}{base_path}", paths::OAUTH_METADATA);
        let preflight = web::method(Method::OPTIONS).to(cors::preflight);
        config.service(web::resource(path).route(web::get().to(metadata::discovery)).route(preflight));
    }
    config.service(web::scope(base_path).configure(routes));
    nowhere(app, mounts, config);
}

/// The paths of visitors and relying parties.
fn public_routes(app: &Data<App>, config: &mut ServiceConfig) {
    let add = |config: &mut ServiceConfig, service: Endpoint| service.mount(app, config);
    let quiet = LogLevel::Debug;
    // Paths are matched in this order: the most frequent first.
    add(config, at("/api/assign_queue_num", quiet).post(queue::assign_queue_num).cors());
    add(config, at("/api/queue_num", quiet).get(queue::queue_num).cors());
    add(config, at("/api/serving_num", quiet).get(counters::serving_num).cors());
    add(config, at("/api/waiting_num", quiet).get(counters::waiting_num).cors());
    add(config, at("/api/generate_token", LogLevel::Info).post(tokens::generate_token).cors());
    add(config, at("/api/queue_pos_expiry", quiet).get(tokens::queue_pos_expiry).cors());
    add(config, at("/api/public_key", quiet).get(tokens::public_key).cors());
    add(config, at(paths::DISCOVERY, quiet).get(metadata::discovery).cors());
    add(config, at(paths::OAUTH_METADATA, quiet).get(metadata::discovery).cors());
    add(config, at(paths::JWKS, quiet).get(metadata::jwks).cors());
    add(config, at(paths::AUTHORIZE, LogLevel::Info).get_alone(authorize::get).post(authorize::post));
    add(config, at(paths::RESUME, LogLevel::Info).get_alone(resume::get).post(resume::post));
    add(config, at(paths::TOKEN, LogLevel::Info).post(token::post).cors());
    add(config, at(paths::USER_INFO, LogLevel::Info).get(user_info::any).post(user_info::any).cors());
    add(config, at("/openapi.json", quiet).get(openapi::document).cors());
    add(config, at("/inlet/sns", LogLevel::Info).body_up_to(policy::MAX_SNS_MESSAGE).post(sns::message));
    add(config, at("/verify", quiet).get(verify::by_query));
    add(config, at("/verify/{event}/{target:.*}", quiet).any(verify::by_path));
    add(config, at("/line/{event}", quiet).get(line::state));
    add(config, at("/line/{event}/events", quiet).get_alone(line::events));
    add(config, at("/assets/{file}", quiet).get(serve::asset));
    add(config, at("/", quiet).get(serve::landing));
}

/// The paths of operators. A proxy in front refuses them by their text, so they match that text alone: an escape, a
/// second slash or a dot segment makes another path, which does not exist.
fn private_routes(app: &Data<App>, mounts: Mounts, config: &mut ServiceConfig) {
    let add = |config: &mut ServiceConfig, service: Endpoint| service.byte_for_byte().mount(app, config);
    for path in ["/private/increment_serving_counter", "/private/increment_serving_num"] {
        add(config, at(path, LogLevel::Info).post(serving::increment).cors());
    }
    add(config, at("/private/inlet", LogLevel::Info).post(inlet::departures).cors());
    add(config, at("/private/generate_token", LogLevel::Info).post(sessions::generate_token).cors());
    add(config, at("/private/update_session", LogLevel::Info).post(sessions::update_session).cors());
    add(config, at("/private/expired_tokens", LogLevel::Info).get(sessions::expired_tokens).cors());
    add(config, at("/private/num_active_tokens", LogLevel::Info).get(sessions::num_active_tokens).cors());
    add(config, at("/private/reset_initial_state", LogLevel::Info).post(sessions::reset).cors());
    add(config, at(keys::KEYS, LogLevel::Info).get(keys::list));
    add(config, at(keys::ROTATE_KEYS, LogLevel::Info).post(keys::rotate));
    add(config, at("/private/events", LogLevel::Info).get_alone(notices::events));
    add(config, at("/private/dead_letters", LogLevel::Info).get(notices::dead_letters));
    add(config, at("/private/dead_letters/redeliver", LogLevel::Info).post(notices::redeliver));
    add(config, at("/health/live", LogLevel::Debug).get(ops::live));
    add(config, at("/health/ready", LogLevel::Debug).get(ops::ready));
    let metrics = at("/metrics", LogLevel::Debug);
    match mounts {
        Mounts::Private => add(config, metrics.get(ops::metrics::open)),
        Mounts::All | Mounts::Public => add(config, metrics.get(ops::metrics::guarded)),
    }
}

/// Every other path, and `*`, which is not a path (RFC 9112 §3.2.4).
fn nowhere(app: &Data<App>, mounts: Mounts, config: &mut ServiceConfig) {
    let observe = || AccessLog::new("nowhere", LogLevel::Debug, app.telemetry.route("nowhere"));
    let answer = move |request, app, payload| not_found(mounts, request, app, payload);
    let resource = web::resource(["", "/{path:.*}"]).app_data(web::PayloadConfig::new(policy::MAX_BODY));
    config.service(resource.default_service(web::to(answer)).wrap(observe()));
    config.default_service(web::to(answer).wrap(observe()));
}

/// Whether a path belongs to operators.
fn is_private(path: &str) -> bool {
    path.strip_prefix(PRIVATE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a path, below the public URL's own, is one that operators, their probes and scrapers call.
pub(super) fn is_for_operators(path: &str) -> bool {
    is_private(path) || path.starts_with("/health/") || path == "/metrics"
}

/// A navigation gets a page, every other request JSON.
async fn not_found(
    mounts: Mounts,
    request: HttpRequest,
    app: Data<App>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let below = request.uri().path().strip_prefix(app.site.base_path.as_str());
    let private = below.is_some_and(is_private);
    if mounts != Mounts::Public && private {
        operators_alone(&app, &request, payload).await?;
    }
    let accepted = header_text(&request, &header::ACCEPT).unwrap_or_default();
    if accepted.contains("text/html") {
        return Err(Problem::Page(PageProblem::NothingHere));
    }
    if mounts == Mounts::Public && private {
        return Err(Problem::NotServedHere);
    }
    Err(Problem::Rest(StatusCode::NOT_FOUND, NOTHING_HERE))
}

/// A path and its handlers.
struct Endpoint {
    path: &'static str,
    level: LogLevel,
    routes: Vec<Route>,
    methods: Vec<String>,
    /// The longest accepted body, in bytes.
    longest_body: usize,
    matching: Matching,
}

/// Which form of a request's path must match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Matching {
    /// The path with escapes decoded.
    Decoded,
    /// Every byte as received, without a host before it (RFC 9112 §3.2.2).
    AsWritten,
}

const fn at(path: &'static str, level: LogLevel) -> Endpoint {
    let (longest_body, matching) = (policy::MAX_BODY, Matching::Decoded);
    Endpoint { path, level, routes: Vec::new(), methods: Vec::new(), longest_body, matching }
}

impl Endpoint {
    fn on<F, Args>(mut self, method: Method, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: actix_web::FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.methods.push(method.to_string());
        self.routes.push(web::method(method).to(handler));
        self
    }

    /// `GET`, and `HEAD` for its headers alone (RFC 9110 §9.3.2).
    fn get<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: actix_web::FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::GET, handler.clone()).on(Method::HEAD, handler)
    }

    /// `GET` alone: where it has an effect (takes a place, opens a stream), `HEAD` would be a mistake.
    fn get_alone<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: actix_web::FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::GET, handler)
    }

    fn post<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: actix_web::FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::POST, handler)
    }

    /// Every method: a proxy calls with the method of the request that it holds.
    fn any<F, Args>(mut self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: actix_web::FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.routes.push(web::route().to(handler));
        self
    }

    /// For routes with longer bodies.
    fn body_up_to(self, longest_body: usize) -> Self {
        Self { longest_body, ..self }
    }

    /// For paths that a proxy may have to refuse: other spellings of the path do not exist.
    fn byte_for_byte(self) -> Self {
        Self { matching: Matching::AsWritten, ..self }
    }

    fn cors(self) -> Self {
        self.on(Method::OPTIONS, cors::preflight)
    }

    fn mount(self, app: &Data<App>, config: &mut ServiceConfig) {
        config.service(self.resource(app));
    }

    fn resource(self, app: &Data<App>) -> impl HttpServiceFactory + use<> {
        let observe = AccessLog::new(self.path, self.level, app.telemetry.route(self.path));
        let resource = web::resource(self.path).app_data(web::PayloadConfig::new(self.longest_body));
        let written = app.path(self.path);
        let is_written = move |asked: &GuardContext<'_>| {
            let uri = &asked.head().uri;
            uri.path() == written && uri.authority().is_none()
        };
        let resource = match self.matching {
            Matching::Decoded => resource,
            Matching::AsWritten => resource.guard(guard::fn_guard(is_written)),
        };
        let resource: Resource = self.routes.into_iter().fold(resource, Resource::route);
        let (private, answered) = (is_private(self.path), self.methods.join(", "));
        let refuse = move |request: HttpRequest, app: Data<App>, payload: Payload| {
            let refusal = Problem::Method(answered.clone());
            async move {
                if private {
                    operators_alone(&app, &request, payload).await?;
                }
                Err::<HttpResponse, _>(refusal)
            }
        };
        resource.default_service(web::to(refuse)).wrap(observe)
    }
}
