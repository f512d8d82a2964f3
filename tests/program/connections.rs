//! Limits on connections: the built program with few open files, and clients that open as many connections as they can.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anteroom::policy;
use socket2::{Domain, Socket, Type};

use crate::memory::{assert_given_back, resident_kib};
use crate::process::{ATTEMPTS, PAUSE, Program};
use crate::start::assert_refused;
use crate::support::{ADMIN_KEY, Deployment};

/// With this limit on files there are 128 connections, of which 112 are for visitors and 28 for one address.
const FILES: &str = "ulimit -n 256";
const VISITORS: usize = 112;
const SHARE: usize = VISITORS / 4;

fn serve(exempt: &str) -> (Deployment, Program) {
    let deployment = Deployment::new();
    let program = deployment.serve().with("ANTEROOM_LIMITS__EXEMPT", exempt).after(FILES).start();
    (deployment, program)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

fn send(stream: &mut TcpStream, path: &str) {
    let head = format!("GET {path} HTTP/1.1\r\nhost: queue\r\nauthorization: Bearer {ADMIN_KEY}\r\n\r\n");
    // A refused connection may be gone already.
    let _gone = stream.write_all(head.as_bytes());
}

/// Reads up to `end`, or to the end of the connection.
fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(end.as_bytes()) {
        match stream.read(&mut byte) {
            Ok(1) => read.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing comes after {read:?}"),
            Ok(_) | Err(_) => break,
        }
    }
    String::from_utf8(read).unwrap()
}

/// The head of the answer to a request on a connection of its own, which stays open.
fn asked(address: SocketAddr, path: &str) -> (String, TcpStream) {
    let mut stream = connect(address);
    send(&mut stream, path);
    (read_until(&mut stream, "\r\n\r\n"), stream)
}

/// The status of an answer, once it is this one: connections that others released become free a moment later.
fn comes_to(address: SocketAddr, path: &str, status: &str) {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        last = asked(address, path).0;
        if last.starts_with(&format!("HTTP/1.1 {status} ")) {
            return;
        }
        thread::sleep(PAUSE);
    }
    panic!("{path} is not answered {status}: {last}");
}

/// Requests of operators.
const OPERATORS: [&str; 4] =
    ["/health/live", "/health/ready", "/metrics", "/private/num_active_tokens?event_id=Sample"];

fn assert_operators_are_served(address: SocketAddr) {
    for path in OPERATORS {
        let (head, _) = asked(address, path);
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
    }
}

#[test]
fn one_client_with_600_streams_leaves_operators_and_health_checks_answered() {
    let (_deployment, program) = serve("[]");
    let streams: Vec<_> = (0..600).map(|_| asked(program.address, "/line/Sample/events")).collect();
    let opened = streams.iter().filter(|(head, _)| head.starts_with("HTTP/1.1 200 ")).count();
    assert_eq!(opened, SHARE);
    // The other clients are actual to poll, and are answered when they do.
    assert!(streams[SHARE..].iter().all(|(head, _)| head.starts_with("HTTP/1.1 204 ")));
    for path in ["/line/Sample", "/api/serving_num?event_id=Sample"] {
        let (head, _) = asked(program.address, path);
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("connection: close"), "{path}: {head}");
    }
    assert_operators_are_served(program.address);
    drop(streams);
    comes_to(program.address, "/line/Sample/events", "200");
    program.stop();
}

#[test]
fn streams_that_one_client_opens_at_once_are_all_answered() {
    let (_deployment, program) = serve("[]");
    let mut streams: Vec<_> = (0..100).map(|_| connect(program.address)).collect();
    streams.iter_mut().for_each(|stream| send(stream, "/line/Sample/events"));
    let statuses: Vec<_> = streams.iter_mut().map(|stream| read_until(stream, "\r\n\r\n")[9..12].to_owned()).collect();
    let count = |status: &str| statuses.iter().filter(|answered| *answered == status).count();
    assert_eq!((count("200"), count("204")), (SHARE, 100 - SHARE), "{statuses:?}");
    program.stop();
}

/// A connection from an address of its own: all of 127.0.0.0/8 are this machine's.
fn connect_from(host: u8, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, host], 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

#[test]
fn clients_with_all_visitor_connections_do_not_keep_slow_operators_out() {
    let (_deployment, program) = serve("[]");
    let connect_all = |count: usize| (0..count).flat_map(|_| 2..6).map(|host| connect_from(host, program.address));
    let visitors: Vec<_> = connect_all(SHARE).collect();
    for begun in [
        "",
        "GET /metrics HTTP/1.1\r\n",
        "GET /health/ready HTTP/1.1\r\nhost: queue\r\ncontent-length: 100\r\n\r\n",
        "POST /private/increment_serving_counter HTTP/1.1\r\nhost: queue\r\ncontent-length: 100\r\n\r\n{",
        "POST /private/inlet HTTP/1.1\r\nhost: queue\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n",
    ] {
        let slow = connect_all(10).map(|mut stream| {
            // It may have been evicted for the next already.
            let _gone = stream.write_all(begun.as_bytes());
            stream
        });
        let slow: Vec<_> = slow.collect();
        for path in OPERATORS {
            let mut operator = connect_from(9, program.address);
            send(&mut operator, path);
            let head = read_until(&mut operator, "\r\n\r\n");
            assert!(head.starts_with("HTTP/1.1 200 "), "{begun:?}, {path}: {head:?}");
        }
        drop(slow);
    }
    drop(visitors);
    program.stop();
}

#[test]
fn requests_sent_while_the_process_is_paused_are_answered_if_in_time() {
    let (_deployment, program) = serve(r#"["127.0.0.0/8"]"#);
    let (beginning, rest) = ("GET /line/Sample HTTP/1.1\r\n", "host: queue\r\nconnection: close\r\n\r\n");
    let mut connections: Vec<_> = (0..16).map(|_| connect(program.address)).collect();
    for (index, stream) in connections.iter_mut().enumerate() {
        stream.write_all(&beginning.as_bytes()[..if index < 8 { 0 } else { beginning.len() }]).unwrap();
    }
    // All are accepted, or will have their full time later.
    comes_to(program.address, "/line/Sample", "200");
    program.signal("STOP");
    for (index, stream) in connections.iter_mut().enumerate() {
        let missing = if index < 8 { beginning } else { "" };
        stream.write_all(format!("{missing}{rest}").as_bytes()).unwrap();
    }
    thread::sleep(policy::HEAD_TIMEOUT + Duration::from_secs(1));
    program.signal("CONT");
    for stream in &mut connections {
        let head = read_until(stream, "\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head:?}");
    }
    program.stop();
}

#[test]
fn metrics_are_not_rendered_for_clients_that_do_not_read_them() {
    let (_deployment, program) = serve("[]");
    let metrics = "GET /metrics HTTP/1.1\r\nhost: queue\r\n\r\n".repeat(500);
    let mut flood: Vec<_> = (0..SHARE).flat_map(|_| 2..5).map(|host| connect_from(host, program.address)).collect();
    for stream in &mut flood {
        stream.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
        let _not_taken = stream.write_all(metrics.as_bytes());
    }
    let mut sent = 0;
    for stream in &mut flood {
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        if status.ends_with(b"200") {
            sent += 1;
        } else {
            // At least ten refusals.
            stream.read_exact(&mut [0; 8 * 1024]).unwrap();
        }
    }
    assert!(sent > 0 && sent < flood.len() / 2, "{sent} were sent");
    assert_eq!(&asked(program.address, "/health/live").0[9..12], "200");
    let most = 3 * flood.len();
    drop(flood);
    comes_to(program.address, "/metrics", "200");
    let (_, mut stream) = asked(program.address, "/metrics");
    let text = read_until(&mut stream, "# EOF\n");
    let name = r#"anteroom_http_request_duration_seconds_count{route="/metrics",status="2xx"}"#;
    let rendered = text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse::<usize>().unwrap();
    // One more for each whose end is not noticed before its next request is handled.
    assert!(rendered < most, "{rendered} were made");
    program.stop();
}

#[test]
fn too_few_open_files_prevent_the_start() {
    let output = Deployment::new().serve().after("ulimit -n 255").run();
    assert_refused(&output, 1, &["the limit of open files is 255, and at least 256 are needed"]);
}

#[test]
fn an_exempt_client_may_use_all_visitor_connections_and_no_operator_connection() {
    let (_deployment, program) = serve(r#"["127.0.0.0/8"]"#);
    let streams: Vec<_> = (0..VISITORS).map(|_| asked(program.address, "/line/Sample/events")).collect();
    assert!(streams.iter().all(|(head, _)| head.starts_with("HTTP/1.1 200 ")));
    for path in ["/line/Sample", "/api/serving_num?event_id=Sample", "/", "/private%2Fkeys", "/%6detrics", "/privately"]
    {
        let (head, mut stream) = asked(program.address, path);
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after: "), "{path}: {head}");
        assert!(head.contains("connection: close"), "{path}: {head}");
        assert_eq!(read_until(&mut stream, "}"), r#"{"error":"All connections are taken"}"#);
        for header in [
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "access-control-allow-origin: *",
            "x-request-id: ",
        ] {
            assert!(head.contains(header), "no {header}: {head}");
        }
    }
    for (path, body) in [
        ("/token", r#""error":"temporarily_unavailable""#),
        ("/authorize HTTP/1.1\r\naccept: text/html\r\nx:", "This page tries again by itself"),
    ] {
        let (head, mut stream) = asked(program.address, path);
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after: "), "{path}: {head}");
        let is_page = head.contains("content-type: text/html");
        assert_eq!(
            is_page && head.contains("content-security-policy: ") && head.contains("x-frame-options: DENY"),
            is_page
        );
        let rest = read_until(&mut stream, "\0");
        assert!(rest.contains(body), "{path}: {rest}");
    }
    let (_, mut stream) = asked(program.address, "/metrics");
    let metrics = read_until(&mut stream, "# EOF\n");
    let count = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
        line.trim().parse::<usize>().unwrap()
    };
    assert_eq!(count(r#"anteroom_connections{part="visitors"}"#), VISITORS);
    assert!(count(r#"anteroom_connections{part="brief"}"#) > 0);
    assert!(count(r#"anteroom_connections_refused_total{reason="visitors"}"#) >= 8);
    assert_operators_are_served(program.address);
    drop(streams);
    comes_to(program.address, "/line/Sample", "200");
    program.stop();
}

#[test]
fn silent_connections_do_not_keep_operators_out() {
    for exempt in ["[]", r#"["127.0.0.0/8"]"#] {
        let (_deployment, program) = serve(exempt);
        let silent: Vec<_> = (0..400).map(|_| connect(program.address)).collect();
        // While these still arrive, one of them may evict an operator who has not sent a request yet.
        OPERATORS.iter().for_each(|path| comes_to(program.address, path, "200"));
        drop(silent);
        comes_to(program.address, "/line/Sample", "200");
        program.stop();
    }
}

#[test]
fn a_client_that_never_reads_uses_little_memory_and_releases_it() {
    let (_deployment, program) = serve(r#"["127.0.0.0/8"]"#);
    comes_to(program.address, "/line/Sample", "200");
    let before = resident_kib(&program);
    let requests = "GET /line/Sample HTTP/1.1\r\nhost: queue\r\n\r\n".repeat(90_000);
    let attack = |address: SocketAddr| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // Data in the client's own kernel buffers does not count.
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&address.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        // Ends when no more data is accepted.
        let _not_taken = stream.write_all(requests.as_bytes());
        stream
    };
    let held: Vec<_> = thread::scope(|scope| {
        let attacks: Vec<_> = (0..40).map(|_| scope.spawn(|| attack(program.address))).collect();
        attacks.into_iter().map(|attack| attack.join().unwrap()).collect()
    });
    let grown = resident_kib(&program).saturating_sub(before);
    // 64 KiB each, and some megabytes that the process touches once.
    assert!(grown < 40 * 64 + 8 * 1024, "{grown} KiB more");
    comes_to(program.address, "/line/Sample", "200");
    drop(held);
    assert_given_back(&program, before);
    program.stop();
}
