//! Tokens for tickets, the end of sessions, the reset: the other calls of the contract.

use std::collections::BTreeSet;

use anteroom::lobby::{Overrides, TokenOutcome};
use anteroom::room::{Generation, Position, RequestId, Session, SessionStatus};
use futures_util::future::join_all;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, Browser, NOW, TestApp, claims, header, json as body};

/// Where the settings of the event Sample are in the configuration.
pub const SAMPLE: &str = "id = \"Sample\"\ninlet";
pub const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

pub async fn post(app: &TestApp, path: &str, sent: &Value) -> Response {
    let request = app.post_json(path, sent);
    let request = if path.starts_with("/private") { request.bearer_auth(ADMIN_KEY) } else { request };
    request.send().await.unwrap()
}

pub async fn get(app: &TestApp, path: &str) -> Response {
    app.get(path).bearer_auth(ADMIN_KEY).send().await.unwrap()
}

pub fn ticket(id: &str) -> Value {
    json!({ "event_id": "Sample", "request_id": id })
}

/// The status and the sentence of an answer.
pub async fn said(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let error = body(answer).await;
    (status, error["error"].as_str().unwrap_or_default().to_owned())
}

pub async fn tokens(app: &TestApp, id: &str) -> Value {
    let answer = post(app, "/api/generate_token", &ticket(id)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    body(answer).await
}

/// A served visitor of the REST channel.
pub async fn served(app: &TestApp) -> String {
    let id = app.join("Sample").await;
    app.serve("Sample", 1).await;
    id
}

async fn update(app: &TestApp, id: &str, status: impl Into<Value>) -> (u16, String) {
    let sent = json!({ "event_id": "Sample", "request_id": id, "status": status.into() });
    said(post(app, "/private/update_session", &sent).await).await
}

async fn active(app: &TestApp) -> u64 {
    body(get(app, "/private/num_active_tokens?event_id=Sample").await).await["active_tokens"].as_u64().unwrap()
}

#[actix_web::test]
async fn a_served_ticket_gets_the_contracts_token_set() {
    let app = TestApp::start().await;
    let id = served(&app).await;
    app.pass(7);
    let set = tokens(&app, &id).await;
    assert_eq!((&set["token_type"], &set["expires_in"]), (&json!("Bearer"), &json!(3600)));
    let key = body(get(&app, "/api/public_key?event_id=Sample").await).await;
    for (member, token_use) in [("access_token", "access"), ("refresh_token", "refresh"), ("id_token", "id")] {
        let token = set[member].as_str().unwrap();
        assert_eq!(header(token), json!({ "alg": "RS256", "typ": "JWT", "kid": key["kid"] }));
        let now = NOW.as_secs() + 7;
        let expected = json!({
            "aud": "Sample", "sub": id, "queue_position": 1, "token_use": token_use,
            "iat": now, "nbf": now, "exp": now + 3600, "iss": app.issuer,
        });
        assert_eq!(claims(token), expected);
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_public_key_verifies_the_tokens_and_has_the_contracts_members() {
    let app = TestApp::start().await;
    let answer = get(&app, "/api/public_key?event_id=Sample").await;
    assert_eq!(answer.headers()["cache-control"], "public, max-age=300");
    let key = body(answer).await;
    let members: BTreeSet<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, BTreeSet::from(["kty", "alg", "kid", "n", "e", "use"]));
    let id = served(&app).await;
    let set = tokens(&app, &id).await;
    let decoded = |name: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap()
    };
    let number = |name: &str| openssl::bn::BigNum::from_slice(&decoded(name)).unwrap();
    let rsa = openssl::rsa::Rsa::from_public_components(number("n"), number("e")).unwrap();
    let public = openssl::pkey::PKey::from_rsa(rsa).unwrap();
    let (signed, signature) = set["access_token"].as_str().unwrap().rsplit_once('.').unwrap();
    let signature = {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(signature).unwrap()
    };
    let mut verifier = openssl::sign::Verifier::new(openssl::hash::MessageDigest::sha256(), &public).unwrap();
    assert!(verifier.verify_oneshot(&signature, signed.as_bytes()).unwrap());
    assert_eq!(said(get(&app, "/api/public_key?event_id=Nowhere").await).await, (400, "Invalid event ID".to_owned()));
    app.stop().await;
}

#[actix_web::test]
async fn the_same_ticket_always_gets_the_same_claims_and_one_session() {
    let app = TestApp::start().await;
    let id = served(&app).await;
    let sets = join_all((0..50).map(|_| tokens(&app, &id))).await;
    assert!(sets.iter().all(|set| *set == sets[0]));
    assert_eq!(app.all_counters()["Sample"].sessions_opened, 1);
    app.pass(100);
    let later = tokens(&app, &id).await;
    assert_eq!(later["access_token"], sets[0]["access_token"]);
    assert_eq!(later["expires_in"], json!(3500));
    app.stop().await;
}

#[actix_web::test]
async fn a_refusal_of_tokens_has_its_reason() {
    let app = TestApp::start().await;
    let id = app.join("Sample").await;
    let asked = async |sent: Value| said(post(&app, "/api/generate_token", &sent).await).await;
    let error = |status, sentence: &str| (status, sentence.to_owned());
    assert_eq!(asked(ticket(&id)).await, error(202, "Request ID not being served yet"));
    assert_eq!(asked(ticket(NOBODY)).await, error(404, "Request ID not found"));
    assert_eq!(asked(ticket("nonsense")).await, error(400, "Invalid request ID"));
    assert_eq!(asked(json!({ "event_id": "Nowhere", "request_id": id })).await, error(400, "Invalid event ID"));
    assert_eq!(asked(json!({ "event_id": "Sample" })).await.0, 400);
    app.serve("Sample", 1).await;
    app.pass(900);
    assert_eq!(asked(ticket(&id)).await, error(410, "Queue position has expired"));
    assert_eq!(app.all_counters()["Sample"].sessions_opened, 0);
    app.stop().await;
}

#[actix_web::test]
async fn an_ended_session_gives_no_tokens_any_more() {
    let app = TestApp::start().await;
    for status in [1, -1] {
        let id = served(&app).await;
        tokens(&app, &id).await;
        assert_eq!(update(&app, &id, status).await.0, 200);
        let refused = said(post(&app, "/api/generate_token", &ticket(&id)).await).await;
        assert_eq!(refused, (410, "Token corresponding to request id has expired".to_owned()));
    }
    let id = served(&app).await;
    tokens(&app, &id).await;
    app.pass(3600);
    assert_eq!(said(post(&app, "/api/generate_token", &ticket(&id)).await).await.0, 410);
    app.stop().await;
}

#[actix_web::test]
async fn a_sub_yields_tokens_to_operators_alone() {
    let app = TestApp::start().await;
    let (_, set) = app.tokens(&[]).await;
    let sub = claims(set["id_token"].as_str().unwrap())["sub"].as_str().unwrap().to_owned();
    assert_eq!(said(post(&app, "/api/generate_token", &ticket(&sub)).await).await.0, 400);
    let given = body(post(&app, "/private/generate_token", &ticket(&sub)).await).await;
    let (login, rest) = (claims(set["id_token"].as_str().unwrap()), claims(given["id_token"].as_str().unwrap()));
    assert_eq!((&login["exp"], &login["sub"]), (&rest["exp"], &rest["sub"]));
    assert_eq!(app.all_counters()["Sample"].sessions_opened, 1);
    app.stop().await;
}

#[actix_web::test]
async fn a_session_that_an_operator_opened_is_the_visitors_login() {
    let app = TestApp::start().await;
    let mut browser = Browser::default();
    let page = browser.authorize(&app, &[]).await;
    assert!(page.waits());
    app.serve("Sample", 1).await;
    app.pass(5);
    let code = browser.resume(&app, &page).await.code();
    let set = body(app.redeem(&code, &[]).await).await;
    let sub = claims(set["id_token"].as_str().unwrap())["sub"].as_str().unwrap().to_owned();
    assert_eq!(update(&app, &sub, 1).await.0, 200);
    let info = app.user_info(set["access_token"].as_str().unwrap()).await;
    assert_eq!(info.status(), StatusCode::UNAUTHORIZED);
    app.stop().await;
}

#[actix_web::test]
async fn an_event_can_withhold_tokens_from_the_public_api() {
    let app = TestApp::replacing(SAMPLE, "id = \"Sample\"\npublic_tokens = false\ninlet").await;
    let id = served(&app).await;
    assert_eq!(said(post(&app, "/api/generate_token", &ticket(&id)).await).await.0, 403);
    assert_eq!(post(&app, "/private/generate_token", &ticket(&id)).await.status(), StatusCode::OK);
    app.stop().await;
}

#[actix_web::test]
async fn overrides_apply_to_their_session_alone() {
    let app = TestApp::start().await;
    let (first, second) = (served(&app).await, served(&app).await);
    let mut sent = ticket(&first);
    sent["issuer"] = json!("https://elsewhere.example");
    sent["validity_period"] = json!("60");
    let set = body(post(&app, "/private/generate_token", &sent).await).await;
    let given = claims(set["access_token"].as_str().unwrap());
    assert_eq!((&given["iss"], &set["expires_in"]), (&json!("https://elsewhere.example"), &json!(60)));
    // The session keeps its claims for every caller; the next session has the usual ones.
    assert_eq!(claims(tokens(&app, &first).await["access_token"].as_str().unwrap()), given);
    let other = tokens(&app, &second).await;
    assert_eq!(other["expires_in"], json!(3600));
    assert_eq!(claims(other["access_token"].as_str().unwrap())["iss"], json!(app.issuer));
    for (name, bad) in [
        ("validity_period", json!(0)),
        ("validity_period", json!(-1)),
        ("validity_period", json!(604_801)),
        ("validity_period", json!("soon")),
        ("issuer", json!("")),
        ("issuer", json!("elsewhere")),
        ("issuer", json!("https://elsewhere.example/?a=b")),
        ("issuer", json!("https://elsewhere.example/#a")),
        ("issuer", json!(format!("https://{}", "x".repeat(505)))),
    ] {
        let mut sent = ticket(&second);
        sent[name] = bad;
        let (status, sentence) = said(post(&app, "/private/generate_token", &sent).await).await;
        assert_eq!(status, 400, "{sent}");
        assert_eq!(sentence.starts_with("Invalid issuer: "), name == "issuer", "{sent}: {sentence}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_session_is_closed_once() {
    let app = TestApp::start().await;
    let id = served(&app).await;
    assert_eq!(update(&app, &id, 1).await, (404, "This request ID has no session".to_owned()));
    tokens(&app, &id).await;
    for bad in [json!(0), json!(2), json!("done"), json!(null)] {
        assert_eq!(update(&app, &id, bad).await.0, 400);
    }
    assert_eq!(update(&app, "nonsense", 1).await.0, 400);
    // Each in a notation of its own; all have the same meaning.
    let statuses = [json!(-1), json!("-1"), json!(-1.0)].into_iter().cycle().take(9);
    let closings = join_all(statuses.map(|status| update(&app, &id, status))).await;
    assert_eq!(closings.iter().filter(|(status, _)| *status == 200).count(), 1);
    assert!(closings.iter().all(|(status, _)| [200, 404].contains(status)));
    let counters = app.all_counters()["Sample"];
    assert_eq!((counters.completed, counters.abandoned), (0, 1));
    app.stop().await;
}

#[actix_web::test]
async fn active_and_expired_tokens_are_separated_at_the_second() {
    let app = TestApp::start().await;
    let ids = [served(&app).await, served(&app).await, served(&app).await];
    for id in &ids {
        tokens(&app, id).await;
    }
    assert_eq!(update(&app, &ids[0], 1).await.0, 200);
    app.pass(3600);
    assert_eq!(active(&app).await, 2);
    assert_eq!(body(get(&app, "/private/expired_tokens?event_id=Sample").await).await, json!([]));
    app.pass(1);
    assert_eq!(active(&app).await, 0);
    let expired = body(get(&app, "/private/expired_tokens?event_id=Sample").await).await;
    let expired: BTreeSet<&str> = expired.as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(expired, ids.iter().map(String::as_str).collect());
    app.stop().await;
}

/// Sessions inserted into the store, somewhat more than two full pages: each is listed once.
#[actix_web::test]
async fn all_pages_of_expired_tokens_come_as_one_list() {
    const MANY: u64 = 2_000;
    let app = TestApp::start().await;
    let opened = (1..=MANY).map(|number| Session {
        event: "Sample".parse().unwrap(),
        generation: Generation(0),
        request_id: RequestId::from_bytes(u128::from(number).to_be_bytes()),
        position: Position::new(number).unwrap(),
        opened_at: NOW,
        expires_at: NOW + std::time::Duration::from_secs(1 + number % 3),
        status: SessionStatus::Active,
        issuer: None,
        opener: None,
    });
    app.lobby().store().advance(&"Sample".parse().unwrap(), MANY as i64, NOW).await.unwrap();
    join_all(opened.map(async |session| app.lobby().store().open_session(&session).await.unwrap())).await;
    app.pass(60);
    let listed = body(get(&app, "/private/expired_tokens?event_id=Sample").await).await;
    let listed: Vec<&str> = listed.as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(listed.len() as u64, MANY);
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len() as u64, MANY);
    app.stop().await;
}

#[actix_web::test]
async fn the_private_calls_are_for_operators_alone() {
    let app = TestApp::start().await;
    let id = served(&app).await;
    tokens(&app, &id).await;
    let before = app.all_counters();
    for path in ["generate_token", "update_session", "reset_initial_state"] {
        let sent = json!({ "event_id": "Sample", "request_id": id, "status": 1 });
        for request in [
            app.post_json(&format!("/private/{path}"), &sent),
            app.post_json(&format!("/private/{path}"), &sent).bearer_auth("x".repeat(40)),
        ] {
            assert_eq!(request.send().await.unwrap().status(), StatusCode::FORBIDDEN, "{path}");
        }
    }
    for path in ["expired_tokens", "num_active_tokens"] {
        let asked = app.get(&format!("/private/{path}?event_id=Sample")).send().await.unwrap();
        assert_eq!(body(asked).await, json!({ "message": "Missing Authentication Token" }));
        assert_eq!(get(&app, &format!("/private/{path}?event_id=Nowhere")).await.status(), StatusCode::BAD_REQUEST);
        assert_eq!(get(&app, &format!("/private/{path}")).await.status(), StatusCode::BAD_REQUEST);
    }
    assert_eq!(app.all_counters(), before);
    app.stop().await;
}

#[actix_web::test]
async fn a_reset_zeroes_the_counters_and_voids_every_ticket_and_token() {
    let app = TestApp::start().await;
    let (waits, inside) = (served(&app).await, served(&app).await);
    let (mut browser, login) = app.tokens(&[]).await;
    tokens(&app, &inside).await;
    let reset = post(&app, "/private/reset_initial_state", &json!({ "event_id": "Sample" })).await;
    assert_eq!(body(reset).await, json!({ "message": "Reset completed" }));
    let counters = app.all_counters()["Sample"];
    assert_eq!((counters.queue, counters.serving, counters.sessions_opened), (0, 0, 0));
    assert_eq!(said(post(&app, "/api/generate_token", &ticket(&waits)).await).await.0, 404);
    assert_eq!(said(post(&app, "/api/generate_token", &ticket(&inside)).await).await.0, 404);
    let asked = get(&app, &format!("/api/queue_num?event_id=Sample&request_id={waits}")).await;
    assert_eq!(asked.status(), StatusCode::ACCEPTED);
    assert_eq!(app.user_info(login["access_token"].as_str().unwrap()).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(active(&app).await, 0);
    // The next visitors, including the old browser, get the first positions.
    let page = browser.authorize(&app, &[]).await;
    assert!(page.waits());
    assert_eq!(page.position(), 1);
    app.stop().await;
}

#[actix_web::test]
async fn a_ticket_voided_by_a_concurrent_reset_is_unknown() {
    let app = TestApp::start().await;
    let id = app.join("Sample").await;
    let room = app.lobby().room("Sample").unwrap();
    let visitor = app.lobby().recognise(room, id.parse().unwrap()).await.unwrap().unwrap();
    app.lobby().reset(room).await.unwrap();
    app.serve("Sample", 1).await;
    let worth = app.lobby().generate_token(room, &visitor, Overrides::default()).await;
    assert!(matches!(worth, Ok(TokenOutcome::Reset)), "{worth:?}");
    assert_eq!(app.all_counters()["Sample"].sessions_opened, 0);
    app.stop().await;
}

#[actix_web::test]
async fn a_page_of_another_origin_may_sign_private_calls() {
    let app = TestApp::start().await;
    for path in ["generate_token", "update_session", "reset_initial_state", "expired_tokens", "increment_serving_num"] {
        let asked = app.request(Method::OPTIONS, &format!("/private/{path}"));
        let preflight = asked.header("origin", "https://panel.example").send().await.unwrap();
        assert_eq!(preflight.status(), StatusCode::NO_CONTENT, "{path}");
        let allowed = preflight.headers()["access-control-allow-headers"].to_str().unwrap().to_lowercase();
        for header in ["authorization", "content-type", "x-amz-date", "x-amz-security-token", "x-api-key"] {
            assert!(allowed.split(", ").any(|name| name == header), "{header}: {allowed}");
        }
    }
    let answer = get(&app, "/private/expired_tokens?event_id=Sample").await;
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    app.stop().await;
}
