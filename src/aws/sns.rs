//! Messages of Amazon SNS topics, as an HTTPS endpoint that is subscribed to them gets them.
//!
//! Owns the proof that a message comes from a topic that was configured (*Verifying the signatures of Amazon SNS
//! messages*, SNS developer guide), and the consent to a subscription. Whatever a message says of itself is not believed
//! until then: certificates and confirmations are asked for at the topic's own region alone. It must not know what the
//! messages are about.

mod certificate;
mod certificates;
mod message;
mod topic;

use url::Url;

pub use message::{Received, Rejection, Unproven};
pub use topic::{TopicArn, TopicArnError};

use crate::ambient::Timestamp;
use crate::outbound::{self, OutboundError};
use crate::policy;
use certificates::Certificates;
use message::Kind;

/// A topic whose messages are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its name.
    pub arn: TopicArn,
    /// Where SNS is, if it is not AWS's.
    pub endpoint: Option<Url>,
}

impl Topic {
    /// Whether `url` is an address of the SNS that the topic lives in.
    fn is_at_home(&self, url: &Url) -> bool {
        let home = self.home();
        url.origin() == home.origin() && url.username().is_empty() && url.password().is_none()
    }

    /// Whether `url` is where that SNS has a certificate: it gives out much more than those.
    fn is_certificate(&self, url: &Url) -> bool {
        let home = self.home();
        let name = url.path().strip_prefix(home.path().trim_end_matches('/'));
        let name = name.and_then(|name| name.strip_prefix("/SimpleNotificationService-")?.strip_suffix(".pem"));
        let is_hex = |name: &str| (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.is_at_home(url) && url.query().is_none() && url.fragment().is_none() && name.is_some_and(is_hex)
    }

    fn home(&self) -> Url {
        self.endpoint.clone().unwrap_or_else(|| self.arn.home())
    }
}

/// Takes in the messages of one topic.
pub struct Inbox {
    topic: Topic,
    client: reqwest::Client,
    certificates: Certificates,
}

impl Inbox {
    /// An inbox for the messages of `topic`. Nothing is fetched yet.
    ///
    /// # Errors
    /// When TLS cannot be used.
    pub fn new(topic: Topic) -> Result<Self, OutboundError> {
        let client = outbound::client(&topic.home(), policy::SNS_PATIENCE, outbound::Proxies::FromEnvironment)?;
        // Whom another SNS than AWS's makes its certificates out to is its own affair.
        let names = topic.endpoint.is_none().then(|| topic.arn.certificate_names());
        Ok(Self { topic, certificates: Certificates::new(client.clone(), names), client })
    }

    /// The topic whose messages it takes.
    pub const fn topic(&self) -> &TopicArn {
        &self.topic.arn
    }

    /// What a message says that reached us at `now`, if it is of this inbox's topic and SNS signed it.
    ///
    /// # Errors
    /// See [`Rejection`].
    pub async fn prove(&self, message: Unproven, now: Timestamp) -> Result<Received, Rejection> {
        if message.topic() != self.topic.arn.as_str() {
            return Err(Rejection::Foreign);
        }
        if message.age(now)? > policy::SNS_MESSAGE_AGE {
            return Err(Rejection::Stale);
        }
        let url = message.certificate_url().filter(|url| self.topic.is_certificate(url)).ok_or(Rejection::Forged)?;
        let certificate = self.certificates.get(&url, now).await?;
        if !certificate.is_valid_at(now) {
            return Err(Rejection::Forged);
        }
        message.verify(certificate.key())?;
        self.certificates.keep(url, certificate, now);
        match message.kind {
            Kind::Notification => Ok(Received::Notification { id: message.id, text: message.text }),
            Kind::UnsubscribeConfirmation => Ok(Received::Unsubscribed),
            Kind::SubscriptionConfirmation => {
                let confirm = message.subscribe_url().filter(|url| self.topic.is_at_home(url));
                Ok(Received::Subscription { confirm: confirm.ok_or(Rejection::Forged)? })
            }
        }
    }

    /// Consents to the subscription that a message offered.
    ///
    /// # Errors
    /// When SNS cannot be reached or does not take it.
    pub async fn confirm(&self, confirm: &Url) -> Result<(), OutboundError> {
        outbound::consent(self.client.get(confirm.clone()).send().await?).map(drop)
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
    fn a_certificate_is_where_sns_has_its_own() {
        let home = "https://sns.eu-central-1.amazonaws.com";
        let is = |endpoint, url: &str| topic(endpoint).is_certificate(&url.parse().unwrap());
        assert!(is(None, &format!("{home}/SimpleNotificationService-5416b31fae4efe3bce5b30212490f0b5.pem")));
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
            assert!(!is(None, &format!("{home}{path}")), "{path}");
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
    fn an_sns_of_ones_own_has_them_below_its_own_path() {
        let endpoint = Some("http://localhost:4566/_aws/sns/");
        let is = |url: &str| topic(endpoint).is_certificate(&url.parse().unwrap());
        assert!(is("http://localhost:4566/_aws/sns/SimpleNotificationService-00.pem"));
        assert!(!is("http://localhost:4566/SimpleNotificationService-00.pem"));
    }
}
