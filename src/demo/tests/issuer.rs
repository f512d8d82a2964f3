//! A minimal issuer on a loopback port, which can also give wrong answers.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use openidconnect::core::{CoreEdDsaPrivateSigningKey, CoreJwsSigningAlgorithm};
use openidconnect::{
    AccessToken, AccessTokenHash, JsonWebKeyId, PkceCodeChallenge, PkceCodeVerifier, PrivateSigningKey,
};
use serde_json::{Value, json};

use crate::ambient::{Clock, SystemClock};

pub(super) const CODE: &str = "the-code";
pub(super) const SUBJECT: &str = "0f9a4c11-2b7d-4e7e-9a55-3c1d8e6f7a20";
const ACCESS_TOKEN: &str = "the-access-token";

/// The issuer's answers. The tests change one at a time.
pub(super) struct Script {
    pub(super) challenge: String,
    pub(super) nonce: String,
    pub(super) audience: &'static str,
    pub(super) token_issuer: Option<&'static str>,
    pub(super) expires_in: i64,
    pub(super) key: &'static str,
    pub(super) hashed_access_token: &'static str,
    pub(super) user_info: Value,
    pub(super) promises_iss: bool,
}

pub(super) struct FakeIssuer {
    pub(super) url: String,
    pub(super) script: Mutex<Script>,
    pub(super) discoveries: AtomicUsize,
}

impl FakeIssuer {
    /// Starts on `listener`; the handle stops it.
    pub(super) fn start(listener: TcpListener) -> (Arc<Self>, ServerHandle) {
        let script = Script {
            challenge: String::new(),
            nonce: String::new(),
            audience: "shop",
            token_issuer: None,
            expires_in: 3600,
            key: "first",
            hashed_access_token: ACCESS_TOKEN,
            user_info: json!({"sub": SUBJECT, "queue_position": 17}),
            promises_iss: false,
        };
        let url = format!("http://{}", listener.local_addr().unwrap());
        let issuer = Arc::new(Self { url, script: Mutex::new(script), discoveries: AtomicUsize::new(0) });
        let data = web::Data::from(Arc::clone(&issuer));
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .route("/.well-known/openid-configuration", web::get().to(discovery))
                .route("/jwks", web::get().to(jwks))
                .route("/token", web::post().to(token))
                .route("/userInfo", web::get().to(user_info))
        });
        let server = server.workers(1).disable_signals().listen(listener).unwrap().run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        (issuer, handle)
    }

    fn id_token(&self) -> String {
        let script = self.script.lock().unwrap();
        let now = i64::try_from(SystemClock.now().as_secs()).unwrap();
        let key = signing_key(script.key);
        let access_token = AccessToken::new(script.hashed_access_token.to_owned());
        let hash =
            AccessTokenHash::from_token(&access_token, &CoreJwsSigningAlgorithm::EdDsa, &key.as_verification_key());
        let header = json!({"alg": "EdDSA", "kid": script.key});
        let claims = json!({
            "iss": script.token_issuer.unwrap_or(&self.url), "sub": SUBJECT, "aud": script.audience,
            "iat": now, "exp": now + script.expires_in, "nonce": script.nonce, "at_hash": hash.unwrap(),
        });
        let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature = key.sign(&CoreJwsSigningAlgorithm::EdDsa, signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

/// An Ed25519 key derived from its name: PKCS #8 (RFC 8410 §7) around a seed of one repeated byte.
fn signing_key(name: &str) -> CoreEdDsaPrivateSigningKey {
    const PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let der = [&PREFIX[..], &[name.as_bytes()[0]; 32]].concat();
    let label = "PRIVATE KEY";
    let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der));
    CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, Some(JsonWebKeyId::new(name.to_owned()))).unwrap()
}

async fn discovery(issuer: web::Data<FakeIssuer>) -> HttpResponse {
    issuer.discoveries.fetch_add(1, Ordering::SeqCst);
    let at = |path: &str| format!("{}{path}", issuer.url);
    HttpResponse::Ok().json(json!({
        "issuer": issuer.url, "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token"),
        "userinfo_endpoint": at("/userInfo"), "jwks_uri": at("/jwks"), "end_session_endpoint": at("/logout"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
        "authorization_response_iss_parameter_supported": issuer.script.lock().unwrap().promises_iss,
    }))
}

async fn jwks(issuer: web::Data<FakeIssuer>) -> HttpResponse {
    let key = signing_key(issuer.script.lock().unwrap().key);
    HttpResponse::Ok().json(json!({"keys": [key.as_verification_key()]}))
}

async fn token(
    request: HttpRequest,
    form: web::Form<Vec<(String, String)>>,
    issuer: web::Data<FakeIssuer>,
) -> HttpResponse {
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value).to_owned();
    // Form-urlencoded before base64 (RFC 6749 §2.3.1): the secret contains blanks and an apostrophe.
    let basic = format!("Basic {}", BASE64_STANDARD.encode("shop:a+secret+of+the+shop%27s"));
    if request.headers().get("Authorization").and_then(|value| value.to_str().ok()) != Some(&basic) {
        return HttpResponse::Unauthorized().json(json!({"error": "invalid_client"}));
    }
    let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(field("code_verifier")));
    let as_expected = field("code") == CODE
        && field("redirect_uri") == "http://127.0.0.1:8090/callback"
        && challenge.as_str() == issuer.script.lock().unwrap().challenge;
    if !as_expected {
        return HttpResponse::BadRequest().json(json!({"error": "invalid_grant"}));
    }
    HttpResponse::Ok()
        .json(json!({"access_token": ACCESS_TOKEN, "token_type": "Bearer", "id_token": issuer.id_token()}))
}

async fn user_info(request: HttpRequest, issuer: web::Data<FakeIssuer>) -> HttpResponse {
    let bearer = format!("Bearer {ACCESS_TOKEN}");
    if request.headers().get("Authorization").and_then(|value| value.to_str().ok()) != Some(&bearer) {
        return HttpResponse::Unauthorized().finish();
    }
    HttpResponse::Ok().json(&issuer.script.lock().unwrap().user_info)
}
