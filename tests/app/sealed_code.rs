//! Authorization codes: their content, the stored part, and the clock that counts.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::StatusCode;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json as value};

use crate::steps::{id_claims, oauth_error, text_of, token};
use crate::support::{Browser, NOW, TestApp, VERIFIER, challenge, claims, json};

const HOUR: Duration = Duration::from_secs(3600);
/// Longest code.
const LONGEST: usize = 512;
/// Sweeps after which everything expired is deleted.
const SWEEPS: usize = 11;

/// How many rows each table has.
fn rows(app: &TestApp) -> BTreeMap<String, i64> {
    let path = app.directory.path().join("data/anteroom.db");
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    let names = tables.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap).collect::<Vec<_>>();
    let count = |name: &str| database.query_row(&format!("SELECT count(*) FROM {name}"), [], |row| row.get(0)).unwrap();
    names.into_iter().map(|name| (name.clone(), count(&name))).collect()
}

/// The tables that have more rows than before, and how many more.
fn grown(before: &BTreeMap<String, i64>, after: &BTreeMap<String, i64>) -> Vec<(String, i64)> {
    after.iter().map(|(name, count)| (name.clone(), count - before[name])).filter(|(_, more)| *more != 0).collect()
}

async fn assert_invalid_grant(app: &TestApp, code: &str, case: &str) {
    assert_eq!(oauth_error(app.redeem(code, &[]).await).await, (400, "invalid_grant".to_owned()), "{case}: {code}");
}

/// The status of `/userInfo` for these tokens.
async fn user_info(app: &TestApp, tokens: &Value) -> StatusCode {
    app.user_info(token(tokens, "access_token")).await.status()
}

#[actix_web::test]
async fn an_unredeemed_code_leaves_no_row_and_a_login_one() {
    const LOGINS: usize = 30;
    let app = TestApp::start().await;
    let (mut browser, _) = app.tokens(&[]).await;
    let before = rows(&app);
    let mut codes = Vec::new();
    let stranger = value!({ "userinfo": { "x".repeat(3000): null }, "id_token": { "y": null } }).to_string();
    for asked in [("prompt", "none"), ("scope", "openid profile email"), ("claims", stranger.as_str())] {
        for _ in 0..LOGINS {
            codes.push(browser.authorize(&app, &[asked]).await.code());
        }
    }
    assert_eq!(grown(&before, &rows(&app)), []);
    for code in &codes[..LOGINS] {
        assert_eq!(app.redeem(code, &[]).await.status(), StatusCode::OK);
    }
    assert_eq!(grown(&before, &rows(&app)), [("redemptions".to_owned(), LOGINS as i64)]);
    app.stop().await;
}

#[actix_web::test]
async fn the_codes_of_ordinary_requests_have_at_most_512_characters_and_need_no_store() {
    let app = TestApp::start().await;
    let (mut browser, _) = app.tokens(&[]).await;
    let before = rows(&app);
    let (hash, state, nonce) = (challenge(VERIFIER), "s".repeat(1500), "n".repeat(150));
    let wanted = ["email", "email_verified", "preferred_username"].map(|name| (name, Value::Null));
    let wanted = Value::Object(wanted.map(|(name, wish)| (name.to_owned(), wish)).into_iter().collect());
    let wanted = value!({ "userinfo": wanted, "id_token": wanted }).to_string();
    let load_balancer = [("nonce", ""), ("state", state.as_str()), ("scope", "openid profile email")];
    let everything = [
        ("nonce", nonce.as_str()),
        ("state", state.as_str()),
        ("code_challenge", hash.as_str()),
        ("code_challenge_method", "S256"),
        ("claims", wanted.as_str()),
        ("acr_values", "queue:fair"),
        ("login_hint", "somebody@example.org"),
        ("ui_locales", "de fr en"),
    ];
    for (asked, verifier) in [(&load_balancer[..], ""), (&everything, VERIFIER)] {
        let code = browser.authorize(&app, asked).await.code();
        assert!(code.len() <= LONGEST, "{} {code}", code.len());
        let answer = app.redeem(&code, &[("code_verifier", verifier)]).await;
        assert_eq!(answer.status(), StatusCode::OK, "{asked:?}");
    }
    assert_eq!(grown(&before, &rows(&app)), [("redemptions".to_owned(), 2)]);
    app.stop().await;
}

#[actix_web::test]
async fn a_session_has_four_long_grants_at_most_and_the_next_replaces_the_oldest() {
    let app = TestApp::start().await;
    let (mut browser, mut other) = (app.tokens(&[]).await.0, app.tokens(&[]).await.0);
    let before = rows(&app);
    let nonces = [1, 2, 3, 4, 5, 6].map(|number| number.to_string().repeat(600));
    let bystander = other.authorize(&app, &[("nonce", &nonces[0])]).await.code();
    let mut codes = Vec::new();
    for nonce in &nonces {
        let code = browser.authorize(&app, &[("nonce", nonce)]).await.code();
        assert!(code.len() <= LONGEST, "{}", code.len());
        codes.push(code);
    }
    assert_eq!(grown(&before, &rows(&app)), [("long_grants".to_owned(), 5)]);
    for replaced in &codes[..2] {
        assert_invalid_grant(&app, replaced, "replaced").await;
    }
    for (code, nonce) in [&bystander].into_iter().chain(&codes[2..]).zip([&nonces[0]].into_iter().chain(&nonces[2..])) {
        let tokens = json(app.redeem(code, &[]).await).await;
        assert_eq!(id_claims(&tokens)["nonce"], *nonce);
        assert_invalid_grant(&app, code, "used").await;
        assert_eq!(user_info(&app, &tokens).await, StatusCode::UNAUTHORIZED);
    }
    app.pass(60);
    app.lobby().run_housekeeping().await;
    assert_eq!(rows(&app)["long_grants"], 0);
    app.stop().await;
}

#[actix_web::test]
async fn a_foreign_code_is_an_invalid_grant_and_changes_nothing() {
    let (app, elsewhere) = (TestApp::start().await, tempfile::tempdir().unwrap());
    fs::create_dir(elsewhere.path().join("data")).unwrap();
    fs::write(elsewhere.path().join("data/master-secret"), "07".repeat(32)).unwrap();
    let foreign = TestApp::in_directory(elsewhere, "").await;
    let (good, theirs) = (app.code(&[]).await, foreign.code(&[]).await);
    let before = rows(&app);
    let bytes = URL_SAFE_NO_PAD.decode(&good).unwrap();
    let mut bad = vec![theirs, format!("{good}A"), format!("{good}="), format!("{good}\u{e9}"), good.to_lowercase()];
    for at in [0, 1, 8, 17, 40, bytes.len() - 17, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        bad.push(URL_SAFE_NO_PAD.encode(changed));
        bad.push(URL_SAFE_NO_PAD.encode(&bytes[..at]));
    }
    let (old_form, longest, beyond) = ("A".repeat(43), "A".repeat(LONGEST), "A".repeat(5000));
    bad.extend(["x".to_owned(), old_form, longest, beyond]);
    for code in bad.iter().filter(|code| !code.is_empty()) {
        assert_invalid_grant(&app, code, "not ours").await;
    }
    assert_eq!(oauth_error(app.redeem("", &[]).await).await, (400, "invalid_request".to_owned()));
    assert_eq!(grown(&before, &rows(&app)), []);
    assert_eq!(app.redeem(&good, &[]).await.status(), StatusCode::OK);
    app.stop().await;
    foreign.stop().await;
}

#[actix_web::test]
async fn reuse_revokes_even_if_the_clock_is_an_hour_off() {
    // Longer than the clock was set back: sessions in the future are shortened as if they were opened then.
    let longer = "id = \"Sample\"\nvalidity_period = 172800\ninlet";
    let app = TestApp::replacing("id = \"Sample\"\ninlet", longer).await;
    for then in [NOW - HOUR, NOW + HOUR, NOW - 24 * HOUR, NOW + 24 * HOUR] {
        let (code, bystander) = (app.code(&[]).await, app.code(&[]).await);
        let tokens = json(app.redeem(&code, &[]).await).await;
        let others = json(app.redeem(&bystander, &[]).await).await;
        app.clock.set(then);
        // Additional sweeps make no difference.
        app.lobby().run_housekeeping().await;
        app.lobby().run_housekeeping().await;
        let refused = app.redeem(&code, &[]).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
        assert!(refused.text().await.unwrap().contains("was used before"), "{then}");
        app.clock.set(NOW);
        app.lobby().run_housekeeping().await;
        assert_eq!(user_info(&app, &tokens).await, StatusCode::UNAUTHORIZED, "{then}");
        assert_eq!(user_info(&app, &others).await, StatusCode::OK);
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_code_refused_by_a_wrong_clock_stays_unused() {
    let app = TestApp::start().await;
    for then in [NOW - HOUR, NOW + HOUR, NOW + Duration::from_secs(60), NOW - Duration::from_secs(301)] {
        let code = app.code(&[]).await;
        app.clock.set(then);
        assert_invalid_grant(&app, &code, "refused").await;
        assert_invalid_grant(&app, &code, "refused again").await;
        app.clock.set(NOW);
        let tokens = json(app.redeem(&code, &[]).await).await;
        assert_eq!(user_info(&app, &tokens).await, StatusCode::OK, "{then}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_swept_redemption_neither_restores_a_code_nor_revokes_tokens() {
    let app = TestApp::start().await;
    let code = app.code(&[]).await;
    let tokens = json(app.redeem(&code, &[]).await).await;
    app.pass(601);
    for _ in 0..SWEEPS {
        app.lobby().run_housekeeping().await;
    }
    assert_eq!(rows(&app)["redemptions"], 0);
    assert_invalid_grant(&app, &code, "expired").await;
    assert_eq!(rows(&app)["redemptions"], 0);
    assert_eq!(user_info(&app, &tokens).await, StatusCode::OK);
    app.stop().await;
}

#[actix_web::test]
async fn the_access_token_contains_exactly_the_individually_requested_claims() {
    let app = TestApp::start().await;
    let wanted = value!({ "userinfo": { "email": null, "picture": null, "preferred_username": null } }).to_string();
    for (scope, expected) in [
        ("openid", Some(value!(["email", "preferred_username"]))),
        ("openid email", Some(value!(["preferred_username"]))),
        ("openid email profile", None),
    ] {
        let (_, tokens) = app.tokens(&[("claims", &wanted), ("scope", scope)]).await;
        assert_eq!(claims(token(&tokens, "access_token")).get("userinfo_claims"), expected.as_ref(), "{scope}");
        let known = json(app.user_info(token(&tokens, "access_token")).await).await;
        assert!(known.get("preferred_username").is_some() && known.get("email").is_some(), "{known}");
    }
    let (_, plain) = app.tokens(&[]).await;
    assert_eq!(claims(token(&plain, "access_token")).get("userinfo_claims"), None);
    app.stop().await;
}

#[actix_web::test]
async fn a_silent_login_is_answered_even_if_the_store_is_read_only() {
    let app = TestApp::start().await;
    let (mut browser, _) = app.tokens(&[]).await;
    let path = app.directory.path().join("data/anteroom.db");
    let other = Connection::open(path).unwrap();
    // Any other writer waits for the end of this transaction, and fails after some seconds.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let page = Browser::authorize(&mut browser, &app, &[("prompt", "none")]).await;
    assert!(!page.code().is_empty());
    assert_eq!(text_of(&page.headers, "cache-control"), "no-store");
    other.execute_batch("ROLLBACK").unwrap();
    app.stop().await;
}
