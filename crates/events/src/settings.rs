//! The settings of a topic that decide how its records are read.

use crate::{Error, Result};

/// How a topic's records are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSettings {
    /// The topic's name, as in `_topic` and in dead letters.
    pub topic: String,
    /// Whom a call is by: the first of these that the event has. Default: `key_id`, then the
    /// fingerprint of `api_key`.
    pub identity: Vec<IdentitySource>,
    /// What `event_time` marks. Default: the end of the response.
    pub time: TimeMeaning,
    /// How far behind the greatest time before it a row may come without being late, in ms. Default:
    /// 10 s.
    pub bound_ms: i64,
    /// How far ahead of its record's time an event time may be, in ms. Default: 60 s.
    pub future_ms_max: i64,
    /// How far one row may move the watermark, in ms. Set where the records' times are the producers'
    /// and not the broker's (`message.timestamp.type` is not `LogAppendTime`): they are then trusted
    /// neither to bound event times nor to bound the watermark, and this bounds it instead. Default:
    /// none, record times are the broker's.
    pub step_ms_max: Option<i64>,
    /// Whether dead letters carry the payload, redacted. Default: no.
    pub dead_letter_payload: bool,
}

/// A thing that can say whom a call is by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentitySource {
    /// The gateway's id of the key, in clear.
    KeyId,
    /// The fingerprint of the credential.
    ApiKey,
    /// The gateway's id of the consumer, in clear.
    ConsumerId,
}

/// What `event_time` marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeMeaning {
    /// The end of the response.
    #[default]
    End,
    /// The arrival of the request (Kong, Envoy, OpenTelemetry): the latency is added first.
    Start,
}

impl TopicSettings {
    /// The defaults for a topic of that name.
    pub fn new(topic: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            identity: vec![IdentitySource::KeyId, IdentitySource::ApiKey],
            time: TimeMeaning::End,
            bound_ms: 10_000,
            future_ms_max: 60_000,
            step_ms_max: None,
            dead_letter_payload: false,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let settings = [
            ("bound", self.bound_ms, 0, "a duration of 0 or more"),
            (
                "future_max",
                self.future_ms_max,
                0,
                "a duration of 0 or more",
            ),
            (
                "step_max",
                self.step_ms_max.unwrap_or(1),
                1,
                "a duration above 0",
            ),
        ];
        for (setting, value, min, expected) in settings {
            if value < min {
                let topic = self.topic.clone();
                return Err(Error::BadSetting {
                    topic,
                    setting,
                    value,
                    expected,
                });
            }
        }
        Ok(())
    }
}
