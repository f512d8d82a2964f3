//! Tabs of one browser that are opened at the same moment: they share one place, and each page is valid.

use futures_util::future::join_all;
use reqwest::StatusCode;

use crate::support::{Browser, COOKIE_CHECK, Page, REDIRECT, TestApp, encode};

/// The cookies that all tabs of a browser share, in the order received (RFC 6265 §5.4).
#[derive(Default, Clone)]
struct Jar(Vec<(String, String)>);

impl Jar {
    /// Applies the cookies of an answer, as when the browser receives it.
    fn keep(&mut self, page: &Page) {
        for cookie in page.headers.get_all("set-cookie") {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap().to_owned();
            match self.0.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = value,
                None => self.0.push((name.to_owned(), value)),
            }
        }
    }

    /// The answer to `target`, which the browser has not received yet.
    async fn request(&self, app: &TestApp, target: &str) -> Page {
        let cookies: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = app.get(target).header("cookie", cookies.join("; "));
        Browser::default().send_once(request).await
    }

    async fn open(&mut self, app: &TestApp, target: &str) -> Page {
        let page = self.request(app, target).await;
        self.keep(&page);
        page
    }
}

fn login(state: &str) -> String {
    let query = encode(&[
        ("client_id", "Sample"),
        ("redirect_uri", REDIRECT),
        ("response_type", "code"),
        ("scope", "openid"),
        ("state", state),
    ]);
    format!("/authorize?{query}")
}

fn checked(page: &Page) -> String {
    page.location.clone().filter(|location| location.contains(COOKIE_CHECK)).unwrap_or_else(|| panic!("{page:?}"))
}

/// Both pages wait with one place, and both continue: now, and when the place is served.
async fn assert_both_good(app: &TestApp, jar: &mut Jar, pages: &[Page; 2], case: &str) {
    assert!(pages.iter().all(|page| page.waits()), "{case}: {pages:?}");
    assert_eq!(pages[0].position(), pages[1].position(), "{case}");
    for page in pages {
        assert!(jar.open(app, &page.resume_url()).await.waits(), "{case}");
    }
    app.serve("Sample", 1).await;
    for page in pages {
        let entered = jar.open(app, &page.resume_url()).await;
        assert!(entered.location.as_ref().is_some_and(|location| location.contains("code=")), "{case}: {entered:?}");
    }
}

#[actix_web::test]
async fn the_first_two_tabs_of_a_browser_share_a_place_however_their_answers_cross() {
    let app = TestApp::start().await;
    // The order of events: the first answer arrives before or after the second request is sent, and either tab's second
    // request is sent before or after the other's first answer arrives.
    let cases = ["check 1, ask 1, check 2, ask 2", "check 2, check 1, ask 1, ask 2", "check 1, check 2, ask 2, ask 1"];
    let cases = cases.into_iter().flat_map(|case| [(case, [0, 1]), (case, [1, 0])]);
    for (number, (case, answered)) in (1..).zip(cases) {
        let mut jar = Jar::default();
        let logins = [1, 2].map(|tab| login(&format!("{case} {answered:?} {tab}")));
        let checks = [jar.request(&app, &logins[0]).await, jar.request(&app, &logins[1]).await];
        let mut pages = [None, None];
        for step in case.split(", ") {
            let (what, tab) = step.split_once(' ').unwrap();
            let tab = tab.parse::<usize>().unwrap() - 1;
            match what {
                "check" => jar.keep(&checks[tab]),
                // The answers arrive after both requests were sent.
                _ => pages[tab] = Some(jar.request(&app, &checked(&checks[tab])).await),
            }
        }
        let pages = pages.map(Option::unwrap);
        answered.iter().for_each(|tab| jar.keep(&pages[*tab]));
        assert_eq!(app.counters().queue, number, "{case}: one place");
        assert_both_good(&app, &mut jar, &pages, case).await;
    }
    app.stop().await;
}

#[actix_web::test]
async fn many_tabs_that_are_restored_at_once_share_a_place() {
    let app = TestApp::start().await;
    let mut jar = Jar::default();
    // The browser has been here before; its earlier place has expired.
    jar.0.push(("anteroom-browser".into(), "AAAAAAAAAAAAAAAAAAAAAA".into()));
    for round in 1..=2 {
        let logins: Vec<_> = (0..20).map(|tab| login(&format!("round {round} tab {tab}"))).collect();
        let pages = join_all(logins.iter().map(|target| jar.request(&app, target))).await;
        assert!(pages.iter().all(|page| page.waits() && page.position() == round), "{pages:?}");
        assert_eq!(app.counters().queue, round);
        pages.iter().for_each(|page| jar.keep(page));
        app.serve("Sample", 1).await;
        // Unused: all tabs retry at once, with the cookie of the expired place.
        app.pass(901);
    }
    let pages = join_all((0..3).map(async |tab| jar.request(&app, &login(&format!("other {tab}"))).await)).await;
    assert!(pages.iter().all(|page| page.waits() && page.position() == 3), "{pages:?}");
    app.stop().await;
}

#[actix_web::test]
async fn a_place_whose_answer_was_lost_is_given_again_for_some_seconds_without_counting() {
    let proxy = "trusted_proxies = [\"127.0.0.1/32\"]";
    let few = "joins_per_second = 1, joins_burst = 1, joins_per_second_ipv6 = 1, joins_burst_ipv6 = 1";
    let app = TestApp::replacing(proxy, &format!("{proxy}\nlimits = {{ {few}, exempt = [] }}")).await;
    let request_as = async |browser: &str, state: &str| {
        let request = app.get(&login(state)).header("x-forwarded-for", "203.0.113.7");
        Browser::default().send_once(request.header("cookie", format!("anteroom-browser={browser}"))).await
    };
    let (first, other) = ("AAAAAAAAAAAAAAAAAAAAAA", "BAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(request_as(first, "1").await.position(), 1);
    assert_eq!(request_as(first, "2").await.position(), 1);
    assert_eq!(request_as(other, "3").await.status, StatusCode::TOO_MANY_REQUESTS, "another browser's join is counted");
    app.pass(10);
    assert_eq!(request_as(first, "4").await.position(), 1);
    app.pass(1);
    assert_eq!(request_as(first, "5").await.position(), 2, "by then the answer is lost for good");
    app.stop().await;
}

#[actix_web::test]
async fn an_admitted_visitor_who_must_log_in_again_gets_a_new_place() {
    let app = TestApp::start().await;
    app.serve("Sample", 1).await;
    let jar = Jar(vec![("anteroom-browser".into(), "AAAAAAAAAAAAAAAAAAAAAA".into())]);
    assert!(jar.request(&app, &login("1")).await.location.is_some());
    let again = jar.request(&app, &login("2")).await;
    assert!(again.waits() && again.position() == 2, "without the session's cookie it is somebody else: {again:?}");
    app.stop().await;
}
