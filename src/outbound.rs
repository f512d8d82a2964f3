//! Outgoing requests: to webhooks, health addresses, certificates, key sets.
//!
//! Owns how such a request behaves: it trusts the system's certificate authorities (`SSL_CERT_FILE` names others),
//! follows no redirect, and bounds time and size. Must not know the purpose of a request. Its errors never contain the
//! address, which may hold a secret.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, Response, redirect};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use crate::ambient::Timestamp;
use crate::policy;

/// Why a request cannot be sent, or its answer not be used. For the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// The system trusts no certificate authority, or TLS does not start.
    #[error("TLS cannot be used: {0}")]
    Tls(String),
    /// The target cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// The answer has this status instead of 2xx.
    #[error("it answered {0}")]
    Answered(u16),
    /// The answer has more than this many bytes.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

impl From<reqwest::Error> for OutboundError {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        // The cause is the end of the chain: "connection refused", not "error sending request".
        let mut reason: &dyn std::error::Error = &error;
        let mut text = reason.to_string();
        while let Some(source) = reason.source() {
            reason = source;
            text = format!("{error}: {reason}");
        }
        Self::Unreachable(text)
    }
}

/// Whether a proxy from the environment is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proxies {
    /// As the environment says (`HTTPS_PROXY`).
    FromEnvironment,
    /// Never.
    Ignored,
}

/// A client for requests to addresses such as `target`, with a timeout of `patience`. Loading the trusted certificates
/// takes some milliseconds and is skipped for plain HTTP.
///
/// # Errors
/// When TLS cannot be used: the system trusts no certificate authority.
pub fn client(target: &Url, patience: Duration, proxies: Proxies) -> Result<Client, OutboundError> {
    let secure = target.scheme() == "https";
    let builder = Client::builder().timeout(patience).redirect(redirect::Policy::none());
    // Plain HTTP goes to this machine, which needs no proxy.
    let direct = !secure || proxies == Proxies::Ignored;
    let builder = if direct { builder.no_proxy() } else { builder };
    Ok(builder.use_preconfigured_tls(tls(secure)?).build()?)
}

fn tls(secure: bool) -> Result<ClientConfig, OutboundError> {
    let mut roots = RootCertStore::empty();
    if secure {
        let found = rustls_native_certs::load_native_certs();
        let (trusted, _) = roots.add_parsable_certificates(found.certs);
        if trusted == 0 {
            return Err(OutboundError::Tls(format!("the system trusts no certificate authority: {:?}", found.errors)));
        }
    }
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let versions =
        versions.with_safe_default_protocol_versions().map_err(|error| OutboundError::Tls(error.to_string()))?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

/// The body of a 2xx answer of `target`, of `most` bytes at most.
///
/// # Errors
/// When it cannot be reached, answers anything else, or sends more.
pub async fn fetch(client: &Client, target: &Url, most: usize) -> Result<Vec<u8>, OutboundError> {
    let mut answer = require_success(client.get(target.clone()).send().await?)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > most {
            return Err(OutboundError::TooLarge(most));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The answer, if it is a 2xx.
///
/// # Errors
/// With the status, if it is another.
pub fn require_success(answer: Response) -> Result<Response, OutboundError> {
    let status = answer.status();
    if status.is_success() { Ok(answer) } else { Err(OutboundError::Answered(status.as_u16())) }
}

/// Throttles the log of an operation that fails repeatedly: an entry when the reason changes, and otherwise one in
/// [`policy::COMPLAIN_EVERY`].
#[derive(Default)]
pub struct LogThrottle(Mutex<Option<(String, Timestamp)>>);

impl LogThrottle {
    /// Whether `reason` should be logged now.
    pub fn should_log(&self, reason: &str, now: Timestamp) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last
            .as_ref()
            .is_some_and(|(text, at)| text == reason && *at <= now && now.since(*at) < policy::COMPLAIN_EVERY);
        if !known {
            *last = Some((reason.to_owned(), now));
        }
        !known
    }

    /// The operation succeeded: the next failure is logged.
    pub fn reset(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// An address that answers one request with `answer`.
    async fn once(answer: &'static str) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/?token=hush", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        url.parse().unwrap()
    }

    async fn fetched(target: &Url) -> Result<Vec<u8>, OutboundError> {
        fetch(&client(target, Duration::from_secs(20), Proxies::Ignored).unwrap(), target, 5).await
    }

    #[tokio::test]
    async fn only_a_short_2xx_answer_is_read() {
        let cases = [
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", Ok(b"hello".to_vec())),
            ("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello!", Err(OutboundError::TooLarge(5))),
            ("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", Err(OutboundError::Answered(503))),
            ("HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n", Err(OutboundError::Answered(302))),
        ];
        for (answer, expected) in cases {
            assert_eq!(fetched(&once(answer).await).await, expected, "{answer}");
        }
    }

    #[tokio::test]
    async fn an_error_has_the_reason_and_not_the_address() {
        let unreachable: Url = "http://127.0.0.1:1/?token=hush".parse().unwrap();
        let error = fetched(&unreachable).await.unwrap_err().to_string();
        assert!(error.contains("refused") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn a_failure_is_logged_when_it_changes_and_once_a_minute() {
        let (log_throttle, at) = (LogThrottle::default(), Timestamp::from_secs);
        let news = |reason, seconds| log_throttle.should_log(reason, at(seconds));
        let expected = [("a", 0), ("a", 59), ("b", 59), ("a", 60), ("a", 119), ("a", 120)];
        assert_eq!(expected.map(|(reason, seconds)| news(reason, seconds)), [true, false, true, true, false, true]);
        log_throttle.reset();
        assert!(news("a", 121));
    }
}
