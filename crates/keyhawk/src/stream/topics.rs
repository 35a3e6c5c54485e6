//! The topics that are read: their settings, and whose clock their record times are by.

use std::collections::BTreeMap;

use keyhawk_connectors::Error as ConnectError;
use keyhawk_connectors::kafka::{TimestampType, timestamp_type};
use keyhawk_events::TopicSettings;

use super::Error;
use crate::commands::topic_settings;
use crate::config::Config;
use crate::rule_set::KEY;

/// The settings of every topic that is read, by name. Asks the brokers about each.
///
/// Record times that are the producers' can be wrong by any amount: such a topic's event times are
/// not held against them, and one row may instead move the watermark only by the topic's `future`.
pub(super) fn settings(config: &Config) -> Result<BTreeMap<String, TopicSettings>, Error> {
    let brokers = config.kafka.brokers.join(",");
    let mut all = BTreeMap::new();
    for (name, topic) in &config.topics {
        if topic.keyed_by != KEY {
            return Err(Error::KeyedBy {
                topic: name.clone(),
                column: topic.keyed_by.clone(),
            });
        }
        let mut settings = topic_settings(name, Some(topic));
        let by_broker = match timestamp_type(&brokers, &config.kafka.properties, name) {
            Ok(TimestampType::LogAppendTime) => true,
            Ok(TimestampType::CreateTime) => {
                tracing::warn!(
                    topic = name,
                    "message.timestamp.type is CreateTime, so that record times are the \
                     producers' and not trusted: one row moves the watermark by {:?} at most. Set \
                     LogAppendTime on the topic to refuse event times in the future instead",
                    topic.future
                );
                false
            }
            Err(ConnectError::Broker { reason, .. }) if is_forbidden(&reason) => {
                tracing::warn!(
                    topic = name,
                    "its settings may not be read ({reason}), so that record times are not \
                     trusted: allow DescribeConfigs on the topic"
                );
                false
            }
            Err(error) => return Err(Error::Connect(error)),
        };
        if !by_broker {
            settings.step_ms_max = Some(settings.future_ms_max.max(1));
        }
        all.insert(name.clone(), settings);
    }
    Ok(all)
}

/// Says which output topics are missing; brokers that create topics by themselves will do so.
pub(super) fn look_for_outputs(config: &Config) {
    let brokers = config.kafka.brokers.join(",");
    let output = &config.output;
    for name in [
        &output.alerts,
        &output.commands,
        &output.shadow,
        &output.late,
        &output.dead_letter,
    ] {
        let answer = timestamp_type(&brokers, &config.kafka.properties, name);
        if let Err(ConnectError::NoTopic { .. }) = answer {
            tracing::warn!(
                topic = name,
                "an output topic does not exist: what goes there waits, and its rows are not \
                 committed, until somebody creates it"
            );
        }
    }
}

fn is_forbidden(reason: &str) -> bool {
    reason.to_ascii_lowercase().contains("authoriz")
}
