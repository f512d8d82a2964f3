//! Connections whose other side is a buffer of the test's, and whose time is the test's too.

mod parts;
mod refusals;
mod tls;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_http::body::{BoxBody, MessageBody};
use actix_http::{KeepAlive, Request, Response, ServiceConfig, StatusCode};
use actix_web::dev::{Service, ServiceResponse};
use actix_web::web::{self, Bytes};
use actix_web::{App, Error, HttpResponse, test};
use futures_util::stream::{pending, repeat_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::connection::Setting;
use super::listener::Shared;
use super::{AddressKey, Admission, Parts, Refusal, SharedBody, Shutdown, StopTimes, Terms, Timeouts};
use crate::policy;
use crate::telemetry::ConnectionMetrics;

/// Room in the test's "kernel", for either direction.
const ROOM: usize = 4096;

fn timeouts() -> Timeouts {
    Timeouts::default()
}

/// Answers `/small` with some bytes, `/large` with many, `/shared` with as many that are said to be in memory once, `/echo` with what it is sent, `/deaf` without reading, `/news`
/// with a stream that never ends, and `/silence` with one that says nothing.
async fn application() -> impl Service<Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
    let small = || async { HttpResponse::Ok().body("x".repeat(200)) };
    let large = || async { HttpResponse::Ok().body("x".repeat(1 << 20)) };
    let shared = || async {
        let mut answer = HttpResponse::Ok().body("x".repeat(1 << 20));
        answer.extensions_mut().insert(SharedBody);
        answer
    };
    let echo = |body: Bytes| async { HttpResponse::Ok().body(body) };
    let news = || async {
        let piece = || Ok::<_, io::Error>(Bytes::from_static(b"data: x\n\n"));
        HttpResponse::Ok().streaming(repeat_with(piece))
    };
    let silence = || async { HttpResponse::Ok().streaming(pending::<Result<Bytes, io::Error>>()) };
    let app = App::new()
        .route("/small", web::to(small))
        .route("/private", web::to(small))
        .route("/large", web::to(large))
        .route("/shared", web::to(shared))
        .route("/echo", web::to(echo))
        .route("/private/echo", web::to(echo))
        .route("/deaf", web::to(small))
        .route("/news", web::to(news))
        .route("/silence", web::to(silence));
    test::init_service(app).await
}

struct TestTerms;

impl Terms for TestTerms {
    fn key(&self, peer: IpAddr) -> Option<AddressKey> {
        Some(AddressKey::of(peer))
    }

    fn is_for_operators(&self, path: &str) -> bool {
        path.starts_with("/private")
    }

    fn refuse(&self, refusal: Refusal<'_>) -> Response<BoxBody> {
        let status = match refusal {
            Refusal::Unreadable(status) => status,
            Refusal::Taken(_) | Refusal::Busy | Refusal::Failed => StatusCode::SERVICE_UNAVAILABLE,
        };
        Response::new(status).set_body(BoxBody::new("refused"))
    }
}

fn admission(visitors: usize, operators: usize) -> Arc<Admission> {
    Admission::new(Parts { visitors, operators }, TestTerms, ConnectionMetrics::default())
}

/// Serves one connection; how it ended, and after how long.
async fn serve(io: DuplexStream, shutdown: &Shutdown) -> (io::Result<()>, Duration) {
    serve_admitted(io, shutdown, &admission(1, 1)).await
}

async fn serve_admitted(
    io: DuplexStream,
    shutdown: &Shutdown,
    admission: &Arc<Admission>,
) -> (io::Result<()>, Duration) {
    serve_over(io, shutdown, admission, None).await
}

async fn serve_over(
    io: DuplexStream,
    shutdown: &Shutdown,
    admission: &Arc<Admission>,
    tls: Option<TlsAcceptor>,
) -> (io::Result<()>, Duration) {
    let timeouts = timeouts();
    let config = ServiceConfig::new(KeepAlive::Timeout(timeouts.idle), timeouts.head, timeouts.drain, false, None);
    let setting = Setting { config, timeouts, worker: shutdown.worker() };
    let shared = Shared { application: application().await, setting, tls, admission: Arc::clone(admission) };
    let began = Instant::now();
    let ended = shared.admit(io, None).await;
    (ended, began.elapsed())
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")
}

/// Sends as much of `bytes` as is taken before nothing moves any more; how much that was.
async fn push(client: &mut DuplexStream, bytes: &[u8]) -> usize {
    let mut sent = 0;
    while sent < bytes.len() {
        let rest = &bytes[sent..];
        match tokio::time::timeout(Duration::from_millis(1), client.write(rest)).await {
            Ok(Ok(taken)) => sent += taken,
            Ok(Err(_)) | Err(_) => break,
        }
    }
    sent
}

async fn read_to_end(client: &mut DuplexStream) -> String {
    let mut read = Vec::new();
    client.read_to_end(&mut read).await.unwrap();
    String::from_utf8(read).unwrap()
}

#[actix_web::test]
async fn whoever_does_not_read_answers_is_not_read_from_and_is_cut_off() {
    tokio::time::pause();
    for path in ["/small", "/large", "/news", "/echo", "/nowhere"] {
        for method in ["GET", "HEAD", "POST"] {
            let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
            if path == "/news" && method == "HEAD" {
                continue;
            }
            let (mut client, server) = duplex(ROOM);
            let requests = request.repeat(20_000);
            let attack = async {
                let sent = push(&mut client, requests.as_bytes()).await;
                // What answers there are to it is bounded; the smallest has some eighty bytes.
                let most = (policy::MAX_UNSENT + ROOM) / 80 * request.len() + 3 * ROOM;
                assert!(sent <= most, "{sent} bytes of {method} {path} were read");
                client
            };
            let shutdown = Shutdown::default();
            let ((ended, after), _client) = tokio::join!(serve(server, &shutdown), attack);
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut, "{method} {path}");
            assert!(after >= policy::SEND_TIMEOUT && after < policy::SEND_TIMEOUT * 2, "{method} {path}: {after:?}");
        }
    }
}

#[actix_web::test]
async fn of_long_answers_only_so_much_is_held_for_clients_that_do_not_read() {
    tokio::time::pause();
    let shutdown = Shutdown::default();
    let beyond = 20;
    // Each has a mebibyte and the byte that begins another KiB.
    for (path, held) in [("/large", policy::LARGE_RESPONSES as usize / 1025), ("/shared", usize::MAX)] {
        let count = policy::LARGE_RESPONSES as usize / 1025 + beyond;
        let admission = admission(count, 1);
        let (mut clients, mut connections) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (mut client, server) = duplex(ROOM);
            client.write_all(get(path).as_bytes()).await.unwrap();
            connections.push(serve_admitted(server, &shutdown, &admission));
            clients.push(client);
        }
        let mut refused = 0;
        let looking = async {
            tokio::time::sleep(policy::SEND_TIMEOUT / 2).await;
            for client in &mut clients {
                let mut status = [0; 12];
                client.read_exact(&mut status).await.unwrap();
                refused += usize::from(&status == b"HTTP/1.1 503");
            }
            drop(clients);
        };
        tokio::join!(futures_util::future::join_all(connections), looking);
        assert_eq!(refused, count.saturating_sub(held), "{path}");
    }
}

#[actix_web::test]
async fn whoever_reads_slowly_gets_everything() {
    tokio::time::pause();
    let (mut client, server) = duplex(ROOM);
    let reading = async {
        client.write_all(get("/large").replace("host", "connection: close\r\nhost").as_bytes()).await.unwrap();
        let mut read = 0;
        let mut some = [0; ROOM / 2];
        loop {
            // As slow as is allowed.
            tokio::time::sleep(policy::SEND_TIMEOUT - Duration::from_secs(1)).await;
            match client.read(&mut some).await.unwrap() {
                0 => return read,
                count => read += count,
            }
        }
    };
    let shutdown = Shutdown::default();
    let ((ended, _), read) = tokio::join!(serve(server, &shutdown), reading);
    ended.unwrap();
    assert!(read > 1 << 20, "{read}");
}

#[actix_web::test]
async fn requests_that_are_sent_together_are_answered_in_their_order() {
    let (mut client, server) = duplex(ROOM);
    let post = |body: &str| format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let chunked = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nthird\r\n0\r\n\r\n";
    let last = get("/small").replace("host", "connection: close\r\nhost");
    let requests = [post("first"), post("second"), chunked.to_owned(), post("\r\n\r\nGET /"), last].concat();
    let talking = async {
        client.write_all(requests.as_bytes()).await.unwrap();
        read_to_end(&mut client).await
    };
    let shutdown = Shutdown::default();
    let ((ended, _), answers) = tokio::join!(serve(server, &shutdown), talking);
    ended.unwrap();
    let order: Vec<_> =
        ["first", "second", "third", "\r\n\r\nGET /", "xxx"].iter().map(|body| answers.find(body).unwrap()).collect();
    assert!(order.is_sorted(), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 5, "{answers}");
}

#[actix_web::test]
async fn a_request_that_goes_on_after_its_answer_is_cut() {
    tokio::time::pause();
    for framing in ["transfer-encoding: chunked", "content-length: 1000000000"] {
        let (mut client, server) = duplex(ROOM);
        let endless = async {
            let head = format!("POST /deaf HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n");
            client.write_all(head.as_bytes()).await.unwrap();
            while client.write_all(b"5\r\nhello\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            read_to_end(&mut client).await
        };
        let shutdown = Shutdown::default();
        let ((ended, after), answer) = tokio::join!(serve(server, &shutdown), endless);
        ended.unwrap();
        assert!(after >= policy::DRAIN_TIMEOUT && after < policy::DRAIN_TIMEOUT * 2, "{framing}: {after:?}");
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{framing}: {answer}");
        assert!(answer.contains("connection: close"), "{framing}: {answer}");
    }
}

#[actix_web::test]
async fn a_request_that_goes_on_while_it_is_answered_with_a_stream_is_cut() {
    tokio::time::pause();
    for framing in ["transfer-encoding: chunked", "content-length: 1000000000"] {
        for pause in [Duration::from_millis(100), policy::SEND_TIMEOUT * 10] {
            let (mut client, server) = duplex(ROOM);
            let endless = async {
                let head = format!("GET /silence HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n");
                client.write_all(head.as_bytes()).await.unwrap();
                while client.write_all(b"5\r\nhello\r\n").await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
            };
            let shutdown = Shutdown::default();
            let (admission, began) = (admission(1, 1), Instant::now());
            let serving = async {
                let ended = serve_admitted(server, &shutdown, &admission).await.0;
                (ended, began.elapsed())
            };
            let ((ended, after), ()) = tokio::join!(serving, endless);
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
            assert!(after >= policy::DRAIN_TIMEOUT && after < policy::DRAIN_TIMEOUT * 2, "{framing}: {after:?}");
        }
    }
}

#[actix_web::test]
async fn a_stream_goes_on_after_a_request_with_a_body() {
    tokio::time::pause();
    let (mut client, server) = duplex(ROOM);
    let reading = async {
        client.write_all(b"GET /silence HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhe").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.write_all(b"llo").await.unwrap();
        tokio::time::sleep(policy::DRAIN_TIMEOUT * 10).await;
        drop(client);
    };
    let shutdown = Shutdown::default();
    let ((_, after), ()) = tokio::join!(serve(server, &shutdown), reading);
    assert!(after > policy::DRAIN_TIMEOUT * 10, "{after:?}");
}

#[actix_web::test]
async fn a_body_that_nobody_wanted_and_that_came_whole_does_not_end_the_connection() {
    let (mut client, server) = duplex(ROOM);
    let talking = async {
        client.write_all(b"POST /deaf HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
        client.write_all(get("/small").replace("host", "connection: close\r\nhost").as_bytes()).await.unwrap();
        read_to_end(&mut client).await
    };
    let shutdown = Shutdown::default();
    let ((ended, _), answers) = tokio::join!(serve(server, &shutdown), talking);
    ended.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
}

#[actix_web::test]
async fn a_connection_on_which_nothing_happens_is_closed() {
    tokio::time::pause();
    let (mut client, server) = duplex(ROOM);
    let idle = async {
        client.write_all(get("/small").as_bytes()).await.unwrap();
        read_to_end(&mut client).await
    };
    let shutdown = Shutdown::default();
    let ((ended, after), answer) = tokio::join!(serve(server, &shutdown), idle);
    ended.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(after >= policy::KEEP_ALIVE && after < policy::KEEP_ALIVE * 2, "{after:?}");
}

#[actix_web::test]
async fn a_stream_ends_when_its_listener_is_gone() {
    let (mut client, server) = duplex(ROOM);
    let leaving = async {
        client.write_all(get("/silence").as_bytes()).await.unwrap();
        let mut head = [0; 15];
        client.read_exact(&mut head).await.unwrap();
        drop(client);
    };
    let shutdown = Shutdown::default();
    let ((ended, _), ()) = tokio::join!(serve(server, &shutdown), leaving);
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[actix_web::test]
async fn whoever_waits_to_be_asked_for_the_body_is_asked() {
    let (mut client, server) = duplex(ROOM);
    let talking = async {
        let head =
            "POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        let mut asked = [0; 25];
        client.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"hello").await.unwrap();
        read_to_end(&mut client).await
    };
    let shutdown = Shutdown::default();
    let ((ended, _), answer) = tokio::join!(serve(server, &shutdown), talking);
    ended.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello"), "{answer}");
}

#[actix_web::test]
async fn when_the_service_stops_answers_say_so_and_idle_connections_are_closed_last() {
    tokio::time::pause();
    let shutdown = Arc::new(Shutdown::default());
    let ((mut idle, first), (mut busy, second)) = (duplex(ROOM), duplex(ROOM));
    let callers = async {
        idle.write_all(get("/small").as_bytes()).await.unwrap();
        let mut status = [0; 15];
        idle.read_exact(&mut status).await.unwrap();
        let stopping = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            shutdown.run(&[], StopTimes::default()).await;
        };
        let late = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            // After the announcement, on a connection that was open before: answered, and told.
            busy.write_all(get("/small").as_bytes()).await.unwrap();
            let answer = read_to_end(&mut busy).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("connection: close"), "{answer}");
        };
        tokio::join!(stopping, late);
        assert!(!read_to_end(&mut idle).await.contains("connection: close"));
    };
    let (first, second, ()) = tokio::join!(serve(first, &shutdown), serve(second, &shutdown), callers);
    first.0.unwrap();
    second.0.unwrap();
}
