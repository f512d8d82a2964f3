//! A run with every kind of secret at the log's most verbose level: no secret is in the log, the metrics, an error page
//! or the output of a command.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use anteroom::ambient::{Clock as _, SystemClock};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::PKey;
use openssl::sign::Signer;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::Position;

use crate::process::Program;
use crate::support::{ADMIN_KEY, Api, Browser, CLIENT_SECRET, Deployment, Page, REDIRECT, encode, text};

const WRONG_KEY: &str = "wrong-key-0123456789-0123456789-01234567";
const WRONG_SECRET: &str = "wrong-secret-0123456789-0123456789-0123";
const POSTED_SECRET: &str = "posted-secret-0123456789-0123456789-0123";
const SIGNING_SECRET: &str = "signing-secret-0123456789-0123456789-012";
const WEBHOOK_KEY: &str = "d2ViaG9vay1rZXktMDEyMzQ1Njc4OWFiY2RlZjAxMjM=";
const WEBHOOK_TOKEN: &str = "token-in-the-address-of-the-webhook-4711";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const STATE: &str = "state-of-the-relying-party-0123456789";
const NONCE: &str = "nonce-of-the-relying-party-0123456789";

/// The secrets used, and the error answers.
#[derive(Default)]
struct Run {
    secrets: Vec<(&'static str, String)>,
    errors: Vec<(String, String)>,
}

impl Run {
    fn used(&mut self, name: &'static str, secret: impl Into<String>) {
        self.secrets.push((name, secret.into()));
    }

    /// Sends a request and keeps an error answer. The status and the body.
    async fn ask(&mut self, what: &str, request: RequestBuilder) -> (StatusCode, String) {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), format!("{:?}", answer.headers()));
        let body = answer.text().await.unwrap();
        if !status.is_success() && !status.is_redirection() {
            self.errors.push((what.to_owned(), format!("{headers}\n{body}")));
        }
        (status, body)
    }

    async fn object(&mut self, what: &str, request: RequestBuilder) -> Value {
        let (status, body) = self.ask(what, request).await;
        assert_eq!(status, StatusCode::OK, "{what}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn refused(&mut self, what: &str, request: RequestBuilder) {
        let (status, body) = self.ask(what, request).await;
        assert!(status.is_client_error(), "{what}: {status} {body}");
    }

    /// As a browser, whose cookies are secrets.
    async fn browse(&mut self, what: &str, browser: &mut Browser, request: RequestBuilder) -> Page {
        let asked = request.try_clone().unwrap().build().unwrap().url().clone();
        let page = browser.send(request).await.unwrap();
        self.secrets.extend(browser.cookies.values().map(|cookie| ("cookie", cookie.clone())));
        if page.status.is_client_error() {
            // A retry link leads to the requested address, which the client knows.
            let body = page.body.replace("&#38;", "&").replace(&asked[Position::BeforePath..], "");
            self.errors.push((what.to_owned(), format!("{:?}\n{body}", page.headers)));
        }
        page
    }

    /// The position of a secret of the run in `text`.
    fn leaks(&self, text: &str) -> Vec<&'static str> {
        let found = self.secrets.iter().filter(|(_, secret)| forms(secret).iter().any(|form| text.contains(form)));
        found.map(|(name, _)| *name).collect()
    }
}

/// A secret in its written forms; half of it is a leak as well.
fn forms(secret: &str) -> Vec<String> {
    assert!(secret.len() >= 16 && secret.is_ascii(), "{secret} cannot be looked for");
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let bytes = secret.as_bytes();
    vec![
        secret[secret.len() / 2..].to_owned(),
        secret[..secret.len() / 2 + 1].to_owned(),
        encode(&[("", secret)])[1..].to_owned(),
        hex(bytes),
        hex(bytes).to_uppercase(),
        STANDARD_NO_PAD.encode(bytes),
        URL_SAFE_NO_PAD.encode(bytes),
    ]
}

/// A webhook receiver that fails once; the received requests.
fn receiver() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, received) = mpsc::channel();
    thread::spawn(move || {
        for (count, connection) in listener.incoming().enumerate() {
            let mut connection = connection.unwrap();
            let actual = request(&mut connection);
            let status = if count == 0 { "500 Internal Server Error" } else { "204 No Content" };
            let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            connection.write_all(answer.as_bytes()).unwrap();
            if sender.send(actual).is_err() {
                return;
            }
        }
    });
    (format!("http://{address}/hook?token={WEBHOOK_TOKEN}"), received)
}

/// One request, head and body.
fn request(connection: &mut TcpStream) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let count = connection.read(&mut buffer).unwrap();
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let length = head
            .to_lowercase()
            .split_once("content-length: ")
            .map(|(_, rest)| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
        if count == 0 || length.is_some_and(|length| body.len() >= length) {
            return text;
        }
    }
}

/// A header of a request, or nothing.
fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let mut lines = request.split("\r\n").filter_map(|line| line.split_once(": "));
    lines.find(|(header, _)| header.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
}

fn deployment(webhook: &str) -> Deployment {
    let deployment = Deployment::new();
    let more = format!(
        "[[client]]\nclient_id = \"poster\"\nevent = \"Sample\"\nclient_secret = \"env:POSTED\"\n\
         token_endpoint_auth_method = \"client_secret_post\"\nredirect_uris = [\"{REDIRECT}\"]\n\
         [[webhook]]\nname = \"hook\"\nurl = \"{webhook}\"\nsecret = \"whsec_{WEBHOOK_KEY}\"\n[notices]\nstream = true\n"
    );
    let mut config = OpenOptions::new().append(true).open(deployment.path("anteroom.toml")).unwrap();
    config.write_all(more.as_bytes()).unwrap();
    deployment
}

/// The configuration's secrets in the environment.
const VARIABLES: [(&str, &str); 4] = [
    ("POSTED", POSTED_SECRET),
    ("ANTEROOM_ADMIN__SIGV4__0__ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("ANTEROOM_ADMIN__SIGV4__0__SECRET_ACCESS_KEY", SIGNING_SECRET),
    ("ANTEROOM_LOG__LEVEL", "trace"),
];

/// The `Authorization` header of `GET /private/num_active_tokens?event_id=Sample` at `host`, and its date.
fn signed(secret: &str, host: &str) -> (String, String) {
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let sha256 = |text: &str| hex(&hash(MessageDigest::sha256(), text.as_bytes()).unwrap());
    let hmac = |key: &[u8], text: &str| {
        let key = PKey::hmac(key).unwrap();
        Signer::new(MessageDigest::sha256(), &key).unwrap().sign_oneshot_to_vec(text.as_bytes()).unwrap()
    };
    let date = SystemClock.now().rfc3339().replace(['-', ':'], "");
    let scope = format!("{}/eu-west-1/execute-api/aws4_request", &date[..8]);
    let canonical = format!(
        "GET\n/private/num_active_tokens\nevent_id=Sample\nhost:{host}\nx-amz-date:{date}\n\nhost;x-amz-date\n{}",
        sha256("")
    );
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(&canonical));
    let key = scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, step| hmac(&key, step));
    let signature = hex(&hmac(&key, &to_sign));
    let credential = format!("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}");
    (format!("{credential}, SignedHeaders=host;x-amz-date, Signature={signature}"), date)
}

/// The REST channel: joins, tokens, the end of a session.
async fn rest(run: &mut Run, api: &Api) {
    let ticket = text(&run.object("join", api.join()).await, "api_request_id");
    let redeem = json!({ "event_id": "Sample", "request_id": ticket });
    run.ask("tokens before the turn", api.post("/api/generate_token", &redeem)).await;
    api.let_in(ADMIN_KEY, 1).await;
    let tokens = run.object("tokens", api.post("/api/generate_token", &redeem)).await;
    for name in ["access_token", "refresh_token", "id_token"] {
        run.used("REST token", text(&tokens, name));
    }
    let private = |path: &str, body: &Value| api.post(path, body).bearer_auth(ADMIN_KEY);
    run.object("private tokens", private("/private/generate_token", &redeem)).await;
    let verify = api.get("/verify?event_id=Sample").bearer_auth(text(&tokens, "access_token"));
    run.ask("verify", verify).await;
    let update = json!({ "event_id": "Sample", "request_id": ticket, "status": 1 });
    run.object("close", private("/private/update_session", &update)).await;
    run.refused("close again", private("/private/update_session", &update)).await;
    run.refused("tokens of a closed session", api.post("/api/generate_token", &redeem)).await;
    let secret_body = Value::from(format!("{ticket} is no object"));
    run.refused("no object", api.post("/api/generate_token", &secret_body)).await;
    run.refused("another event", api.get(&format!("/api/queue_num?event_id=none&request_id={ticket}"))).await;
    run.used("ticket", ticket);
}

/// A login of the client `id` with additional parameters.
fn authorization(id: &str) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    encode(&[
        ("client_id", id),
        ("redirect_uri", REDIRECT),
        ("response_type", "code"),
        ("scope", "openid"),
        ("state", STATE),
        ("nonce", NONCE),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ])
}

/// Logs a waiting visitor in; the code.
async fn wait_for_a_code(run: &mut Run, api: &Api) -> String {
    let (mut browser, mut stranger) = (Browser::default(), Browser::default());
    // The first visit sets the cookies, and may redirect to the same address.
    let start = format!("/authorize?{}", authorization("Sample"));
    let mut page = run.browse("authorize", &mut browser, api.get(&start)).await;
    if !page.waits() {
        page = run.browse("authorize again", &mut browser, api.get(&start)).await;
    }
    let resume = page.refresh().unwrap();
    let (_, flow) = resume.split_once("flow=").unwrap();
    run.used("flow", flow);
    run.browse("a stranger's flow", &mut stranger, api.get(&resume)).await;
    run.browse("a broken flow", &mut browser, api.get(&format!("{resume}x"))).await;
    api.let_in(ADMIN_KEY, 1).await;
    let admitted = run.browse("resume", &mut browser, api.get(&resume)).await;
    admitted.code()
}

async fn log_in(run: &mut Run, api: &Api) {
    let code = wait_for_a_code(run, api).await;
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    let redeem = |secret: &str| {
        let credentials = STANDARD.encode(format!("Sample:{secret}"));
        api.post_form("/token", &fields).header("authorization", format!("Basic {credentials}"))
    };
    run.used("credentials", STANDARD.encode(format!("Sample:{CLIENT_SECRET}")));
    run.refused("a wrong client secret", redeem(WRONG_SECRET)).await;
    let posted = [&fields[..], &[("client_id", "poster"), ("client_secret", POSTED_SECRET)]].concat();
    run.refused("the code of another client", api.post_form("/token", &posted)).await;
    let given = run.object("tokens", redeem(CLIENT_SECRET)).await;
    run.refused("a code that was used", redeem(CLIENT_SECRET)).await;
    run.refused("a token that was revoked", api.get("/userInfo").bearer_auth(text(&given, "access_token"))).await;
    run.used("access token", text(&given, "access_token"));
    run.used("ID token", text(&given, "id_token"));
    run.used("code", code);

    let mut browser = Browser::default();
    api.let_in(ADMIN_KEY, 1).await;
    let tokens = browser.log_in(api).await.unwrap();
    run.secrets.extend(browser.cookies.values().map(|cookie| ("cookie", cookie.clone())));
    assert_eq!(api.user_info(&tokens.access).await, StatusCode::OK);
    run.refused("a broken token", api.get("/userInfo").bearer_auth(format!("{}x", tokens.access))).await;
    run.ask("verify by token", api.get("/verify/Sample/").bearer_auth(&tokens.access)).await;
    run.used("sub", tokens.who().0);
    run.used("access token", tokens.access);
    run.used("ID token", tokens.id);
}

/// Secrets in wrong places: in paths, queries and requests that are not HTTP.
async fn misplaced(run: &mut Run, api: &Api, program: &Program) {
    let query = encode(&[("client_secret", CLIENT_SECRET), ("key", ADMIN_KEY), ("code_verifier", VERIFIER)]);
    for path in ["/authorize", "/token", "/userInfo", "/api/queue_num", "/private/keys", "/nothing", "/line/none"] {
        run.refused(path, api.get(&format!("{path}?{query}"))).await;
    }
    let page = api.get(&format!("/{ADMIN_KEY}?{query}")).header("accept", "text/html");
    run.refused("a key as a path", page).await;
    run.refused("a key as an event", api.get(&format!("/line/{ADMIN_KEY}"))).await;
    run.refused("a key as a client", api.get(&format!("/authorize?client_id={ADMIN_KEY}"))).await;
    for header in ["bad header", "content-length: x"] {
        let mut connection = TcpStream::connect(program.address).unwrap();
        let request = format!("GET /?{query} HTTP/1.1\r\nauthorization: Bearer {ADMIN_KEY}\r\n{header}\r\n\r\n");
        drop(connection.write_all(request.as_bytes()).and_then(|()| connection.shutdown(Shutdown::Write)));
        let mut answer = String::new();
        drop(connection.read_to_string(&mut answer));
        run.errors.push((header.to_owned(), answer));
    }
}

async fn operate(run: &mut Run, api: &Api, program: &Program) {
    run.refused("a wrong key", api.get("/private/keys").bearer_auth(WRONG_KEY)).await;
    let ask = |secret: &str| {
        let (authorization, date) = signed(secret, &program.address.to_string());
        let request = api.get("/private/num_active_tokens?event_id=Sample").header("x-amz-date", date);
        (request.header("authorization", &authorization), authorization.rsplit_once('=').unwrap().1.to_owned())
    };
    for (what, secret) in [("a signature", SIGNING_SECRET), ("a wrong signature", WRONG_SECRET)] {
        let (request, signature) = ask(secret);
        let (status, body) = run.ask(what, request).await;
        assert_eq!(status == StatusCode::OK, secret == SIGNING_SECRET, "{what}: {body}");
        run.used(what, signature);
    }
    run.ask("ready", api.get("/health/ready").bearer_auth(ADMIN_KEY)).await;
    let rotate = api.post("/private/rotate_keys", &json!({ "how": "compromised" })).bearer_auth(ADMIN_KEY);
    run.object("rotate", rotate).await;
    let reset = api.post("/private/reset_initial_state", &json!({ "event_id": "Sample" })).bearer_auth(ADMIN_KEY);
    run.object("reset", reset).await;
}

/// The master secret in each of its named forms.
fn master_secret(run: &mut Run, deployment: &Deployment) {
    let written = std::fs::read_to_string(deployment.path("data/master-secret")).unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(written.trim()).unwrap();
    let hex = bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    });
    run.used("master secret", written.trim());
    run.used("master secret in base64", STANDARD.encode(&bytes));
    run.used("master secret in hexadecimal digits", hex);
}

#[tokio::test]
async fn no_secret_of_a_run_is_in_its_log_its_metrics_or_its_error_pages() {
    let (webhook, received) = receiver();
    let deployment = deployment(&webhook);
    let with = |launch: crate::process::Launch| {
        VARIABLES.iter().fold(launch, |launch, (name, value)| launch.with(name, value))
    };
    let program = with(deployment.serve()).start();
    let (api, mut run) = (Api::of(&program), Run::default());
    rest(&mut run, &api).await;
    log_in(&mut run, &api).await;
    misplaced(&mut run, &api, &program).await;
    operate(&mut run, &api, &program).await;
    master_secret(&mut run, &deployment);
    let (failed, repeated) = (received.recv().unwrap(), received.recv().unwrap());
    for call in [&failed, &repeated] {
        run.used("webhook signature", header(call, "webhook-signature"));
    }
    let metrics = api.get("/metrics").bearer_auth(ADMIN_KEY).send().await.unwrap().text().await.unwrap();
    let log = program.stop();
    let checked = with(deployment.command(&["check-config"])).run();
    let output = String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();

    for (name, secret) in [
        ("admin key", ADMIN_KEY),
        ("client secret", CLIENT_SECRET),
        ("posted client secret", POSTED_SECRET),
        ("secret access key", SIGNING_SECRET),
        ("wrong key", WRONG_KEY),
        ("wrong client secret", WRONG_SECRET),
        ("webhook key", WEBHOOK_KEY),
        ("webhook token", WEBHOOK_TOKEN),
        ("verifier", VERIFIER),
        ("state", STATE),
        ("nonce", NONCE),
    ] {
        run.used(name, secret);
    }
    for part in ["/authorize", "/token", "/api/generate_token", "hook", "a session was closed", "was refused"] {
        assert!(log.contains(part), "the log does not contain {part}:\n{log}");
    }
    assert!(metrics.contains("anteroom_joins_total") && output.contains("configuration is good"), "{output}");
    assert!(run.errors.len() >= 20, "{}", run.errors.len());
    assert!(run.leaks(&format!("x{}x", STANDARD.encode(VERIFIER))).contains(&"verifier"), "what leaks is found");
    assert_eq!(run.leaks(&log), [""; 0], "{log}");
    assert!(!log.contains("PRIVATE KEY"), "{log}");
    assert_eq!(run.leaks(&metrics), [""; 0], "{metrics}");
    assert_eq!(run.leaks(&output), [""; 0], "{output}");
    for (what, answer) in &run.errors {
        assert_eq!(run.leaks(answer), [""; 0], "{what}: {answer}");
    }
}
