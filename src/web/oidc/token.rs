//! `POST /token` (RFC 6749 §3.2, OIDC Core §3.1.3), top to bottom: form, client, grant, answer.

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use crate::lobby::ExchangeError;
use crate::oauth::{self, AuthenticatedClient, CodeRequest, ErrorCode, OAuthError, Params};
use crate::web::App;
use crate::web::cors::ANY_ORIGIN;
use crate::web::extract::{Body, form, header_text};
use crate::web::respond::{Audience, Problem, json_no_store};

/// The endpoint.
pub async fn post(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    let params = form(&request, body).map_err(Problem::OAuth)?;
    let client = authenticated(&app, &request, &params)?;
    match params.require("grant_type").map_err(Problem::OAuth)? {
        "authorization_code" => authorization_code(&app, client, &params).await,
        _ => Err(Problem::OAuth(OAuthError::new(
            ErrorCode::UnsupportedGrantType,
            "grant_type must be authorization_code",
        ))),
    }
}

fn authenticated<'a>(app: &'a App, request: &HttpRequest, params: &Params) -> Result<AuthenticatedClient<'a>, Problem> {
    let authorization = header_text(request, &header::AUTHORIZATION);
    let refuse = |error, client_id| refused(app, request, error, client_id);
    let credentials = oauth::credentials(authorization, params).map_err(|error| refuse(error, None))?;
    let client = app.lobby.clients().find(&credentials.client_id).map(|registered| &registered.client);
    oauth::authenticate(client, &credentials).map_err(|error| refuse(error, client.map(|client| client.id.as_str())))
}

/// The answer to a failed client authentication. Only failures count against the limit, so a client with the secret
/// always passes.
fn refused(app: &App, request: &HttpRequest, error: OAuthError, client_id: Option<&str>) -> Problem {
    if error.code != ErrorCode::InvalidClient {
        return Problem::OAuth(error);
    }
    match app.rate_limits.client_failure(&app.site, request, client_id) {
        Err(limit) => Problem::RateLimited(limit, Audience::Client),
        Ok(()) if request.headers().contains_key(header::AUTHORIZATION) => Problem::BasicAuth(error),
        Ok(()) => Problem::OAuth(error),
    }
}

async fn authorization_code(
    app: &App,
    client: AuthenticatedClient<'_>,
    params: &Params,
) -> Result<HttpResponse, Problem> {
    let request = CodeRequest::read(params).map_err(Problem::OAuth)?;
    match app.lobby.exchange(client, &request).await {
        Ok(tokens) => {
            let mut answer = json_no_store(&tokens);
            let (name, value) = ANY_ORIGIN;
            answer.headers_mut().insert(name, value);
            Ok(answer)
        }
        Err(ExchangeError::Refused(error)) => Err(Problem::OAuth(error)),
        Err(ExchangeError::Internal(error)) => Err(Problem::Internal(error, Audience::Client)),
    }
}
