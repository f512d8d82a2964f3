//! The ARN of a topic, which determines its endpoint.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// `arn:PARTITION:sns:REGION:ACCOUNT:NAME`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TopicArn {
    text: String,
    region: String,
    /// Of the partition.
    domain: &'static str,
    home: Url,
}

/// The text is not the ARN of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it must be the ARN of an SNS topic, such as arn:aws:sns:eu-central-1:123456789012:exits")]
pub struct TopicArnError;

impl TopicArn {
    /// The ARN.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// AWS's SNS endpoint of the topic's region.
    pub(super) fn regional_endpoint(&self) -> Url {
        self.home.clone()
    }

    /// The names to which AWS issues the signing certificates of the topic's region: the service as a whole, or, in
    /// China, GovCloud and opt-in regions, the region's name (the AWS SDK for Java, *SNS message manager*).
    pub(super) fn certificate_names(&self) -> Vec<String> {
        let Self { region, domain, .. } = self;
        let mut names = vec![
            format!("sns.{domain}"),
            format!("sns.{region}.{domain}"),
            format!("sns-signing.{region}.{domain}"),
            format!("sns-{region}.{domain}"),
        ];
        if region.starts_with("us-gov-") {
            names.push(format!("sns-us-gov-west-1.{domain}"));
        }
        names
    }
}

impl fmt::Display for TopicArn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for TopicArn {
    type Err = TopicArnError;

    fn from_str(text: &str) -> Result<Self, TopicArnError> {
        let parts: Vec<&str> = text.split(':').collect();
        let &["arn", partition, "sns", region, account, name] = parts.as_slice() else { return Err(TopicArnError) };
        let word = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        };
        let label = |part: &str| {
            word(part) && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        let number = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        if !(label(partition) && label(region) && number && word(name)) {
            return Err(TopicArnError);
        }
        let domain = if partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
        let home = Url::parse(&format!("https://sns.{region}.{domain}/")).map_err(|_| TopicArnError)?;
        Ok(Self { text: text.to_owned(), region: region.to_owned(), domain, home })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(text: &str) -> String {
        text.parse::<TopicArn>().unwrap().regional_endpoint().to_string()
    }

    #[test]
    fn a_topics_endpoint_is_that_of_its_region() {
        assert_eq!(home("arn:aws:sns:eu-central-1:123456789012:exits"), "https://sns.eu-central-1.amazonaws.com/");
        assert_eq!(
            home("arn:aws-us-gov:sns:us-gov-west-1:123456789012:x.fifo"),
            "https://sns.us-gov-west-1.amazonaws.com/"
        );
        assert_eq!(home("arn:aws-cn:sns:cn-north-1:123456789012:x"), "https://sns.cn-north-1.amazonaws.com.cn/");
    }

    #[test]
    fn certificate_names_depend_on_the_partition() {
        for (place, name) in [
            ("aws:sns:eu-central-1", "sns.amazonaws.com"),
            ("aws:sns:af-south-1", "sns-signing.af-south-1.amazonaws.com"),
            ("aws-us-gov:sns:us-gov-east-1", "sns-us-gov-west-1.amazonaws.com"),
            ("aws-cn:sns:cn-north-1", "sns-cn-north-1.amazonaws.com.cn"),
        ] {
            let arn: TopicArn = format!("arn:{place}:123456789012:exits").parse().unwrap();
            assert!(arn.certificate_names().iter().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn malformed_topic_arns_are_refused() {
        for text in [
            "",
            "exits",
            "arn:aws:sqs:eu-central-1:123456789012:exits",
            "arn:aws:sns::123456789012:exits",
            "arn:aws:sns:eu-central-1:1234:exits",
            "arn:aws:sns:eu-central-1:123456789012:",
            "arn:aws:sns:eu-central-1:123456789012:exits:17",
            "arn:aws:sns:evil.example/:123456789012:exits",
            "arn:aws:sns:evil.example:123456789012:exits",
        ] {
            assert_eq!(text.parse::<TopicArn>(), Err(TopicArnError), "{text}");
        }
    }
}
