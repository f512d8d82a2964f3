//! `/authorize/resume`: a waiting browser returns, and its request is evaluated again.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::answer::see_other;
use super::login_step::{Again, Step, login_step};
use crate::oauth::{Params, paths};
use crate::web::App;
use crate::web::cookies::Browser;
use crate::web::extract::{Body, form};
use crate::web::flow::Flow;
use crate::web::navigation;
use crate::web::respond::{PageProblem, Problem};

/// `GET /authorize/resume?flow=…`.
pub async fn get(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, Problem> {
    navigation::check(request.headers()).map_err(Problem::NotNavigation)?;
    let params = Params::parse(request.query_string().as_bytes());
    resume(&app, &request, &params, false).await
}

/// `POST /authorize/resume`: the button of the button page.
pub async fn post(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    navigation::check(request.headers()).map_err(Problem::NotNavigation)?;
    let params = form(&request, body).unwrap_or_default();
    let enters = params.get("enter").is_ok_and(|value| value == Some("1"));
    match resume(&app, &request, &params, enters).await {
        // The error page retries by GET and must carry the flow.
        Err(Problem::Internal(error, _)) => {
            tracing::error!(%error, "a visitor could not be admitted; the page retries");
            Ok(by_get(&app, &params))
        }
        Err(Problem::RateLimited(..)) => Ok(by_get(&app, &params)),
        answered => answered,
    }
}

/// The same step by GET.
fn by_get(app: &App, params: &Params) -> HttpResponse {
    see_other(&format!("{}?{}", app.path(paths::RESUME), params.only(&["flow"]).encode()))
}

async fn resume(app: &App, request: &HttpRequest, params: &Params, enters: bool) -> Result<HttpResponse, Problem> {
    let incomplete = || Problem::Page(PageProblem::MalformedRequest);
    let sealed = params.require("flow").map_err(|_| incomplete())?;
    let browser = Browser::of(app, request);
    let flow = Flow::open(app, sealed, browser.as_ref()).map_err(|problem| Problem::Page(problem.into()))?;
    if flow.is_over(app.lobby.now()) {
        // There, the browser's first arrivals show whether the site still waits for the request.
        return Ok(see_other(&format!("{}?{}", app.path(paths::AUTHORIZE), flow.params.encode())));
    }
    let again = Again::read(params.get(Again::PARAMETER).ok().flatten());
    login_step(app, request, Step::resumed(flow, sealed.to_owned(), enters, again)).await
}
