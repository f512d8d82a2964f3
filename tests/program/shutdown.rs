//! SIGTERM and SIGINT: pending requests are answered, streams end, and the next start finds the data unlocked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{ATTEMPTS, Launch, PAUSE, Program};
use crate::support::{Api, Deployment, text};

/// A connection on which the test controls the bytes, unlike an HTTP client.
struct Wire(BufReader<TcpStream>);

impl Wire {
    fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// The head of an answer.
    fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut head).unwrap() > 0, "the connection ended within a head: {head:?}");
        }
        head
    }

    /// The body of an answer with this head.
    fn body(&mut self, head: &str) -> String {
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or_else(|| panic!("no length: {head}"))];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    /// Reads up to `end`.
    fn until(&mut self, end: &str) -> String {
        let mut read = String::new();
        while !read.ends_with(end) {
            assert!(self.0.read_line(&mut read).unwrap() > 0, "the connection ended before {end:?}: {read:?}");
        }
        read
    }

    /// Everything up to the end of the connection.
    fn rest(mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        rest
    }
}

/// Waits until connections are refused: the program is stopping then.
fn wait_until_shut(address: SocketAddr) {
    for _ in 0..ATTEMPTS {
        if TcpStream::connect(address).is_err() {
            return;
        }
        thread::sleep(PAUSE);
    }
    panic!("{address} still takes connections");
}

const JOIN: &str = r#"{"event_id":"Sample"}"#;

/// A browser that keeps its connection open after a request.
fn idle(address: SocketAddr) -> Wire {
    let mut idle = Wire::to(address);
    idle.send("GET /api/serving_num?event_id=Sample HTTP/1.1\r\nHost: queue\r\n\r\n");
    let head = idle.head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    idle.body(&head);
    idle
}

fn listening(address: SocketAddr) -> Wire {
    let mut stream = Wire::to(address);
    stream.send("GET /line/Sample/events HTTP/1.1\r\nHost: queue\r\n\r\n");
    assert!(stream.head().contains("text/event-stream"));
    assert!(stream.until("\n\n").contains("\"serving\":"));
    stream
}

/// A caller that has sent part of a join.
fn half_way(address: SocketAddr) -> Wire {
    let mut wire = Wire::to(address);
    let (head, body) = ("POST /api/assign_queue_num HTTP/1.1\r\nHost: queue\r\n", &JOIN[..5]);
    // The server sends 100 Continue when it waits for the body: then the request is pending.
    wire.send(&format!("{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", JOIN.len()));
    assert!(wire.head().starts_with("HTTP/1.1 100 "));
    wire.send(body);
    wire
}

async fn ends_well_on(signal: &str) {
    let deployment = Deployment::new();
    let mut program = deployment.serve().start();
    let earlier = Api::of(&program).ticket().await;
    let (resting, stream, mut caller) = (idle(program.address), listening(program.address), half_way(program.address));

    program.signal(signal);
    wait_until_shut(program.address);
    assert!(stream.rest().ends_with("0\r\n\r\n"), "a stream ends as a complete answer");
    caller.send(&JOIN[5..]);
    let head = caller.head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let ticket = text(&serde_json::from_str(&caller.body(&head)).unwrap(), "api_request_id");
    assert_eq!(resting.rest(), "", "who keeps a connection open for later is not waited for");
    let status = program.wait();
    assert_eq!(status.code(), Some(0), "{}", program.log());
    assert!(program.log().trim_end().ends_with("stopped"), "{}", program.log());

    let again = deployment.serve().start();
    let api = Api::of(&again);
    assert_eq!((api.position(&earlier).await, api.position(&ticket).await), (1, 2));
    again.stop();
}

#[tokio::test]
async fn sigterm_finishes_pending_requests_and_exits_with_0() {
    ends_well_on("TERM").await;
}

#[tokio::test]
async fn sigint_finishes_pending_requests_and_exits_with_0() {
    ends_well_on("INT").await;
}

#[test]
fn an_unfinished_request_does_not_prevent_the_exit() {
    let deployment = Deployment::new();
    let mut program = deployment.serve().start();
    let _caller = half_way(program.address);
    program.signal("TERM");
    let status = program.wait();
    assert_eq!(status.code(), Some(0), "{}", program.log());
    deployment.serve().start().stop();
}

#[test]
fn a_demonstration_exits_although_browsers_keep_connections_to_the_shop() {
    let directory = TempDir::new().unwrap();
    let mut program: Program = Launch::serve(directory.path())
        .with("ANTEROOM_DEMO__SHOP_LISTEN", "127.0.0.1:0")
        .with("ANTEROOM_CLIENT__0__REDIRECT_URIS", r#"["http://127.0.0.1:0/callback"]"#)
        .start();
    let shop = program.announced("Sample shop:");
    let shop = shop.split_whitespace().next().unwrap().strip_prefix("http://").unwrap();
    let mut window = Wire::to(shop.parse().unwrap());
    window.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    let head = window.head();
    window.body(&head);
    let _listener = listening(program.address);
    program.signal("INT");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
    assert_eq!(window.rest(), "");
}

/// Sends requests on one connection until an answer announces its end; returns their number. It panics if a request is
/// not answered.
fn keep_asking(address: SocketAddr, number: u64) -> u64 {
    let mut wire = Wire::to(address);
    let join =
        format!("POST /api/assign_queue_num HTTP/1.1\r\nHost: queue\r\nContent-Length: {}\r\n\r\n{JOIN}", JOIN.len());
    let look = "GET /api/serving_num?event_id=Sample HTTP/1.1\r\nHost: queue\r\n\r\n";
    for answered in 0.. {
        wire.send(if answered % 2 == 0 { &join } else { look });
        let head = wire.head();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        wire.body(&head);
        if head.contains("connection: close") {
            assert_eq!(wire.rest(), "");
            return answered + 1;
        }
        // Some send without a pause, others now and then.
        thread::sleep(Duration::from_millis(number % 8 * 5));
    }
    unreachable!("it sends until the server announces the end")
}

#[tokio::test]
async fn no_request_on_a_kept_connection_is_lost_at_the_exit() {
    let deployment = Deployment::new();
    let mut program = deployment.serve().start();
    let address = program.address;
    let askers: Vec<_> = (0..48).map(|number| thread::spawn(move || keep_asking(address, number))).collect();
    // All of them are sending.
    let api = Api::of(&program);
    for _ in 0..ATTEMPTS {
        let state = crate::support::object(api.get("/line/Sample").send().await.unwrap()).await;
        if state["waiting"].as_u64().unwrap() > 500 {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    drop(api);
    program.signal("TERM");
    let answered: u64 = askers.into_iter().map(|asker| asker.join().unwrap()).sum();
    assert!(answered > 500, "{answered}");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
}
