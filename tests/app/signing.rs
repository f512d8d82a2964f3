//! RSA signatures are the most expensive work that a client can cause: the tokens of a ticket are signed once, and the
//! queue is bounded.

use anteroom::keys::{KeyUse, Rotation};
use anteroom::lobby::{SigningSlot, Urgency};
use anteroom::room::SessionStatus;
use futures_util::future::join_all;
use reqwest::StatusCode;

use crate::sessions::{post, said, served, ticket, tokens};
use crate::steps::{code_fields, oauth_error};
use crate::support::{Browser, SECRET, TestApp, basic, claims, header};

const SET: [&str; 3] = ["access_token", "refresh_token", "id_token"];

/// Every slot in the queue of this kind.
fn fill(app: &TestApp, urgency: Urgency) -> Vec<SigningSlot> {
    std::iter::from_fn(|| app.lobby().signing().reserve(urgency).ok()).collect()
}

async fn metrics(app: &TestApp) -> String {
    app.get("/metrics").send().await.unwrap().text().await.unwrap()
}

#[actix_web::test]
async fn a_repeated_call_gets_the_same_bytes_and_the_remaining_time() {
    let app = TestApp::start().await;
    let id = served(&app).await;
    let sets = join_all((0..50).map(|_| tokens(&app, &id))).await;
    app.pass(100);
    let later = tokens(&app, &id).await;
    for name in SET {
        assert!(sets.iter().all(|set| set[name] == later[name]), "{name}");
    }
    assert_eq!((sets[0]["expires_in"].as_u64(), later["expires_in"].as_u64()), (Some(3600), Some(3500)));
    app.stop().await;
}

#[actix_web::test]
async fn another_key_signs_the_same_claims_again() {
    let app = TestApp::start().await;
    let id = served(&app).await;
    let before = tokens(&app, &id).await;
    app.lobby().rotate_keys(&KeyUse::ALL, Rotation::Compromised).await.unwrap();
    let after = tokens(&app, &id).await;
    for name in SET {
        let [before, after] = [&before, &after].map(|set| set[name].as_str().unwrap());
        assert_eq!(claims(before), claims(after));
        assert_ne!(header(before)["kid"], header(after)["kid"]);
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_ticket_with_an_ended_session_is_refused_although_its_tokens_are_cached() {
    let app = TestApp::start().await;
    let (closed, expired) = (served(&app).await, served(&app).await);
    for id in [&closed, &expired] {
        tokens(&app, id).await;
    }
    app.close_session(&closed, SessionStatus::Completed).await;
    assert_eq!(said(post(&app, "/api/generate_token", &ticket(&closed)).await).await.0, 410);
    app.pass(3600);
    assert_eq!(said(post(&app, "/api/generate_token", &ticket(&expired)).await).await.0, 410);
    app.stop().await;
}

#[actix_web::test]
async fn a_full_queue_of_token_sets_refuses_the_next_and_logins_continue() {
    let app = TestApp::start().await;
    let (known, fresh) = (served(&app).await, served(&app).await);
    let set = tokens(&app, &known).await;
    let slots = fill(&app, Urgency::Rest);
    let refused = post(&app, "/api/generate_token", &ticket(&fresh)).await;
    assert_eq!(refused.headers()["retry-after"], "5");
    assert_eq!(said(refused).await, (503, "The service is temporarily unavailable".to_owned()));
    assert_eq!(tokens(&app, &known).await["id_token"], set["id_token"], "what is signed needs no slot");
    assert_eq!(app.redeem(&app.code(&[]).await, &[]).await.status(), StatusCode::OK);
    let actual = metrics(&app).await;
    assert!(actual.contains(&format!("anteroom_signing_queue{{kind=\"rest\"}} {}\n", slots.len())), "{actual}");
    assert!(actual.contains("anteroom_signing_refused_total{kind=\"login\"} 0\n"), "{actual}");
    drop(slots);
    tokens(&app, &fresh).await;
    app.stop().await;
}

#[actix_web::test]
async fn a_full_queue_of_logins_uses_no_code_up_and_other_algorithms_sign() {
    let app = TestApp::start().await;
    let code = app.code(&[]).await;
    let elsewhere = app.code(&[("client_id", "edwards")]).await;
    let slots = fill(&app, Urgency::Login);
    let refused = app.redeem(&code, &[]).await;
    assert_eq!(refused.headers()["retry-after"], "5");
    assert_eq!(oauth_error(refused).await, (503, "temporarily_unavailable".to_owned()));
    let edwards = app.token_request(&code_fields(&elsewhere, &[]), Some(&basic("edwards", SECRET))).await;
    assert_eq!(edwards.status(), StatusCode::OK);
    drop(slots);
    assert_eq!(app.redeem(&code, &[]).await.status(), StatusCode::OK);
    assert!(Browser::default().authorize(&app, &[]).await.waits());
    app.stop().await;
}
