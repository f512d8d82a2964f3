//! The built program as an operator starts it, and the operator's calls.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::process::Process;
use super::{eventually, free_port};

pub const SECRET: &str = "sample-secret-0123456789-0123456789-0123";
/// The ID of the key pair whose secret is [`SECRET`].
pub const PAIR_ID: &str = "AKIDEXAMPLE";
pub const ADMIN_KEY: &str = "admin-key-0123456789-0123456789-01234567";

/// The number of concurrent joins: enough to share their commits, few enough for a small machine.
const AT_A_TIME: usize = 64;

/// One event that is moved by hand alone, on free ports.
const CONFIG: &str = r#"
public_url = "http://127.0.0.1:0"
listen = "127.0.0.1:0"

[admin]
keys = [{ name = "ops", key = "admin-key-0123456789-0123456789-01234567" }]
sigv4 = [{ access_key_id = "AKIDEXAMPLE", secret_access_key = "sample-secret-0123456789-0123456789-0123" }]

[[event]]
id = "Sample"
inlet = { strategy = "manual" }
"#;

/// A running Anteroom.
pub struct Anteroom {
    pub issuer: String,
    /// The address of the demonstration's shop.
    pub shop: String,
    admin_key: String,
    http: reqwest::Client,
    _process: Process,
}

impl Anteroom {
    /// Starts with one client, `Sample`, whose answers go to `redirect_uri`.
    pub async fn for_client(redirect_uri: &str) -> Self {
        Self::for_client_with(redirect_uri, &[]).await
    }

    /// The same, with additional variables.
    pub async fn for_client_with(redirect_uri: &str, variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("anteroom.toml");
        let client = format!(
            "[[client]]\nclient_id = \"Sample\"\nevent = \"Sample\"\nclient_name = \"Sample shop\"\n\
             client_secret = \"{SECRET}\"\nredirect_uris = [\"{redirect_uri}\"]\n\
             claims = {{ preferred_username = \"visitor-{{position}}\" }}\n"
        );
        fs::write(&file, format!("{CONFIG}\n{client}")).unwrap();
        let mut command = command(directory.path());
        command.arg("--config").arg(&file).envs(variables.iter().copied());
        Self::start(command, directory).await
    }

    /// Starts the demonstration, with other ports, an event that is moved by hand alone, and additional variables.
    pub async fn demonstration(variables: &[(&str, &str)]) -> Self {
        Self::demonstration_after("", variables).await
    }

    /// The same, in a shell that runs `before` first.
    pub async fn demonstration_after(before: &str, variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let shop = format!("127.0.0.1:{}", free_port());
        let mut command = command_after(before, directory.path());
        command
            .env("ANTEROOM_DATA_DIR", &data)
            .env("ANTEROOM_LISTEN", "127.0.0.1:0")
            .env("ANTEROOM_PUBLIC_URL", "http://127.0.0.1:0")
            .env("ANTEROOM_DEMO__SHOP_LISTEN", &shop)
            .env("ANTEROOM_CLIENT__0__REDIRECT_URIS", format!("[\"http://{shop}/callback\"]"))
            .env("ANTEROOM_CLIENT__0__POST_LOGOUT_REDIRECT_URIS", format!("[\"http://{shop}/\"]"))
            .env("ANTEROOM_CLIENT__0__INITIATE_LOGIN_URI", format!("http://{shop}/login"))
            .env("ANTEROOM_EVENT__0__INLET", "{ strategy = \"manual\" }")
            .envs(variables.iter().copied());
        let mut started = Self::start(command, directory).await;
        fs::read_to_string(data.join("admin-key")).unwrap().trim().clone_into(&mut started.admin_key);
        Self { shop: format!("http://{shop}"), ..started }
    }

    async fn start(command: Command, directory: TempDir) -> Self {
        let mut process = Process::start("anteroom", &command, directory);
        let said = process.says("Anteroom serves ").await;
        let issuer = said.split(' ').next().unwrap().to_owned();
        let http = http();
        let ready = format!("{issuer}/health/ready");
        eventually("Anteroom is ready", async || {
            http.get(&ready).send().await.ok().filter(|answer| answer.status().is_success())
        })
        .await;
        Self { issuer, shop: String::new(), admin_key: ADMIN_KEY.to_owned(), http, _process: process }
    }

    /// Moves the serving counter by `by`; returns its new value.
    pub async fn serve(&self, by: i64) -> u64 {
        let body = json!({ "event_id": "Sample", "increment_by": by });
        let request = self.http.post(format!("{}/private/increment_serving_counter", self.issuer));
        ok(request.bearer_auth(&self.admin_key).body(body.to_string())).await["serving_num"].as_u64().unwrap()
    }

    /// Closes the session of a ticket, as a site does after a payment.
    pub async fn end_session(&self, request_id: &str) {
        let body = json!({ "event_id": "Sample", "request_id": request_id, "status": 1 });
        let request = self.http.post(format!("{}/private/update_session", self.issuer));
        ok(request.bearer_auth(&self.admin_key).body(body.to_string())).await;
    }

    /// Joins through the REST channel; the request ID.
    pub async fn ticket(&self) -> String {
        let request = self.http.post(format!("{}/api/assign_queue_num", self.issuer));
        let joined = ok(request.body(json!({ "event_id": "Sample" }).to_string())).await;
        joined["api_request_id"].as_str().unwrap().to_owned()
    }

    /// Joins through the REST channel; the position.
    pub async fn join(&self) -> u64 {
        self.position_of(&self.ticket().await).await
    }

    /// Opens the session of a served ticket.
    pub async fn generate_token(&self, request_id: &str) {
        let body = json!({ "event_id": "Sample", "request_id": request_id });
        ok(self.http.post(format!("{}/api/generate_token", self.issuer)).body(body.to_string())).await;
    }

    /// Resets the event.
    pub async fn reset(&self) {
        let request = self.http.post(format!("{}/private/reset_initial_state", self.issuer));
        ok(request.bearer_auth(&self.admin_key).body(json!({ "event_id": "Sample" }).to_string())).await;
    }

    /// Joins `visitors` through the REST channel, many at a time.
    pub async fn join_many(&self, visitors: usize) {
        let address = format!("{}/api/assign_queue_num", self.issuer);
        let mut joining = JoinSet::new();
        for each in 0..visitors {
            if each >= AT_A_TIME {
                joining.join_next().await.unwrap().unwrap();
            }
            joining.spawn(ok(self.http.post(&address).body(json!({ "event_id": "Sample" }).to_string())));
        }
        joining.join_all().await;
    }

    /// Redeems a code as the client's server does; the access token.
    pub async fn redeem(&self, code: &str, redirect_uri: &str) -> String {
        let fields = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirect_uri)];
        let credentials = [("client_id", "Sample"), ("client_secret", SECRET)];
        let fields = fields.iter().chain(&credentials);
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.http.post(format!("{}/token", self.issuer)).body(body);
        let form = "application/x-www-form-urlencoded";
        let answer = request.header("content-type", form).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, StatusCode::OK, "{text}");
        let tokens: Value = serde_json::from_str(&text).unwrap();
        tokens["access_token"].as_str().unwrap().to_owned()
    }

    /// The position of a request ID; a `sub` is one.
    pub async fn position_of(&self, request_id: &str) -> u64 {
        let query = format!("event_id=Sample&request_id={request_id}");
        ok(self.http.get(format!("{}/api/queue_num?{query}", self.issuer))).await["queue_number"].as_u64().unwrap()
    }
}

/// `anteroom serve`, without a configuration of the user who runs the tests.
fn command(directory: &Path) -> Command {
    command_after("", directory)
}

/// The same, in a shell that runs `before` first.
fn command_after(before: &str, directory: &Path) -> Command {
    let program = env!("CARGO_BIN_EXE_anteroom");
    let mut command = Command::new(if before.is_empty() { program } else { "/bin/sh" });
    if !before.is_empty() {
        command.args(["-c", &format!("{before}; exec \"$0\" \"$@\""), program]);
    }
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("ANTEROOM_") {
            command.env_remove(name);
        }
    }
    command.arg("serve").current_dir(directory);
    command
}

/// An HTTP client that follows no redirects.
pub fn http() -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap()
}

async fn ok(request: RequestBuilder) -> Value {
    let answer = request.header("content-type", "application/json").send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, StatusCode::OK, "{text}");
    serde_json::from_str(&text).unwrap()
}
