//! Renders answers, and is the only place where errors become HTTP.
//!
//! A [`Problem`] names the error and its audience. Its public text is fixed here, on the error pages, in `oauth` or in
//! the contract; the internal cause goes only to the log. Handlers return problems; [`access_log`](super::access_log)
//! renders them, because it knows the request's ID.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError};
use askama::Template;
use serde::Serialize;
use serde_json::json;

use super::App;
use super::cookies;
use super::cors::{ANY_ORIGIN, EXPOSED};
use super::flow::FlowError;
use super::navigation::NavigationError;
use super::oidc::cookie_check;
use super::pages::views::{ErrorPage, Retry};
use super::rate_limits::RateLimitError;
use crate::ambient::random;
use crate::lobby::{LobbyError, PlaceChange};
use crate::oauth::{ErrorCode, OAuthError, ValidatedRedirect};
use crate::policy;

pub use super::pages::views::Problem as PageProblem;

/// A request that failed, as its client is answered.
#[derive(Debug)]
pub enum Problem {
    /// For a person: a page.
    Page(PageProblem),
    /// For a request for a page that is no navigation.
    NotNavigation(NavigationError),
    /// For a relying party: RFC 6749 §5.2 JSON.
    OAuth(OAuthError),
    /// For a client whose Basic credentials failed: the same with a challenge.
    BasicAuth(OAuthError),
    /// For the bearer of a token: RFC 6750 §3. `None`: no token was sent.
    Bearer(Option<OAuthError>),
    /// For the client of a site behind a proxy: a challenge (RFC 6750 §3), which the proxy may forward. Always 401, the
    /// only refusal that all proxies understand; without CORS headers, which are the site's decision.
    ForwardAuth(Option<OAuthError>),
    /// For a caller of the public or private REST API.
    Rest(StatusCode, &'static str),
    /// For a method that the path does not support: the supported ones, for the `Allow` header (RFC 9110 §15.5.6).
    Method(String),
    /// For a caller of the private API without permission: worded as API Gateway does. Without CORS headers, because
    /// the retired control panel takes every answer that it can read for a success.
    Forbidden(Cow<'static, str>),
    /// For a call of the private API on an address that does not serve it. Without CORS headers either.
    NotServedHere,
    /// For a call of the private API that is valid but not possible now: 409 with the reason.
    Conflict(String),
    /// For a client that exceeds a rate limit.
    RateLimited(RateLimitError, Audience),
    /// A failure of the provider, with its audience.
    Internal(LobbyError, Audience),
}

/// The reader of an answer that has a form for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// A person.
    Person,
    /// A relying party.
    Client,
    /// A caller of the REST API.
    Rest,
    /// A caller of the private API without valid credentials: worded as API Gateway does.
    Operator,
}

/// When a client should retry while the store is away, in seconds.
const RETRY_SECONDS: u64 = 5;
const TOO_MANY_JOINS: &str = "Too many joined from this address: try again later";
/// The answer for an unknown path.
pub const NOTHING_HERE: &str = "There is nothing at this path";
const WRONG_METHOD: &str = "This path does not answer this method";
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page(problem) => write!(formatter, "{problem:?}"),
            Self::NotNavigation(kind) => write!(formatter, "{kind:?}"),
            Self::OAuth(error)
            | Self::BasicAuth(error)
            | Self::Bearer(Some(error))
            | Self::ForwardAuth(Some(error)) => error.fmt(formatter),
            Self::Bearer(None) | Self::ForwardAuth(None) => formatter.write_str("no token"),
            Self::Rest(_, sentence) => formatter.write_str(sentence),
            Self::Forbidden(message) => formatter.write_str(message),
            Self::NotServedHere => formatter.write_str(NOTHING_HERE),
            Self::Method(_) => formatter.write_str(WRONG_METHOD),
            Self::Conflict(sentence) => formatter.write_str(sentence),
            Self::RateLimited(..) => formatter.write_str("too many from one address"),
            Self::Internal(error, _) => error.fmt(formatter),
        }
    }
}

impl From<FlowError> for PageProblem {
    fn from(problem: FlowError) -> Self {
        match problem {
            FlowError::Malformed => Self::MalformedRequest,
            FlowError::NoCookie => Self::CookiesBlocked,
            FlowError::Foreign => Self::ForeignFlow,
        }
    }
}

impl From<PlaceChange> for super::pages::views::PlaceChange {
    fn from(change: PlaceChange) -> Self {
        match change {
            PlaceChange::Expired => Self::PlaceExpired,
            PlaceChange::LineRestarted => Self::LineRestarted,
        }
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Page(PageProblem::LoginTooLate) => StatusCode::OK,
            Self::Page(PageProblem::NothingHere) | Self::NotServedHere => StatusCode::NOT_FOUND,
            Self::Page(_) => StatusCode::BAD_REQUEST,
            // Browsers drop a failed prefetch and request the page again when it is opened.
            Self::NotNavigation(NavigationError::Speculative | NavigationError::Crawler) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NotNavigation(NavigationError::Subresource) => StatusCode::FORBIDDEN,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Rest(status, _) => *status,
            Self::OAuth(error) if error.code == ErrorCode::InvalidClient => StatusCode::UNAUTHORIZED,
            Self::OAuth(_) => StatusCode::BAD_REQUEST,
            Self::Bearer(Some(error)) if error.code == ErrorCode::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::BasicAuth(_) | Self::Bearer(_) | Self::ForwardAuth(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::RateLimited(..) => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal(..) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The bare status; [`Problem::answer`] renders the answer.
    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}

impl Problem {
    /// The answer to `request`, whose ID in the log is `id`.
    pub fn answer(&self, app: &App, request: &HttpRequest, id: &str) -> HttpResponse {
        let mut answer = self.without_cookies(app, request, id);
        cookies::add_to_problem(request, &mut answer);
        answer
    }

    fn without_cookies(&self, app: &App, request: &HttpRequest, id: &str) -> HttpResponse {
        let mut builder = HttpResponse::build(self.status_code());
        match self {
            Self::Page(problem) => {
                let again = (*problem == PageProblem::CookiesBlocked).then(|| cookie_check::again(request)).flatten();
                let page = ErrorPage { again: again.as_deref(), ..ErrorPage::of(*problem, &app.site.base_path, id) };
                page_response(&mut builder, &page, &ContentPolicy::default())
            }
            Self::NotNavigation(kind) => not_navigation(&mut builder, *kind, app, id),
            Self::OAuth(error) => oauth_json(&mut builder, error),
            Self::BasicAuth(error) => {
                builder.insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"token\", charset=\"UTF-8\""));
                oauth_json(&mut builder, error)
            }
            Self::Bearer(error) => bearer(&mut builder, error.as_ref()),
            Self::ForwardAuth(error) => {
                no_store(&mut builder).insert_header((header::WWW_AUTHENTICATE, challenge(error.as_ref()))).finish()
            }
            Self::Rest(status, sentence) => {
                if matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
                    builder.insert_header((header::RETRY_AFTER, RETRY_AFTER));
                }
                for_any_origin(&mut builder).json(json!({ "error": sentence }))
            }
            Self::Method(answered) => {
                builder.insert_header((header::ALLOW, answered.as_str()));
                // Pages of other origins may not read the answers of `/authorize`: a path that they may call answers
                // OPTIONS.
                let builder =
                    if answered.contains("OPTIONS") { for_any_origin(&mut builder) } else { no_store(&mut builder) };
                builder.json(json!({ "error": WRONG_METHOD }))
            }
            Self::Conflict(sentence) => no_store(&mut builder).json(json!({ "error": sentence })),
            Self::Forbidden(message) => no_store(&mut builder).json(json!({ "message": message })),
            Self::NotServedHere => no_store(&mut builder).json(json!({ "error": NOTHING_HERE })),
            Self::RateLimited(limit, audience) => too_many(&mut builder, *limit, *audience, (app, request, id)),
            Self::Internal(error, audience) => {
                match error {
                    // A client in overload would fill the log; the metrics count it.
                    LobbyError::Busy => tracing::debug!(request_id = id, %error, "a request was refused"),
                    error => tracing::error!(request_id = id, %error, "a request failed"),
                }
                builder.insert_header((header::RETRY_AFTER, RETRY_AFTER));
                unavailable(&mut builder, *audience, app, request, id)
            }
        }
    }
}

/// For answers that no cache may keep.
pub fn no_store(builder: &mut HttpResponseBuilder) -> &mut HttpResponseBuilder {
    builder.insert_header((header::CACHE_CONTROL, "no-store"))
}

/// The same, for answers that pages of other origins may read.
pub fn for_any_origin(builder: &mut HttpResponseBuilder) -> &mut HttpResponseBuilder {
    no_store(builder).insert_header(ANY_ORIGIN).insert_header(EXPOSED)
}

/// Pages are for people, and pages of other origins may not read the reason: no CORS header.
fn not_navigation(builder: &mut HttpResponseBuilder, kind: NavigationError, app: &App, id: &str) -> HttpResponse {
    let Some(sentence) = kind.sentence() else {
        let page = ErrorPage::of(PageProblem::Crawler, &app.site.base_path, id);
        builder
            .insert_header((header::RETRY_AFTER, policy::CRAWLER_RETRY.as_secs()))
            .insert_header(("x-robots-tag", "noindex"));
        return page_response(builder, &page, &ContentPolicy::default());
    };
    no_store(builder).json(json!({ "error": sentence }))
}

/// An error for a relying party (RFC 6749 §5.2).
pub fn oauth_json(builder: &mut HttpResponseBuilder, error: &OAuthError) -> HttpResponse {
    let body = json!({ "error": error.code.as_str(), "error_description": error.description() });
    for_any_origin(builder).insert_header((header::PRAGMA, "no-cache")).json(body)
}

fn bearer(builder: &mut HttpResponseBuilder, error: Option<&OAuthError>) -> HttpResponse {
    builder.insert_header((header::WWW_AUTHENTICATE, challenge(error)));
    match error {
        Some(error) => oauth_json(builder, error),
        None => for_any_origin(builder).finish(),
    }
}

/// The challenge of RFC 6750 §3; without an error if no token was sent (§3.1), but never without a parameter.
fn challenge(error: Option<&OAuthError>) -> String {
    error.map_or_else(
        || "Bearer realm=\"anteroom\"".to_owned(),
        |error| {
            let (code, description) = (error.code.as_str(), error.description());
            format!("Bearer error=\"{code}\", error_description=\"{description}\"")
        },
    )
}

/// 429 with the time of the next try (RFC 6585 §4): as JSON, or as a page that retries by itself.
fn too_many(
    builder: &mut HttpResponseBuilder,
    limit: RateLimitError,
    audience: Audience,
    (app, request, id): (&App, &HttpRequest, &str),
) -> HttpResponse {
    let seconds = limit.retry_after.as_secs_f64().ceil().max(1.0) as u64;
    builder.insert_header((header::RETRY_AFTER, seconds));
    match audience {
        Audience::Person => {
            let (soonest, latest) = policy::JOIN_RETRY;
            let [dice] = random(app.lobby.entropy());
            let spread = u64::from(dice) % (latest - soonest + 1);
            let here = request.uri().path_and_query().map_or("/", |target| target.as_str());
            let retry = Some(Retry { seconds: seconds.max(soonest) + spread, url: here });
            let page = ErrorPage { retry, ..ErrorPage::of(PageProblem::TooManyJoins, &app.site.base_path, id) };
            page_response(builder, &page, &ContentPolicy::default())
        }
        Audience::Client => {
            let description = "client authentication failed too often from this address";
            oauth_json(builder, &OAuthError::new(ErrorCode::InvalidClient, description))
        }
        Audience::Rest => for_any_origin(builder).json(json!({ "error": TOO_MANY_JOINS })),
        Audience::Operator => no_store(builder).json(json!({ "message": "Too Many Requests" })),
    }
}

fn unavailable(
    builder: &mut HttpResponseBuilder,
    audience: Audience,
    app: &App,
    request: &HttpRequest,
    id: &str,
) -> HttpResponse {
    match audience {
        Audience::Person => {
            let here = request.uri().path_and_query().map_or("/", |target| target.as_str());
            let retry = Some(Retry { seconds: RETRY_SECONDS, url: here });
            let page = ErrorPage { retry, ..ErrorPage::of(PageProblem::StoreAway, &app.site.base_path, id) };
            page_response(builder, &page, &ContentPolicy::default())
        }
        Audience::Client => {
            oauth_json(builder, &OAuthError::new(ErrorCode::TemporarilyUnavailable, "try again in a few seconds"))
        }
        Audience::Rest | Audience::Operator => {
            for_any_origin(builder).json(json!({ "error": "The service is temporarily unavailable" }))
        }
    }
}

/// The Content-Security-Policy of a page.
#[derive(Debug, Clone, Default)]
pub struct ContentPolicy {
    /// Additional targets of its forms.
    pub form_action: Option<String>,
    /// The hash of the inline script that it may run.
    pub script: Option<&'static str>,
}

impl ContentPolicy {
    /// For a form whose answer leads to `redirect`. Browsers apply `form-action` to every following redirect (Content
    /// Security Policy Level 3 §6.4.2), and the site may redirect to addresses that are unknown here: to the shop
    /// behind a hosted login, for example. So every https address is allowed, and loopback for site developers. A
    /// target of another kind, such as an app's own scheme, is allowed by name.
    pub fn leading_to(redirect: &ValidatedRedirect) -> Self {
        let onwards = "'self' https: http://127.0.0.1:* http://localhost:*";
        Self { form_action: Some(format!("{onwards} {}", redirect.form_action_source())), script: None }
    }

    fn header(&self) -> String {
        let forms = self.form_action.as_deref().unwrap_or("'self'");
        let inline = self.script.map(|hash| format!(" {hash}")).unwrap_or_default();
        format!(
            "default-src 'none'; script-src 'self'{inline}; style-src 'self'; img-src 'self'; connect-src 'self'; \
             form-action {forms}; base-uri 'none'; frame-ancestors 'none'"
        )
    }
}

/// A page as an answer: never cached, never framed, and only with our own script files.
pub fn page_response(builder: &mut HttpResponseBuilder, page: &impl Template, policy: &ContentPolicy) -> HttpResponse {
    match page.render() {
        Ok(html) => page_headers(builder, policy).body(html),
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered; the answer is 503");
            HttpResponse::ServiceUnavailable().finish()
        }
    }
}

/// The headers of every page.
pub fn page_headers<'a>(builder: &'a mut HttpResponseBuilder, policy: &ContentPolicy) -> &'a mut HttpResponseBuilder {
    no_store(builder)
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, policy.header()))
        .insert_header((header::REFERRER_POLICY, "strict-origin"))
        .insert_header((header::X_FRAME_OPTIONS, "DENY"))
}

/// JSON for operators, readable from any origin; no cache may keep it.
pub fn json_for_operators(body: &impl Serialize) -> HttpResponse {
    for_any_origin(&mut HttpResponse::Ok()).json(body)
}

/// JSON that no cache may keep (RFC 6749 §5.1).
pub fn json_no_store(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::PRAGMA, "no-cache"))
        .json(body)
}
