//! `/authorize/resume`: a waiting browser comes back, and everything is decided anew.

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
use crate::web::respond::{PersonalProblem, Problem};

/// `GET /authorize/resume?flow=…`.
pub async fn get(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, Problem> {
    navigation::check(request.headers()).map_err(Problem::NotNavigation)?;
    let params = Params::parse(request.query_string().as_bytes());
    resume(&app, &request, &params, false).await
}

/// `POST /authorize/resume`: the button of the door page.
pub async fn post(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    navigation::check(request.headers()).map_err(Problem::NotNavigation)?;
    let params = form(&request, body).unwrap_or_default();
    let enters = params.get("enter").is_ok_and(|value| value == Some("1"));
    match resume(&app, &request, &params, enters).await {
        // The page that says so tries again by GET, and must bring the flow along.
        Err(Problem::Internal(fault, _)) => {
            tracing::error!(%fault, "a visitor could not be let in");
            Ok(by_get(&app, &params))
        }
        Err(Problem::TooMany(..)) => Ok(by_get(&app, &params)),
        answered => answered,
    }
}

/// The same step by GET.
fn by_get(app: &App, params: &Params) -> HttpResponse {
    see_other(&format!("{}?{}", app.path(paths::RESUME), params.only(&["flow"]).encode()))
}

async fn resume(app: &App, request: &HttpRequest, params: &Params, enters: bool) -> Result<HttpResponse, Problem> {
    let incomplete = || Problem::Personal(PersonalProblem::MalformedRequest);
    let sealed = params.require("flow").map_err(|_| incomplete())?;
    let browser = Browser::of(app, request);
    let flow = Flow::open(app, sealed, browser.as_ref()).map_err(|problem| Problem::Personal(problem.into()))?;
    if flow.is_over(app.lobby.now()) {
        // What the browser remembers of the request's first arrival says there whether the site still waits for it.
        return Ok(see_other(&format!("{}?{}", app.path(paths::AUTHORIZE), flow.params.encode())));
    }
    let again = Again::read(params.get(Again::PARAMETER).ok().flatten());
    login_step(app, request, Step::resumed(flow, sealed.to_owned(), enters, again)).await
}
