//! `/verify`: whether a request to a site may pass, called by the proxy in front of that site.
//!
//! `GET /verify?event_id=…` is for nginx (`auth_request`), Traefik (`forwardAuth`) and Caddy (`forward_auth`).
//! `/verify/EVENT/…` is for Envoy (`ext_authz`), which prefixes the requested path, keeps the method, and accepts only
//! 200 as permission.

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use url::Url;

use crate::http::cookie_values;
use crate::lobby::{IdentityError, RegisteredClient};
use crate::oauth::{BearerError, ErrorCode, Forwarded, OAuthError, Params, bearer_token, initiate_login};
use crate::policy;
use crate::room::{EventId, Session};
use crate::web::App;
use crate::web::extract::{header_text, room};
use crate::web::respond::{Audience, Problem};
use crate::web::visitor_address::RequestOrigin;

/// The cookie that holds the token unless the proxy names another.
const COOKIE: &str = "anteroom_token";

/// The answer for a browser that may not pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DenyMode {
    /// A redirect to the start of its login.
    Redirect,
    /// 401, as for all other clients: nginx accepts no redirect.
    Unauthorized,
}

/// A call of a proxy.
struct VerifyRequest<'a> {
    event_id: &'a str,
    cookie: &'a str,
    client_id: Option<&'a str>,
    deny: DenyMode,
    /// The requested path and query.
    target: Option<&'a str>,
    /// The status that permits the request.
    yes: StatusCode,
}

/// `GET` and `HEAD /verify`.
pub async fn by_query(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::parse(request.query_string().as_bytes());
    let get = |name| params.get(name).map_err(|_| bad("A parameter was sent twice or is no text"));
    let verify = VerifyRequest {
        event_id: get("event_id")?.unwrap_or_default(),
        cookie: get("cookie")?.unwrap_or(COOKIE),
        client_id: get("client_id")?,
        deny: match get("redirect")? {
            None => DenyMode::Redirect,
            Some("never") => DenyMode::Unauthorized,
            Some(_) => return Err(bad("The parameter redirect may be never, or left out")),
        },
        target: text(&request, "x-forwarded-uri"),
        yes: StatusCode::NO_CONTENT,
    };
    verify.answer(&app, &request).await
}

/// Every method of `/verify/EVENT/…`.
pub async fn by_path(
    app: Data<App>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (event_id, _) = path.into_inner();
    // As received, because the router unescapes the parts of a path.
    let sent = request.uri().path_and_query().map_or("", |sent| sent.as_str());
    let below = sent.split_once("/verify/").map_or("", |(_, below)| below);
    let verify = VerifyRequest {
        event_id: &event_id,
        cookie: COOKIE,
        client_id: None,
        deny: DenyMode::Redirect,
        target: below.find('/').and_then(|slash| below.get(slash..)),
        yes: StatusCode::OK,
    };
    verify.answer(&app, &request).await
}

const fn bad(sentence: &'static str) -> Problem {
    Problem::Rest(StatusCode::BAD_REQUEST, sentence)
}

/// The text of a header that occurs once.
fn text<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    let mut values = request.headers().get_all(name);
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The answer for a token that is not accepted.
fn problem(error: IdentityError) -> Problem {
    if let IdentityError::Internal(error) = error {
        return Problem::Internal(error, Audience::Rest);
    }
    tracing::debug!(reason = error.reason(), "an access token is refused");
    let description = "the access token is expired, revoked or not valid here";
    Problem::ForwardAuth(Some(OAuthError::new(ErrorCode::InvalidToken, description)))
}

impl VerifyRequest<'_> {
    async fn answer(&self, app: &App, request: &HttpRequest) -> Result<HttpResponse, Problem> {
        let event = &room(&app.lobby, self.event_id)?.settings.id;
        let token = |letter: u8| letter.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&letter);
        if self.cookie.len() > policy::MAX_COOKIE_NAME || !self.cookie.bytes().all(token) {
            return Err(bad("The parameter cookie is no name of a cookie"));
        }
        let client = match self.client_id {
            None => app.lobby.clients().only_of(event),
            Some(id) => {
                let known = app.lobby.clients().find(id).filter(|registered| registered.event == *event);
                Some(known.ok_or_else(|| bad("Invalid client ID"))?)
            }
        };
        let challenge = match self.admitted(app, request, event).await {
            Ok(session) => return Ok(self.allow(&session)),
            Err(Problem::ForwardAuth(challenge)) => challenge,
            Err(other) => return Err(other),
        };
        match client.and_then(|client| self.login_redirect(app, request, client)) {
            Some(url) => Ok(HttpResponse::Found()
                .insert_header((header::LOCATION, url.as_str()))
                .insert_header((header::CACHE_CONTROL, "no-store"))
                .insert_header((header::VARY, "Accept, Authorization, Cookie"))
                .finish()),
            None => Err(Problem::ForwardAuth(challenge)),
        }
    }

    /// The session of the header's token, or else of the cookie's. A site has bearer tokens of its own, which are
    /// ignored here; a token signed by this provider counts, even if it is no longer valid.
    async fn admitted(&self, app: &App, request: &HttpRequest, event: &EventId) -> Result<Session, Problem> {
        let no_form = Params::default();
        let header_problem = match bearer_token(header_text(request, &header::AUTHORIZATION), &no_form) {
            Err(BearerError::Missing) => None,
            Err(BearerError::Malformed(error)) => Some(Problem::ForwardAuth(Some(error))),
            Ok(token) => match app.lobby.admitted(token, event).await {
                Ok(session) => return Ok(session),
                Err(refused @ IdentityError::Invalid(_)) => return Err(problem(refused)),
                Err(unclear) => Some(problem(unclear)),
            },
        };
        let mut cookies = cookie_values(request.headers(), self.cookie).filter(|value| !value.is_empty());
        let Some(token) = cookies.next() else { return Err(header_problem.unwrap_or(Problem::ForwardAuth(None))) };
        match app.lobby.admitted(&token, event).await {
            Ok(session) => Ok(session),
            Err(error @ IdentityError::Internal(_)) => Err(problem(error)),
            Err(refused) => Err(header_problem.unwrap_or_else(|| problem(refused))),
        }
    }

    fn allow(&self, session: &Session) -> HttpResponse {
        HttpResponse::build(self.yes)
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header(("X-Anteroom-Sub", session.request_id.to_string()))
            .insert_header(("X-Anteroom-Event", session.event.as_str()))
            .insert_header(("X-Anteroom-Position", session.position.get()))
            .insert_header(("X-Anteroom-Expires", session.expires_at.as_secs()))
            .finish()
    }

    /// Where a browser that may not pass is redirected; `None` for a program, and if the client has no such address.
    fn login_redirect(&self, app: &App, request: &HttpRequest, registered: &RegisteredClient) -> Option<Url> {
        let html = header_text(request, &header::ACCEPT).is_some_and(|accepted| accepted.contains("text/html"));
        let start = registered.client.initiate_login_uri.as_ref().filter(|_| html)?;
        if self.deny == DenyMode::Unauthorized {
            return None;
        }
        let origin = RequestOrigin::from_headers(&app.site.trusted_proxies, None, request.headers());
        let target = self.forwarded(request, &origin).and_then(|forwarded| forwarded.below(start));
        Some(initiate_login(start, app.lobby.issuer(), target.as_ref()))
    }

    /// The requested address, if a browser can return to it.
    fn forwarded<'a>(&'a self, request: &HttpRequest, origin: &'a RequestOrigin<'_>) -> Option<Forwarded<'a>> {
        let method = text(request, "x-forwarded-method").unwrap_or(request.method().as_str());
        if !matches!(method, "GET" | "HEAD") {
            return None;
        }
        Some(Forwarded { scheme: origin.scheme.as_deref()?, host: origin.host.as_deref()?, target: self.target? })
    }
}
