//! `/verify`: the answers to a proxy in front of a site, rule by rule.

use anteroom::keys::TokenType;
use anteroom::oauth::SigningAlg;
use anteroom::room::SessionStatus;
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json as value};

use crate::steps::{sub, text_of, token};
use crate::support::{ADMIN_KEY, NOW, TestApp, claims, json, part};

const VERIFY: &str = "/verify?event_id=Sample";
/// The login address without a known target.
const LINE: &str = "https://shop.example/login?from=queue&iss=";
const HTML: &str = "text/html,application/xhtml+xml,*/*;q=0.8";
const SHOP: &str = "&client_id=Sample";

/// What a proxy does with an answer.
struct Verdict {
    status: u16,
    location: Option<String>,
    challenge: String,
    answer: Response,
}

impl Verdict {
    fn is_challenge(&self) -> bool {
        self.status == 401 && self.location.is_none() && self.challenge.starts_with("Bearer")
    }
}

async fn verify(request: RequestBuilder) -> Verdict {
    let answer = request.send().await.unwrap();
    let headers = answer.headers();
    assert_eq!(text_of(headers, "cache-control"), "no-store", "no answer is kept");
    assert!(!headers.contains_key("set-cookie"), "no cookie is set");
    Verdict {
        status: answer.status().as_u16(),
        location: headers.get("location").map(|value| value.to_str().unwrap().to_owned()),
        challenge: text_of(headers, "www-authenticate").to_owned(),
        answer,
    }
}

async fn access(app: &TestApp) -> (String, String) {
    let (_, tokens) = app.tokens(&[]).await;
    (token(&tokens, "access_token").to_owned(), sub(&tokens))
}

/// A REST token for the session of `sub`, as in the contract, with claims replaced by `other`.
fn rest_token(app: &TestApp, sub: &str, other: &Value) -> String {
    let now = app.clock_seconds();
    let mut claims = value!({
        "aud": "Sample", "sub": sub, "queue_position": 1, "token_use": "access",
        "iat": now, "nbf": now, "exp": now + 3600, "iss": app.issuer,
    });
    for (name, value) in other.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let ring = app.lobby().keys().key_ring();
    ring.sign(SigningAlg::Rs256, TokenType::Jwt, claims.to_string().as_bytes()).unwrap()
}

#[actix_web::test]
async fn a_valid_token_passes_and_identifies_its_visitor_to_the_site() {
    let app = TestApp::start().await;
    let (access, sub) = access(&app).await;
    let rest = rest_token(&app, &sub, &value!({}));
    for token in [&access, &rest] {
        for method in [Method::GET, Method::HEAD] {
            let actual = verify(app.request(method, VERIFY).bearer_auth(token)).await;
            assert_eq!(actual.status, 204, "{}", actual.challenge);
            let header = |name| text_of(actual.answer.headers(), name);
            assert_eq!(header("x-anteroom-sub"), sub);
            assert_eq!(header("x-anteroom-event"), "Sample");
            assert_eq!(header("x-anteroom-position"), claims(&access)["queue_position"].to_string());
            assert_eq!(header("x-anteroom-expires"), (NOW.as_secs() + 3600).to_string());
            assert_eq!(header("access-control-allow-origin"), "", "it is the site's answer that pages read");
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_rest_token_with_any_issuer_passes_until_its_session_is_closed() {
    let app = TestApp::start().await;
    app.serve("Sample", 2).await;
    let private = async |call: &str, sent: &Value| {
        let answer = app.post_json(&format!("/private/{call}"), sent).bearer_auth(ADMIN_KEY).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{call}");
        json(answer).await
    };
    for issuer in [None, Some("https://gate.example")] {
        let id = app.join("Sample").await;
        let mut asked = value!({ "event_id": "Sample", "request_id": id });
        let tokens = match issuer {
            None => json(app.post_json("/api/generate_token", &asked).send().await.unwrap()).await,
            Some(issuer) => {
                asked["issuer"] = issuer.into();
                private("generate_token", &asked).await
            }
        };
        let actual = verify(app.get(VERIFY).bearer_auth(token(&tokens, "access_token"))).await;
        assert_eq!((actual.status, text_of(actual.answer.headers(), "x-anteroom-sub")), (204, id.as_str()));
        for other in ["refresh_token", "id_token"] {
            assert!(verify(app.get(VERIFY).bearer_auth(token(&tokens, other))).await.is_challenge(), "{other}");
        }
        let foreign = rest_token(&app, &id, &value!({ "iss": "https://elsewhere.example" }));
        assert!(verify(app.get(VERIFY).bearer_auth(foreign)).await.is_challenge());
        private("update_session", &value!({ "event_id": "Sample", "request_id": id, "status": 1 })).await;
        assert!(verify(app.get(VERIFY).bearer_auth(token(&tokens, "access_token"))).await.is_challenge());
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_token_is_read_from_the_header_or_else_from_the_named_cookie() {
    let app = TestApp::start().await;
    let (access, _) = access(&app).await;
    let cookie = |name: &str| format!("a=b; {name}={access}; c=d");
    let asked = |query: &str, sent: &str| app.get(&format!("{VERIFY}{query}")).header("cookie", sent);
    assert_eq!(verify(asked("", &cookie("anteroom_token"))).await.status, 204);
    assert_eq!(verify(asked("&cookie=__Host-line", &cookie("__Host-line"))).await.status, 204);
    // A site may have a password of its own.
    assert_eq!(verify(asked("", &cookie("anteroom_token")).basic_auth("user", Some("word"))).await.status, 204);
    let none = [
        asked("", &cookie("other")),
        asked("&cookie=__Host-line", &cookie("anteroom_token")),
        asked("", "anteroom_token="),
        app.get(&format!("{VERIFY}&access_token={access}&anteroom_token={access}")),
    ];
    for request in none {
        let actual = verify(request).await;
        assert!(actual.is_challenge());
        assert_eq!(actual.challenge, "Bearer realm=\"anteroom\"", "RFC 6750 §3.1: no error without a token");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_bearer_token_of_the_site_is_ignored_in_favour_of_the_cookie() {
    let (app, elsewhere) = (TestApp::start().await, tempfile::tempdir().unwrap());
    let foreign = TestApp::in_directory(elsewhere, "").await;
    let (access, sub) = access(&app).await;
    let (strangers, _) = self::access(&foreign).await;
    let [head, payload, _] = access.split('.').collect::<Vec<_>>()[..] else { panic!("{access}") };
    let sites_own = [
        "Bearer s1te-t0ken".to_owned(),
        "bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl".to_owned(),
        format!("Bearer {strangers}"),
        format!("Bearer {head}.{payload}.{}", strangers.rsplit('.').next().unwrap()),
        format!("Bearer {}", "A".repeat(20_000)),
        "Bearer ".to_owned(),
        "Bearer".to_owned(),
        "Bearer a b".to_owned(),
        "Token x".to_owned(),
        "\u{fc}".to_owned(),
    ];
    for authorization in &sites_own {
        for path in [VERIFY, "/verify/Sample/shop"] {
            let authorization = HeaderValue::from_bytes(authorization.as_bytes()).unwrap();
            let asked = |cookie: &str| app.get(path).header("authorization", &authorization).header("cookie", cookie);
            let actual = verify(asked(&format!("a=b; anteroom_token={access}"))).await;
            assert!(matches!(actual.status, 200 | 204), "{authorization:?}: {} {}", actual.status, actual.challenge);
            assert_eq!(text_of(actual.answer.headers(), "x-anteroom-sub"), sub);
            for bad in ["a=b", "anteroom_token=", "anteroom_token=garbage", &format!("anteroom_token={strangers}")] {
                assert!(verify(asked(bad)).await.is_challenge(), "{authorization:?}, {bad}");
            }
        }
    }
    // A token signed by this provider counts, because the state of its session is known.
    app.close_session(&sub, SessionStatus::Completed).await;
    let (good, _) = self::access(&app).await;
    let cookie = format!("anteroom_token={good}");
    assert_eq!(verify(app.get(VERIFY).header("cookie", &cookie)).await.status, 204);
    assert!(verify(app.get(VERIFY).bearer_auth(&access).header("cookie", &cookie)).await.is_challenge());
    app.stop().await;
    foreign.stop().await;
}

#[actix_web::test]
async fn only_a_valid_access_token_of_the_event_is_accepted() {
    let (app, elsewhere) = (TestApp::start().await, tempfile::tempdir().unwrap());
    let foreign = TestApp::in_directory(elsewhere, "").await;
    let (_, tokens) = app.tokens(&[]).await;
    let (access, sub) = (token(&tokens, "access_token"), sub(&tokens));
    let [head, payload, signature] = access.split('.').collect::<Vec<_>>()[..] else { panic!("{access}") };
    assert_eq!(part(access, 0)["typ"], "at+jwt");
    let (strangers, _) = self::access(&foreign).await;
    let (_, foreign_signature) = strangers.rsplit_once('.').unwrap();
    let now = app.clock_seconds();
    let rest = |other: Value| rest_token(&app, &sub, &other);
    let cases = [
        ("a foreign provider's", strangers.clone()),
        ("forged", format!("{head}.{payload}.{foreign_signature}")),
        ("no signature", format!("{head}.{payload}.")),
        ("changed header", format!("{}.{payload}.{signature}", rest(value!({})).split('.').next().unwrap())),
        ("an ID token", token(&tokens, "id_token").to_owned()),
        ("a refresh token", rest(value!({ "token_use": "refresh" }))),
        ("an ID token of the REST door", rest(value!({ "token_use": "id" }))),
        ("another issuer", rest(value!({ "iss": "https://elsewhere.example" }))),
        ("another event", rest(value!({ "aud": "Door" }))),
        ("no event", rest(value!({ "aud": "None" }))),
        ("several events", rest(value!({ "aud": ["Sample", "Door"] }))),
        ("expired", rest(value!({ "exp": now }))),
        ("without an end", rest(value!({ "exp": null }))),
        ("a ticket without a session", rest(value!({ "sub": app.join("Sample").await }))),
        ("garbage", "garbage".to_owned()),
        ("far too long", "A".repeat(20_000)),
    ];
    for (case, bad) in cases {
        let actual = verify(app.get(VERIFY).bearer_auth(bad)).await;
        assert!(actual.is_challenge(), "{case}: {}", actual.status);
        assert!(actual.challenge.contains("error=\"invalid_token\""), "{case}: {}", actual.challenge);
        assert_eq!(text_of(actual.answer.headers(), "access-control-allow-origin"), "", "{case}");
    }
    let door = verify(app.get("/verify?event_id=Door").bearer_auth(access)).await;
    assert!(door.is_challenge(), "a token of another event");
    assert_eq!(verify(app.get(VERIFY).bearer_auth(access)).await.status, 204);
    app.pass(3600);
    assert!(verify(app.get(VERIFY).bearer_auth(access)).await.is_challenge(), "expired");
    app.stop().await;
    foreign.stop().await;
}

#[actix_web::test]
async fn a_closed_session_a_reset_or_a_replayed_code_ends_access_at_once() {
    let app = TestApp::start().await;
    for status in [SessionStatus::Completed, SessionStatus::Abandoned] {
        let (access, sub) = access(&app).await;
        let rest = rest_token(&app, &sub, &value!({}));
        app.close_session(&sub, status).await;
        for token in [access, rest] {
            assert!(verify(app.get(VERIFY).bearer_auth(token)).await.is_challenge());
        }
    }
    let code = app.code(&[]).await;
    let tokens = json(app.redeem(&code, &[]).await).await;
    let replayed = token(&tokens, "access_token");
    assert_eq!(verify(app.get(VERIFY).bearer_auth(replayed)).await.status, 204);
    assert_eq!(app.redeem(&code, &[]).await.status(), 400);
    assert!(verify(app.get(VERIFY).bearer_auth(replayed)).await.is_challenge());
    let (access, _) = access(&app).await;
    app.lobby().store().reset(&"Sample".parse().unwrap()).await.unwrap();
    assert!(verify(app.get(VERIFY).bearer_auth(access)).await.is_challenge());
    app.stop().await;
}

#[actix_web::test]
async fn a_browser_is_redirected_to_a_login_and_a_program_gets_401() {
    let app = TestApp::start().await;
    let line = format!("{LINE}{}", encoded(&app.issuer));
    let asked = |query: &str, accept: &str| app.get(&format!("{VERIFY}{query}")).header("accept", accept);
    for request in [asked(SHOP, HTML), asked(SHOP, HTML).bearer_auth("expired")] {
        let actual = verify(request).await;
        assert_eq!((actual.status, actual.location.as_deref()), (302, Some(line.as_str())));
    }
    let head = app.request(Method::HEAD, &format!("{VERIFY}{SHOP}")).header("accept", HTML);
    assert_eq!(verify(head).await.location, Some(line));
    let unauthorized = [
        ("a program", asked(SHOP, "application/json")),
        ("anything", asked(SHOP, "*/*")),
        ("nginx", asked(&format!("{SHOP}&redirect=never"), HTML)),
        ("a client without a start", asked("&client_id=other", HTML)),
        ("several clients, none named", asked("", HTML)),
    ];
    for (case, request) in unauthorized {
        assert!(verify(request).await.is_challenge(), "{case}");
    }
    app.stop().await;
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[actix_web::test]
async fn an_events_only_client_need_not_be_named() {
    let app = TestApp::with(
        "[[event]]\nid = \"One\"\n[[client]]\nclient_id = \"one\"\nevent = \"One\"\nclient_secret = \"env:SECRET\"\n\
         redirect_uris = [\"https://one.example/cb\"]\ninitiate_login_uri = \"https://one.example/in\"\n",
    )
    .await;
    let actual = verify(app.get("/verify?event_id=One").header("accept", HTML)).await;
    assert_eq!(actual.location, Some(format!("https://one.example/in?iss={}", encoded(&app.issuer))));
    app.stop().await;
}

#[actix_web::test]
async fn the_requested_address_is_passed_on_if_it_is_the_sites_own() {
    let app = TestApp::start().await;
    let location = async |headers: &[(&'static str, &str)]| {
        let request = app.get(&format!("{VERIFY}{SHOP}")).header("accept", HTML);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let actual = verify(request).await;
        assert_eq!(actual.status, 302);
        actual.location.unwrap()
    };
    let (proto, host) = (("x-forwarded-proto", "https"), ("x-forwarded-host", "shop.example"));
    let uri = ("x-forwarded-uri", "/cart?item=1&size=2");
    let alone = format!("{LINE}{}", encoded(&app.issuer));
    let whole = format!("{alone}&target_link_uri={}", encoded("https://shop.example/cart?item=1&size=2"));
    assert_eq!(location(&[proto, host, uri]).await, whole);
    assert_eq!(location(&[proto, host, uri, ("x-forwarded-method", "GET")]).await, whole);
    let forms: [&[_]; 5] = [
        &[("x-forwarded-proto", "https, http"), ("x-forwarded-host", "shop.example, inner.example"), uri],
        &[proto, host, ("x-forwarded-host", "inner.example"), uri],
        &[("x-forwarded-proto", "HTTPS"), ("x-forwarded-host", "Shop.Example:443"), uri],
        &[("forwarded", "for=198.51.100.7;host=shop.example;proto=https"), uri],
        &[("forwarded", "host=\"shop.example:443\";proto=https;for=\"[2001:db8::7]:_x\", for=127.0.0.1"), uri],
    ];
    for headers in forms {
        assert_eq!(location(headers).await, whole, "{headers:?}");
    }
    let hostile: [&[_]; 10] = [
        &[proto, host],
        &[proto, ("x-forwarded-host", "evil.example"), uri],
        &[("x-forwarded-proto", "http"), host, uri],
        &[("x-forwarded-proto", "javascript"), host, uri],
        &[proto, ("x-forwarded-host", "shop.example@evil.example"), uri],
        &[proto, host, ("x-forwarded-uri", "//evil.example/")],
        &[proto, host, ("x-forwarded-uri", "https://evil.example/")],
        &[proto, host, uri, uri],
        &[("forwarded", "host=evil.example;proto=https"), uri],
        // A posted form cannot be requested again.
        &[proto, host, uri, ("x-forwarded-method", "POST")],
    ];
    for headers in hostile {
        assert_eq!(location(headers).await, alone, "{headers:?}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_malformed_proxy_call_is_answered_400() {
    let app = TestApp::start().await;
    let (access, _) = access(&app).await;
    let cases = [
        ("/verify", "Invalid event ID"),
        ("/verify?event_id=None", "Invalid event ID"),
        ("/verify?event_id=Sample&event_id=Sample", "A parameter was sent twice or is no text"),
        ("/verify?event_id=%ff", "A parameter was sent twice or is no text"),
        ("/verify?event_id=Sample&cookie=a%3Bb", "The parameter cookie is no name of a cookie"),
        ("/verify?event_id=Sample&client_id=nobody", "Invalid client ID"),
        ("/verify?event_id=Sample&client_id=door", "Invalid client ID"),
        (
            "/verify?event_id=Sample&redirect=https%3A%2F%2Fevil.example",
            "The parameter redirect may be never, or left out",
        ),
        ("/verify/None/cart", "Invalid event ID"),
    ];
    for (path, sentence) in cases {
        let actual = verify(app.get(path).header("accept", HTML).bearer_auth(&access)).await;
        assert_eq!((actual.status, actual.location), (400, None), "{path}");
        assert_eq!(json(actual.answer).await["error"], sentence, "{path}");
    }
    let actual = app.request(Method::POST, VERIFY).bearer_auth(&access).send().await.unwrap();
    assert_eq!((actual.status().as_u16(), text_of(actual.headers(), "allow")), (405, "GET, HEAD"));
    app.stop().await;
}

#[actix_web::test]
async fn envoys_form_of_call_is_answered_with_200() {
    let app = TestApp::with(
        "[[event]]\nid = \"One\"\n[[client]]\nclient_id = \"one\"\nevent = \"One\"\nclient_secret = \"env:SECRET\"\n\
         redirect_uris = [\"https://one.example/cb\"]\ninitiate_login_uri = \"https://one.example/in\"\n",
    )
    .await;
    let (access, _) = access(&app).await;
    let path = "/verify/Sample/cart?event_id=One&cookie=x";
    for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let actual = verify(app.request(method.clone(), path).bearer_auth(&access)).await;
        assert_eq!(actual.status, 200, "{method}");
        assert!(verify(app.request(method, path)).await.is_challenge());
    }
    let browser = |method: Method| {
        let request = app.request(method, "/verify/One/a%20b/verify/?c=d").header("accept", HTML);
        request.header("x-forwarded-proto", "https").header("x-forwarded-host", "one.example")
    };
    let start = format!("https://one.example/in?iss={}", encoded(&app.issuer));
    let target = encoded("https://one.example/a%20b/verify/?c=d");
    assert_eq!(verify(browser(Method::GET)).await.location, Some(format!("{start}&target_link_uri={target}")));
    assert_eq!(verify(browser(Method::POST)).await.location, Some(start));
    app.stop().await;
}
