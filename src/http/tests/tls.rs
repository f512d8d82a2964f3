//! The same limits over TLS, where a session stands between the connection and its bytes.

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::x509::X509;
use openssl::x509::extension::SubjectAlternativeName;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// Both sides of TLS with a certificate of the test's own.
struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Tls {
    fn new() -> Self {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        let names = SubjectAlternativeName::new().dns("localhost").build(&builder.x509v3_context(None, None)).unwrap();
        builder.append_extension(names).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        let certificate = CertificateDer::from(builder.build().to_der().unwrap());
        let key = PrivateKeyDer::try_from(key.private_key_to_pkcs8().unwrap()).unwrap();

        let provider = Arc::new(default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let server = server.with_single_cert(vec![certificate.clone()], key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots).with_no_client_auth();
        Self { acceptor: TlsAcceptor::from(Arc::new(server)), connector: TlsConnector::from(Arc::new(client)) }
    }

    /// A client that holds back little of what it is given to send.
    async fn connect(&self, io: DuplexStream) -> TlsStream<DuplexStream> {
        let name = ServerName::try_from("localhost").unwrap();
        self.connector.connect_with(name, io, |session| session.set_buffer_limit(Some(ROOM))).await.unwrap()
    }

    async fn serve(
        &self,
        io: DuplexStream,
        shutdown: &Shutdown,
        admission: &Arc<Admission>,
    ) -> (io::Result<()>, Duration) {
        serve_over(io, shutdown, admission, Some(self.acceptor.clone())).await
    }
}

/// Reads to the end, however the other side ends.
async fn read_all(client: &mut (impl AsyncRead + Unpin)) -> String {
    let mut read = Vec::new();
    // A connection that is cut ends without the notice that TLS would have.
    let _cut = client.read_to_end(&mut read).await;
    String::from_utf8(read).unwrap()
}

async fn push_all(client: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> usize {
    let mut sent = 0;
    while sent < bytes.len() {
        match tokio::time::timeout(Duration::from_millis(1), client.write(&bytes[sent..])).await {
            Ok(Ok(taken)) => sent += taken,
            Ok(Err(_)) | Err(_) => break,
        }
    }
    sent
}

#[actix_web::test]
async fn over_tls_whoever_does_not_read_answers_is_not_read_from_and_is_cut_off() {
    tokio::time::pause();
    let tls = Tls::new();
    for path in ["/small", "/large", "/news", "/nowhere"] {
        let (client, server) = duplex(ROOM);
        let requests = get(path).repeat(20_000);
        let attack = async {
            let mut client = tls.connect(client).await;
            let sent = push_all(&mut client, requests.as_bytes()).await;
            // As without TLS, and what both sessions hold.
            let most = (policy::MAX_UNSENT + policy::TLS_BUFFER + ROOM) / 80 * get(path).len() + 40 * 1024;
            assert!(sent <= most, "{sent} bytes of {path} were read");
            client
        };
        let (shutdown, admission) = (Shutdown::default(), admission(1, 1));
        let ((ended, after), _client) = tokio::join!(tls.serve(server, &shutdown, &admission), attack);
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut, "{path}");
        assert!(after >= policy::SEND_TIMEOUT && after < policy::SEND_TIMEOUT * 2, "{path}: {after:?}");
    }
}

#[actix_web::test]
async fn over_tls_whoever_reads_slowly_gets_everything() {
    tokio::time::pause();
    let (client, server) = duplex(ROOM);
    let tls = Tls::new();
    let reading = async {
        let mut client = tls.connect(client).await;
        client.write_all(get("/large").replace("host", "connection: close\r\nhost").as_bytes()).await.unwrap();
        let mut read = 0;
        let mut some = [0; 4 * ROOM];
        loop {
            tokio::time::sleep(policy::SEND_TIMEOUT / 2).await;
            match client.read(&mut some).await.unwrap() {
                0 => return read,
                count => read += count,
            }
        }
    };
    let (shutdown, admission) = (Shutdown::default(), admission(1, 1));
    let ((ended, _), read) = tokio::join!(tls.serve(server, &shutdown, &admission), reading);
    ended.unwrap();
    assert!(read > 1 << 20, "{read}");
}

#[actix_web::test]
async fn over_tls_a_handshake_and_a_head_must_come_in_time_together() {
    tokio::time::pause();
    let tls = Tls::new();
    for (parts, limit) in [((1, 1), policy::HEAD_TIMEOUT), ((0, 4), policy::BRIEF_REQUEST_TIMEOUT)] {
        let (shutdown, admission) = (Shutdown::default(), admission(parts.0, parts.1));
        // Not a byte, and not all of a greeting.
        for greeting in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
            let (mut client, server) = duplex(ROOM);
            client.write_all(greeting).await.unwrap();
            let (ended, after) = tls.serve(server, &shutdown, &admission).await;
            assert!(ended.is_err());
            assert!(after >= limit && after < limit + Duration::from_millis(100), "{greeting:?}: {after:?}");
        }
        // A head that does not end, after a handshake that took its time.
        let (client, server) = duplex(ROOM);
        let trickle = async {
            tokio::time::sleep(limit / 2).await;
            let mut client = tls.connect(client).await;
            client.write_all(b"GET /private HTTP/1.1\r\nhost: x\r\n").await.unwrap();
            client.flush().await.unwrap();
            read_all(&mut client).await
        };
        let ((_, after), told) = tokio::join!(tls.serve(server, &shutdown, &admission), trickle);
        assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
        assert!(after >= limit && after < limit + Duration::from_millis(100), "{after:?}");
    }
}

#[actix_web::test]
async fn over_tls_a_request_that_goes_on_after_its_answer_is_cut() {
    tokio::time::pause();
    let tls = Tls::new();
    for framing in ["transfer-encoding: chunked", "content-length: 1000000000"] {
        let (client, server) = duplex(ROOM);
        let endless = async {
            let (mut reader, mut writer) = tokio::io::split(tls.connect(client).await);
            let sending = async {
                let head = format!("POST /deaf HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n");
                writer.write_all(head.as_bytes()).await.unwrap();
                while writer.write_all(b"5\r\nhello\r\n").await.is_ok() && writer.flush().await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            tokio::join!(sending, read_all(&mut reader)).1
        };
        let (shutdown, admission) = (Shutdown::default(), admission(1, 1));
        let ((ended, after), answer) = tokio::join!(tls.serve(server, &shutdown, &admission), endless);
        ended.unwrap();
        assert!(after >= policy::DRAIN_TIMEOUT && after < policy::DRAIN_TIMEOUT * 2, "{framing}: {after:?}");
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("connection: close"), "{framing}: {answer}");
    }
}

#[actix_web::test]
async fn over_tls_visitors_beyond_their_part_are_refused_and_operators_are_answered() {
    tokio::time::pause();
    let tls = Tls::new();
    for (path, status) in [("/small", 503), ("/private", 200)] {
        let (shutdown, admission) = (Shutdown::default(), admission(0, 4));
        let (client, server) = duplex(ROOM);
        let asking = async {
            let mut client = tls.connect(client).await;
            client.write_all(get(path).as_bytes()).await.unwrap();
            read_all(&mut client).await
        };
        let ((ended, _), told) = tokio::join!(tls.serve(server, &shutdown, &admission), asking);
        ended.unwrap();
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")) && told.contains("connection: close"), "{told}");
    }
}
