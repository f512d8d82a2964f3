//! Messages of Amazon SNS topics, as an HTTPS endpoint that is subscribed to them gets them.
//!
//! Owns the proof that a message comes from a topic that was configured (*Verifying the signatures of Amazon SNS
//! messages*, SNS developer guide), and the consent to a subscription. Whatever a message says of itself is not believed
//! until then: certificates and confirmations are asked for at the topic's own region alone. It must not know what the
//! messages are about.

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
        Ok(Self { topic, client, certificates: Certificates::default() })
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
        let certificate = message.certificate_url().filter(|url| self.topic.is_at_home(url));
        let key = self.certificates.key(&self.client, &certificate.ok_or(Rejection::Forged)?, now).await?;
        message.verify(&key)?;
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
