//! An SNS message: its members, and the text that is signed.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Public};
use openssl::sign::Verifier;
use serde::Deserialize;
use url::Url;

use crate::ambient::Timestamp;
use crate::text::without_byte_order_mark;

/// The content of a verified message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// A notification was published.
    Notification {
        /// Its ID, the same for every delivery.
        id: String,
        /// The published text.
        text: String,
    },
    /// The endpoint was subscribed and has to confirm.
    Subscription {
        /// The address of the confirmation.
        confirm: Url,
    },
    /// The subscription was ended.
    Unsubscribed,
}

/// Why a message is not accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SnsError {
    /// It is not an SNS message; the text is the problem.
    Malformed(&'static str),
    /// It is of another topic.
    Foreign,
    /// It is too old, or from the future: it may be a replay.
    Stale,
    /// SNS did not sign it.
    Forged,
    /// Its signature is not checked now: too many messages named unknown certificates.
    Busy,
    /// Its signature cannot be checked now: the log has the reason.
    Unverifiable,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub(super) enum Kind {
    Notification,
    SubscriptionConfirmation,
    UnsubscribeConfirmation,
}

/// A message as received, from any sender.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UnverifiedMessage {
    #[serde(rename = "Type")]
    pub(super) kind: Kind,
    #[serde(rename = "MessageId")]
    pub(super) id: String,
    #[serde(rename = "TopicArn")]
    topic: String,
    #[serde(rename = "Message")]
    pub(super) text: String,
    subject: Option<String>,
    timestamp: String,
    token: Option<String>,
    #[serde(rename = "SubscribeURL")]
    subscribe_url: Option<String>,
    signature_version: String,
    signature: String,
    #[serde(rename = "SigningCertURL")]
    signing_cert_url: String,
}

impl UnverifiedMessage {
    /// Parses a message.
    ///
    /// # Errors
    /// [`SnsError::Malformed`].
    pub fn parse(body: &[u8]) -> Result<Self, SnsError> {
        let body = without_byte_order_mark(body);
        // Serde would accept an array as well.
        let is_object = body.trim_ascii_start().starts_with(b"{");
        let read = is_object.then(|| serde_json::from_slice(body).ok()).flatten();
        read.ok_or(SnsError::Malformed("The body is not a message of Amazon SNS"))
    }

    /// The topic that it names.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The distance of its time from `now`, in either direction.
    pub(super) fn age(&self, now: Timestamp) -> Result<Duration, SnsError> {
        let sent = Timestamp::from_rfc3339(&self.timestamp);
        let sent = sent.ok_or(SnsError::Malformed("The timestamp is not a date and time"))?;
        Ok(now.since(sent).max(sent.since(now)))
    }

    pub(super) fn certificate_url(&self) -> Option<Url> {
        Url::parse(&self.signing_cert_url).ok()
    }

    pub(super) fn subscribe_url(&self) -> Option<Url> {
        Url::parse(self.subscribe_url.as_deref()?).ok()
    }

    /// Each signed member and its value, a line each, in the order of the names.
    fn signed_text(&self) -> String {
        let subject = self.subject.as_deref();
        let (subject, subscribe_url, token) = match self.kind {
            Kind::Notification => (subject, None, None),
            Kind::SubscriptionConfirmation | Kind::UnsubscribeConfirmation => {
                (None, self.subscribe_url.as_deref(), self.token.as_deref())
            }
        };
        let members = [
            ("Message", Some(self.text.as_str())),
            ("MessageId", Some(&self.id)),
            ("Subject", subject),
            ("SubscribeURL", subscribe_url),
            ("Timestamp", Some(&self.timestamp)),
            ("Token", token),
            ("TopicArn", Some(&self.topic)),
            ("Type", Some(self.kind.name())),
        ];
        members.into_iter().filter_map(|(name, value)| Some(format!("{name}\n{}\n", value?))).collect()
    }

    /// Verifies the signature with `key`.
    pub(super) fn verify(&self, key: &PKey<Public>) -> Result<(), SnsError> {
        let digest = match self.signature_version.as_str() {
            "1" => MessageDigest::sha1(),
            "2" => MessageDigest::sha256(),
            _ => return Err(SnsError::Malformed("The signature is of an unknown version")),
        };
        let signature = STANDARD.decode(&self.signature).map_err(|_| SnsError::Forged)?;
        let good = Verifier::new(digest, key)
            .and_then(|mut verifier| verifier.verify_oneshot(&signature, self.signed_text().as_bytes()));
        if good.unwrap_or(false) { Ok(()) } else { Err(SnsError::Forged) }
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Notification => "Notification",
            Self::SubscriptionConfirmation => "SubscriptionConfirmation",
            Self::UnsubscribeConfirmation => "UnsubscribeConfirmation",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &str, more: &str) -> UnverifiedMessage {
        let text = format!(
            r#"{{"Type":"{kind}","MessageId":"id","TopicArn":"arn","Message":"a\nb","Timestamp":"2026-11-25T12:00:00.123Z",
                "SignatureVersion":"2","Signature":"","SigningCertURL":"https://sns.x.amazonaws.com/a.pem"{more}}}"#
        );
        UnverifiedMessage::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_signed_text_is_that_of_the_developer_guide() {
        let with_subject = message("Notification", r#","Subject":"s","UnsubscribeURL":"https://u""#);
        let expected = "Message\na\nb\nMessageId\nid\nSubject\ns\nTimestamp\n2026-11-25T12:00:00.123Z\nTopicArn\narn\n\
                        Type\nNotification\n";
        assert_eq!(with_subject.signed_text(), expected);
        assert_eq!(message("Notification", "").signed_text(), expected.replace("Subject\ns\n", ""));
        let confirmation = message("SubscriptionConfirmation", r#","Token":"t","SubscribeURL":"https://s""#);
        let expected = "Message\na\nb\nMessageId\nid\nSubscribeURL\nhttps://s\nTimestamp\n2026-11-25T12:00:00.123Z\n\
                        Token\nt\nTopicArn\narn\nType\nSubscriptionConfirmation\n";
        assert_eq!(confirmation.signed_text(), expected);
    }

    #[test]
    fn a_message_from_the_future_is_as_stale_as_one_from_the_past() {
        let sent = Timestamp::from_rfc3339("2026-11-25T12:00:00Z").unwrap();
        let age = |now| message("Notification", "").age(now).unwrap().as_secs();
        assert_eq!((age(sent + Duration::from_secs(7)), age(sent - Duration::from_secs(5))), (7, 5));
    }

    #[test]
    fn malformed_messages_are_refused() {
        for text in ["", "[]", "{}", r#"{"Type":"Other"}"#, "null"] {
            assert!(matches!(UnverifiedMessage::parse(text.as_bytes()), Err(SnsError::Malformed(_))), "{text}");
        }
    }
}
