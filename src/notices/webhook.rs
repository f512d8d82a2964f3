//! A webhook sink, signed by Standard Webhooks (<https://www.standardwebhooks.com>).
//!
//! Errors and logs never contain its secret or its address, which may hold one.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use reqwest::header::{HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode};
use sha2::{Digest as _, Sha256};

use super::delivery_worker::Sink;
use super::payload;
use super::retry::SinkError;
use crate::ambient::{Secret, Timestamp};
use crate::config::{Subscription, WebhookConfig};
use crate::outbound::{self, OutboundError, Proxies};
use crate::policy;
use crate::store::Letter;

/// Why a webhook cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the webhook {name} cannot be called: {reason}")]
pub struct WebhookError {
    /// The name of the webhook.
    name: String,
    /// The cause.
    reason: OutboundError,
}

pub(super) struct Webhook {
    config: WebhookConfig,
    client: Client,
    issuer: String,
}

impl Webhook {
    pub(super) fn new(config: &WebhookConfig, issuer: &str) -> Result<Self, WebhookError> {
        let client = outbound::client(&config.url, policy::WEBHOOK_TIMEOUT, Proxies::FromEnvironment);
        let client = client.map_err(|reason| WebhookError { name: config.subscription.name.clone(), reason })?;
        Ok(Self { config: config.clone(), client, issuer: issuer.to_owned() })
    }

    async fn deliver_one(&self, letter: &Letter, now: Timestamp) -> Result<(), SinkError> {
        let (id, timestamp, body) = (message_id(&self.issuer, letter), now.as_secs(), payload(letter));
        let signed = signature(&self.config.secret, &id, timestamp, &body);
        let signed = signed.ok_or_else(|| SinkError::Rejected("it cannot be signed".to_owned()))?;
        let request = self
            .client
            .post(self.config.url.clone())
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signed)
            .body(body);
        let answer =
            request.send().await.map_err(|error| SinkError::Unavailable(OutboundError::from(error).to_string()))?;
        outcome(answer.status(), retry_after(answer.headers().get(RETRY_AFTER), now))
    }
}

/// The ID of a message: the same for every repetition, and unlikely to equal another deployment's.
fn message_id(issuer: &str, letter: &Letter) -> String {
    let text = format!("{issuer}\n{}\n{}\n{}", letter.seq, letter.at.as_secs(), letter.event);
    let digest = Sha256::digest(text);
    digest.iter().take(16).fold("msg_".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

/// `v1,` and the base64 of HMAC-SHA-256 over `id.timestamp.body`.
fn signature(secret: &Secret, id: &str, timestamp: u64, body: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose()).ok()?;
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[async_trait]
impl Sink for Webhook {
    fn subscription(&self) -> &Subscription {
        &self.config.subscription
    }

    async fn deliver(&self, letters: &[&Letter], now: Timestamp) -> Result<Vec<Result<(), SinkError>>, SinkError> {
        let mut outcomes = Vec::new();
        for letter in letters {
            match self.deliver_one(letter, now).await {
                Err(away @ (SinkError::Unavailable(_) | SinkError::RetryAfter(..))) => return Err(away),
                outcome => outcomes.push(outcome),
            }
        }
        Ok(outcomes)
    }
}

/// The pause that a receiver asks for: `Retry-After`, in seconds or as a date (RFC 9110 §10.2.3).
fn retry_after(header: Option<&HeaderValue>, now: Timestamp) -> Option<Duration> {
    let text = header?.to_str().ok()?.trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| Timestamp::from_http_date(text).map(|then| then.since(now)))
}

/// The outcome of a status code: only 2xx is success. Client errors that are not about load reject the notice; all
/// others are retried.
fn outcome(status: StatusCode, delay: Option<Duration>) -> Result<(), SinkError> {
    let said = || format!("it answered {}", status.as_u16());
    let may_ask = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    if let Some(delay) = delay.filter(|_| may_ask) {
        return Err(SinkError::RetryAfter(said(), delay));
    }
    match status {
        _ if status.is_success() => Ok(()),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Err(SinkError::Unavailable(said()))
        }
        _ if status.is_client_error() => Err(SinkError::Rejected(said())),
        _ => Err(SinkError::Unavailable(said())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let secret = Secret::new(STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
        let signed = signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signed.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn only_2xx_is_success_and_a_client_error_is_final() {
        let outcome = |status| outcome(status, None);
        assert_eq!(outcome(StatusCode::NO_CONTENT), Ok(()));
        for status in [301, 429, 408, 500, 503] {
            assert!(
                matches!(outcome(StatusCode::from_u16(status).unwrap()), Err(SinkError::Unavailable(_))),
                "{status}"
            );
        }
        for status in [400, 401, 404, 410] {
            assert!(matches!(outcome(StatusCode::from_u16(status).unwrap()), Err(SinkError::Rejected(_))), "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds_or_as_a_date() {
        let now = Timestamp::from_http_date("Wed, 25 Nov 2026 12:00:00 GMT").unwrap();
        for (text, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Wed, 25 Nov 2026 12:01:30 GMT", Some(90)),
            ("Wed, 25 Nov 2026 11:00:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("99999999999999999999999", None),
        ] {
            let header = HeaderValue::from_str(text).unwrap();
            assert_eq!(retry_after(Some(&header), now), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(None, now), None);
        let minute = Some(Duration::from_secs(60));
        for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
            assert!(
                matches!(outcome(status, minute), Err(SinkError::RetryAfter(_, delay)) if Some(delay) == minute),
                "{status}"
            );
        }
        for status in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::REQUEST_TIMEOUT] {
            assert!(matches!(outcome(status, minute), Err(SinkError::Unavailable(_))), "{status}");
        }
        assert!(matches!(outcome(StatusCode::GONE, minute), Err(SinkError::Rejected(_))));
        assert_eq!(outcome(StatusCode::OK, minute), Ok(()));
    }
}
