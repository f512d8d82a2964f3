//! The shop against a fake issuer: an honest login succeeds, and each wrong answer is detected.

mod issuer;

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::cookie::Cookie;
use actix_web::dev::ServerHandle;
use actix_web::http::header::{COOKIE, HeaderValue, LOCATION};
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{HttpServer, web};
use serde_json::json;
use url::Url;

use super::{LOGIN_LIFETIME, Shop, ShopApp, State};
use crate::ambient::{Clock, FrozenClock, Secret, SeededEntropy, SystemClock};
use issuer::{CODE, FakeIssuer, SUBJECT, Script};

/// One answer of the shop, and the cookies that a browser would keep.
struct Answer {
    status: u16,
    location: String,
    cookies: Vec<Cookie<'static>>,
    body: String,
}

/// The shop with its issuer and a frozen clock.
struct Fixture {
    issuer: Arc<FakeIssuer>,
    issuer_handle: ServerHandle,
    clock: Arc<FrozenClock>,
    state: web::Data<State>,
}

impl Fixture {
    fn new() -> Self {
        let (issuer, issuer_handle) = FakeIssuer::start(TcpListener::bind("127.0.0.1:0").unwrap());
        let clock = Arc::new(FrozenClock::at(SystemClock.now()));
        let state = State::new(shop(&issuer.url), clock.clone(), Arc::new(SeededEntropy::new(1))).unwrap();
        Self { issuer, issuer_handle, clock, state: web::Data::new(state) }
    }

    async fn send(&self, request: TestRequest, cookies: &[Cookie<'static>]) -> Answer {
        let app = init_service(ShopApp(self.state.clone()).app()).await;
        let request = cookies.iter().fold(request, |request, cookie| request.cookie(cookie.clone()));
        let response = call_service(&app, request.to_request()).await;
        let policy = response.headers().get("Content-Security-Policy").expect("every answer has a policy");
        assert!(policy.to_str().unwrap().starts_with("default-src 'none'"));
        let header = response.headers().get(LOCATION).map(|value| value.to_str().unwrap().to_owned());
        let cookies = response.response().cookies().map(Cookie::into_owned).collect();
        let (status, location) = (response.status().as_u16(), header.unwrap_or_default());
        let body = String::from_utf8(read_body(response).await.to_vec()).unwrap();
        Answer { status, location, cookies, body }
    }

    async fn get(&self, path: &str, cookies: &[Cookie<'static>]) -> Answer {
        self.send(TestRequest::get().uri(path), cookies).await
    }

    /// Begins a login; returns the browser's cookies and the `state`, and passes the authorization request's values to
    /// the issuer.
    async fn begin(&self) -> (Vec<Cookie<'static>>, String) {
        let answer = self.get("/login", &[]).await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        let sent = query_of(&answer.location);
        let mut script = self.issuer.script.lock().unwrap();
        script.challenge.clone_from(&sent["code_challenge"]);
        script.nonce.clone_from(&sent["nonce"]);
        (answer.cookies, sent["state"].clone())
    }

    /// A whole login with `lie` applied in the middle; the answer to the callback.
    async fn log_in_with(&self, lie: impl FnOnce(&mut Script)) -> Answer {
        let (cookies, state) = self.begin().await;
        lie(&mut self.issuer.script.lock().unwrap());
        self.get(&format!("/callback?code={CODE}&state={state}"), &cookies).await
    }
}

fn shop(issuer: &str) -> Shop {
    Shop {
        public_url: Url::parse("http://127.0.0.1:8090").unwrap(),
        issuer: issuer.to_owned(),
        client_id: "shop".to_owned(),
        client_secret: Secret::new("a secret of the shop's"),
    }
}

fn query_of(location: &str) -> HashMap<String, String> {
    Url::parse(location).unwrap().query_pairs().into_owned().collect()
}

#[actix_web::test]
async fn the_window_has_a_login_link() {
    let answer = Fixture::new().get("/", &[]).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("Log in to buy"));
}

#[actix_web::test]
async fn login_sends_the_browser_to_the_issuer_with_pkce_state_and_nonce() {
    let fixture = Fixture::new();
    let answer = fixture.get("/login", &[]).await;
    let sent = query_of(&answer.location);
    assert!(answer.location.starts_with(&format!("{}/authorize?", fixture.issuer.url)));
    assert_eq!(sent["response_type"], "code");
    assert_eq!(sent["client_id"], "shop");
    assert_eq!(sent["redirect_uri"], shop(&fixture.issuer.url).redirect_uri().as_str());
    assert_eq!(sent["code_challenge_method"], "S256");
    assert!(sent["scope"].split(' ').any(|scope| scope == "openid"));
    assert!(sent["state"].len() >= 22 && sent["nonce"].len() >= 22);
    let cookie = &answer.cookies[0];
    assert_eq!((cookie.http_only(), cookie.same_site().unwrap().is_lax()), (Some(true), true));
}

#[actix_web::test]
async fn an_honest_login_opens_a_session() {
    let fixture = Fixture::new();
    let answer = fixture.log_in_with(|_| ()).await;
    assert_eq!((answer.status, answer.location.as_str()), (303, "/"), "{}", answer.body);
    let window = fixture.get("/", &answer.cookies).await;
    assert!(window.body.contains("visitor-17") && window.body.contains(SUBJECT), "{}", window.body);
}

#[actix_web::test]
async fn the_issuers_display_name_is_shown_and_escaped() {
    let fixture = Fixture::new();
    let user_info = json!({"sub": SUBJECT, "preferred_username": "<b>Ada</b>"});
    let answer = fixture.log_in_with(|script| script.user_info = user_info).await;
    let window = fixture.get("/", &answer.cookies).await;
    assert!(window.body.contains("Ada") && !window.body.contains("<b>Ada"), "{}", window.body);
}

#[actix_web::test]
async fn the_session_ends_when_the_id_token_does() {
    let fixture = Fixture::new();
    let answer = fixture.log_in_with(|_| ()).await;
    fixture.clock.advance(Duration::from_secs(3590));
    assert!(fixture.get("/", &answer.cookies).await.body.contains("visitor-17"));
    fixture.clock.advance(Duration::from_secs(60));
    assert!(fixture.get("/", &answer.cookies).await.body.contains("Log in to buy"));
}

#[actix_web::test]
async fn an_id_token_that_fails_verification_is_refused() {
    type Lie = (&'static str, fn(&mut Script));
    let lies: [Lie; 6] = [
        ("nonce", |script| script.nonce = "another".to_owned()),
        ("aud", |script| script.audience = "another"),
        ("iss", |script| script.token_issuer = Some("http://127.0.0.1:1")),
        ("exp", |script| script.expires_in = -60),
        ("at_hash", |script| script.hashed_access_token = "another"),
        ("sub of userInfo", |script| script.user_info["sub"] = "another".into()),
    ];
    for (what, lie) in lies {
        let fixture = Fixture::new();
        let answer = fixture.log_in_with(lie).await;
        assert_eq!(answer.status, 502, "{what}");
        assert!(answer.body.contains("could not be verified"), "{what}: {}", answer.body);
        assert!(!answer.body.contains("another"), "{what}: the detail is for the log");
        assert!(answer.cookies.is_empty(), "{what}");
    }
}

#[actix_web::test]
async fn a_rotated_key_is_fetched_when_it_is_first_seen() {
    let fixture = Fixture::new();
    assert_eq!(fixture.log_in_with(|_| ()).await.status, 303);
    assert_eq!(fixture.issuer.discoveries.load(Ordering::SeqCst), 1, "discovery is cached");
    assert_eq!(fixture.log_in_with(|script| script.key = "second").await.status, 303);
    assert_eq!(fixture.issuer.discoveries.load(Ordering::SeqCst), 2);
}

#[actix_web::test]
async fn a_code_that_the_issuer_refuses_is_a_client_error() {
    let fixture = Fixture::new();
    let (cookies, state) = fixture.begin().await;
    let answer = fixture.get(&format!("/callback?code=forged&state={state}"), &cookies).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("invalid_grant"));
}

#[actix_web::test]
async fn a_state_of_another_browser_is_refused() {
    let fixture = Fixture::new();
    let (cookies, state) = fixture.begin().await;
    let strange = fixture.get(&format!("/callback?code={CODE}&state=made-up"), &cookies).await;
    assert_eq!(strange.status, 400);
    let (other_browser, _) = fixture.begin().await;
    let stolen = fixture.get(&format!("/callback?code={CODE}&state={state}"), &other_browser).await;
    assert_eq!(stolen.status, 400);
    assert!(stolen.cookies.is_empty());
}

#[actix_web::test]
async fn a_callback_works_once() {
    let fixture = Fixture::new();
    let (cookies, state) = fixture.begin().await;
    let path = format!("/callback?code={CODE}&state={state}");
    assert_eq!(fixture.get(&path, &cookies).await.status, 303);
    assert_eq!(fixture.get(&path, &cookies).await.status, 400);
}

#[actix_web::test]
async fn two_tabs_of_one_browser_can_both_log_in() {
    let fixture = Fixture::new();
    let (cookies, first) = fixture.begin().await;
    let second = fixture.get("/login", &cookies).await;
    assert_eq!(second.cookies[0].value(), cookies[0].value());
    let answer = fixture.get(&format!("/callback?error=access_denied&state={first}"), &cookies).await;
    assert_eq!(answer.status, 403);
    let state = &query_of(&second.location)["state"];
    let answer = fixture.get(&format!("/callback?error=access_denied&state={state}"), &cookies).await;
    assert_eq!(answer.status, 403);
}

#[actix_web::test]
async fn a_login_that_took_too_long_is_refused() {
    let fixture = Fixture::new();
    let (cookies, state) = fixture.begin().await;
    fixture.clock.advance(LOGIN_LIFETIME);
    assert_eq!(fixture.get(&format!("/callback?code={CODE}&state={state}"), &cookies).await.status, 400);
}

#[actix_web::test]
async fn a_foreign_issuer_neither_starts_nor_ends_a_login() {
    let fixture = Fixture::new();
    assert_eq!(fixture.get("/login?iss=https://elsewhere.example", &[]).await.status, 400);
    assert_eq!(fixture.get(&format!("/login?iss={}", fixture.issuer.url), &[]).await.status, 303);
    let (cookies, state) = fixture.begin().await;
    let path = format!("/callback?code={CODE}&state={state}&iss=https://elsewhere.example");
    assert_eq!(fixture.get(&path, &cookies).await.status, 400);
}

#[actix_web::test]
async fn an_issuer_that_promises_iss_must_send_it() {
    let fixture = Fixture::new();
    fixture.issuer.script.lock().unwrap().promises_iss = true;
    assert_eq!(fixture.log_in_with(|_| ()).await.status, 400);
    let (cookies, state) = fixture.begin().await;
    let path = format!("/callback?code={CODE}&state={state}&iss={}", fixture.issuer.url);
    assert_eq!(fixture.get(&path, &cookies).await.status, 303);
}

#[actix_web::test]
async fn an_error_of_the_issuer_becomes_a_page() {
    let fixture = Fixture::new();
    let (cookies, state) = fixture.begin().await;
    let answer = fixture.get(&format!("/callback?error=%3Cscript%3E&state={state}"), &cookies).await;
    assert_eq!(answer.status, 403);
    assert!(!answer.body.contains("<script>"));
}

#[actix_web::test]
async fn bad_input_is_a_friendly_400_or_404() {
    let fixture = Fixture::new();
    let (cookies, state) = fixture.begin().await;
    let neither = format!("/callback?state={state}");
    for path in ["/callback", "/callback?state=a&state=b", "/callback?state=%ff", "/login?iss=a&iss=b", &neither] {
        let answer = fixture.get(path, &cookies).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.body.contains("Not this time"), "{path}");
    }
    assert_eq!(fixture.get("/admin", &[]).await.status, 404);
}

#[actix_web::test]
async fn discovery_is_retried_after_the_issuer_was_away() {
    let fixture = Fixture::new();
    fixture.issuer_handle.stop(false).await;
    let away = fixture.get("/login", &[]).await;
    assert_eq!(away.status, 502);
    assert!(away.body.contains("does not answer just now"));
    let address = fixture.issuer.url.trim_start_matches("http://").to_owned();
    let _again = FakeIssuer::start(TcpListener::bind(address).unwrap());
    assert_eq!(fixture.get("/login", &[]).await.status, 303);
}

#[actix_web::test]
async fn logging_out_ends_the_shops_session_and_redirects_to_the_issuers_logout() {
    let fixture = Fixture::new();
    let inside = fixture.log_in_with(|_| ()).await.cookies;
    let answer = fixture.send(TestRequest::post().uri("/logout"), &inside).await;
    assert_eq!(answer.status, 303);
    let sent = query_of(&answer.location);
    assert!(answer.location.starts_with(&format!("{}/logout?", fixture.issuer.url)));
    assert_eq!(sent["post_logout_redirect_uri"], "http://127.0.0.1:8090/");
    assert_eq!(sent["id_token_hint"].split('.').count(), 3);
    assert!(fixture.get("/", &inside).await.body.contains("Log in to buy"));
    assert_eq!(fixture.send(TestRequest::post().uri("/logout"), &inside).await.location, "/");
}

#[actix_web::test]
async fn logging_out_works_without_the_issuer() {
    let fixture = Fixture::new();
    let answer = fixture.send(TestRequest::post().uri("/logout"), &[]).await;
    assert_eq!((answer.status, answer.location.as_str()), (303, "/"));
    assert_eq!(fixture.issuer.discoveries.load(Ordering::SeqCst), 0);
}

#[actix_web::test]
async fn an_invalid_user_info_answer_opens_no_session() {
    let fixture = Fixture::new();
    let answer = fixture.log_in_with(|script| script.user_info = json!(["nonsense"])).await;
    assert_eq!(answer.status, 502);
    assert!(answer.cookies.is_empty() && !answer.body.contains("nonsense"));
}

#[actix_web::test]
async fn a_cookie_of_other_software_that_is_no_utf_8_hides_no_session() {
    let fixture = Fixture::new();
    let ours = fixture.log_in_with(|_| ()).await.cookies;
    let line = [b"name=M\xfcller; ", ours[0].stripped().to_string().as_bytes()].concat();
    let request = TestRequest::get().insert_header((COOKIE, HeaderValue::from_bytes(&line).unwrap()));
    assert!(fixture.send(request, &[]).await.body.contains("visitor-17"));
}

#[actix_web::test]
async fn the_stylesheet_is_served() {
    let answer = Fixture::new().get("/shop.css", &[]).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("@media"));
}

#[actix_web::test]
async fn a_link_cannot_log_a_visitor_out() {
    let fixture = Fixture::new();
    let inside = fixture.log_in_with(|_| ()).await.cookies;
    fixture.get("/logout", &inside).await;
    assert!(fixture.get("/", &inside).await.body.contains("visitor-17"));
}

#[actix_web::test]
async fn a_new_login_replaces_the_session_that_the_browser_had() {
    let fixture = Fixture::new();
    let before = fixture.log_in_with(|_| ()).await.cookies;
    let (mut cookies, state) = fixture.begin().await;
    cookies.extend(before.clone());
    let after = fixture.get(&format!("/callback?code={CODE}&state={state}"), &cookies).await.cookies;
    assert_ne!(before[0].value(), after[0].value());
    assert!(fixture.get("/", &before).await.body.contains("Log in to buy"));
    assert!(fixture.get("/", &after).await.body.contains("visitor-17"));
}

#[actix_web::test]
async fn the_shop_serves_on_a_system_chosen_port_and_stops() {
    let fixture = Fixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shop = Shop { public_url: Url::parse(&url).unwrap(), ..shop(&fixture.issuer.url) };
    assert_eq!(shop.redirect_uri().as_str(), format!("{url}/callback"));
    let shop = super::ShopApp::new(shop, fixture.clock.clone(), Arc::new(SeededEntropy::new(2))).unwrap();
    let server = HttpServer::new(move || shop.app()).workers(1).disable_signals().listen(listener).unwrap().run();
    let (handle, running) = (server.handle(), actix_web::rt::spawn(server));
    let answer = reqwest::Client::builder().no_proxy().build().unwrap().get(&url).send().await.unwrap();
    assert!(answer.text().await.unwrap().contains("Log in to buy"));
    handle.stop(true).await;
    running.await.unwrap().unwrap();
}

#[test]
fn a_shop_with_an_invalid_issuer_or_secret_does_not_start() {
    let state = |shop| State::new(shop, Arc::new(SystemClock), Arc::new(SeededEntropy::new(3)));
    assert!(state(shop("not a url")).is_err());
    assert!(state(Shop { client_secret: Secret::new([0xff]), ..shop("http://127.0.0.1:1") }).is_err());
}

#[test]
fn cookies_are_secure_if_the_shop_is_on_https() {
    let secure = Shop { public_url: Url::parse("https://shop.example").unwrap(), ..shop("https://id.example") };
    let state = State::new(secure, Arc::new(SystemClock), Arc::new(SeededEntropy::new(4))).unwrap();
    assert!(state.secure_cookies);
}
