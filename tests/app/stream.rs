//! The stream of the waiting page.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{TestApp, json as body};
use crate::wire::PATIENCE;

/// A stream of server-sent events, read message by message.
struct Stream {
    answer: Response,
    read: String,
}

impl Stream {
    async fn open(app: &TestApp, event: &str) -> Self {
        let answer = app.get(&format!("/line/{event}/events")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-cache, no-transform");
        Self { answer, read: String::new() }
    }

    /// The fields of the next message; `None` when the stream has ended.
    async fn next(&mut self) -> Option<Vec<(String, String)>> {
        loop {
            if let Some((message, rest)) = self.read.split_once("\n\n") {
                let field = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
                let fields = message.lines().map(|line| field(line).expect("a field")).collect();
                self.read = rest.to_owned();
                return Some(fields);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.answer.chunk()).await.expect("the stream hangs");
            self.read.push_str(std::str::from_utf8(&chunk.unwrap()?).unwrap());
        }
    }

    async fn state(&mut self) -> Value {
        let fields = self.next().await.expect("the stream has ended");
        let data: Vec<_> = fields.iter().filter(|(name, _)| name == "data").collect();
        assert_eq!(data.len(), 1, "{fields:?}");
        serde_json::from_str(&data[0].1).unwrap()
    }
}

#[actix_web::test]
async fn a_stream_sends_the_current_state_at_once_and_each_move() {
    let app = TestApp::start().await;
    app.join("Sample").await;
    app.serve("Sample", 2).await;
    let mut stream = Stream::open(&app, "Sample").await;
    let first = stream.next().await.unwrap();
    assert!(first.contains(&("retry".to_owned(), "3000".to_owned())), "{first:?}");
    app.serve("Sample", 5).await;
    // A pending message may come first; then always the newest.
    let mut state = stream.state().await;
    while state["serving"] != 7 {
        state = stream.state().await;
    }
    assert_eq!((&state["generation"], &state["waiting"]), (&json!(0), &json!(1)));
    assert_eq!(state, body(app.get("/line/Sample").send().await.unwrap()).await);
    app.stop().await;
}

#[actix_web::test]
async fn an_unchanged_state_is_repeated_even_while_others_join() {
    let app = TestApp::start().await;
    let mut stream = Stream::open(&app, "Sample").await;
    assert_eq!(stream.state().await["waiting"], 0);
    let joins = async {
        loop {
            app.join("Sample").await;
            app.pass(1);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let actual = async { while stream.state().await["waiting"] == 0 {} };
    tokio::select! {
        () = joins => {}
        () = actual => {}
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_stream_sends_only_its_own_event() {
    let app = TestApp::start().await;
    let mut door = Stream::open(&app, "Door").await;
    assert_eq!(door.state().await["serving"], 0);
    app.serve("Sample", 9).await;
    app.serve("Door", 4).await;
    assert_eq!(door.state().await["serving"], 4);
    app.stop().await;
}

#[actix_web::test]
async fn the_state_can_be_read_without_a_stream() {
    let app = TestApp::start().await;
    for _ in 0..3 {
        app.join("Sample").await;
    }
    app.serve("Sample", 1).await;
    let answer = app.get("/line/Sample").send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "public, max-age=1");
    let state = body(answer).await;
    assert_eq!((&state["generation"], &state["serving"], &state["waiting"]), (&json!(0), &json!(1), &json!(3)));
    assert!(state.as_object().unwrap().contains_key("pace"));
    app.stop().await;
}

#[actix_web::test]
async fn an_unknown_event_is_not_found() {
    let app = TestApp::start().await;
    for path in ["/line/Nowhere", "/line/Nowhere/events", "/line/sample", "/line/Sample%00", "/line/%ff/events"] {
        let answer = app.get(path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(body(answer).await, json!({ "error": "There is no such line" }));
    }
    app.stop().await;
}

#[actix_web::test]
async fn streams_end_when_the_service_stops() {
    let app = TestApp::start().await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        let mut stream = Stream::open(&app, "Sample").await;
        stream.state().await;
        streams.push(stream);
    }
    let listen = async {
        for mut stream in streams {
            while stream.next().await.is_some() {}
        }
    };
    let stop = tokio::time::timeout(PATIENCE.max(Duration::from_secs(1)), app.stop_as_the_program_does());
    let ((), stopped) = tokio::join!(listen, stop);
    stopped.expect("open streams keep the service from stopping");
}

#[actix_web::test]
async fn a_stream_ends_after_about_an_hour_with_a_retry_time() {
    let app = TestApp::start().await;
    let mut stream = Stream::open(&app, "Sample").await;
    app.pass(47 * 60);
    app.serve("Sample", 1).await;
    while stream.state().await["serving"] != 1 {}
    app.pass(26 * 60);
    app.serve("Sample", 1).await;
    let mut last = stream.next().await.expect("it ended without a hint");
    // A pending message may come first.
    while last.len() > 1 {
        last = stream.next().await.expect("it ended without a hint");
    }
    let [(name, milliseconds)] = last.try_into().unwrap();
    assert!(name == "retry" && milliseconds.parse::<u64>().unwrap() >= 3000, "{name}: {milliseconds}");
    assert_eq!(stream.next().await, None);
    app.stop().await;
}
