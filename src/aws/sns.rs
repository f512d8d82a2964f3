//! Messages of Amazon SNS topics, as a subscribed HTTPS endpoint receives them.
//!
//! Owns the proof that a message comes from a configured topic (*Verifying the signatures of Amazon SNS messages*, SNS
//! developer guide), and the confirmation of a subscription. Until the proof, a message is untrusted: certificates and
//! confirmations are fetched from the topic's own region alone. Must not know the messages' content.

mod certificate;
mod certificates;
mod message;
mod topic;

use url::Url;

pub use message::{Received, SnsError, UnverifiedMessage};
pub use topic::{TopicArn, TopicArnError};

use crate::ambient::Timestamp;
use crate::outbound::{self, OutboundError};
use crate::policy;
use certificates::Certificates;
use message::Kind;

/// A topic whose messages are accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its name.
    pub arn: TopicArn,
    /// The SNS endpoint, if it is not AWS's.
    pub endpoint: Option<Url>,
}

impl Topic {
    /// Whether `url` is on the topic's SNS endpoint.
    fn is_on_endpoint(&self, url: &Url) -> bool {
        let endpoint = self.endpoint_url();
        url.origin() == endpoint.origin() && url.username().is_empty() && url.password().is_none()
    }

    /// Whether `url` is a certificate of that endpoint, which serves much else besides.
    fn is_certificate(&self, url: &Url) -> bool {
        let endpoint = self.endpoint_url();
        let name = url.path().strip_prefix(endpoint.path().trim_end_matches('/'));
        let name = name.and_then(|name| name.strip_prefix("/SimpleNotificationService-")?.strip_suffix(".pem"));
        let is_hex = |name: &str| (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.is_on_endpoint(url) && url.query().is_none() && url.fragment().is_none() && name.is_some_and(is_hex)
    }

    fn endpoint_url(&self) -> Url {
        self.endpoint.clone().unwrap_or_else(|| self.arn.regional_endpoint())
    }
}

/// Verifies the messages of one topic.
pub struct Inbox {
    topic: Topic,
    client: reqwest::Client,
    certificates: Certificates,
}

impl Inbox {
    /// An inbox for the messages of `topic`. It fetches nothing yet.
    ///
    /// # Errors
    /// When TLS cannot be used.
    pub fn new(topic: Topic) -> Result<Self, OutboundError> {
        let client = outbound::client(&topic.endpoint_url(), policy::SNS_PATIENCE, outbound::Proxies::FromEnvironment)?;
        // The subject of certificates of another SNS than AWS's is unknown.
        let names = topic.endpoint.is_none().then(|| topic.arn.certificate_names());
        Ok(Self { topic, certificates: Certificates::new(client.clone(), names), client })
    }

    /// The topic whose messages it verifies.
    pub const fn topic(&self) -> &TopicArn {
        &self.topic.arn
    }

    /// The content of a message received at `now`, if it is of this inbox's topic and signed by SNS.
    ///
    /// # Errors
    /// See [`SnsError`].
    pub async fn verify(&self, message: UnverifiedMessage, now: Timestamp) -> Result<Received, SnsError> {
        if message.topic() != self.topic.arn.as_str() {
            return Err(SnsError::Foreign);
        }
        if message.age(now)? > policy::SNS_MESSAGE_AGE {
            return Err(SnsError::Stale);
        }
        let url = message.certificate_url().filter(|url| self.topic.is_certificate(url)).ok_or(SnsError::Forged)?;
        let certificate = self.certificates.get(&url, now).await?;
        if !certificate.is_valid_at(now) {
            return Err(SnsError::Forged);
        }
        message.verify(certificate.key())?;
        self.certificates.insert_proven(url, certificate, now);
        match message.kind {
            Kind::Notification => Ok(Received::Notification { id: message.id, text: message.text }),
            Kind::UnsubscribeConfirmation => Ok(Received::Unsubscribed),
            Kind::SubscriptionConfirmation => {
                let confirm = message.subscribe_url().filter(|url| self.topic.is_on_endpoint(url));
                Ok(Received::Subscription { confirm: confirm.ok_or(SnsError::Forged)? })
            }
        }
    }

    /// Confirms the subscription that a message offered.
    ///
    /// # Errors
    /// When SNS cannot be reached or refuses it.
    pub async fn confirm(&self, confirm: &Url) -> Result<(), OutboundError> {
        outbound::require_success(self.client.get(confirm.clone()).send().await?).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(endpoint: Option<&str>) -> Topic {
        let arn = "arn:aws:sns:eu-central-1:123456789012:exits".parse().unwrap();
        Topic { arn, endpoint: endpoint.map(|endpoint| endpoint.parse().unwrap()) }
    }

    #[test]
    fn a_certificate_address_is_on_the_topics_endpoint() {
        let endpoint = "https://sns.eu-central-1.amazonaws.com";
        let is = |endpoint, url: &str| topic(endpoint).is_certificate(&url.parse().unwrap());
        assert!(is(None, &format!("{endpoint}/SimpleNotificationService-5416b31fae4efe3bce5b30212490f0b5.pem")));
        for path in [
            "/",
            "/cert.pem",
            "/SimpleNotificationService-.pem",
            "/SimpleNotificationService-xyz.pem",
            "/SimpleNotificationService-00.pem?x",
            "/SimpleNotificationService-00.pem?",
            "/SimpleNotificationService-00.pem#x",
            "/SimpleNotificationService-00.pem/",
            "/SimpleNotificationService-00%2epem",
            "/x/SimpleNotificationService-00.pem",
            "//SimpleNotificationService-00.pem",
            "/?Action=ListTopics&x=/SimpleNotificationService-00.pem",
        ] {
            assert!(!is(None, &format!("{endpoint}{path}")), "{path}");
        }
        let path = "SimpleNotificationService-00.pem";
        for elsewhere in [
            format!("http://sns.eu-central-1.amazonaws.com/{path}"),
            format!("https://sns.eu-central-1.amazonaws.com:444/{path}"),
            format!("https://sns.eu-west-1.amazonaws.com/{path}"),
            format!("https://user@sns.eu-central-1.amazonaws.com/{path}"),
        ] {
            assert!(!is(None, &elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn a_custom_endpoint_serves_certificates_below_its_own_path() {
        let endpoint = Some("http://localhost:4566/_aws/sns/");
        let is = |url: &str| topic(endpoint).is_certificate(&url.parse().unwrap());
        assert!(is("http://localhost:4566/_aws/sns/SimpleNotificationService-00.pem"));
        assert!(!is("http://localhost:4566/SimpleNotificationService-00.pem"));
    }
}
