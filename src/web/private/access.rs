//! Authentication of the private API: an admin key, or an AWS signature with a configured key pair.

use actix_web::http::header::{self, HeaderName};
use actix_web::web::Payload;
use actix_web::{HttpMessage, HttpRequest};

use super::refusals::AccessError;
use super::sigv4::{self, SignedRequest};
use crate::web::App;
use crate::web::extract::Body;
use crate::web::respond::{Audience, Problem};
use crate::web::visitor_address::{RequestOrigin, VisitorAddress};

/// Paths below this one are for operators only.
pub const PRIVATE: &str = "/private";

/// The operator who sent the request. Only [`operator`] creates it.
pub struct Operator<'a>(&'a str);

impl Operator<'_> {
    /// The operator's name in the log: the name of the bearer key, or the ID of the key pair.
    pub const fn name(&self) -> &str {
        self.0
    }
}

/// A request extension with the operator's name, for the access log.
pub struct OperatorName(pub String);

/// Authenticates the operator by the bearer key, or by the signature over the request and its body.
///
/// # Errors
/// 403, worded as API Gateway does; 429 after many failures from one address. Only failures count against that limit,
/// so an operator with a valid key always passes.
pub fn operator<'a>(app: &'a App, request: &HttpRequest, body: &Body) -> Result<Operator<'a>, Problem> {
    let name = identify(app, request, body).map_err(|refusal| {
        app.refusals.log(&refusal, VisitorAddress::of(&app.site, request).ip(), app.lobby.clock().steady());
        match app.rate_limits.operator_failure(&app.site, request) {
            Ok(()) => Problem::Forbidden(refusal.message()),
            Err(limit) => Problem::RateLimited(limit, Audience::Operator),
        }
    })?;
    request.extensions_mut().insert(OperatorName(name.to_owned()));
    Ok(Operator(name))
}

/// Whether an operator sent the request, on paths that others may call as well: a request without credentials is not
/// refused.
pub fn is_operator(app: &App, request: &HttpRequest, body: &Body) -> bool {
    request.headers().contains_key(header::AUTHORIZATION) && operator(app, request, body).is_ok()
}

fn identify<'a>(app: &'a App, request: &HttpRequest, body: &Body) -> Result<&'a str, AccessError> {
    let mut given = request.headers().get_all(header::AUTHORIZATION);
    let (first, second) = (given.next(), given.next());
    let text = first.and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text.split_once(' ') {
        Some((sigv4::ALGORITHM, parameters)) if second.is_none() => {
            signer(app, request, body, parameters).map_err(AccessError::Signature)
        }
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => bearer(app, key).ok_or(AccessError::UnknownKey),
        _ => Err(AccessError::Missing),
    }
}

/// Allows only operators to learn that a path does not exist: to all others every path below [`PRIVATE`] is forbidden
/// alike.
///
/// # Errors
/// As [`operator`].
pub async fn operators_alone(app: &App, request: &HttpRequest, payload: Payload) -> Result<(), Problem> {
    let body = Body::read(request, &mut payload.into_inner()).await;
    operator(app, request, &body).map(drop)
}

/// Every key is compared, so that the duration reveals nothing.
fn bearer<'a>(app: &'a App, key: &str) -> Option<&'a str> {
    let keys = app.admin.keys.iter();
    keys.fold(None, |found, admin| if admin.key.matches(key.trim().as_bytes()) { Some(&admin.name) } else { found })
        .map(String::as_str)
}

fn signer<'a>(
    app: &'a App,
    request: &HttpRequest,
    body: &Body,
    parameters: &str,
) -> Result<&'a str, sigv4::SigV4Error> {
    // An incomplete body cannot match its signature.
    let body = body.bytes().ok_or(sigv4::SigV4Error::Mismatch)?;
    // A trusted proxy may address this service by another host name than its client did.
    let host = RequestOrigin::of(&app.site, request).host;
    let replaced = |name: &HeaderName| host.is_some() && name == header::HOST;
    let headers = request.headers().iter().filter(|(name, _)| !replaced(name));
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let received = SignedRequest {
        method: request.method().as_str(),
        path: request.uri().path(),
        query: request.query_string(),
        headers: headers.chain(host.as_deref().map(|host| (header::HOST.as_str(), host.as_bytes()))).collect(),
        body,
    };
    sigv4::verify(&received, parameters, &app.admin.sigv4, app.lobby.now())
}
