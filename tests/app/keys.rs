//! The JWK Set (RFC 7517), and the rotation of its keys (OIDC Core §10.1.1).

use std::collections::BTreeSet;
use std::time::Duration;

use anteroom::keys::{KeyUse, Rotation};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::steps::{code_fields, text_of, token};
use crate::support::{ADMIN_KEY, Browser, CONFIG, SECRET, TestApp, basic, config_from, header, json as body};

const KEY_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// The tokens of the event Sample live an hour; ten minutes of margin come on top.
const LAST_TOKEN: Duration = Duration::from_secs(3600 + 600);

fn kids(set: &Value) -> BTreeSet<String> {
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn kid(tokens: &Value, name: &str) -> String {
    header(token(tokens, name))["kid"].as_str().unwrap().to_owned()
}

fn of_both(tokens: &Value) -> BTreeSet<String> {
    [kid(tokens, "id_token"), kid(tokens, "access_token")].into()
}

#[actix_web::test]
async fn the_key_set_holds_distinct_public_keys_and_nothing_private() {
    let app = TestApp::start().await;
    app.lobby().run_housekeeping().await;
    let answer = app.get("/.well-known/jwks.json").send().await.unwrap();
    assert_eq!(text_of(answer.headers(), "content-type"), "application/jwk-set+json");
    assert_eq!(text_of(answer.headers(), "cache-control"), "public, max-age=300");
    let set = app.key_set().await;
    let keys = set["keys"].as_array().unwrap();
    let algs: Vec<_> = keys.iter().map(|key| key["alg"].as_str().unwrap()).collect();
    assert_eq!(algs, ["RS256", "RS256", "ES256", "ES256", "EdDSA", "EdDSA"]);
    assert_eq!(kids(&set).len(), keys.len(), "every kid names one key");
    for key in keys {
        let members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        let expected: &[&str] = match key["kty"].as_str().unwrap() {
            "RSA" => &["alg", "e", "kid", "kty", "n", "use"],
            "EC" => &["alg", "crv", "kid", "kty", "use", "x", "y"],
            "OKP" => &["alg", "crv", "kid", "kty", "use", "x"],
            other => panic!("a key of type {other}"),
        };
        assert_eq!(BTreeSet::from_iter(members), BTreeSet::from_iter(expected.iter().copied()));
        assert_eq!(key["use"], "sig");
    }
    assert_eq!(set.as_object().unwrap().len(), 1);
    app.stop().await;
}

#[actix_web::test]
async fn eddsa_is_published_while_a_client_uses_it_and_until_its_last_token_expires() {
    let (before, edwards) = CONFIG.split_once("[[client]]\nclient_id = \"edwards\"").unwrap();
    let edwards = format!("[[client]]\nclient_id = \"edwards\"{edwards}");
    let for_access = edwards.replace("id_token_signed_response_alg", "access_token_signing_alg");
    let start = async |directory: TempDir, client: &str| {
        let config = config_from(directory.path(), &format!("{before}{client}"));
        let app = TestApp::configured(directory, config).await;
        app.lobby().run_housekeeping().await;
        app
    };
    let published = async |app: &TestApp| {
        let set = app.key_set().await;
        let edwards = set["keys"].as_array().unwrap().iter().filter(|key| key["alg"] == "EdDSA");
        let listed = app.get("/private/keys").bearer_auth(ADMIN_KEY).send().await.unwrap();
        assert_eq!(body(listed).await["keys"].as_array().unwrap().len(), set["keys"].as_array().unwrap().len());
        edwards.map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let listed = async |app: &TestApp| {
        let document = body(app.get("/.well-known/openid-configuration").send().await.unwrap()).await;
        document["id_token_signing_alg_values_supported"].clone()
    };
    // No client uses it.
    let app = start(tempfile::tempdir().unwrap(), "").await;
    assert!(published(&app).await.is_empty());
    assert_eq!(listed(&app).await, json!(["RS256", "ES256"]));
    // A client is added: the key that signs for it is published at once.
    let app = start(app.stop().await, &edwards).await;
    let keys = published(&app).await;
    assert_eq!(listed(&app).await, json!(["RS256", "ES256", "EdDSA"]));
    app.serve("Sample", 1).await;
    let code = Browser::default().authorize(&app, &[("client_id", "edwards")]).await.code();
    let redeemed = app.post_form("/token", &code_fields(&code, &[])).header("authorization", basic("edwards", SECRET));
    let tokens = body(redeemed.send().await.unwrap()).await;
    assert!(keys.contains(&kid(&tokens, "id_token")));
    // The client is removed: its tokens can be verified until they have expired.
    let app = start(app.stop().await, "").await;
    assert_eq!(published(&app).await, keys);
    assert_eq!(listed(&app).await, json!(["RS256", "ES256"]));
    app.pass(3600 + 600 - 1);
    assert_eq!(published(&app).await, keys);
    app.pass(1);
    assert!(published(&app).await.is_empty());
    // Access tokens need the keys too, and discovery does not list their algorithms.
    let app = start(app.stop().await, &for_access).await;
    assert!(!published(&app).await.is_empty());
    assert_eq!(listed(&app).await, json!(["RS256", "ES256"]));
    app.stop().await;
}

#[actix_web::test]
async fn a_key_is_published_before_it_signs_and_until_its_last_token_has_expired() {
    // The key of the REST calls rotates with the others, so that no old key stays in use.
    let app = with_keys("rest_rotation = \"automatic\"").await;
    app.lobby().run_housekeeping().await;
    let published_early = kids(&app.key_set().await);
    app.clock.advance(KEY_LIFE);
    let (_, before) = app.tokens(&[]).await;
    app.lobby().run_housekeeping().await;
    let (_, after) = app.tokens(&[]).await;
    assert!(of_both(&before).is_disjoint(&of_both(&after)), "the next keys sign");
    assert!(published_early.is_superset(&of_both(&after)), "and were published before");
    assert!(kids(&app.key_set().await).is_superset(&of_both(&before)), "the old keys stay");
    assert_eq!(app.user_info(token(&before, "access_token")).await.status(), StatusCode::OK);

    app.clock.advance(LAST_TOKEN);
    app.lobby().run_housekeeping().await;
    assert!(kids(&app.key_set().await).is_superset(&of_both(&before)));
    app.pass(1);
    app.lobby().run_housekeeping().await;
    assert!(kids(&app.key_set().await).is_disjoint(&of_both(&before)), "their last token has expired");
    app.stop().await;
}

/// An application with these lines in `[keys]`.
async fn with_keys(keys: &str) -> TestApp {
    let directory = tempfile::tempdir().unwrap();
    let config = config_from(directory.path(), &format!("{CONFIG}\n[keys]\n{keys}\n"));
    TestApp::configured(directory, config).await
}

/// The same after its keys were due for the first time, and the keys that signed before.
async fn after_a_period(keys: &str) -> (TestApp, [String; 2]) {
    let app = with_keys(keys).await;
    app.lobby().run_housekeeping().await;
    let before = signing_rs256(&app).await;
    app.clock.advance(KEY_LIFE);
    app.lobby().run_housekeeping().await;
    (app, before)
}

/// The key IDs that sign an ID token and the tokens of the REST calls.
async fn signing_rs256(app: &TestApp) -> [String; 2] {
    let key = body(app.get("/api/public_key?event_id=Sample").send().await.unwrap()).await;
    let listed = body(app.get("/private/keys").bearer_auth(ADMIN_KEY).send().await.unwrap()).await;
    let of_logins = |key: &&Value| {
        key["alg"] == "RS256"
            && key["state"] == "signing"
            && key["channels"].as_array().unwrap().contains(&json!("login"))
    };
    let login = listed["keys"].as_array().unwrap().iter().find(of_logins).unwrap();
    [login, &key].map(|key| key["kid"].as_str().unwrap().to_owned())
}

#[actix_web::test]
async fn the_key_of_the_rest_channel_rotates_only_if_configured() {
    for (keys, login_rotates, rest_rotates) in [
        ("", true, false),
        ("rest_rotation = \"automatic\"", true, true),
        ("rotation = \"manual\"", false, false),
        ("rotation = \"manual\"\nrest_rotation = \"automatic\"", false, true),
        ("rotation_period = 7776001\nrest_rotation = \"automatic\"", false, false),
    ] {
        let (app, before) = after_a_period(keys).await;
        let after = signing_rs256(&app).await;
        assert_eq!([before[0] != after[0], before[1] != after[1]], [login_rotates, rest_rotates], "{keys}");
        assert!(kids(&app.key_set().await).is_superset(&after.into()), "both kinds are published");
        app.stop().await;
    }
}

#[actix_web::test]
async fn an_operator_rotates_the_keys_of_one_channel_alone() {
    let app = TestApp::start().await;
    app.lobby().run_housekeeping().await;
    for (channel, login_rotates, rest_rotates) in
        [(json!("rest"), false, true), (json!("login"), true, false), (Value::Null, true, true)]
    {
        let before = signing_rs256(&app).await;
        let order = json!({ "how": "at_once", "channel": channel });
        let rotated = app.post_json("/private/rotate_keys", &order).bearer_auth(ADMIN_KEY).send().await.unwrap();
        assert_eq!(rotated.status(), StatusCode::OK);
        let after = signing_rs256(&app).await;
        assert_eq!([before[0] != after[0], before[1] != after[1]], [login_rotates, rest_rotates], "{channel}");
    }
    let nonsense = json!({ "how": "at_once", "channel": "other" });
    let refused = app.post_json("/private/rotate_keys", &nonsense).bearer_auth(ADMIN_KEY).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    app.stop().await;
}

#[actix_web::test]
async fn after_a_compromise_tokens_of_the_old_keys_are_refused_at_once() {
    let app = TestApp::start().await;
    let (_, tokens) = app.tokens(&[]).await;
    app.lobby().rotate_keys(&KeyUse::ALL, Rotation::Compromised).await.unwrap();
    assert!(kids(&app.key_set().await).is_disjoint(&of_both(&tokens)));
    assert_eq!(app.user_info(token(&tokens, "access_token")).await.status(), StatusCode::UNAUTHORIZED);
    app.stop().await;
}

#[actix_web::test]
async fn keys_survive_a_restart() {
    let app = TestApp::start().await;
    app.lobby().run_housekeeping().await;
    let (set, (_, tokens)) = (app.key_set().await, app.tokens(&[]).await);
    let directory = app.stop().await;
    let app = TestApp::in_directory(directory, "").await;
    assert_eq!(app.key_set().await["keys"], json!(set["keys"]));
    assert!(kids(&set).is_superset(&of_both(&tokens)));
    app.stop().await;
}
