//! The landing page and the assets.

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use super::assets;
use super::views::LandingPage;
use crate::web::App;
use crate::web::respond::{ContentPolicy, Problem, page_response};

/// `GET /`: the landing page.
pub async fn landing(app: Data<App>) -> HttpResponse {
    let page = LandingPage { base_path: &app.site.base_path, docs_url: None };
    page_response(&mut HttpResponse::Ok(), &page, &ContentPolicy::default())
}

/// `GET /assets/{file}`: the name contains a digest of the content, so it may be cached for ever.
pub async fn asset(request: HttpRequest, file: Path<String>) -> Result<HttpResponse, Problem> {
    let asset = assets::find(&file).ok_or(Problem::Rest(StatusCode::NOT_FOUND, "There is no such file"))?;
    let known = request.headers().get(header::IF_NONE_MATCH).is_some_and(|tag| tag == asset.entity_tag());
    let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer
        .insert_header((header::CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((header::ETAG, asset.entity_tag()));
    Ok(if known { answer.finish() } else { answer.content_type(asset.content_type()).body(asset.bytes()) })
}
