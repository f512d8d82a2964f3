//! Values that must never be logged.

use serde_json::json;

use crate::capture;
use crate::support::{
    ADMIN_KEY, Browser, OTHER_SECRET, SECRET, TestApp, VERIFIER, basic, challenge, claims, json as body,
};

/// The secrets of all parties of a visit.
async fn visits(app: &TestApp) -> Vec<(&'static str, String)> {
    let mut secrets = Vec::new();
    let (mut browser, mut stranger) = (Browser::default(), Browser::default());
    let page =
        browser.authorize(app, &[("code_challenge", &challenge(VERIFIER)), ("code_challenge_method", "S256")]).await;
    let resume = page.resume_url();
    secrets.push(("flow", resume.split_once("flow=").unwrap().1.to_owned()));
    stranger.resume(app, &page).await;
    stranger.send(app.get(&format!("{resume}x"))).await;
    app.serve("Sample", 100).await;
    let code = browser.resume(app, &page).await.code();
    let tokens = body(app.redeem(&code, &[("code_verifier", VERIFIER)]).await).await;
    for name in ["access_token", "id_token"] {
        let token = tokens[name].as_str().unwrap().to_owned();
        // A token's signature is the secret part, so a log without it is harmless.
        secrets.push(("signature", token.rsplit_once('.').unwrap().1.to_owned()));
        app.user_info(&token).await;
        app.user_info(&format!("{token}x")).await;
        browser.authorize(app, &[("id_token_hint", &token), ("prompt", "none")]).await;
        secrets.push((name, token));
    }
    let claims = claims(tokens["id_token"].as_str().unwrap());
    secrets.push(("sub", claims["sub"].as_str().unwrap().to_owned()));
    // A reused code and a wrong secret: both are reported.
    app.redeem(&code, &[("code_verifier", VERIFIER)]).await;
    let wrong = "wrong-secret-0123456789-0123456789-0123456";
    let refused = app.post_form("/token", &[("grant_type", "authorization_code"), ("code", &code)]);
    refused.header("authorization", basic("Sample", wrong)).send().await.unwrap();
    let ticket = app.join("Sample").await;
    app.get(&format!("/api/queue_num?event_id=Sample&request_id={ticket}")).send().await.unwrap();
    let wrong_key = "wrong-admin-key-0123456789-0123456789-012";
    let step = json!({ "event_id": "Sample", "increment_by": 1 });
    app.post_json("/private/increment_serving_num", &step).bearer_auth(wrong_key).send().await.unwrap();
    secrets.extend([
        ("code", code),
        ("wrong secret", wrong.into()),
        ("ticket", ticket),
        ("wrong key", wrong_key.into()),
    ]);
    secrets.extend(browser.cookies.into_values().map(|value| ("cookie", value)));
    secrets
}

#[actix_web::test]
async fn no_secret_is_ever_logged() {
    capture::start();
    let app = TestApp::start().await;
    let mut secrets = visits(&app).await;
    // The store fails: the failure is logged with its reason and without the visitor.
    app.lobby().store().close().await;
    let mut browser = Browser::default();
    browser.authorize(&app, &[("state", "a-state-that-is-nobodys-business")]).await;
    app.redeem("a-code-that-could-not-be-looked-up", &[]).await;
    let master = std::fs::read_to_string(app.directory.path().join("data/master-secret")).unwrap();
    app.stop().await;
    let always = [
        ("client secret", SECRET),
        ("client secret", OTHER_SECRET),
        ("admin key", ADMIN_KEY),
        ("verifier", VERIFIER),
        ("master secret", master.trim()),
        ("state", "a-state-that-is-nobodys-business"),
        ("code", "a-code-that-could-not-be-looked-up"),
    ];
    secrets.extend(always.map(|(name, value)| (name, value.to_owned())));
    let lines = capture::lines();
    for route in ["/authorize", "/token", "/userInfo", "/api/assign_queue_num", "/private/increment_serving_num"] {
        assert!(lines.iter().any(|line| line.contains(&format!("\"route\":\"{route}\""))), "nothing logged of {route}");
    }
    assert!(lines.iter().any(|line| line.contains("the store is closed")), "the failure is logged");
    for (name, secret) in secrets {
        assert!(secret.len() >= 16, "{name} is too short to be looked for");
        if let Some(line) = lines.iter().find(|line| line.contains(&secret)) {
            panic!("{name} is in the log: {line}");
        }
    }
}
