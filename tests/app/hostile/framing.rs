//! Malformed HTTP messages: most never reach the handlers, and are refused all the same.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::routes::{ROUTES, Takes, assert_clean};
use crate::support::TestApp;
use crate::wire::{Answer, PATIENCE, exchange};

const JOIN: &[u8] = b"{\"event_id\":\"Sample\"}";

/// A head line by line, and a body.
fn message(lines: &[&str], body: &[u8]) -> Vec<u8> {
    let mut message = lines.join("\r\n").into_bytes();
    message.extend_from_slice(b"\r\n\r\n");
    message.extend_from_slice(body);
    message
}

fn join_with(headers: &[&str]) -> Vec<u8> {
    let mut lines = vec!["POST /api/assign_queue_num HTTP/1.1", "connection: close"];
    lines.extend(headers);
    message(&lines, JOIN)
}

/// A valid join, to be broken.
fn length() -> String {
    format!("content-length: {}", JOIN.len())
}

async fn refused(app: &TestApp, what: &str, request: &[u8]) -> Answer {
    let answer = exchange(app.address(), request).await.unwrap_or_else(|| panic!("no answer: {what}"));
    assert_clean(app, &answer, what);
    answer
}

#[actix_web::test]
async fn a_head_that_is_too_large_is_refused_on_every_route() {
    let app = TestApp::start().await;
    let before = app.all_counters();
    let mebibyte = "x".repeat(1 << 20);
    for route in ROUTES {
        let query = route.request(format!("event_id={mebibyte}").as_bytes(), "", None);
        let header = route.request(b"", &format!("x-padding: {mebibyte}\r\n"), None);
        let cookies = route.request(b"", &"cookie: a=b\r\n".repeat(500), None);
        for (what, request) in
            [("a mebibyte of query", query), ("a mebibyte of header", header), ("five hundred headers", cookies)]
        {
            assert_eq!(refused(&app, what, &request).await.status, 431, "{what} to {route:?}");
        }
    }
    assert_eq!(app.all_counters(), before);
    app.stop().await;
}

#[actix_web::test]
async fn bytes_that_are_invalid_in_a_request_target_are_refused() {
    let app = TestApp::start().await;
    let before = app.all_counters();
    for route in ROUTES {
        for bytes in [&b"a=\0"[..], b"a=\xff\xfe", b"a=\xc3", b"a=\x7f", b"a= b", b"a=\x01", b"a=<b>\"c\"", b"\r\n"] {
            let what = format!("{} with {bytes:?}", route.path);
            if let Some(answer) = exchange(app.address(), &route.request(bytes, "", None)).await {
                assert_clean(&app, &answer, &what);
            }
        }
    }
    assert_eq!(app.all_counters(), before);
    app.stop().await;
}

#[actix_web::test]
async fn an_ambiguous_request_is_refused() {
    let app = TestApp::start().await;
    let (length, before) = (length(), app.all_counters());
    let host = "host: anteroom";
    let requests = [
        ("no host", join_with(&[&length])),
        ("two hosts", join_with(&[host, "host: elsewhere", &length])),
        ("two lengths", join_with(&[host, &length, "content-length: 3"])),
        ("the same length twice", join_with(&[host, &length, &length])),
        ("a list of lengths", join_with(&[host, "content-length: 21, 21"])),
        ("a negative length", join_with(&[host, "content-length: -1"])),
        ("a signed length", join_with(&[host, "content-length: +21"])),
        ("a length in words", join_with(&[host, "content-length: many"])),
        ("a length beyond all numbers", join_with(&[host, "content-length: 99999999999999999999999"])),
        ("a length and chunks", join_with(&[host, &length, "transfer-encoding: chunked"])),
        ("an unknown transfer encoding", join_with(&[host, "transfer-encoding: gzip"])),
        ("chunks twice", join_with(&[host, "transfer-encoding: chunked", "transfer-encoding: chunked"])),
        ("line feeds alone", message(&["POST /api/assign_queue_num HTTP/1.1\nhost: anteroom", &length], JOIN)),
        ("a line feed alone before the last line", join_with(&[host, &length, "x: y\n"])),
        ("a head that ends with line feeds alone", b"GET /api/serving_num HTTP/1.1\r\nhost: a\r\n\n".to_vec()),
        ("a folded header", join_with(&[host, &length, "x: a\r\n b"])),
        ("a space before the colon", join_with(&["host : anteroom", host, &length])),
        ("a header without a name", join_with(&[host, &length, ": x"])),
        ("a NUL in a header", join_with(&[host, &length, "x: a\0b"])),
        ("chunks in HTTP/1.0", message(&["POST /api/assign_queue_num HTTP/1.0", "transfer-encoding: chunked"], JOIN)),
        ("HTTP/1.0 without a length", message(&["POST /api/assign_queue_num HTTP/1.0", host], JOIN)),
        ("another protocol", message(&["POST /api/assign_queue_num HTTP/3.0", host, &length], JOIN)),
        ("no protocol", message(&["POST /api/assign_queue_num", host, &length], JOIN)),
        ("an address without a slash", message(&["GET api/serving_num HTTP/1.1", host], b"")),
        ("no request", b"nonsense\r\n\r\n".to_vec()),
        ("TLS", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 and so on \r\n\r\n".to_vec()),
        ("HTTP/2 in the clear", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
    ];
    for (what, request) in requests {
        assert_eq!(refused(&app, what, &request).await.status, 400, "{what}");
    }
    assert_eq!(app.all_counters(), before);
    app.stop().await;
}

#[actix_web::test]
async fn a_truncated_body_joins_no_one() {
    let app = TestApp::start().await;
    let before = app.all_counters();
    let chunked = "transfer-encoding: chunked\r\n";
    for route in ROUTES.iter().filter(|route| matches!(route.takes, Takes::Form | Takes::Json)) {
        let with = |headers: &str, body: &[u8]| {
            let mut request = route.head(b"");
            request.extend_from_slice(route.content_type().as_bytes());
            request.extend_from_slice(headers.as_bytes());
            request.extend_from_slice(b"\r\n");
            request.extend_from_slice(body);
            request
        };
        let bodies = [
            ("shorter than its length", with("content-length: 100\r\n", JOIN)),
            ("no byte of what was announced", with("content-length: 100\r\n", b"")),
            ("a chunk cut short", with(chunked, b"15\r\n{\"event_id\":\"Sam")),
            ("no last chunk", with(chunked, b"15\r\n{\"event_id\":\"Sample\"}\r\n")),
            ("no size of a chunk", with(chunked, b"zz\r\nabc\r\n0\r\n\r\n")),
            ("a chunk beyond all numbers", with(chunked, b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n")),
            ("a chunk that is longer than it says", with(chunked, b"3\r\nabcdef\r\n0\r\n\r\n")),
        ];
        for (what, request) in bodies {
            // A connection that the client aborted need not be answered.
            if let Some(answer) = exchange(app.address(), &request).await {
                assert_clean(&app, &answer, &format!("{what} to {}", route.path));
            }
        }
    }
    assert_eq!(app.all_counters(), before);
    app.stop().await;
}

#[actix_web::test]
async fn chunked_bodies_and_http_1_0_are_accepted() {
    let app = TestApp::start().await;
    let length = length();
    let good = [
        message(
            &["POST /api/assign_queue_num HTTP/1.1", "host: a", "connection: close", "transfer-encoding: chunked"],
            b"5\r\n{\"eve\r\n10\r\nnt_id\":\"Sample\"}\r\n0\r\n\r\n",
        ),
        message(&["POST /api/assign_queue_num HTTP/1.0", &length], JOIN),
        message(
            &["POST http://elsewhere/api/assign_queue_num HTTP/1.1", "host: a", "connection: close", &length],
            JOIN,
        ),
    ];
    for (index, request) in good.iter().enumerate() {
        let answer = exchange(app.address(), request).await.unwrap();
        assert_eq!(answer.status, 200, "{index}: {answer:?}");
    }
    assert_eq!(app.all_counters()["Sample"].queue, 3);
    app.stop().await;
}

/// After all of it, the next connection is served like the first.
#[actix_web::test]
async fn a_flood_of_malformed_requests_leaves_the_service_healthy() {
    let app = TestApp::start().await;
    let nonsense: Vec<u8> = (0..=255).cycle().take(8192).collect();
    let flood = (0..100).map(|start| exchange(app.address(), &nonsense[start..]));
    for answer in futures_util::future::join_all(flood).await.into_iter().flatten() {
        assert_clean(&app, &answer, "nonsense");
    }
    app.join("Sample").await;
    assert_eq!(app.all_counters()["Sample"].queue, 1);
    app.stop().await;
}

#[actix_web::test]
async fn a_stalled_body_is_refused_after_a_time_and_its_connection_closed() {
    let app = TestApp::start().await;
    let head = "POST /api/assign_queue_num HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    let mut visitor = TcpStream::connect(app.address()).await.unwrap();
    visitor.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let reading = tokio::time::timeout(PATIENCE, visitor.read_to_string(&mut answer)).await;
    reading.expect("the server waits for ever").unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(app.counters().queue, 0);
    app.stop().await;
}
