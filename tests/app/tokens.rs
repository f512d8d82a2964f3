//! Tokens: claims and signatures (OIDC Core §2, RFC 9068, RFC 7515), verified with the published keys and with other
//! code than ours.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{CoreJsonWebKey, CoreJwsSigningAlgorithm};
use openidconnect::{AccessToken, AccessTokenHash, JsonWebKey};
use serde_json::{Value, json};

use crate::steps::{assert_golden, id_claims, sub, token};
use crate::support::{TestApp, claims, header};

/// The published key of the signature of `jws`, and the algorithm: found by `kid`, and verified.
async fn signer(app: &TestApp, jws: &str) -> (CoreJsonWebKey, CoreJwsSigningAlgorithm) {
    let header = header(jws);
    let alg: CoreJwsSigningAlgorithm = serde_json::from_value(header["alg"].clone()).unwrap();
    let set = app.key_set().await;
    let mut named = set["keys"].as_array().unwrap().iter().filter(|key| key["kid"] == header["kid"]);
    let (Some(key), None) = (named.next(), named.next()) else { panic!("no single key {header}") };
    assert_eq!(key["alg"], header["alg"]);
    let key: CoreJsonWebKey = serde_json::from_value(key.clone()).unwrap();
    let (message, signature) = jws.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    key.verify_signature(&alg, message.as_bytes(), &signature).unwrap();
    (key, alg)
}

fn algs(tokens: &Value) -> [Value; 2] {
    ["id_token", "access_token"].map(|name| header(token(tokens, name))["alg"].clone())
}

#[actix_web::test]
async fn the_id_token_has_exactly_the_golden_claims() {
    let app = TestApp::start().await;
    app.serve("Sample", 1).await;
    let (mut browser, _) = app.tokens(&[]).await;
    app.pass(100);
    let asked = [("scope", "openid profile email"), ("acr_values", "other queue:fair")];
    let code = browser.authorize(&app, &asked).await.code();
    let tokens = crate::support::json(app.redeem(&code, &[]).await).await;
    let id = id_claims(&tokens);
    let (sub, at_hash) = (sub(&tokens), id["at_hash"].as_str().unwrap());
    assert_golden("id_token", &id, &[("issuer", &app.issuer), ("sub", &sub), ("at_hash", at_hash)]);
    assert_golden("id_token_header", &header(token(&tokens, "id_token")), &[("kid", &kid(&tokens, "id_token"))]);
    let access = claims(token(&tokens, "access_token"));
    let jti = access["jti"].as_str().unwrap();
    assert_golden("access_token", &access, &[("issuer", &app.issuer), ("sub", &sub), ("jti", jti)]);
    let kid = kid(&tokens, "access_token");
    assert_golden("access_token_header", &header(token(&tokens, "access_token")), &[("kid", &kid)]);
    let varying = [("id_token", token(&tokens, "id_token")), ("access_token", token(&tokens, "access_token"))];
    assert_golden("token_answer", &tokens, &varying);
    app.stop().await;
}

fn kid(tokens: &Value, name: &str) -> String {
    header(token(tokens, name))["kid"].as_str().unwrap().to_owned()
}

#[actix_web::test]
async fn no_unrequested_claim_is_released() {
    let app = TestApp::start().await;
    let (_, plain) = app.tokens(&[("nonce", ""), ("acr_values", "other")]).await;
    for absent in ["nonce", "acr", "email", "preferred_username", "email_verified", "azp"] {
        assert_eq!(id_claims(&plain).get(absent), None, "{absent}");
    }
    let wanted = json!({ "id_token": { "email": null, "auth_time": { "essential": true }, "picture": null } });
    let (_, asked) = app.tokens(&[("claims", &wanted.to_string()), ("scope", "openid profile")]).await;
    let id = id_claims(&asked);
    assert_eq!(id["email"], format!("{}@visitors.invalid", sub(&asked)));
    assert_eq!((id.get("picture"), id.get("preferred_username")), (None, None));
    app.stop().await;
}

#[actix_web::test]
async fn nonce_state_and_acr_come_back_as_they_were_sent() {
    let app = TestApp::start().await;
    for nonce in ["n-0S6_WzA2Mj", "ü \"quoted\" \\ {sub}", &"x".repeat(2000)] {
        let (_, tokens) = app.tokens(&[("nonce", nonce)]).await;
        assert_eq!(id_claims(&tokens)["nonce"], nonce);
    }
    let by_claims = json!({ "id_token": { "acr": { "essential": true, "values": ["queue:fair"] } } });
    for asked in [("acr_values", "queue:fair"), ("claims", &by_claims.to_string())] {
        assert_eq!(id_claims(&app.tokens(&[asked]).await.1)["acr"], "queue:fair");
    }
    app.stop().await;
}

#[actix_web::test]
async fn each_client_gets_its_algorithms_verified_with_the_published_keys() {
    let app = TestApp::start().await;
    for (client, expected) in
        [("Sample", ["RS256", "ES256"]), ("elliptic", ["ES256", "RS256"]), ("edwards", ["EdDSA", "ES256"])]
    {
        let tokens = app.tokens_at(client, &[]).await;
        assert_eq!(algs(&tokens), expected.map(Value::from), "{client}");
        signer(&app, token(&tokens, "access_token")).await;
        let (key, alg) = signer(&app, token(&tokens, "id_token")).await;
        let access = AccessToken::new(token(&tokens, "access_token").to_owned());
        let hash = AccessTokenHash::from_token(&access, &alg, &key).unwrap();
        let id = id_claims(&tokens);
        assert_eq!(id["at_hash"], hash.as_str(), "{client}");
        assert_eq!(id["aud"], client);
    }
    app.stop().await;
}

#[actix_web::test]
async fn every_exchange_of_a_session_gives_the_same_sub_and_auth_time_and_its_own_iat_and_jti() {
    let app = TestApp::start().await;
    let (mut browser, first) = app.tokens(&[]).await;
    app.pass(60);
    let code = browser.authorize(&app, &[]).await.code();
    let second = crate::support::json(app.redeem(&code, &[]).await).await;
    let (one, two) = (id_claims(&first), id_claims(&second));
    for same in ["iss", "sub", "aud", "exp", "auth_time", "sid", "queue_position"] {
        assert_eq!(one[same], two[same], "{same}");
    }
    assert_eq!(two["iat"].as_u64().unwrap() - one["iat"].as_u64().unwrap(), 60);
    let jti = |tokens: &Value| claims(token(tokens, "access_token"))["jti"].clone();
    assert_ne!(jti(&first), jti(&second));
    app.stop().await;
}
