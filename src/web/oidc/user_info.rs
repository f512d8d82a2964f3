//! `/userInfo` (OIDC Core §5.3): the claims about the visitor of an access token.

use actix_web::http::{Method, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use crate::lobby::IdentityError;
use crate::oauth::{BearerError, ErrorCode, OAuthError, Params, bearer_token};
use crate::web::App;
use crate::web::cors::ANY_ORIGIN;
use crate::web::extract::{Body, form, header_text};
use crate::web::respond::{Audience, Problem};

/// `GET` and `POST /userInfo`: the token is in the header, or in the form of a POST.
pub async fn any(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    let has_form = request.method() == Method::POST && request.headers().contains_key(header::CONTENT_TYPE);
    let params = if has_form { form(&request, body).unwrap_or_default() } else { Params::default() };
    let token =
        bearer_token(header_text(&request, &header::AUTHORIZATION), &params).map_err(|problem| match problem {
            BearerError::Missing => Problem::Bearer(None),
            BearerError::Malformed(error) => Problem::Bearer(Some(error)),
        })?;
    match app.lobby.user_info(token).await {
        Ok(claims) => Ok(HttpResponse::Ok()
            .insert_header(ANY_ORIGIN)
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(claims)),
        Err(IdentityError::Internal(error)) => Err(Problem::Internal(error, Audience::Client)),
        Err(refused) => {
            tracing::debug!(reason = refused.reason(), "an access token is refused");
            Err(Problem::Bearer(Some(OAuthError::new(
                ErrorCode::InvalidToken,
                "the access token is expired, revoked or not valid here",
            ))))
        }
    }
}
