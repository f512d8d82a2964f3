//! The memory of clients that never read, with TLS or without: at most 64 MiB for a thousand of them.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anteroom::policy;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use reqwest::StatusCode;
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::process::{ATTEMPTS, PAUSE, Program};
use crate::support::{ADMIN_KEY, Api, Deployment, encode};
use crate::tls::{self_signed, with_tls, write};

/// All cost the same, so an eighth of a thousand is enough.
const CONNECTIONS: usize = 1000 / 8;
/// The limit per client.
const EACH_KIB: usize = 64;
/// Memory that the process touches once, whatever the number of clients: caches of the store and of the allocator,
/// reused request buffers, the buffer of a rendered answer.
const ONCE_KIB: usize = 16 * 1024;
/// The number of pipelined requests of each: more than the server answers to a client that does not read.
const REQUESTS: usize = 64;
/// How often the memory is sampled, every [`PAUSE`], until it must have settled: ten seconds.
const SETTLING: u32 = 200;
/// Sessions that expire at once: several pages of a listing.
const SESSIONS: usize = 300;

fn memory_kib(program: &Program, field: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The memory in use.
pub fn resident_kib(program: &Program) -> usize {
    memory_kib(program, "VmRSS:")
}

/// The peak memory since [`forget_peak`].
fn peak_kib(program: &Program) -> usize {
    memory_kib(program, "VmHWM:")
}

/// Waits until a program uses at most `before` plus the memory that it touches once.
pub fn assert_given_back(program: &Program, before: usize) {
    let kept = || resident_kib(program).saturating_sub(before);
    for _ in 0..ATTEMPTS {
        if kept() < ONCE_KIB {
            return;
        }
        thread::sleep(PAUSE);
    }
    panic!("{} KiB are kept", kept());
}

/// Resets the peak (proc(5), clear_refs).
fn forget_peak(program: &Program) {
    fs::write(format!("/proc/{}/clear_refs", program.id()), "5").unwrap();
}

/// A connection with a small receive buffer.
fn connect(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
    stream
}

/// Connections with pending answers, read as far as the buffers take them. Over TLS, the requests are decrypted that
/// far.
fn attack(address: SocketAddr, request: &str, tls: bool) -> Vec<Box<dyn Send>> {
    let requests = request.repeat(REQUESTS);
    let one = || -> Box<dyn Send> {
        let mut plain = connect(address);
        if !tls {
            let _not_taken = plain.write_all(requests.as_bytes());
            // A refused connection is closed after a while.
            let _closed = plain.peek(&mut [0]);
            return Box::new(plain);
        }
        let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        plain.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut stream = connector.build().connect("localhost", plain).unwrap();
        stream.get_ref().set_write_timeout(Some(Duration::from_millis(1))).unwrap();
        let _not_taken = stream.write_all(requests.as_bytes());
        let _closed = stream.read_exact(&mut [0]);
        Box::new(stream)
    };
    thread::scope(|scope| {
        let several: Vec<_> =
            (0..5).map(|_| scope.spawn(|| (0..CONNECTIONS / 5).map(|_| one()).collect::<Vec<_>>())).collect();
        several.into_iter().flat_map(|several| several.join().unwrap()).collect()
    })
}

/// Expired sessions.
async fn end_sessions(api: &Api) {
    let mut opening = tokio::task::JoinSet::new();
    api.let_in(ADMIN_KEY, SESSIONS as u64).await;
    for _ in 0..SESSIONS {
        let api = api.clone();
        opening.spawn(async move {
            let ticket = api.ticket().await;
            let body = json!({ "event_id": "Sample", "request_id": ticket, "validity_period": 1 });
            let opened = api.post("/private/generate_token", &body).bearer_auth(ADMIN_KEY).send().await.unwrap();
            // On a busy machine it may expire before it is answered.
            assert!([StatusCode::OK, StatusCode::GONE].contains(&opened.status()), "{opened:?}");
        });
        if opening.len() >= 16 {
            opening.join_next().await.unwrap().unwrap();
        }
    }
    opening.join_all().await;
    for _ in 0..ATTEMPTS {
        let answer = api.get("/private/num_active_tokens?event_id=Sample").bearer_auth(ADMIN_KEY).send().await.unwrap();
        if crate::support::object(answer).await["active_tokens"] == 0 {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("sessions do not end");
}

/// A long authorization request: it is carried through the wait, or refused.
fn authorize(state: &str) -> String {
    let usual = [("client_id", "Sample"), ("redirect_uri", crate::support::REDIRECT), ("response_type", "code")];
    let more = [("scope", "openid"), ("response_mode", "form_post"), ("state", state)];
    format!("/authorize?{}", encode(&[&usual[..], &more[..]].concat()))
}

async fn costs_little(program: Program, api: &Api, tls: bool) {
    end_sessions(api).await;
    let paths = [
        "/line/Sample".to_owned(),
        "/line/Sample/events".to_owned(),
        "/openapi.json".to_owned(),
        "/private/expired_tokens?event_id=Sample".to_owned(),
        authorize(&"n".repeat(4 * 1024)),
        authorize(&"\"".repeat(5 * 1024)),
        "/metrics".to_owned(),
    ];
    forget_peak(&program);
    let (before, mut reached_metrics) = (peak_kib(&program), false);
    for path in &paths {
        let cookie = format!("{}anteroom-browser={}", if tls { "__Host-" } else { "" }, "A".repeat(22));
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: queue\r\naccept: text/html\r\ncookie: {cookie}\r\nauthorization: Bearer {ADMIN_KEY}\r\n\r\n"
        );
        forget_peak(&program);
        let held = attack(program.address, &request, tls);
        let peak = peak_kib(&program).saturating_sub(before);
        reached_metrics |= path == "/metrics";
        let path = path.split('?').next().unwrap();
        // Memory of one kind is reused for the next, and long responses share theirs.
        let long = if reached_metrics { policy::LARGE_RESPONSES as usize } else { 0 };
        let bar = CONNECTIONS * EACH_KIB + ONCE_KIB + long;
        // Freed memory returns to the system a second later, long before the clients are closed.
        let held_kib = || resident_kib(&program).saturating_sub(before);
        let settled = (0..SETTLING).any(|_| {
            thread::sleep(PAUSE);
            held_kib() < bar
        });
        eprintln!("{CONNECTIONS} connections, TLS {tls}, {path}: {} KiB of {bar}, {peak} at the peak", held_kib());
        assert!(settled && peak < 4 * bar, "{path}: {} KiB, {peak} at the peak", held_kib());
        drop(held);
    }
    assert_given_back(&program, before);
    program.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_that_never_read_use_little_memory() {
    let deployment = Deployment::new();
    let program = deployment.serve().start();
    let api = Api::of(&program);
    costs_little(program, &api, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_thousand_clients_that_never_read_use_little_memory() {
    let deployment = Deployment::new();
    let (certificate, key) = self_signed();
    write(&deployment.path(""), &certificate, &key);
    let program = with_tls(deployment.serve()).start();
    let api = Api { http: crate::tls::trusting(&certificate), base: program.issuer.clone() };
    costs_little(program, &api, true).await;
}
