//! Amazon's services over the wire, as moto plays them: an alarm that holds the line up, a bus that is told.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::process::Process;
use crate::support::program::{Anteroom, http};
use crate::support::{eventually, file};

/// An Amazon of our own.
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

    /// What the script prints.
    fn does(&self, what: &str, more: &[&str]) -> String {
        let run = Command::new(&self.python).arg(script()).args([what, &self.url]).args(more).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    }

    /// Anteroom as it runs beside it.
    async fn anteroom(&self, variables: &[(&str, &str)]) -> Anteroom {
        let aws = [
            ("AWS_ENDPOINT_URL", self.url.as_str()),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ];
        Anteroom::for_client_with("https://shop.example/callback", &[&aws, variables].concat()).await
    }

    /// What the bus was told since the last time, as (kind, detail).
    fn told(&self) -> Vec<(String, Value)> {
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

const BUS: (&str, &str) = ("ANTEROOM_EVENTBRIDGE", r#"[{ name = "bus", bus = "queue" }]"#);

#[tokio::test]
async fn an_event_bus_is_told_in_the_words_of_the_retired_system() {
    let Some(cloud) = Cloud::start().await else { return };
    cloud.does("prepare", &[]);
    let anteroom = cloud.anteroom(&[BUS]).await;
    // More than one call of PutEvents holds.
    for _ in 0..25 {
        anteroom.serve(1).await;
    }
    let ticket = anteroom.ticket().await;
    anteroom.generate_token(&ticket).await;
    anteroom.end_session(&ticket).await;
    let mut told = Vec::new();
    eventually("everything is on the bus", async || {
        told.extend(cloud.told());
        told.iter().any(|(kind, _)| kind == "session_updated").then_some(())
    })
    .await;
    let of =
        |kind: &str| told.iter().filter(|(name, _)| name == kind).map(|(_, detail)| detail.clone()).collect::<Vec<_>>();
    assert_eq!(of("token_generated"), [json!({ "event_id": "Sample", "request_id": ticket })]);
    let ended = json!({ "event_id": "Sample", "request_id": ticket, "status": "completed" });
    assert_eq!(of("session_updated"), [ended]);
    // The queue does not keep the order; that nothing is missing and nothing came twice is for us to see to.
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
    let told = eventually("the bus is told", async || Some(cloud.told()).filter(|told| !told.is_empty())).await;
    let moved = json!({ "event_id": "Sample", "previous": 0, "current": 3 });
    assert_eq!(told, [("serving_counter_changed".to_owned(), moved)]);
}

#[tokio::test]
async fn an_alarm_holds_the_line_up_while_it_rings_or_cannot_be_asked() {
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
