//! CloudWatch alarms.

use aws_config::SdkConfig;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{AlarmType, StateValue};

use super::error_text::describe;

/// The state of an alarm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AlarmState {
    /// `ALARM`.
    Alarm,
    /// `OK` or `INSUFFICIENT_DATA`.
    Ok,
    /// The region has no alarm of this name.
    Missing,
}

/// A metric or composite alarm, by its name.
pub struct Alarm {
    client: Client,
    name: String,
}

impl Alarm {
    /// The alarm `name` of the region and account of `config`.
    pub fn new(config: &SdkConfig, name: &str) -> Self {
        Self { client: Client::new(config), name: name.to_owned() }
    }

    /// The current state (`DescribeAlarms`).
    ///
    /// # Errors
    /// The message of CloudWatch or of the connection: a line for the log.
    pub async fn state(&self) -> Result<AlarmState, String> {
        let ask = self.client.describe_alarms().alarm_names(&self.name);
        let ask = ask.alarm_types(AlarmType::MetricAlarm).alarm_types(AlarmType::CompositeAlarm);
        let found = ask.send().await.map_err(|error| describe(&error))?;
        let metric = found.metric_alarms().first().and_then(|alarm| alarm.state_value());
        let composite = found.composite_alarms().first().and_then(|alarm| alarm.state_value());
        Ok(match metric.or(composite) {
            Some(StateValue::Alarm) => AlarmState::Alarm,
            Some(_) => AlarmState::Ok,
            None => AlarmState::Missing,
        })
    }
}
