//! The stream of notices for operators.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, TestApp};
use crate::wire::PATIENCE;

/// The stream of notices, message by message.
struct Stream {
    answer: Response,
    read: String,
}

impl Stream {
    async fn open(app: &TestApp, query: &str, last: Option<&str>) -> Self {
        let request = app.get(&format!("/private/events{query}")).bearer_auth(ADMIN_KEY);
        let request = last.into_iter().fold(request, |request, last| request.header("last-event-id", last));
        let answer = request.send().await.unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()["content-type"]),
            (StatusCode::OK, &"text/event-stream".parse().unwrap())
        );
        let mut stream = Self { answer, read: String::new() };
        assert_eq!(stream.next().await.unwrap(), "retry: 3000");
        stream
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((message, rest)) = self.read.split_once("\n\n") {
                let message = message.to_owned();
                self.read = rest.to_owned();
                return Some(message);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.answer.chunk()).await.expect("the stream hangs");
            self.read.push_str(std::str::from_utf8(&chunk.unwrap()?).unwrap());
        }
    }

    /// The id, kind and data of the next message that is no comment.
    async fn notice(&mut self) -> (String, String, Value) {
        let mut message = self.next().await.expect("the stream has ended");
        while message == ":" {
            message = self.next().await.expect("the stream has ended");
        }
        let fields: Vec<&str> = message.lines().map(|line| line.split_once(": ").unwrap().1).collect();
        (fields[0].to_owned(), fields[1].to_owned(), serde_json::from_str(fields[2]).unwrap())
    }
}

const STREAM: &str = "[notices]\nstream = true\n";

#[actix_web::test]
async fn an_operator_streams_notices_and_resumes_after_a_break() {
    let app = TestApp::with(STREAM).await;
    app.serve("Sample", 1).await;
    let mut stream = Stream::open(&app, "?event_id=Sample", None).await;
    app.serve("Door", 1).await;
    app.serve("Sample", 1).await;
    let (id, kind, data) = stream.notice().await;
    assert_eq!((kind.as_str(), &data["type"]), ("serving_counter_changed", &json!("serving_counter_changed")));
    assert_eq!(data["data"], json!({ "event_id": "Sample", "previous": 1, "current": 2 }));
    drop(stream);
    app.serve("Sample", 1).await;
    app.serve("Sample", 1).await;
    let mut stream = Stream::open(&app, "?event_id=Sample", Some(&id)).await;
    assert_eq!(stream.notice().await.2["data"]["current"], 3);
    assert_eq!(stream.notice().await.2["data"]["current"], 4);
    let mut all = Stream::open(&app, "", Some("0")).await;
    let actual = [all.notice().await, all.notice().await];
    assert_eq!(actual.map(|(_, _, data)| data["data"]["event_id"].clone()), ["Sample", "Door"]);
    app.stop().await;
    assert_eq!(stream.next().await, None, "streams end with the service");
}

#[actix_web::test]
async fn a_stream_reports_missing_notices() {
    let app = TestApp::with(STREAM).await;
    app.serve("Sample", 1).await;
    let mut stream = Stream::open(&app, "", Some("99")).await;
    app.serve("Sample", 1).await;
    assert_eq!(stream.next().await.unwrap(), "event: gap\ndata: {}");
    assert_eq!(stream.notice().await.2["data"]["current"], 2);
    app.stop().await;
}

#[actix_web::test]
async fn an_idle_stream_sends_heartbeats() {
    let app = TestApp::with(STREAM).await;
    let mut stream = Stream::open(&app, "?event_id=Sample", None).await;
    let heard = async {
        loop {
            // Notices for others do not replace the heartbeat.
            app.pass(5);
            app.serve("Door", 1).await;
            if let Ok(message) = tokio::time::timeout(Duration::from_millis(100), stream.next()).await {
                return message.unwrap();
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, heard).await.expect("it stays silent"), ":");
    app.serve("Sample", 1).await;
    assert_eq!(stream.notice().await.2["data"]["current"], 1);
    app.stop().await;
}

#[actix_web::test]
async fn the_stream_ends_after_about_an_hour_with_a_retry_time() {
    let app = TestApp::with(STREAM).await;
    let mut stream = Stream::open(&app, "", None).await;
    app.pass(47 * 60);
    app.serve("Sample", 1).await;
    let (id, ..) = stream.notice().await;
    app.pass(26 * 60);
    let mut last = stream.next().await.expect("it ended without a hint");
    while last == ":" {
        last = stream.next().await.expect("it ended without a hint");
    }
    let milliseconds = last.strip_prefix("retry: ").unwrap_or_else(|| panic!("{last}"));
    assert!(milliseconds.parse::<u64>().unwrap() >= 3000, "{last}");
    assert_eq!(stream.next().await, None);
    // A client that reconnects misses nothing.
    app.serve("Sample", 1).await;
    let mut stream = Stream::open(&app, "", Some(&id)).await;
    assert_eq!(stream.notice().await.2["data"]["current"], 2);
    app.stop().await;
}

#[actix_web::test]
async fn the_stream_and_the_dead_letters_are_for_operators_alone() {
    let app = TestApp::with(STREAM).await;
    for path in ["/private/events?event_id=Sample", "/private/dead_letters"] {
        assert_eq!(app.get(path).send().await.unwrap().status(), StatusCode::FORBIDDEN, "{path}");
    }
    let redeliver = app.post_json("/private/dead_letters/redeliver", &json!({})).send().await.unwrap();
    assert_eq!(redeliver.status(), StatusCode::FORBIDDEN);
    for bad in ["/private/events?event_id=Nowhere", "/private/dead_letters?after=x"] {
        let answer = app.get(bad).bearer_auth(ADMIN_KEY).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{bad}");
    }
    let bad = app.get("/private/events").bearer_auth(ADMIN_KEY).header("last-event-id", "x").send().await.unwrap();
    assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
    app.stop().await;
}

#[actix_web::test]
async fn without_a_sink_nothing_is_recorded() {
    let app = TestApp::start().await;
    app.serve("Sample", 1).await;
    let answer = app.get("/private/events").bearer_auth(ADMIN_KEY).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    app.stop().await;
}
