//! `/verify`: whether a request to a site may pass, asked by the proxy before that site.
//!
//! `GET /verify?event_id=…` is for nginx (`auth_request`), Traefik (`forwardAuth`) and Caddy (`forward_auth`).
//! `/verify/EVENT/…` is for Envoy (`ext_authz`), which puts a prefix before the path that was asked for, keeps the
//! method, and takes no other answer than 200 for a yes.

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use url::Url;

use crate::http::cookie_values;
use crate::lobby::{IdentityError, RegisteredClient};
use crate::oauth::{BearerProblem, ErrorCode, Forwarded, OAuthError, Params, bearer_token, initiate_login};
use crate::policy;
use crate::room::{EventId, Session};
use crate::web::App;
use crate::web::extract::{header_text, room};
use crate::web::respond::{Audience, Problem};
use crate::web::visitor_address::RequestOrigin;

/// The cookie that holds the token unless the proxy names another.
const COOKIE: &str = "anteroom_token";

/// What a browser that may not pass is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// Where its login begins.
    Redirect,
    /// 401, as everybody else: nginx takes no redirect from whom it asks.
    Unauthorized,
}

/// A question of a proxy.
struct Question<'a> {
    event_id: &'a str,
    cookie: &'a str,
    client_id: Option<&'a str>,
    refusal: Refusal,
    /// Path and query that were asked for.
    target: Option<&'a str>,
    /// The answer that means yes.
    yes: StatusCode,
}

/// `GET` and `HEAD /verify`.
pub async fn by_query(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::parse(request.query_string().as_bytes());
    let get = |name| params.get(name).map_err(|_| bad("A parameter was sent twice or is no text"));
    let question = Question {
        event_id: get("event_id")?.unwrap_or_default(),
        cookie: get("cookie")?.unwrap_or(COOKIE),
        client_id: get("client_id")?,
        refusal: match get("redirect")? {
            None => Refusal::Redirect,
            Some("never") => Refusal::Unauthorized,
            Some(_) => return Err(bad("The parameter redirect may be never, or left out")),
        },
        target: text(&request, "x-forwarded-uri"),
        yes: StatusCode::NO_CONTENT,
    };
    question.answer(&app, &request).await
}

/// Every method of `/verify/EVENT/…`.
pub async fn by_path(
    app: Data<App>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (event_id, _) = path.into_inner();
    // As it was sent: the parts of a path that the router hands out are unescaped.
    let sent = request.uri().path_and_query().map_or("", |sent| sent.as_str());
    let below = sent.split_once("/verify/").map_or("", |(_, below)| below);
    let question = Question {
        event_id: &event_id,
        cookie: COOKIE,
        client_id: None,
        refusal: Refusal::Redirect,
        target: below.find('/').and_then(|slash| below.get(slash..)),
        yes: StatusCode::OK,
    };
    question.answer(&app, &request).await
}

const fn bad(sentence: &'static str) -> Problem {
    Problem::Rest(StatusCode::BAD_REQUEST, sentence)
}

/// A header that stands there once.
fn text<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    let mut values = request.headers().get_all(name);
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// What the bearer of a token that does not open the gate is told.
fn refusal(error: IdentityError) -> Problem {
    if let IdentityError::Internal(fault) = error {
        return Problem::Internal(fault, Audience::Rest);
    }
    tracing::debug!(reason = error.reason(), "a token does not open the gate");
    let told = "the access token is expired, revoked or not valid here";
    Problem::Gate(Some(OAuthError::new(ErrorCode::InvalidToken, told)))
}

impl Question<'_> {
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
            Ok(session) => return Ok(self.passes(&session)),
            Err(Problem::Gate(challenge)) => challenge,
            Err(other) => return Err(other),
        };
        match client.and_then(|client| self.line(app, request, client)) {
            Some(line) => Ok(HttpResponse::Found()
                .insert_header((header::LOCATION, line.as_str()))
                .insert_header((header::CACHE_CONTROL, "no-store"))
                .insert_header((header::VARY, "Accept, Authorization, Cookie"))
                .finish()),
            None => Err(Problem::Gate(challenge)),
        }
    }

    /// The session that the token of the header opens the gate for, or else that of the cookie. A site has bearer tokens
    /// of its own, which say nothing of the line; one that we signed counts, also when it is no longer good.
    async fn admitted(&self, app: &App, request: &HttpRequest, event: &EventId) -> Result<Session, Problem> {
        let no_form = Params::default();
        let of_header = match bearer_token(header_text(request, &header::AUTHORIZATION), &no_form) {
            Err(BearerProblem::Missing) => None,
            Err(BearerProblem::Malformed(error)) => Some(Problem::Gate(Some(error))),
            Ok(token) => match app.lobby.admitted(token, event).await {
                Ok(session) => return Ok(session),
                Err(refused @ IdentityError::Invalid(_)) => return Err(refusal(refused)),
                Err(unclear) => Some(refusal(unclear)),
            },
        };
        let mut cookies = cookie_values(request.headers(), self.cookie).filter(|value| !value.is_empty());
        let Some(token) = cookies.next() else { return Err(of_header.unwrap_or(Problem::Gate(None))) };
        match app.lobby.admitted(&token, event).await {
            Ok(session) => Ok(session),
            Err(fault @ IdentityError::Internal(_)) => Err(refusal(fault)),
            Err(refused) => Err(of_header.unwrap_or_else(|| refusal(refused))),
        }
    }

    fn passes(&self, session: &Session) -> HttpResponse {
        HttpResponse::build(self.yes)
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header(("X-Anteroom-Sub", session.request_id.to_string()))
            .insert_header(("X-Anteroom-Event", session.event.as_str()))
            .insert_header(("X-Anteroom-Position", session.position.get()))
            .insert_header(("X-Anteroom-Expires", session.expires_at.as_secs()))
            .finish()
    }

    /// Where a browser goes that may not pass; `None` for a program, and where no such place is known.
    fn line(&self, app: &App, request: &HttpRequest, registered: &RegisteredClient) -> Option<Url> {
        let html = header_text(request, &header::ACCEPT).is_some_and(|accepted| accepted.contains("text/html"));
        let start = registered.client.initiate_login_uri.as_ref().filter(|_| html)?;
        if self.refusal == Refusal::Unauthorized {
            return None;
        }
        let origin = RequestOrigin::told(&app.site.trusted_proxies, None, request.headers());
        let target = self.forwarded(request, &origin).and_then(|forwarded| forwarded.below(start));
        Some(initiate_login(start, app.lobby.issuer(), target.as_ref()))
    }

    /// What was asked for, if it is something that a browser can come back to.
    fn forwarded<'a>(&'a self, request: &HttpRequest, origin: &'a RequestOrigin<'_>) -> Option<Forwarded<'a>> {
        let method = text(request, "x-forwarded-method").unwrap_or(request.method().as_str());
        if !matches!(method, "GET" | "HEAD") {
            return None;
        }
        Some(Forwarded { scheme: origin.scheme.as_deref()?, host: origin.host.as_deref()?, target: self.target? })
    }
}
