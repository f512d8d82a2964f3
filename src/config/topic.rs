//! `[[sns_topic]]`: a topic of Amazon SNS that tells who left the site.

use super::reader::{Read, Section, Unique};
use super::value::{event_of, safe_address};
use crate::aws::sns::{Topic, TopicArn};
use crate::room::EventId;

/// A topic, and whose exits it tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicConfig {
    /// The topic.
    pub topic: Topic,
    /// The event whose visitors it tells of.
    pub event: EventId,
}

pub(super) fn read(section: &mut Section<'_>, events: &Unique, arns: &mut Unique) -> Read<TopicConfig> {
    let arn = section.required("arn", |found| {
        let arn = found.parsed(str::parse::<TopicArn>)?;
        arns.claim(found, arn.as_str()).map(|()| arn)
    });
    let event = section.required("event", |found| event_of(found, events));
    let endpoint = section.optional("endpoint", |found| found.parsed(safe_address));
    Ok(TopicConfig { topic: Topic { arn: arn?, endpoint: endpoint? }, event: event? })
}
