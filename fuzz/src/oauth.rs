//! Input from relying parties and browsers to `/authorize` and `/token`.

use std::sync::LazyLock;

use actix_web::http::header::HeaderValue;
use anteroom::ambient::Secret;
use anteroom::oauth::{
    self, AuthMethod, Challenge, Client, ClientKind, CodeRequest, KNOWN, Params, RedirectUri, Reply,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use url::{Url, form_urlencoded};

use super::access;

const SECRET: &str = "p+q r%:é-0123456789-0123456789-0123";
const REGISTERED: [&str; 2] = ["https://shop.example/cb?shop=1", "https://shop.example/second"];
const ON_LOOPBACK: &str = "http://127.0.0.1/cb";

fn client(auth_method: AuthMethod, kind: ClientKind, uris: &[&str]) -> Client {
    let redirect_uris = uris.iter().map(|uri| RedirectUri::register(uri, kind).unwrap()).collect();
    let acr_values = vec!["queue:fair".to_owned()];
    let client = Client::confidential("shop", Secret::new(SECRET));
    Client { auth_method, kind, redirect_uris, acr_values, ..client }
}

static WEB: LazyLock<Client> = LazyLock::new(|| client(AuthMethod::Any, ClientKind::Web, &REGISTERED));
static NATIVE: LazyLock<Client> = LazyLock::new(|| client(AuthMethod::None, ClientKind::Native, &[ON_LOOPBACK]));

/// Parameters are parsed the same after they were serialised, and only known ones are carried on.
fn parameters(data: &[u8]) -> Params {
    let params = Params::parse(data);
    assert_eq!(Params::parse(params.encode().as_bytes()), params);
    let known = params.only(&KNOWN);
    for name in KNOWN {
        assert_eq!(known.get(name), params.get(name));
    }
    params
}

/// The query of `/authorize`.
pub fn authorize(data: &[u8]) {
    let params = parameters(data);
    for client in [&*WEB, &*NATIVE] {
        if let Ok(reply) = Reply::read(&params, client) {
            let asked = params.get("redirect_uri").unwrap().unwrap();
            assert_eq!(reply.redirect.as_str(), asked);
            goes_where_it_is_registered(client, asked, &reply.redirect.with_query(&[("code", "c"), ("state", "&#\n")]));
        }
        let Ok(request) = oauth::read_request(&params, client) else { continue };
        assert_eq!(params.get("response_type"), Ok(Some("code")));
        assert_eq!((params.get("request"), params.get("request_uri")), (Ok(None), Ok(None)));
        assert_eq!(request.nonce.as_deref(), params.get("nonce").unwrap());
        assert_eq!(request.challenge.is_some(), params.get("code_challenge").unwrap().is_some());
        assert!(request.challenge.is_some() || !client.is_public(), "a public client needs PKCE");
        assert!(request.acr.is_none_or(|acr| acr == "queue:fair"), "only what is configured is echoed");
        // A flow carries the parameters; when it returns they are parsed the same.
        assert!(oauth::read_request(&params.only(&KNOWN), client).is_ok());
    }
}

/// An answer goes to a registered redirect URI, and its parameters stay in that URI's query.
fn goes_where_it_is_registered(client: &Client, asked: &str, target: &str) {
    let registered = client.redirect_uris.iter().map(RedirectUri::as_str).collect::<Vec<_>>();
    let target = Url::parse(target).unwrap();
    let same_host = registered.iter().any(|uri| Url::parse(uri).unwrap().host() == target.host());
    assert!(registered.contains(&asked) || (client.kind == ClientKind::Native && same_host), "{asked}");
    assert!(same_host && target.fragment().is_none() && target.username().is_empty(), "{target}");
    assert!(target.query_pairs().any(|(name, value)| name == "state" && value == "&#\n"), "{target}");
}

/// The `Authorization` header of `/token` in the first line, its form in the rest.
pub fn token(data: &[u8]) {
    let (header, form) = match data.iter().position(|&byte| byte == b'\n') {
        Some(at) => (std::str::from_utf8(&data[..at]).ok().filter(|header| !header.is_empty()), &data[at + 1..]),
        None => (None, data),
    };
    let params = parameters(form);
    if let Ok(credentials) = oauth::credentials(header, &params) {
        for method in [AuthMethod::Any, AuthMethod::Basic, AuthMethod::Post, AuthMethod::None] {
            let client = client(method, ClientKind::Web, &REGISTERED);
            let known = (credentials.client_id == client.id).then_some(&client);
            if oauth::authenticate(known, &credentials).is_ok() {
                assert_eq!(credentials.client_id, "shop");
                let posted = params.get("client_secret").unwrap() == Some(SECRET);
                let in_header = header.is_some_and(|header| access::holds(header, "shop", SECRET));
                let public = method == AuthMethod::None && header.is_none();
                assert!(posted != in_header || public, "without the secret");
            }
        }
    }
    let _bearer = oauth::bearer_token(header, &params);
    redeem(&params);
}

/// A code is redeemed only with the verifier of its authorization request (RFC 7636 §4.6).
fn redeem(params: &Params) {
    let Ok(request) = CodeRequest::read(params) else { return };
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let asked = Params::from([("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")]);
    let bound = Challenge::requested(&asked, &WEB).unwrap();
    for (challenge, expected) in [(bound, Some(verifier)), (None, None)] {
        assert_eq!(Challenge::check(challenge.as_ref(), request.verifier).is_ok(), request.verifier == expected);
    }
}

/// A Basic header, as it is and with credentials from the bytes.
pub fn basic(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let none = Params::default();
    if let Ok(credentials) = oauth::credentials(Some(&text), &none) {
        assert!(!credentials.client_id.is_empty() && text.len() >= 6 && text[..6].eq_ignore_ascii_case("basic "));
        let good = oauth::authenticate(Some(&WEB), &credentials).is_ok();
        assert!(!good || access::holds(&text, &credentials.client_id, SECRET), "without the secret");
    }
    let (id, secret) = text.split_once('\n').unwrap_or((&text, ""));
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let header = format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(id), encode(secret))));
    let credentials = oauth::credentials(Some(&header), &none);
    if id.is_empty() || text.contains('\0') {
        assert!(credentials.is_err());
        return;
    }
    let credentials = credentials.unwrap();
    assert_eq!(credentials.client_id, id);
    assert_eq!(oauth::authenticate(Some(&WEB), &credentials).is_ok(), secret == SECRET);
}

/// A redirect URI to register in the first line, a requested one in the second.
pub fn redirect_uri(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (registered, asked) = text.split_once('\n').unwrap_or((&text, &text));
    for kind in [ClientKind::Web, ClientKind::Native] {
        let Ok(uri) = RedirectUri::register(registered, kind) else { continue };
        assert_eq!(uri.as_str(), registered);
        let client = Client { kind, redirect_uris: vec![uri], ..WEB.clone() };
        let own = client.redirect(registered).unwrap();
        let target = own.with_query(&[("code", "a b"), ("iss", "https://queue.example")]);
        assert!(target.starts_with(registered));
        assert!(HeaderValue::from_str(&target).is_ok(), "{target:?} is no header's value");
        let source = own.form_action_source();
        assert!(!source.contains([' ', ';', ',', '\'', '*']) && source.is_ascii(), "{source} is more than one source");
        if client.redirect(asked).is_ok() && asked != registered {
            let [mut one, mut other] = [registered, asked].map(|text| Url::parse(text).unwrap());
            assert!(kind == ClientKind::Native && oauth::is_loopback(&one));
            assert!(one.set_port(None).is_ok() && other.set_port(None).is_ok());
            assert_eq!(one, other, "they differ in more than the port");
        }
    }
}
