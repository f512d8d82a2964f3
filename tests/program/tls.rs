//! TLS terminated by the program: served with the operator's certificate, and refused with a message if that is
//! invalid.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509NameBuilder};
use reqwest::header::SET_COOKIE;
use reqwest::{Certificate, Client};

use crate::process::Launch;
use crate::support::{Api, Browser, Deployment, http, object, text};

/// A self-signed certificate for `localhost`, and its key.
pub fn self_signed() -> (X509, PKey<Private>) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "localhost").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    let names = SubjectAlternativeName::new().dns("localhost").build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}

pub fn write(path: &Path, certificate: &X509, key: &PKey<Private>) {
    fs::write(path.join("certificate.pem"), certificate.to_pem().unwrap()).unwrap();
    fs::write(path.join("key.pem"), key.private_key_to_pem_pkcs8().unwrap()).unwrap();
}

pub fn with_tls(launch: Launch) -> Launch {
    launch
        .with("ANTEROOM_PUBLIC_URL", "https://localhost:0")
        .with("ANTEROOM_TLS__CERTIFICATE", "certificate.pem")
        .with("ANTEROOM_TLS__KEY", "key.pem")
}

/// A client that trusts this certificate alone.
pub fn trusting(certificate: &X509) -> Client {
    drop(http()); // chooses the cryptography of the process
    let root = Certificate::from_pem(&certificate.to_pem().unwrap()).unwrap();
    let builder = Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    builder.add_root_certificate(root).build().unwrap()
}

#[tokio::test]
async fn https_is_served_with_the_operators_certificate_and_cookies_bound_to_the_host() {
    let deployment = Deployment::new();
    let (certificate, key) = self_signed();
    write(&deployment.path(""), &certificate, &key);
    let program = with_tls(deployment.serve()).start();
    assert_eq!(program.issuer, format!("https://localhost:{}", program.address.port()));
    let api = Api { http: trusting(&certificate), base: program.issuer.clone() };

    let discovery = object(api.get("/.well-known/openid-configuration").send().await.unwrap()).await;
    assert_eq!(text(&discovery, "issuer"), program.issuer);
    assert_eq!(text(&discovery, "token_endpoint"), format!("{}/token", program.issuer));

    let page = Browser::default().authorize(&api).await.unwrap();
    assert!(page.waits());
    let cookies: Vec<&str> = page.headers.get_all(SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap()).collect();
    assert_eq!(cookies.len(), 3, "{cookies:?}");
    for cookie in cookies {
        assert!(cookie.starts_with("__Host-anteroom-"), "{cookie}");
        for attribute in ["; Secure", "; HttpOnly", "; Path=/", "; SameSite=Lax"] {
            assert!(cookie.contains(attribute), "{attribute} is not in {cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
    }

    // The program's own commands reach it, by this certificate and no other.
    let address = program.address.to_string();
    let at = |arguments: &[&str]| with_tls(deployment.command(arguments)).with("ANTEROOM_LISTEN", &address);
    for arguments in [&["healthcheck"][..], &["keys", "list"]] {
        let output = at(arguments).run();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    write(&deployment.path(""), &self_signed().0, &key);
    let output = at(&["keys", "list"]).run();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("it does not show the configured certificate"), "{said}");
    program.stop();
}

#[test]
fn an_invalid_certificate_or_key_is_named() {
    let deployment = Deployment::new();
    let directory = deployment.path("");
    let (certificate, key) = self_signed();
    let refused = |words: &[&str]| {
        let output = with_tls(deployment.serve()).run();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} are not in: {said}");
    };
    refused(&["tls.certificate", "certificate.pem", "No such file"]);
    write(&directory, &certificate, &key);
    fs::remove_file(directory.join("key.pem")).unwrap();
    refused(&["tls.key", "key.pem", "No such file"]);
    fs::write(directory.join("key.pem"), certificate.to_pem().unwrap()).unwrap();
    refused(&["tls.key", "key.pem", "no items found"]);
    write(&directory, &certificate, &self_signed().1);
    refused(&["tls.certificate and tls.key cannot be used together"]);
    fs::write(directory.join("certificate.pem"), "nothing of the kind").unwrap();
    refused(&["tls.certificate", "certificate.pem", "no items found"]);
    assert!(!deployment.path("data").exists(), "nothing was begun");
}

/// A connection by a client with these protocols (ALPN, RFC 7301), and the negotiated protocol.
fn agreed(address: SocketAddr, protocols: &[u8]) -> Result<(openssl::ssl::SslStream<TcpStream>, String), String> {
    let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    if !protocols.is_empty() {
        connector.set_alpn_protos(protocols).unwrap();
    }
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let connected = connector.build().connect("localhost", stream).map_err(|error| error.to_string())?;
    let chosen = connected.ssl().selected_alpn_protocol().unwrap_or_default();
    let chosen = String::from_utf8(chosen.to_vec()).unwrap();
    Ok((connected, chosen))
}

fn served_over_tls() -> (Deployment, crate::process::Program) {
    let deployment = Deployment::new();
    let (certificate, key) = self_signed();
    write(&deployment.path(""), &certificate, &key);
    let program = with_tls(deployment.serve()).start();
    (deployment, program)
}

#[test]
fn the_only_protocol_over_tls_is_http_1_1() {
    let (_deployment, program) = served_over_tls();
    for (offered, chosen) in [(&b"\x02h2\x08http/1.1"[..], "http/1.1"), (b"\x08http/1.1", "http/1.1"), (b"", "")] {
        let (mut stream, protocol) = agreed(program.address, offered).unwrap();
        assert_eq!(protocol, chosen, "{offered:?}");
        stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    // Without a common protocol the handshake fails at once (RFC 7301 §3.2).
    for offered in [&b"\x02h2"[..], b"\x02h3\x08http/0.9"] {
        let refused = agreed(program.address, offered).map(|(_, protocol)| protocol).unwrap_err();
        assert!(refused.contains("no application protocol"), "{refused}");
    }
    program.stop();
}

#[test]
fn over_tls_a_stalled_body_is_refused_and_every_answer_has_the_common_headers() {
    let (_deployment, program) = served_over_tls();
    let head = "POST /api/assign_queue_num HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{";
    let long = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    for (request, status) in [(head, 400), ("nonsense\r\n\r\n", 400), (&long, 431), ("GET / HTTP/1.1\r\n", 408)] {
        let (mut stream, _) = agreed(program.address, b"").unwrap();
        let _closed_before = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        for header in
            ["strict-transport-security: max-age=31536000", "x-content-type-options: nosniff", "connection: close"]
        {
            assert!(answer.contains(&format!("{header}\r\n")), "no {header}: {answer}");
        }
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(body).unwrap()["error"].is_string(), "{answer}");
    }
    program.stop();
}
