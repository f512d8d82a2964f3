//! AWS services over the wire, emulated by moto: an alarm that closes a gate, an event bus, secrets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::process::Process;
use crate::support::program::{ADMIN_KEY, Anteroom, SECRET, http};
use crate::support::{eventually, file};

/// An emulated AWS.
struct Cloud {
    python: PathBuf,
    url: String,
    _process: Process,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/aws/cloud.py")
}

impl Cloud {
    async fn start() -> Option<Self> {
        let python = file(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/aws/venv/bin/python"))?;
        let mut command = Command::new(&python);
        command.arg(script()).arg("serve");
        let mut process = Process::start("moto", &command, tempfile::tempdir().unwrap());
        let url = process.says("Amazon is at ").await;
        Some(Self { python, url, _process: process })
    }

    /// The output of the script.
    fn does(&self, what: &str, more: &[&str]) -> String {
        let run = Command::new(&self.python).arg(script()).args([what, &self.url]).args(more).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    }

    /// Anteroom with its AWS.
    async fn anteroom(&self, variables: &[(&str, &str)]) -> Anteroom {
        Anteroom::for_client_with("https://shop.example/callback", &[&variables_for(&self.url), variables].concat())
            .await
    }

    /// The events on the bus since the last call, as (kind, detail).
    fn events(&self) -> Vec<(String, Value)> {
        let lines = self.does("events", &[]);
        let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events
            .map(|event| {
                assert_eq!(event["source"], "custom.waitingroom");
                (event["detail-type"].as_str().unwrap().to_owned(), event["detail"].clone())
            })
            .collect()
    }
}

/// The variables that a process needs to use `url` as AWS.
fn variables_for(url: &str) -> [(&str, &str); 4] {
    [
        ("AWS_ENDPOINT_URL", url),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ]
}

const BUS: (&str, &str) = ("ANTEROOM_EVENTBRIDGE", r#"[{ name = "bus", bus = "queue" }]"#);

#[tokio::test]
async fn an_event_bus_gets_notices_in_the_retired_systems_format() {
    let Some(cloud) = Cloud::start().await else { return };
    cloud.does("prepare", &[]);
    let anteroom = cloud.anteroom(&[BUS]).await;
    // More than one call of PutEvents accepts.
    for _ in 0..25 {
        anteroom.serve(1).await;
    }
    let ticket = anteroom.ticket().await;
    anteroom.generate_token(&ticket).await;
    anteroom.end_session(&ticket).await;
    let mut actual = Vec::new();
    eventually("everything is on the bus", async || {
        actual.extend(cloud.events());
        actual.iter().any(|(kind, _)| kind == "session_updated").then_some(())
    })
    .await;
    let of = |kind: &str| {
        actual.iter().filter(|(name, _)| name == kind).map(|(_, detail)| detail.clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("token_generated"), [json!({ "event_id": "Sample", "request_id": ticket })]);
    let ended = json!({ "event_id": "Sample", "request_id": ticket, "status": "completed" });
    assert_eq!(of("session_updated"), [ended]);
    // The queue does not keep the order, but every event must be in it once.
    let mut moves: Vec<u64> =
        of("serving_counter_changed").iter().map(|moved| moved["current"].as_u64().unwrap()).collect();
    moves.sort_unstable();
    assert_eq!(moves, (1..=25).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_bus_that_does_not_exist_yet_loses_nothing() {
    let Some(cloud) = Cloud::start().await else { return };
    let anteroom = cloud.anteroom(&[BUS]).await;
    anteroom.serve(3).await;
    cloud.does("prepare", &[]);
    let actual =
        eventually("the bus has the notices", async || Some(cloud.events()).filter(|actual| !actual.is_empty())).await;
    let moved = json!({ "event_id": "Sample", "previous": 0, "current": 3 });
    assert_eq!(actual, [("serving_counter_changed".to_owned(), moved)]);
}

#[tokio::test]
async fn an_alarm_closes_the_gate_while_it_is_active_or_unreadable() {
    let Some(cloud) = Cloud::start().await else { return };
    let inlet = r#"{ strategy = "periodic", increment_by = 5, every = 1, alarm = "shop-latency", check_every = 1 }"#;
    let anteroom = cloud.anteroom(&[("ANTEROOM_EVENT__0__INLET", inlet)]).await;
    anteroom.join_many(100).await;
    let metrics = format!("{}/metrics", anteroom.issuer);
    let gate = async |open: u8| {
        let shown = format!("anteroom_inlet_open{{event=\"Sample\"}} {open}");
        eventually(&shown, async || {
            let text = http().get(&metrics).send().await.unwrap().text().await.unwrap();
            text.contains(&shown).then_some(())
        })
        .await;
    };
    gate(0).await;
    assert_eq!(anteroom.serve(0).await, 0, "there is no such alarm");
    cloud.does("alarm", &["OK"]);
    gate(1).await;
    eventually("the line moves", async || (anteroom.serve(0).await > 0).then_some(())).await;
    cloud.does("alarm", &["ALARM"]);
    gate(0).await;
    cloud.does("alarm", &["INSUFFICIENT_DATA"]);
    gate(1).await;
}

const TABLES: &str = "\
anteroom-Documents ENABLED - PAY_PER_REQUEST ENABLED
anteroom-Events ENABLED - PAY_PER_REQUEST ENABLED
anteroom-Grants ENABLED keep_until PAY_PER_REQUEST ENABLED
anteroom-Outbox ENABLED forget_after PAY_PER_REQUEST ENABLED
anteroom-Places ENABLED - PAY_PER_REQUEST ENABLED
anteroom-QueuePositionEntryTime ENABLED - PAY_PER_REQUEST ENABLED
anteroom-ServingCounterIssuedAt ENABLED - PAY_PER_REQUEST ENABLED
anteroom-TokenTable ENABLED - PAY_PER_REQUEST ENABLED
";

#[tokio::test]
async fn tables_are_created_with_recovery_protection_and_on_demand_billing_and_repaired_by_a_second_run() {
    let Some(cloud) = Cloud::start().await else { return };
    let aws = variables_for(&cloud.url);
    let init = || {
        let made = run(&["store", "init"], [ADMIN_KEY, "redis://127.0.0.1:1"], &aws);
        assert_eq!((made.status.code(), String::from_utf8_lossy(&made.stderr)), (Some(0), "".into()));
        String::from_utf8(made.stdout).unwrap()
    };
    assert_eq!(init().lines().filter(|line| line.starts_with("created anteroom-")).count(), 8);
    assert_eq!(cloud.does("tables", &[]), TABLES);
    cloud.does("forget", &[]);
    assert_eq!(init(), "All tables are there.\n");
    assert_eq!(cloud.does("tables", &[]), TABLES);
}

#[tokio::test]
async fn a_master_secret_of_the_configuration_is_not_kept_in_dynamodb() {
    let Some(cloud) = Cloud::start().await else { return };
    let aws = variables_for(&cloud.url);
    let (secret, other) = ("5ec1e7".repeat(10) + "cafe", "07".repeat(32));
    let import = |secret: &str, configured: &[(&str, &str)]| {
        let lines = [
            json!({ "is": "export", "format": 1 }),
            json!({ "is": "master_secret", "text": secret }),
            json!({ "is": "end", "lines": 2 }),
        ];
        let file = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        let [key, redis] = [ADMIN_KEY, "redis://127.0.0.1:1"];
        run_with(&["store", "import"], [key, redis], &[&aws[..], configured].concat(), &file).status.code()
    };
    assert_eq!(run(&["store", "init"], [ADMIN_KEY, "redis://127.0.0.1:1"], &aws).status.code(), Some(0));
    let configured = [("ANTEROOM_STORE__MASTER_SECRET", secret.as_str())];
    assert_eq!(import(&other, &configured), Some(1), "it is another one");
    assert_eq!(import(&secret, &configured), Some(0));
    assert_eq!(cloud.does("documents", &[]), "import\n");
    assert_eq!(import(&secret, &[]), Some(0));
    assert_eq!(cloud.does("documents", &[]), "import master-secret\n");
}

/// The output of a command, with a configuration of these secrets and with these variables.
fn run(arguments: &[&str], secrets: [&str; 2], variables: &[(&str, &str)]) -> Output {
    run_with(arguments, secrets, variables, "")
}

fn run_with(arguments: &[&str], [key, redis]: [&str; 2], variables: &[(&str, &str)], input: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "admin.keys = [{{ name = 'ops', key = '{key}' }}]\n[store]\nengine = 'distributed'\nredis_url = '{redis}'\n\
         [[event]]\nid = 'Sample'\n"
    );
    fs::write(directory.path().join("anteroom.toml"), text).unwrap();
    fs::write(directory.path().join("input"), input).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_anteroom"));
    command.args(arguments).args(["--config", "anteroom.toml"]).current_dir(directory.path());
    command.stdin(fs::File::open(directory.path().join("input")).unwrap());
    command.env_clear().envs(variables.iter().copied()).output().unwrap()
}

/// The outcome of `check-config` with secrets in these keys and with these variables: its exit code and its messages.
fn checked(references: [&str; 2], variables: &[(&str, &str)]) -> (Option<i32>, Vec<String>) {
    let output = run(&["check-config"], references, variables);
    let complaints = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), complaints.lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn secrets_are_read_from_secrets_manager_and_missing_ones_are_named() {
    let Some(cloud) = Cloud::start().await else { return };
    let arn = cloud.does("secret", &["queue/operators", &json!({ "ops": ADMIN_KEY, "port": 5 }).to_string()]);
    cloud.does("secret", &["queue/redis", "redis://:hidden@redis\n"]);
    cloud.does("secret", &["queue/shop", SECRET]);
    let anteroom = cloud
        .anteroom(&[
            ("ANTEROOM_ADMIN__KEYS__0__KEY", "secret:queue/operators#ops"),
            ("ANTEROOM_CLIENT__0__CLIENT_SECRET", "secret:queue/shop"),
        ])
        .await;
    assert_eq!(anteroom.serve(3).await, 3, "the operator's key is the one that is kept");
    let aws = variables_for(&cloud.url);
    assert_eq!(checked([&format!("secret:{arn}#ops"), "secret:queue/redis"], &aws), (Some(0), vec![]));
    let (code, complaints) = checked(["secret:queue/nothing", "secret:queue/operators#redis"], &aws);
    assert_eq!((code, complaints.len()), (Some(2), 2), "{complaints:?}");
    let missing =
        "anteroom.toml: admin.keys[0].key: the secret queue/nothing cannot be had: ResourceNotFoundException: ";
    assert!(complaints[0].starts_with(missing), "{complaints:?}");
    let member = "anteroom.toml: store.redis_url: the secret queue/operators has no member redis";
    assert_eq!(complaints[1], member);
}

#[test]
fn an_unreachable_secrets_manager_is_reported_for_every_secret_as_a_runtime_failure() {
    let places = ["admin.keys[0].key: the secret one", "store.redis_url: the secret two"];
    let region = "the AWS region is not known: set the variable AWS_REGION, or name it in ~/.aws/config";
    let nowhere = variables_for("http://127.0.0.1:1");
    let without = [("HOME", "/nowhere"), ("AWS_EC2_METADATA_DISABLED", "true")];
    let empty = [&without[..], &[("AWS_REGION", "")]].concat();
    let away = "AWS Secrets Manager cannot be asked: ";
    for (variables, reason, code) in [(&without[..], region, 2), (&empty[..], region, 2), (&nowhere[..], away, 1)] {
        let (ended, complaints) = checked(["secret:one", "secret:two"], variables);
        assert_eq!((ended, complaints.len()), (Some(code), 2), "{complaints:?}");
        for (complaint, place) in complaints.iter().zip(places) {
            let begins = format!("anteroom.toml: {place} cannot be had: {reason}");
            assert!(complaint.starts_with(&begins), "{complaint}");
        }
    }
}
