//! Requests to the private API with AWS Signature Version 4, made by the tests' own signer.

use openssl::hash::{MessageDigest, hash};
use openssl::pkey::PKey;
use openssl::sign::Signer;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::capture;
use crate::support::{ADMIN_KEY, SECRET, TestApp, json as body};

const KEYS: &str = "keys = [{ name = \"ops\", key = \"env:ADMIN\" }]";
const WITH_PAIR: &str = "keys = [{ name = \"ops\", key = \"env:ADMIN\" }]\n\
                         sigv4 = [{ access_key_id = \"AKIDEXAMPLE\", secret_access_key = \"env:SECRET\" }]";
const INCREMENT: &str = "/private/increment_serving_counter";
const STEP: &str = r#"{"event_id":"Sample","increment_by":1}"#;
const MISMATCH: &str = "The request signature we calculated does not match the signature you provided.";

/// The signed values. The tests' clock is frozen at 2027-01-15 08:00:00 UTC.
#[derive(Clone)]
struct Signing {
    method: Method,
    path: String,
    query: String,
    body: String,
    date: String,
    key: String,
    secret: String,
    service: String,
    host: String,
    /// The signed headers besides host and date, and their values.
    more: Vec<(String, String)>,
    hosts: bool,
}

impl Signing {
    fn post(app: &TestApp) -> Self {
        Self {
            method: Method::POST,
            path: INCREMENT.into(),
            query: String::new(),
            body: STEP.into(),
            date: "20270115T080000Z".into(),
            key: "AKIDEXAMPLE".into(),
            secret: SECRET.into(),
            service: "execute-api".into(),
            host: app.address().to_string(),
            more: Vec::new(),
            hosts: true,
        }
    }

    fn get(app: &TestApp, path: &str, query: &str) -> Self {
        Self { method: Method::GET, path: path.into(), query: query.into(), body: String::new(), ..Self::post(app) }
    }

    fn authorization(&self) -> String {
        let mut headers = self.more.clone();
        headers.push(("x-amz-date".into(), self.date.clone()));
        if self.hosts {
            headers.push(("host".into(), self.host.clone()));
        }
        headers.sort();
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let names = headers.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(";");
        let mut query: Vec<_> = self.query.split('&').collect();
        query.sort_unstable();
        let (method, path, query) = (&self.method, &self.path, query.join("&"));
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{}", sha256(&self.body));
        let scope = format!("{}/eu-west-1/{}/aws4_request", &self.date[..8], self.service);
        let to_sign = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", self.date, sha256(&canonical));
        let start = format!("AWS4{}", self.secret).into_bytes();
        let key = scope.split('/').fold(start, |key, step| hmac(&key, step));
        let (id, signature) = (&self.key, hex(&hmac(&key, &to_sign)));
        format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
    }

    /// The request with its own signature.
    fn request(&self, app: &TestApp) -> RequestBuilder {
        self.signed_as(app, self)
    }

    /// The request with the signature of another one.
    fn signed_as(&self, app: &TestApp, other: &Self) -> RequestBuilder {
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        let request = app.request(self.method.clone(), &format!("{}{query}", self.path));
        let request = request.header("x-amz-date", &other.date).header("authorization", other.authorization());
        let more = &other.more;
        more.iter().fold(request, |request, (name, value)| request.header(name, value)).body(self.body.clone())
    }
}

fn sha256(text: &str) -> String {
    hex(&hash(MessageDigest::sha256(), text.as_bytes()).unwrap())
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let key = PKey::hmac(key).unwrap();
    Signer::new(MessageDigest::sha256(), &key).unwrap().sign_oneshot_to_vec(text.as_bytes()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn start() -> TestApp {
    TestApp::replacing(KEYS, WITH_PAIR).await
}

async fn good(request: RequestBuilder) -> Value {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    body(answer).await
}

async fn message(answer: Response) -> String {
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let refusal = body(answer).await;
    assert_eq!(refusal.as_object().unwrap().len(), 1, "{refusal}");
    refusal["message"].as_str().unwrap().to_owned()
}

async fn refused(app: &TestApp, request: RequestBuilder) -> String {
    let before = app.all_counters();
    let said = message(request.send().await.unwrap()).await;
    assert_eq!(app.all_counters(), before);
    said
}

#[actix_web::test]
async fn a_signed_request_is_answered() {
    let app = start().await;
    let post = Signing::post(&app);
    assert_eq!(good(post.request(&app)).await, json!({ "serving_num": 1 }));
    let get = Signing::get(&app, "/private/num_active_tokens", "event_id=Sample&a=1");
    assert_eq!(good(get.request(&app)).await, json!({ "active_tokens": 0 }));
    let hash = ("x-amz-content-sha256".to_owned(), sha256(STEP));
    let token = ("x-amz-security-token".to_owned(), "of-a-role".to_owned());
    let more = Signing { more: vec![hash, token], ..post.clone() };
    assert_eq!(good(more.request(&app)).await, json!({ "serving_num": 2 }));
    // An authenticated operator learns that a path or method does not exist.
    let nowhere = Signing { path: "/private/nothing".to_owned(), ..post.clone() };
    assert_eq!(nowhere.request(&app).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    let wrong = Signing { method: Method::PUT, ..post.clone() };
    assert_eq!(wrong.request(&app).send().await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused(&app, nowhere.signed_as(&app, &post)).await, MISMATCH);
    // The bearer key still works.
    assert_eq!(app.serve("Sample", 1).await, 3);
    app.stop().await;
}

#[actix_web::test]
async fn the_signed_path_is_the_clients() {
    let app = TestApp::replacing(
        &format!("public_url = \"http://127.0.0.1:0\"\nlisten = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n\n[admin]\n{KEYS}"),
        &format!("public_url = \"http://127.0.0.1:0/queue\"\nlisten = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n\n[admin]\n{WITH_PAIR}"),
    )
    .await;
    let seen = Signing { path: format!("/queue{INCREMENT}"), ..Signing::post(&app) };
    let sent = Signing::post(&app);
    good(sent.signed_as(&app, &seen)).await;
    assert_eq!(refused(&app, sent.request(&app)).await, MISMATCH);
    app.stop().await;
}

#[actix_web::test]
async fn the_signed_host_is_read_from_a_trusted_proxy() {
    let app = start().await;
    let public = Signing { host: "queue.example".into(), ..Signing::post(&app) };
    for (name, value) in [
        ("x-forwarded-host", "queue.example"),
        ("x-forwarded-host", "queue.example, inner.example"),
        ("forwarded", "for=198.51.100.7;host=queue.example;proto=https"),
        ("forwarded", "for=\"[2001:db8::7]:80\";host=\"queue.example\", for=127.0.0.1;host=inner.example"),
    ] {
        good(public.request(&app).header(name, value)).await;
    }
    assert_eq!(refused(&app, public.request(&app)).await, MISMATCH);
    app.stop().await;
    let trusting = format!("trusted_proxies = [\"127.0.0.1/32\"]\n\n[admin]\n{KEYS}");
    let app = TestApp::replacing(&trusting, &format!("\n[admin]\n{WITH_PAIR}")).await;
    let public = Signing { host: "queue.example".into(), ..Signing::post(&app) };
    let forwarded = public.request(&app).header("x-forwarded-host", "queue.example");
    assert_eq!(refused(&app, forwarded).await, MISMATCH);
    app.stop().await;
}

#[actix_web::test]
async fn a_signature_is_good_for_five_minutes_either_way() {
    let app = start().await;
    for (date, serving) in [("20270115T075500Z", 1), ("20270115T080500Z", 2)] {
        let signing = Signing { date: date.into(), ..Signing::post(&app) };
        assert_eq!(good(signing.request(&app)).await["serving_num"], serving, "{date}");
    }
    for (date, said) in [
        ("20270115T075459Z", "Signature expired: 20270115T075459Z is now earlier than 20270115T075500Z"),
        ("20270115T080501Z", "Signature not yet current: 20270115T080501Z is still later than 20270115T080500Z"),
    ] {
        let signing = Signing { date: date.into(), ..Signing::post(&app) };
        assert_eq!(refused(&app, signing.request(&app)).await, said);
    }
    let dateless = app.request(Method::POST, INCREMENT).header("authorization", Signing::post(&app).authorization());
    let said = refused(&app, dateless.body(STEP)).await;
    assert!(said.contains("'X-Amz-Date' or a 'Date' header"), "{said}");
    app.stop().await;
}

#[actix_web::test]
async fn a_signature_is_for_one_request_alone() {
    let app = start().await;
    let post = Signing::post(&app);
    let get = Signing::get(&app, "/private/num_active_tokens", "event_id=Sample");
    for (sent, signed) in [
        (Signing { body: STEP.replace('1', "9"), ..post.clone() }, &post),
        (Signing { body: String::new(), ..post.clone() }, &post),
        (Signing { path: "/private/increment_serving_num".into(), ..post.clone() }, &post),
        (Signing { query: "event_id=Door".into(), ..get.clone() }, &get),
        (Signing { query: "event_id=Sample&more=1".into(), ..get.clone() }, &get),
        (Signing { path: "/private/expired_tokens".into(), ..get.clone() }, &get),
        (post.clone(), &Signing { secret: "another-secret".into(), ..post.clone() }),
        (post.clone(), &Signing { host: "elsewhere.example".into(), ..post.clone() }),
    ] {
        assert_eq!(refused(&app, sent.signed_as(&app, signed)).await, MISMATCH);
    }
    let unsigned = vec![("x-amz-content-sha256".to_owned(), "UNSIGNED-PAYLOAD".to_owned())];
    let unsigned = Signing { more: unsigned, ..post.clone() };
    assert_eq!(refused(&app, unsigned.request(&app)).await, MISMATCH);
    app.stop().await;
}

#[actix_web::test]
async fn a_wrong_signature_is_refused_with_the_reason() {
    let app = start().await;
    let post = Signing::post(&app);
    for (signing, said) in [
        (Signing { key: "AKIDOTHER".into(), ..post.clone() }, "The security token included in the request is invalid."),
        (
            Signing { service: "s3".into(), ..post.clone() },
            "Credential should be scoped to correct service: 'execute-api'.",
        ),
        (Signing { hosts: false, ..post.clone() }, "'Host' must be a 'SignedHeader' in the AWS Authorization header."),
    ] {
        assert_eq!(refused(&app, signing.request(&app)).await, said);
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_malformed_header_is_refused() {
    let app = start().await;
    let whole = Signing::post(&app).authorization();
    let mut headers = vec!["AWS4-HMAC-SHA256".to_owned(), "AWS4-HMAC-SHA256 ".into(), "AWS4-HMAC-SHA256 =,=".into()];
    headers.push(format!("{whole}, {}", whole.split_once(' ').unwrap().1));
    headers.extend(["Credential=", "SignedHeaders=", "Signature="].map(|name| whole.replace(name, "x=")));
    headers.extend(["/aws4_request", "/20270115", "AKIDEXAMPLE/", "host;"].map(|part| whole.replace(part, "")));
    headers.extend((0..whole.len()).step_by(7).map(|length| whole[..length].to_owned()));
    for header in headers {
        let request = app.request(Method::POST, INCREMENT).header("x-amz-date", "20270115T080000Z").body(STEP);
        refused(&app, request.header("authorization", &header)).await;
    }
    let twice = Signing::post(&app).request(&app).header("authorization", format!("Bearer {ADMIN_KEY}"));
    refused(&app, twice).await;
    app.stop().await;
}

#[actix_web::test]
async fn the_log_names_the_operator_and_no_secret() {
    capture::start();
    // All tests share the log, so the names here are unique.
    let admin = WITH_PAIR.replace("AKIDEXAMPLE", "AKIDNIGHTSHIFT").replace("\"ops\"", "\"night shift\"");
    let app = TestApp::replacing(KEYS, &admin).await;
    let post = Signing { key: "AKIDNIGHTSHIFT".into(), ..Signing::post(&app) };
    let signature = post.authorization().rsplit_once('=').unwrap().1.to_owned();
    good(post.request(&app)).await;
    app.serve("Sample", 1).await;
    refused(&app, post.request(&app).header("x-amz-date", "x")).await;
    app.stop().await;
    let lines = capture::lines();
    let answered = |line: &&String| line.contains("\"anteroom::access\"") && line.contains(INCREMENT);
    let actual: Vec<Value> = lines
        .iter()
        .filter(answered)
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["fields"].clone())
        .collect();
    for operator in ["AKIDNIGHTSHIFT", "night shift"] {
        let lines: Vec<_> = actual.iter().filter(|fields| fields["operator"] == operator).collect();
        assert_eq!(lines.len(), 1, "{operator}");
        assert_eq!(lines[0]["status"], 200);
    }
    let mut refused = actual.iter().filter(|fields| fields["status"] == 403).peekable();
    assert!(refused.peek().is_some() && refused.all(|fields| fields.get("operator").is_none()));
    for secret in [signature.as_str(), SECRET, ADMIN_KEY] {
        assert!(!lines.iter().any(|line| line.contains(secret)));
    }
}
