//! `/authorize`: a relying party sends a browser to log in (OIDC Core §3.1.2).

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::answer::see_other;
use super::login_step::{Step, login_step};
use crate::oauth::{KNOWN, Params, paths};
use crate::web::App;
use crate::web::extract::{Body, form};
use crate::web::navigation;
use crate::web::respond::{PageProblem, Problem};

/// `GET /authorize`.
pub async fn get(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, Problem> {
    navigation::check(request.headers()).map_err(Problem::NotNavigation)?;
    let params = Params::parse(request.query_string().as_bytes()).only(&KNOWN);
    login_step(&app, &request, Step::first(params)).await
}

/// `POST /authorize`: the same with the parameters in a form. A browser that posts from another site sends no cookies
/// (`SameSite=Lax`) and would lose its place, so it is redirected to the same request by GET.
pub async fn post(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    navigation::check(request.headers()).map_err(Problem::NotNavigation)?;
    let params = form(&request, body).map_err(|_| Problem::Page(PageProblem::MalformedRequest))?.only(&KNOWN);
    Ok(see_other(&format!("{}?{}", app.path(paths::AUTHORIZE), params.encode())))
}
