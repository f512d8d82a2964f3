//! One step of a login, the first or a later one: check the request, call the lobby, render the outcome.

use actix_web::{HttpRequest, HttpResponse};
use url::form_urlencoded;

use super::answer::{granted, refused, see_other};
use super::cookie_check::{self, Cookies};
use crate::ambient::Timestamp;
use crate::lobby::{Attempt, JoinDenied, Login, RegisteredClient, Wait};
use crate::oauth::{AuthorizationRequest, OAuthError, Params, Reply, client_id, initiate_login, paths, read_request};
use crate::policy;
use crate::room::Opener;
use crate::web::App;
use crate::web::cookies::{self, Browser};
use crate::web::first_arrivals::{FirstArrivals, RequestName};
use crate::web::flow::{Flow, opener};
use crate::web::pages::assets::WATCHDOG_SOURCE;
use crate::web::pages::views::{ButtonPage, ErrorPage, PlaceChange, Retry, WaitingPage};
use crate::web::pages::wording::Estimate;
use crate::web::rate_limits::RateLimitError;
use crate::web::respond::{Audience, ContentPolicy, PageProblem, Problem, page_response};

/// A login request, on its first or a later arrival.
pub struct Step {
    params: Params,
    resumed: Option<Resumed>,
    enters: bool,
    again: Again,
}

/// How often the browser was shown that its place was used elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Again {
    /// Not yet.
    No,
    /// Once: its page retries by itself, because another tab may have been answered meanwhile.
    Looks,
    /// The visitor has read it and joins again.
    Rejoins,
}

impl Again {
    /// The query parameter that says so.
    pub const PARAMETER: &'static str = "again";

    /// Parses the parameter.
    pub fn read(value: Option<&str>) -> Self {
        match value {
            Some("1") => Self::Looks,
            Some("2") => Self::Rejoins,
            _ => Self::No,
        }
    }
}

/// What a waiting browser returns.
struct Resumed {
    sealed: String,
    began: Timestamp,
    start_ahead: u64,
}

impl Step {
    /// The first arrival, from the relying party.
    pub const fn first(params: Params) -> Self {
        Self { params, resumed: None, enters: false, again: Again::No }
    }

    /// A return from the waiting page, its button, or the page about a used place.
    pub fn resumed(flow: Flow, sealed: String, enters: bool, again: Again) -> Self {
        let resumed = Resumed { sealed, began: flow.began, start_ahead: flow.start_ahead };
        Self { params: flow.params, resumed: Some(resumed), enters, again }
    }

    /// The name of the request in this browser.
    fn name(&self, browser: Option<&Browser>) -> Option<Opener> {
        opener(&self.params, self.resumed.as_ref().map(|resumed| resumed.sealed.as_str()), browser)
    }
}

/// Runs the step.
pub async fn login_step(app: &App, request: &HttpRequest, step: Step) -> Result<HttpResponse, Problem> {
    let registered = client_id(&step.params).ok().and_then(|id| app.lobby.clients().find(id));
    let registered = registered.ok_or(Problem::Page(PageProblem::UnknownClient))?;
    let reply =
        Reply::read(&step.params, &registered.client).map_err(|_| Problem::Page(PageProblem::UnregisteredRedirect))?;
    let site = site_name(registered);
    let asked = match read_request(&step.params, &registered.client) {
        Ok(asked) => asked,
        Err(error) => return Ok(refused(app, &reply.refusing(&step.params, &error), &site, &error)),
    };
    if step.params.len_bytes() > policy::MAX_AUTHORIZATION_REQUEST {
        let error = OAuthError::invalid_request("the request is too long to be carried through a line");
        return Ok(refused(app, &reply, &site, &error));
    }
    let (browser, now) = (Browser::of(app, request), app.lobby.now());
    let mut arrivals = FirstArrivals::of(app, request, now);
    let name = browser.as_ref().and_then(|browser| RequestName::of(&step.params, browser));
    let began = match &step.resumed {
        Some(resumed) => Some(resumed.began),
        None => name.and_then(|name| arrivals.arrive(name, now)),
    };
    let renderer = WaitingPageRenderer { app, request, registered, reply, site, browser, began };
    let answered = renderer.evaluate(step, &asked).await;
    if let Some(name) = name {
        match &answered {
            Ok((_, Outcome::Answered)) => {}
            Ok((_, Outcome::TooLate)) | Err(Problem::Page(PageProblem::LoginTooLate)) => {
                arrivals.give_up(name, began.unwrap_or(now));
            }
            Ok((_, Outcome::Waits)) | Err(_) => arrivals.remember(name, began.unwrap_or(now)),
        }
    }
    let remembered = arrivals.cookie(app);
    match answered {
        Ok((mut answer, _)) => {
            remembered.iter().for_each(|cookie| cookies::set(&mut answer, cookie));
            Ok(answer)
        }
        Err(problem) => {
            remembered.into_iter().for_each(|cookie| cookies::set_with_problem(request, cookie));
            Err(problem)
        }
    }
}

/// The outcome of a login request, as far as it affects the first arrivals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// The site has its answer, or the browser is redirected to the same request.
    Answered,
    /// The visitor sees a page from which the request continues.
    Waits,
    /// The site no longer waits for the answer.
    TooLate,
}

/// The name of the site for visitors: the configured one, or else the host that they go to.
fn site_name(registered: &RegisteredClient) -> String {
    let client = &registered.client;
    let host = || client.login_start().and_then(|url| url.host_str()).map(str::to_owned);
    client.name.clone().or_else(host).unwrap_or_else(|| registered.event.to_string())
}

/// The site no longer waits for this login, so it is asked to start a new one (OIDC Core §4), which the visitor's
/// served place answers at once.
fn too_late(app: &App, registered: &RegisteredClient) -> Result<HttpResponse, Problem> {
    let start = registered.client.login_start().ok_or(Problem::Page(PageProblem::LoginTooLate))?;
    Ok(see_other(initiate_login(start, app.lobby.issuer(), None).as_str()))
}

/// Renders the outcome of an attempt: the waiting page, the button page, or an error page.
struct WaitingPageRenderer<'a> {
    app: &'a App,
    request: &'a HttpRequest,
    registered: &'a RegisteredClient,
    reply: Reply,
    site: String,
    /// The browser, if it has been here before.
    browser: Option<Browser>,
    /// When the request first arrived, if that was earlier.
    began: Option<Timestamp>,
}

impl WaitingPageRenderer<'_> {
    /// Evaluates the attempt and renders its outcome.
    async fn evaluate(&self, step: Step, asked: &AuthorizationRequest) -> Result<(HttpResponse, Outcome), Problem> {
        let Self { app, request, registered, reply, site, .. } = self;
        let event = registered.event.as_str();
        let cookie = cookies::place(app, request, event);
        let may_join = || match Cookies::of(app, request, event) {
            Cookies::Kept => {
                app.rate_limits.join(&app.site, request).map_err(|limit| JoinDenied::TooManyJoins(limit.retry_after))
            }
            Cookies::Untried | Cookies::Lost => Err(JoinDenied::NoCookie),
        };
        let attempt = Attempt {
            registered,
            request: asked,
            reply,
            cookie: cookie.as_deref(),
            browser: self.browser.as_ref().map(Browser::bytes),
            began: self.began,
            enters: step.enters,
            opener: step.name(self.browser.as_ref()),
            rejoins: step.again == Again::Rejoins,
            may_join: &may_join,
        };
        let answered = |answer| Ok((answer, Outcome::Answered));
        match app.lobby.log_in(&attempt).await.map_err(|error| Problem::Internal(error, Audience::Person))? {
            Login::Refused(error) => answered(refused(app, reply, site, &error)),
            Login::TooLate => Ok((too_late(app, registered)?, Outcome::TooLate)),
            Login::JoinDenied(JoinDenied::TooManyJoins(retry_after)) => {
                Err(Problem::RateLimited(RateLimitError { retry_after }, Audience::Person))
            }
            Login::JoinDenied(JoinDenied::NoCookie) => match Cookies::of(app, request, event) {
                Cookies::Lost => Err(Problem::Page(PageProblem::CookiesBlocked)),
                Cookies::Untried | Cookies::Kept => answered(cookie_check::try_once(app, &step.params)),
            },
            Login::Granted(login) => {
                let mut answer = granted(app, reply, site, &login.code);
                if let Some(place) = login.cookie {
                    cookies::set(&mut answer, &cookies::place_cookie(app, event, place));
                }
                answered(answer)
            }
            Login::Waiting(wait) => Ok((self.waiting_page(step, &wait)?, Outcome::Waits)),
            Login::AwaitingButton(wait) => Ok((self.button_page(step, &wait)?, Outcome::Waits)),
            Login::PlaceUsed => Ok((self.place_used_page(step)?, Outcome::Waits)),
        }
    }

    fn waiting_page(&self, step: Step, wait: &Wait) -> Result<HttpResponse, Problem> {
        let named = step.name(self.browser.as_ref());
        let (browser, carried) = self.carry(step, wait.ahead)?;
        let login = named.unwrap_or_else(|| Opener::named(&[&carried.sealed]));
        let event = self.registered.event.as_str();
        let (state_url, resume_url) = (self.app.path(&format!("/line/{event}")), self.resume_url(&carried.sealed));
        let estimate = self.estimate(wait.ahead);
        let refresh_seconds = refresh_seconds(estimate);
        let page = WaitingPage {
            base_path: &self.app.site.base_path,
            event,
            site: &self.site,
            position: wait.visitor.ticket.position.get(),
            ahead: wait.ahead,
            start_ahead: carried.start_ahead.max(wait.ahead),
            estimate,
            resume_url: &resume_url,
            stream_url: &format!("{state_url}/events"),
            state_url: &state_url,
            reach_url: &self.app.path(paths::AUTHORIZE),
            client: &self.registered.client.id,
            login: &String::from(login),
            began: carried.began.as_secs(),
            refresh_seconds,
            watchdog_seconds: refresh_seconds.max(policy::WATCHDOG_SOONEST.as_secs()),
            generation: wait.visitor.ticket.generation.0,
            place_change: wait.place_change.map(PlaceChange::from),
            paused: self.is_paused(),
        };
        let policy = ContentPolicy { script: Some(WATCHDOG_SOURCE.as_str()), ..ContentPolicy::default() };
        let mut answer = page_response(&mut HttpResponse::Ok(), &page, &policy);
        self.set_cookies(&mut answer, &browser, wait);
        Ok(answer)
    }

    fn button_page(&self, step: Step, wait: &Wait) -> Result<HttpResponse, Problem> {
        let (browser, carried) = self.carry(step, wait.ahead)?;
        let now = self.app.lobby.now();
        let page = ButtonPage {
            base_path: &self.app.site.base_path,
            event: self.registered.event.as_str(),
            site: &self.site,
            action: &self.app.path(paths::RESUME),
            flow: &carried.sealed,
            deadline_seconds: wait.deadline.map(|deadline| deadline.since(now).as_secs()),
        };
        let policy = ContentPolicy::leading_to(&self.reply.redirect);
        let mut answer = page_response(&mut HttpResponse::Ok(), &page, &policy);
        self.set_cookies(&mut answer, &browser, wait);
        Ok(answer)
    }

    /// The first time, the page retries by itself, because another tab may just have been answered; the second time, it
    /// explains what happened and offers a new place.
    fn place_used_page(&self, step: Step) -> Result<HttpResponse, Problem> {
        let first = step.again == Again::No;
        let (browser, carried) = self.carry(step, 0)?;
        let url = format!("{}&{}={}", self.resume_url(&carried.sealed), Again::PARAMETER, if first { 1 } else { 2 });
        let page = ErrorPage::of(PageProblem::PlaceUsed, &self.app.site.base_path, "");
        let page = match first {
            true => ErrorPage { retry: Some(Retry { seconds: policy::PLACE_USED_RETRY, url: &url }), ..page },
            false => ErrorPage { rejoin: Some(&url), ..page },
        };
        let mut answer = page_response(&mut HttpResponse::Conflict(), &page, &ContentPolicy::default());
        cookies::set(&mut answer, &browser.cookie(self.app));
        Ok(answer)
    }

    /// The flow that the page carries: the returned one, or a new one.
    fn carry(&self, step: Step, ahead: u64) -> Result<(Browser, Resumed), Problem> {
        let browser = self.browser.clone().unwrap_or_else(|| Browser::new(self.app));
        if let Some(resumed) = step.resumed {
            return Ok((browser, resumed));
        }
        let (now, start_ahead) = (self.app.lobby.now(), ahead);
        let began = self.began.unwrap_or(now);
        let sealed = Flow::begin(step.params, began, now, start_ahead, &browser).seal(self.app);
        let sealed = sealed.ok_or(Problem::Page(PageProblem::MalformedRequest))?;
        Ok((browser, Resumed { sealed, began, start_ahead }))
    }

    fn set_cookies(&self, answer: &mut HttpResponse, browser: &Browser, wait: &Wait) {
        cookies::set(answer, &browser.cookie(self.app));
        cookies::set(answer, &cookies::place_cookie(self.app, self.registered.event.as_str(), wait.cookie.clone()));
    }

    fn resume_url(&self, sealed: &str) -> String {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("flow", sealed).finish();
        format!("{}?{query}", self.app.path(paths::RESUME))
    }

    fn is_paused(&self) -> bool {
        let room = self.app.lobby.room(self.registered.event.as_str());
        room.is_some_and(|room| !room.is_open())
    }

    fn estimate(&self, ahead: u64) -> Option<Estimate> {
        let room = self.app.lobby.room(self.registered.event.as_str())?;
        let pace = room.cache.view().pace(self.app.lobby.now())?;
        Some(pace.wait(ahead).into())
    }
}

/// The refresh interval of a page without script: long far from the front, short near it.
fn refresh_seconds(estimate: Option<Estimate>) -> u64 {
    let bounds = policy::REFRESH_SOONEST.as_secs()..=policy::REFRESH_LATEST.as_secs();
    let soon = estimate.map_or(*bounds.start(), |estimate| estimate.low_s / 8);
    soon.clamp(*bounds.start(), *bounds.end())
}
