//! The authorization endpoint (OIDC Core §3.1.2, RFC 6749 §4.1, Form Post Response Mode, RFC 9207).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::StatusCode;
use serde_json::json as value;

use crate::steps::{assert_is_description, text_of};
use crate::support::{Browser, Page, REDIRECT, TestApp, challenge, encode, json, merged};

const STATE: &str = "a \"quoted\" & <state>'s ü+%";

/// The minimal valid request, with additional or replaced parameters.
fn request<'a>(other: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [("client_id", "Sample"), ("redirect_uri", REDIRECT), ("response_type", "code"), ("scope", "openid")];
    merged(&usual, other)
}

/// The parameters of the answer in the requested response mode.
fn reply(page: &Page, mode: &str) -> std::collections::BTreeMap<String, String> {
    if mode != "form_post" {
        assert_eq!(page.status, StatusCode::SEE_OTHER);
        assert!(page.location.as_ref().unwrap().starts_with(&format!("{REDIRECT}&")), "the query is kept");
        let mut answer = page.answer();
        assert_eq!(answer.remove("shop").as_deref(), Some("1"));
        return answer;
    }
    assert_eq!((page.status, page.location.as_deref()), (StatusCode::OK, None));
    assert_eq!(page.attribute("action"), REDIRECT);
    page.hidden_fields()
}

#[actix_web::test]
async fn a_posted_form_is_redirected_to_the_same_get_request() {
    let app = TestApp::start().await;
    let fields = request(&[("state", STATE), ("utm_source", "mail"), ("nonce", "n0nce")]);
    let mut browser = Browser::default();
    let sent_on = browser.send(app.post_form("/authorize", &fields)).await;
    assert_eq!(sent_on.status, StatusCode::SEE_OTHER);
    let target = sent_on.location.unwrap();
    assert!(target.starts_with("/authorize?"), "{target}");
    let page = browser.send(app.get(&target)).await;
    assert!(page.waits());
    app.serve("Sample", 1).await;
    let admitted = browser.resume(&app, &page).await.answer();
    assert_eq!(admitted["state"], STATE);

    // A browser sends another site's form without our cookies (SameSite=Lax); the GET after it has them.
    let waiting = browser.authorize(&app, &[("prompt", "login")]).await;
    let posted = app.post_form("/authorize", &merged(&fields, &[("prompt", "login")])).send().await.unwrap();
    let again = browser.send(app.get(text_of(posted.headers(), "location"))).await;
    assert_eq!(again.position(), waiting.position(), "the place is kept");

    let bad = merged(&fields, &[("scope", "")]);
    let target = browser.send(app.post_form("/authorize", &bad)).await.location.unwrap();
    let refused = browser.send(app.get(&target)).await.answer();
    assert_eq!((refused["error"].as_str(), refused["state"].as_str()), ("invalid_request", STATE));
    app.stop().await;
}

#[actix_web::test]
async fn an_unknown_client_or_an_unregistered_redirect_uri_gets_a_page_and_never_a_redirect() {
    let app = TestApp::start().await;
    let strays = [
        "https://evil.example/callback",
        "https://shop.example/callback",
        "https://shop.example/callback?shop=1&",
        "https://shop.example/callback?shop=1#x",
        "https://shop.example/callback/?shop=1",
        "https://SHOP.example/callback?shop=1",
        "https://shop.example:443/callback?shop=1",
        "https://shop.example/callback?shop=%31",
        "https://shop.example@evil.example/callback?shop=1",
        "https://other.example/callback",
        "/callback",
        "javascript:alert(1)",
        "",
    ];
    let mut cases: Vec<String> = strays.map(|uri| encode(&request(&[("redirect_uri", uri)]))).into();
    cases.extend(["nobody", "sample", ""].map(|id| encode(&request(&[("client_id", id)]))));
    let good = encode(&request(&[]));
    cases.push(format!("{good}&client_id=Sample"));
    cases.push(format!("{good}&{}", encode(&[("redirect_uri", REDIRECT)])));
    cases.push(good.replace("client_id=Sample", "client_id=Sample%FF"));
    cases.push(String::new());
    for query in cases {
        for more in ["", "&prompt=none", "&response_mode=form_post", "&request=x", "&request_uri=https%3A%2F%2Fx"] {
            let page = Browser::default().send(app.get(&format!("/authorize?{query}{more}"))).await;
            assert!(page.is_error_page(), "{query}{more}: {page:?}");
            assert_eq!(page.header("cache-control"), "no-store");
        }
    }
    assert_eq!(app.counters().queue, 0, "no place was given");
    app.stop().await;
}

#[actix_web::test]
async fn any_loopback_port_matches_for_native_clients_alone() {
    let app = TestApp::with(
        r#"
        [[client]]
        client_id = "native"
        event = "Sample"
        application_type = "native"
        token_endpoint_auth_method = "none"
        redirect_uris = ["http://127.0.0.1/callback"]

        [[client]]
        client_id = "web"
        event = "Sample"
        token_endpoint_auth_method = "none"
        redirect_uris = ["http://127.0.0.1/callback"]
        "#,
    )
    .await;
    let hash = challenge("x");
    let cases = [
        ("native", "http://127.0.0.1:49152/callback", true),
        ("native", "http://127.0.0.1/callback", true),
        ("native", "http://127.0.0.1:49152/other", false),
        ("native", "http://localhost:49152/callback", false),
        ("web", "http://127.0.0.1:49152/callback", false),
        ("web", "http://127.0.0.1/callback", true),
    ];
    for (client, uri, good) in cases {
        let hash = [("code_challenge", hash.as_str()), ("code_challenge_method", "S256")];
        let asked = [[("client_id", client), ("redirect_uri", uri)], hash].concat();
        let page = Browser::default().authorize(&app, &asked).await;
        assert_eq!((page.waits(), page.is_error_page()), (good, !good), "{client} {uri}");
    }
    app.stop().await;
}

/// Requests with a valid client and redirect URI that are refused, and their errors.
const REFUSALS: [(&[(&str, &str)], &str); 26] = [
    (&[("response_type", "")], "invalid_request"),
    (&[("response_type", "token")], "unsupported_response_type"),
    (&[("response_type", "id_token")], "unsupported_response_type"),
    (&[("response_type", "code id_token")], "unsupported_response_type"),
    (&[("scope", "")], "invalid_request"),
    (&[("scope", "profile email")], "invalid_scope"),
    (&[("scope", "OPENID")], "invalid_scope"),
    (&[("request", "eyJhbGciOiJub25lIn0.e30.")], "request_not_supported"),
    (&[("request_uri", "https://shop.example/request.jwt")], "request_uri_not_supported"),
    (&[("prompt", "none")], "login_required"),
    (&[("prompt", "none login")], "invalid_request"),
    (&[("prompt", "consent none")], "invalid_request"),
    (&[("prompt", "\"create\\")], "invalid_request"),
    (&[("max_age", "-1")], "invalid_request"),
    (&[("max_age", "soon")], "invalid_request"),
    (&[("max_age", "1.5")], "invalid_request"),
    (&[("max_age", "99999999999999999999")], "invalid_request"),
    (&[("claims", "{")], "invalid_request"),
    (&[("claims", "[]")], "invalid_request"),
    (&[("claims", r#"{"id_token":[]}"#)], "invalid_request"),
    (&[("code_challenge_method", "S256")], "invalid_request"),
    (&[("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")], "invalid_request"),
    (
        &[("code_challenge", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), ("code_challenge_method", "plain")],
        "invalid_request",
    ),
    (&[("code_challenge", "short"), ("code_challenge_method", "S256")], "invalid_request"),
    (&[("client_id", "spa")], "invalid_request"),
    (&[("client_id", "door"), ("prompt", "none")], "login_required"),
];

#[actix_web::test]
async fn every_other_error_goes_to_the_redirect_uri_with_state_and_issuer() {
    let app = TestApp::start().await;
    for (asked, error) in REFUSALS {
        for mode in ["", "query", "form_post"] {
            let asked = [asked, &[("response_mode", mode), ("state", STATE)]].concat();
            let mut browser = Browser::default();
            let page = browser.authorize(&app, &asked).await;
            let answer = reply(&page, mode);
            assert_is_description(&answer["error_description"]);
            let names: Vec<_> = answer.keys().map(String::as_str).collect();
            assert_eq!(names, ["error", "error_description", "iss", "state"], "{asked:?}");
            assert_eq!((answer["error"].as_str(), answer["state"].as_str()), (error, STATE), "{asked:?}");
            assert_eq!(answer["iss"], app.issuer);
            assert!(browser.cookies.is_empty(), "{asked:?}: no visitor joined");
        }
    }
    let stateless = Browser::default().authorize(&app, &[("state", ""), ("scope", "")]).await;
    assert_eq!(stateless.answer().get("state"), None);
    assert_eq!(app.counters().queue, 0);
    app.stop().await;
}

#[actix_web::test]
async fn a_request_object_is_refused_in_its_own_response_mode() {
    let app = TestApp::start().await;
    let padding = "x".repeat(5000);
    for (claims, signature) in [
        (value!({ "response_mode": "form_post", "state": STATE }), ""),
        (value!({ "response_mode": "form_post", "state": STATE, "redirect_uri": "https://evil.example/" }), "c2ln"),
        (value!({ "response_mode": "form_post", "state": STATE, "padding": padding }), ""),
    ] {
        let object = format!("{}.{}.{signature}", base64("{\"alg\":\"none\"}"), base64(&claims.to_string()));
        let asked = [("request", object.as_str()), ("state", "")];
        let by_get = Browser::default().authorize(&app, &asked).await;
        let mut browser = Browser::default();
        let sent_on = browser.send(app.post_form("/authorize", &request(&asked))).await;
        let by_post = match &sent_on.location {
            Some(target) => browser.send(app.get(target)).await,
            None => sent_on,
        };
        for page in [by_get, by_post] {
            let answer = reply(&page, "form_post");
            assert_eq!((answer["error"].as_str(), answer["state"].as_str()), ("request_not_supported", STATE));
            assert_eq!(answer["iss"], app.issuer);
        }
        let asked = [("request", object.as_str()), ("response_mode", "query"), ("state", "outer")];
        let answer = reply(&Browser::default().authorize(&app, &asked).await, "query");
        assert_eq!((answer["error"].as_str(), answer["state"].as_str()), ("request_not_supported", "outer"));
        let elsewhere = [("request", object.as_str()), ("redirect_uri", "https://evil.example/")];
        assert!(Browser::default().authorize(&app, &elsewhere).await.is_error_page());
    }
    app.stop().await;
}

fn base64(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

#[actix_web::test]
async fn an_unsupported_response_mode_is_refused_in_the_default_mode() {
    let app = TestApp::start().await;
    let answer = Browser::default().authorize(&app, &[("response_mode", "fragment")]).await.answer();
    assert_eq!((answer["error"].as_str(), answer["state"].as_str()), ("invalid_request", "st&te ü"));
    app.stop().await;
}

#[actix_web::test]
async fn a_duplicated_parameter_is_an_invalid_request_and_unknown_ones_are_ignored() {
    let app = TestApp::start().await;
    let good = encode(&request(&[]));
    let names = [
        "state",
        "response_mode",
        "response_type",
        "scope",
        "nonce",
        "code_challenge",
        "code_challenge_method",
        "prompt",
        "max_age",
        "id_token_hint",
        "login_hint",
        "display",
        "ui_locales",
        "claims_locales",
        "acr_values",
        "claims",
        "request",
        "request_uri",
    ];
    for name in names {
        let twice = format!("/authorize?{good}&{name}=1&{name}=1");
        let answer = Browser::default().send(app.get(&twice)).await.answer();
        assert_eq!(answer["error"], "invalid_request", "{name}");
        assert!(answer["error_description"].contains("more than once"), "{name}");
    }
    let unknown = Browser::default().send(app.get(&format!("/authorize?{good}&x=1&x=2&audience=a"))).await;
    assert!(unknown.waits());
    app.stop().await;
}

#[actix_web::test]
async fn display_parameters_are_accepted() {
    let app = TestApp::start().await;
    let wishes = [
        ("display", "popup"),
        ("display", "unheard-of"),
        ("ui_locales", "de-CH fr"),
        ("claims_locales", "de"),
        ("login_hint", "someone@example.com"),
        ("acr_values", "urn:unknown"),
        ("prompt", "consent"),
        ("prompt", "select_account"),
        ("scope", "openid offline_access phone custom"),
        ("nonce", ""),
        ("max_age", "10000"),
        ("id_token_hint", "not.a.token"),
    ];
    for wish in wishes {
        let page = Browser::default().authorize(&app, &[wish]).await;
        assert!(page.waits(), "{wish:?}: {page:?}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn form_post_is_a_page_that_posts_the_answer_with_and_without_script() {
    let app = TestApp::start().await;
    app.serve("Sample", 1).await;
    let asked = [("response_mode", "form_post"), ("state", STATE)];
    let page = Browser::default().authorize(&app, &asked).await;
    assert_eq!(
        page.header("content-security-policy"),
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self' https: http://127.0.0.1:* http://localhost:* https://shop.example; base-uri 'none'; frame-ancestors 'none'"
    );
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(page.body.contains(&format!("<form method=\"post\" action=\"{REDIRECT}\">")));
    assert!(page.body.contains("<button "), "a button for browsers without script");
    let scripts: Vec<_> = page.body.match_indices("<script").collect();
    assert_eq!(scripts.len(), 1, "its own script and no other");
    let script = page.attribute("defer src");
    let file = app.get(&script).send().await.unwrap();
    assert!(text_of(file.headers(), "content-type").starts_with("text/javascript"));
    assert!(file.text().await.unwrap().contains("submit"));

    let mut fields = reply(&page, "form_post");
    let code = fields.remove("code").unwrap();
    assert_eq!((fields["state"].as_str(), &fields["iss"], fields.len()), (STATE, &app.issuer, 2));
    assert_eq!(json(app.redeem(&code, &[]).await).await["token_type"], "Bearer");
    app.stop().await;
}

#[actix_web::test]
async fn a_code_is_sent_by_an_uncached_303_without_a_referrer() {
    let app = TestApp::start().await;
    app.serve("Sample", 2).await;
    for mode in ["", "query"] {
        let page = Browser::default().authorize(&app, &[("response_mode", mode), ("state", STATE)]).await;
        let answer = reply(&page, mode);
        assert_eq!(answer.keys().collect::<Vec<_>>(), ["code", "iss", "state"]);
        assert_eq!((answer["state"].as_str(), &answer["iss"]), (STATE, &app.issuer));
        let code = &answer["code"];
        assert!(code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "base64url: {code}");
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(page.header("referrer-policy"), "strict-origin");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_long_opaque_state_survives_the_wait() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let state = "AbC+/=%".repeat(600);
    let page = browser.authorize(&app, &[("state", &state)]).await;
    assert!(page.waits());
    app.serve("Sample", 1).await;
    assert_eq!(browser.resume(&app, &page).await.answer()["state"], state);
    let too_long = "x".repeat(6000);
    let refused = browser.authorize(&app, &[("state", &too_long)]).await;
    assert_eq!((refused.error().as_str(), &refused.answer()["state"]), ("invalid_request", &too_long));
    app.stop().await;
}

#[actix_web::test]
async fn an_invalid_value_is_an_error_only_for_a_known_parameter() {
    let app = TestApp::start().await;
    let sent = async |more: &str| {
        let query = format!("{}&{more}", encode(&request(&[("state", "st&te ü")])));
        Browser::default().send(app.get(&format!("/authorize?{query}"))).await
    };
    for broken in ["login_hint=%FF", "acr_values=%00", "claims=%C3"] {
        let answer = sent(broken).await.answer();
        assert_eq!((answer["error"].as_str(), answer["state"].as_str()), ("invalid_request", "st&te ü"), "{broken}");
    }
    assert!(sent("utm_source=%FF&%FE=1").await.waits(), "what is unknown is ignored, whatever it is");
    app.stop().await;
}
