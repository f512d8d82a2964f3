//! The data of the pages: one struct per template.
//!
//! A handler fills in a struct and renders it. The structs know no HTTP and decide nothing; askama escapes every value.
//! Pages contain no inline styles or handlers, and no inline script except the waiting page's watchdog, which its hash
//! allows. A strict Content-Security-Policy (`script-src 'self'; style-src 'self'; img-src 'self'`) is all that they
//! need.

use askama::Template;

use super::wording::{Count, ENGLISH, ENGLISH_JSON, Estimate};
use super::{assets, wording};

/// A change of the visitor's place that needs an explanation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlaceChange {
    /// The place was served and expired; this is a new one.
    PlaceExpired,
    /// The operator reset the event; this is a new place.
    LineRestarted,
}

impl PlaceChange {
    const fn text(self) -> &'static str {
        match self {
            Self::PlaceExpired => "Your turn had passed before you came back, so we gave you a new place.",
            Self::LineRestarted => "The line has begun anew, and you have a new place in it.",
        }
    }
}

/// The page of a waiting visitor.
#[derive(Template, Debug, Clone, Copy)]
#[template(path = "waiting.html")]
pub struct WaitingPage<'a> {
    /// The path under which everything is mounted: empty, or like `/queue`.
    pub base_path: &'a str,
    /// The event's name.
    pub event: &'a str,
    /// The name of the site that the visitor is going to.
    pub site: &'a str,
    /// The visitor's position.
    pub position: u64,
    /// The number of visitors ahead.
    pub ahead: u64,
    /// The number of visitors ahead at the first arrival: where the progress bar begins.
    pub start_ahead: u64,
    /// The estimated wait, if it is known.
    pub estimate: Option<Estimate>,
    /// Where the request is evaluated again (`/authorize/resume?flow=…`), encoded.
    pub resume_url: &'a str,
    /// The stream of the queue's state; each message has the form of `state_url`'s answer.
    pub stream_url: &'a str,
    /// The queue's state: `{"generation":1,"serving":120,"waiting":4000,"pace":[0.5,0.8,1.0],"paused":false}`; the pace
    /// in seconds (a position at best, at worst, and between moves), or `null`.
    pub state_url: &'a str,
    /// An address by which the page checks whether the service is reachable.
    pub reach_url: &'a str,
    /// The client that sent the visitor.
    pub client: &'a str,
    /// The name of the login among those of this browser.
    pub login: &'a str,
    /// When the login began, in seconds since 1970: the newest login of a browser continues by itself.
    pub began: u64,
    /// The reload interval without a script, s.
    pub refresh_seconds: u64,
    /// The reload interval if the script does not run, s.
    pub watchdog_seconds: u64,
    /// The event's generation: when the state shows another, the page returns to `resume_url`.
    pub generation: u16,
    /// A change of the place to explain first.
    pub place_change: Option<PlaceChange>,
    /// Whether the gate is closed.
    pub paused: bool,
}

/// Larger numbers are written smaller: below 10 000, below a thousand million, above.
const SHORT_BELOW: u64 = 10_000;
const LONG_BELOW: u64 = 1_000_000_000;

/// How far the drawn door is open: 0 (just joined) to 9 (at the front); 10 is for served visitors.
pub(super) const fn nearness(start_ahead: u64, ahead: u64) -> u64 {
    match start_ahead.saturating_sub(ahead).saturating_mul(10).checked_div(start_ahead) {
        Some(tenths) if tenths < 9 => tenths,
        _ => 9,
    }
}

pub(super) const fn size(ahead: u64) -> &'static str {
    match ahead {
        0 => "words",
        1..SHORT_BELOW => "short",
        SHORT_BELOW..LONG_BELOW => "long",
        LONG_BELOW.. => "huge",
    }
}

impl WaitingPage<'_> {
    fn title(&self) -> String {
        format!("{} · {}", ENGLISH.title(self.ahead), self.event)
    }

    fn words(&self) -> &'static str {
        &ENGLISH_JSON
    }

    fn count(&self) -> Count {
        ENGLISH.count(self.ahead)
    }

    fn wait(&self) -> String {
        ENGLISH.wait(self.estimate)
    }

    fn own_number(&self) -> String {
        ENGLISH.number(self.position)
    }

    fn serving(&self) -> String {
        ENGLISH.number(self.position.saturating_sub(self.ahead).saturating_sub(1))
    }

    fn size(&self) -> &'static str {
        size(self.ahead)
    }

    fn nearness(&self) -> u64 {
        nearness(self.start_ahead, self.ahead)
    }

    fn progress_max(&self) -> u64 {
        self.start_ahead.max(1)
    }

    fn progress_value(&self) -> u64 {
        if self.start_ahead == 0 { 1 } else { self.start_ahead.saturating_sub(self.ahead) }
    }
}

/// The visitor is served, and the event asks them to confirm their presence (`entry = "button"`).
#[derive(Template, Debug, Clone, Copy)]
#[template(path = "button.html")]
pub struct ButtonPage<'a> {
    /// The path under which everything is mounted.
    pub base_path: &'a str,
    /// The event's name.
    pub event: &'a str,
    /// The name of the site.
    pub site: &'a str,
    /// The form's target (POST): the resume path, without a query.
    pub action: &'a str,
    /// The encrypted flow, sent as `flow` together with `enter=1`.
    pub flow: &'a str,
    /// How long the place is still kept, s; `None`: without limit.
    pub deadline_seconds: Option<u64>,
}

impl ButtonPage<'_> {
    fn time_left(&self) -> Option<String> {
        self.deadline_seconds.map(wording::time_left)
    }
}

/// Where an error page retries by itself.
#[derive(Debug, Clone, Copy)]
pub struct Retry<'a> {
    /// After how long, s.
    pub seconds: u64,
    /// Where.
    pub url: &'a str,
}

/// Why a visitor cannot continue, worded for the visitor; the cause goes to the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// The link names a client that is not registered.
    UnknownClient,
    /// The link's redirect URI is not one that its client registered.
    UnregisteredRedirect,
    /// The link is malformed in another way.
    MalformedRequest,
    /// The flow was begun in another browser.
    ForeignFlow,
    /// The browser does not return cookies.
    CookiesBlocked,
    /// The visitor's place expired before they returned; they must join again.
    PlaceExpired,
    /// A copy of the visitor's place was used to enter; see [`ErrorPage::retry`] and [`ErrorPage::rejoin`].
    PlaceUsed,
    /// The place is served, but the site's login request has expired and the client has no `initiate_login_uri`.
    LoginTooLate,
    /// There is no such page.
    NothingHere,
    /// The store is away; see [`ErrorPage::retry`].
    StoreAway,
    /// Too many visitors joined from this address; see [`ErrorPage::retry`].
    TooManyJoins,
    /// The client announces itself as a crawler.
    Crawler,
}

/// Title, message and advice.
type Texts = (&'static str, &'static str, Option<&'static str>);

const TOO_MANY_JOINS: Texts = (
    "Many are coming at once",
    "Very many people have joined the line from your network in this minute, so you have to wait a moment before you can join it.",
    Some("You need not do anything: this page tries again by itself. Places that were taken before are kept."),
);

const CRAWLER: Texts = (
    "This page is for people",
    "Programs that collect pages get no place in this line.",
    Some("If you are a person, your browser calls itself such a program: open the site in another one."),
);

const PLACE_USED: Texts = (
    "Your place was used in another browser",
    "A place in line lets one browser in. Another one holds a copy of yours, and has entered with it.",
    Some("Go on in the browser in which you entered. In this one you can join the line again, with a new place."),
);

impl Problem {
    const fn texts(self) -> Texts {
        match self {
            Self::UnknownClient => (
                "We don’t know this site",
                "The link that brought you here names a site that does not use this waiting room.",
                Some("Go back to the site you came from and try from there. If it happens again, tell the site."),
            ),
            Self::UnregisteredRedirect => (
                "This link leads astray",
                "The link that brought you here would lead on to an address that the site has not named to us, so we stop here.",
                Some("Open the site’s own address and try from there. If it happens again, tell the site."),
            ),
            Self::MalformedRequest => (
                "This link is not complete",
                "We could not read the link that brought you here. Perhaps a part of it was lost on the way.",
                Some("Go back to the site you came from and try from there."),
            ),
            Self::ForeignFlow => (
                "This place belongs to another browser",
                "A place in line is kept in the browser in which you joined, and this link comes from another one.",
                Some("Go on in the browser you began in, or open the site here and join the line."),
            ),
            Self::CookiesBlocked => (
                "We can’t keep your place",
                "This browser keeps no cookies for us, and your place in line is kept in one. It is the only thing in it.",
                Some(
                    "Allow cookies for this address in your browser’s settings, or open the site in a window of its own and without private browsing. Then try again.",
                ),
            ),
            Self::PlaceExpired => (
                "Your turn has passed",
                "The site was open for you, but the time in which to enter is over.",
                Some("Open the site again to join the line."),
            ),
            Self::PlaceUsed => PLACE_USED,
            Self::LoginTooLate => (
                "You have waited long enough",
                "Your turn has come, but the site no longer waits for this login.",
                Some("Open the site again in this browser. You will not have to wait a second time."),
            ),
            Self::NothingHere => (
                "There is nothing here",
                "The address that you opened leads to no page of this waiting room.",
                Some("Go back to the site you came from and try from there."),
            ),
            Self::TooManyJoins => TOO_MANY_JOINS,
            Self::Crawler => CRAWLER,
            Self::StoreAway => (
                "We’ll be right back",
                "Something on our side needs a moment. Your place is kept.",
                Some("You need not do anything: this page tries again by itself."),
            ),
        }
    }
}

/// The visitor cannot go on.
#[derive(Template, Debug, Clone, Copy)]
#[template(path = "error.html")]
pub struct ErrorPage<'a> {
    /// The path under which everything is mounted.
    pub base_path: &'a str,
    /// The title.
    pub title: &'a str,
    /// The explanation.
    pub message: &'a str,
    /// What the visitor can do.
    pub advice: Option<&'a str>,
    /// The request's ID in the log; empty if it is of no use.
    pub reference: &'a str,
    /// The site's start page, if known.
    pub home: Option<&'a str>,
    /// Where the page retries by itself, if that may help.
    pub retry: Option<Retry<'a>>,
    /// Where the visitor retries after a change of settings.
    pub again: Option<&'a str>,
    /// Where the visitor joins the queue again.
    pub rejoin: Option<&'a str>,
}

impl<'a> ErrorPage<'a> {
    /// The page for `problem`, without links.
    pub const fn of(problem: Problem, base_path: &'a str, reference: &'a str) -> Self {
        let (title, message, advice) = problem.texts();
        Self { base_path, title, message, advice, reference, home: None, retry: None, again: None, rejoin: None }
    }
}

/// An answer in the response mode `form_post` (OAuth 2.0 Form Post Response Mode), on its way to the site.
#[derive(Template, Clone, Copy)]
#[template(path = "form_post.html")]
pub struct FormPostPage<'a> {
    /// The path under which everything is mounted.
    pub base_path: &'a str,
    /// The name of the site.
    pub site: &'a str,
    /// The redirect URI: where the form goes.
    pub action: &'a str,
    /// The answer's parameters, in order: name, value. They hold the code, so this struct has no `Debug`.
    pub fields: &'a [(&'a str, &'a str)],
}

/// The page at the service's own address.
#[derive(Template, Debug, Clone, Copy)]
#[template(path = "landing.html")]
pub struct LandingPage<'a> {
    /// The path under which everything is mounted.
    pub base_path: &'a str,
    /// Where Anteroom is explained.
    pub docs_url: Option<&'a str>,
}

#[cfg(test)]
#[path = "views_tests.rs"]
mod tests;
