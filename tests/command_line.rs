//! The program on the command line: its commands, output and exit codes.

#![expect(clippy::unwrap_used, reason = "in a test, a panic reports a failure")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::{X509, X509NameBuilder};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn anteroom(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anteroom"));
    command.args(arguments).current_dir(directory).env_clear().envs(variables.iter().copied()).output().unwrap()
}

fn configuration(text: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("anteroom.toml"), text).unwrap();
    directory
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A server that gives every client this answer.
fn answering(status: &'static str, body: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, status, body)));
    address
}

/// Answers the path of the health check alone.
fn answer(mut stream: impl Read + Write, status: &str, body: &str) {
    let mut request = [0; 4096];
    // A client that aborts a handshake is part of the tests; it needs no answer.
    let Ok(length) = stream.read(&mut request) else { return };
    let known = request[..length].starts_with(b"GET /line/health/ready HTTP/1.1\r\n");
    let status = if known { status } else { "404 Not Found" };
    let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let _ = stream.flush();
}

#[test]
fn a_valid_configuration_is_summarised() {
    let directory = configuration("[[event]]\nid = 'Sample'\n");
    let output = anteroom(directory.path(), &["check-config", "--config", "anteroom.toml"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with("configuration is good\n"), "{text}");
    for line in ["issuer   http://127.0.0.1:8080", "event    Sample: let in by hand", "no key"] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn the_summary_names_each_events_start_and_end_with_warnings() {
    let inlet = |times: &str| format!("inlet = {{ strategy = 'periodic', increment_by = 1{times} }}");
    let text = format!(
        "[[event]]\nid = 'a'\n{}\n[[event]]\nid = 'b'\n{}\n[[event]]\nid = 'c'\n{}\n[[event]]\nid = 'd'\n",
        inlet(""),
        inlet(", start = 2020-01-01T00:00:00Z, end = 2020-01-02T01:00:00+01:00"),
        inlet(", start = 2999-01-01T00:00:00Z"),
    );
    let output = anteroom(configuration(&text).path(), &["check-config", "--config", "anteroom.toml"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for lines in [
        "event    a: 1 let in each 60 s\n         start: at once, end: never\nevent    b: 1 let in each 60 s\n",
        "         start: 2020-01-01 00:00:00 UTC, end: 2020-01-02 00:00:00 UTC\n",
        "         start: 2999-01-01 00:00:00 UTC, end: never\nevent    d: let in by hand\n",
        "warning  event b ended at 2020-01-02 00:00:00 UTC",
        "warning  event c starts at 2999-01-01 00:00:00 UTC, more than a day from now",
    ] {
        assert!(text.contains(lines), "{lines}: {text}");
    }
}

#[test]
fn unusable_tls_files_make_a_configuration_invalid() {
    let directory = configuration("tls = { certificate = 'c.pem', key = 'k.pem' }\n[[event]]\nid = 'a'");
    let check = || anteroom(directory.path(), &["check-config", "--config", "anteroom.toml"], &[]);
    let refused = |words: &[&str]| {
        let output = check();
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""));
        words.iter().for_each(|word| assert!(stderr(&output).contains(word), "{word}: {}", stderr(&output)));
    };
    let ((ours, key), (other, _)) = (certificate(), certificate());
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    refused(&["tls.certificate", "c.pem", "No such file"]);
    write("c.pem", b"nonsense");
    refused(&["tls.certificate", "c.pem", "no items found"]);
    write("c.pem", &ours.to_pem().unwrap());
    refused(&["tls.key", "k.pem", "No such file"]);
    write("k.pem", &ours.to_pem().unwrap());
    refused(&["tls.key", "k.pem", "no items found"]);
    write("k.pem", &key.private_key_to_pem_pkcs8().unwrap());
    assert_eq!(check().status.code(), Some(0), "{}", stderr(&check()));
    write("c.pem", &[b"\xef\xbb\xbf", &*ours.to_pem().unwrap()].concat());
    assert_eq!(check().status.code(), Some(0), "{}", stderr(&check()));
    write("c.pem", &other.to_pem().unwrap());
    refused(&["tls.certificate and tls.key cannot be used together"]);
}

#[test]
fn the_summary_names_gates_sinks_and_topics_but_no_address_that_may_contain_a_secret() {
    let inlet = "{ strategy = 'max_size', max_size = 5, health_url = 'https://shop.example/health?key=hush' }";
    let alarm = "{ strategy = 'periodic', increment_by = 1, alarm = 'latency', check_every = 30 }";
    let secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let text = format!(
        "[[event]]\nid = 'Sample'\ninlet = {inlet}\n[[event]]\nid = 'Other'\ninlet = {alarm}\n\
         [[webhook]]\nname = 'shop'\nurl = 'https://hush:hush@shop.example:8443/hush'\nsecret = '{secret}'\n\
         events = ['Sample']\nkinds = ['room_reset', 'token_generated']\n[[eventbridge]]\nname = 'aws'\nbus = 'queue'\n\
         [[sns_topic]]\narn = 'arn:aws:sns:eu-central-1:123456789012:exits'\nevent = 'Sample'\n\
         endpoint = 'http://127.0.0.1:4566/hush'\n"
    );
    let output = anteroom(configuration(&text).path(), &["check-config", "--config", "anteroom.toml"], &[]);
    let text = stdout(&output);
    for line in [
        "event    Sample: 5 inside at once, while https://shop.example is well (asked each 10 s)\n         start: at once, end: never\n",
        "event    Other: 1 let in each 60 s, while the CloudWatch alarm latency is silent (asked each 30 s)\n",
        "webhook  shop: https://shop.example:8443, room_reset token_generated of Sample\n",
        "bus      aws: EventBridge queue, everything of every event\n",
        "topic    arn:aws:sns:eu-central-1:123456789012:exits: exits of event Sample (SNS at http://127.0.0.1:4566)\n",
    ] {
        assert!(text.contains(line), "{text} {}", stderr(&output));
    }
    assert!(!text.contains("hush") && !text.contains("MDEy"), "{text}");
}

#[test]
fn the_summary_names_the_shared_store_but_not_its_password() {
    let store = "[store]\nengine = 'distributed'\nredis_url = 'rediss://line:hush-hush@redis:6380'\n";
    let directory = configuration(&format!("{store}[[event]]\nid = 'Sample'\n"));
    let endpoint = ("ANTEROOM_STORE__DYNAMODB_ENDPOINT", "http://127.0.0.1:8000");
    for (variables, dynamodb) in [(&[][..], "of AWS"), (&[endpoint], "http://127.0.0.1:8000/")] {
        let text = stdout(&anteroom(directory.path(), &["check-config", "--config", "anteroom.toml"], variables));
        let lines = format!("redis    rediss://redis:6380\ndynamodb {dynamodb}, tables anteroom-*\n");
        assert!(text.contains(&lines) && !text.contains("hush"), "{text}");
    }
}

#[test]
fn an_invalid_configuration_exits_with_2_and_one_line_per_problem() {
    let directory = configuration("listne = 1\n[admin]\nkeys = [{ name = 'a', key = 'hush-hush' }]\n");
    for command in ["check-config", "serve", "healthcheck"] {
        let output = anteroom(directory.path(), &[command], &[("ANTEROOM_CONFIG", "anteroom.toml")]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        let lines = stderr(&output);
        assert_eq!(
            lines.lines().collect::<Vec<_>>(),
            [
                "anteroom.toml: admin.keys[0].key: the secret has 9 bytes; at least 32 are needed",
                "anteroom.toml: event: at least one [[event]] is needed",
                "anteroom.toml: listne: there is no such key; is listen meant?",
            ],
            "{command}"
        );
    }
}

#[test]
fn a_command_without_a_configuration_names_the_places_it_looked_in() {
    let directory = tempfile::tempdir().unwrap();
    for command in ["check-config", "healthcheck"] {
        let output = anteroom(directory.path(), &[command], &[]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        assert!(stderr(&output).contains("data/anteroom.toml"), "{}", stderr(&output));
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "only serve makes anything");
    let output = anteroom(directory.path(), &["check-config", "--config", "nowhere.toml"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("nowhere.toml: the configuration cannot be read: "), "{}", stderr(&output));
}

#[test]
fn a_health_check_exits_with_the_servers_readiness() {
    for (status, body, code) in [("200 OK", "", 0), ("503 Service Unavailable", "the store is away\n", 1)] {
        let address = answering(status, body);
        let text = format!(
            "public_url = 'https://q.example/line'\nlisten = '0.0.0.0:{}'\n[[event]]\nid = 'a'",
            address.port()
        );
        let output = anteroom(configuration(&text).path(), &["healthcheck", "--config", "anteroom.toml"], &[]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        if code == 1 {
            let complaint = format!("http://{address}/line/health/ready answers {status}: the store is away\n");
            assert_eq!(stderr(&output), complaint);
        }
    }
}

#[test]
fn a_health_check_calls_the_private_address_or_the_given_one() {
    let address = answering("200 OK", "");
    let text = format!(
        "public_url = 'https://q.example/line'\nprivate_listen = '{address}'\n\
         tls = {{ certificate = 'c.pem', key = 'k.pem' }}\n[[event]]\nid = 'a'"
    );
    let directory = configuration(&text);
    fs::write(directory.path().join("c.pem"), certificate().0.to_pem().unwrap()).unwrap();
    let output = anteroom(directory.path(), &["healthcheck", "--config", "anteroom.toml"], &[]);
    assert_eq!(output.status.code(), Some(0), "operators' address is plain HTTP: {}", stderr(&output));
    let url = format!("http://{address}/line/health/ready");
    assert_eq!(anteroom(directory.path(), &["healthcheck", "--url", &url], &[]).status.code(), Some(0));
    assert_eq!(anteroom(directory.path(), &["healthcheck", "--url", "nonsense"], &[]).status.code(), Some(2));
}

#[test]
fn a_health_check_reports_a_server_that_is_down() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}/");
    let output = anteroom(Path::new("."), &["healthcheck", "--url", &url], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with(&format!("{url} does not answer: Connection refused")), "{}", stderr(&output));
}

/// A self-signed certificate for a name that is not the address.
fn certificate() -> (X509, PKey<Private>) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "queue.example").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}

fn answering_over_tls(certificate: &X509, key: &PKey<Private>) -> SocketAddr {
    let chain = vec![CertificateDer::from(certificate.to_der().unwrap())];
    let key = PrivateKeyDer::try_from(key.private_key_to_pkcs8().unwrap()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            answer(rustls::StreamOwned::new(connection, stream), "200 OK", "");
        }
    });
    address
}

#[test]
fn a_health_check_over_tls_trusts_the_configured_certificate_alone() {
    let (ours, key) = certificate();
    let address = answering_over_tls(&ours, &key);
    for (pem, code) in [(ours.to_pem().unwrap(), 0), (certificate().0.to_pem().unwrap(), 1)] {
        let text = format!(
            "public_url = 'https://queue.example/line'\nlisten = '{address}'\n\
             tls = {{ certificate = 'c.pem', key = 'k.pem' }}\nadmin.keys = [{{ name = 'a', key = '{SECRET}' }}]\n[[event]]\nid = 'a'"
        );
        let directory = configuration(&text);
        fs::write(directory.path().join("c.pem"), pem).unwrap();
        let output = anteroom(directory.path(), &["healthcheck", "--config", "anteroom.toml"], &[]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        if code == 1 {
            assert!(stderr(&output).contains("it does not show the configured certificate"), "{}", stderr(&output));
        }
    }
}
