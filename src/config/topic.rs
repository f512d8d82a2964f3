//! `[[sns_topic]]`: an Amazon SNS topic that publishes departures.

use super::reader::{Read, Section, Unique};
use super::value::{event_of, safe_address};
use crate::aws::sns::{Topic, TopicArn};
use crate::room::EventId;

/// A topic, and the event whose departures it publishes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicConfig {
    /// The topic.
    pub topic: Topic,
    /// The event.
    pub event: EventId,
}

pub(super) fn read(section: &mut Section<'_>, events: &Unique, arns: &mut Unique) -> Read<TopicConfig> {
    let arn = section.required("arn", |value| {
        let arn = value.parsed(str::parse::<TopicArn>)?;
        arns.claim(value, arn.as_str()).map(|()| arn)
    });
    let event = section.required("event", |value| event_of(value, events));
    let endpoint = section.optional("endpoint", |value| value.parsed(safe_address));
    Ok(TopicConfig { topic: Topic { arn: arn?, endpoint: endpoint? }, event: event? })
}
