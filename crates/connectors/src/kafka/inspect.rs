//! Questions to the brokers: a topic's timestamps, and a sample of its records.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::Properties;
use super::client::{self, Quiet};
use crate::{Error, Result};

/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whose clock a topic's record times are by (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's, which may be wrong by any amount.
    CreateTime,
    /// The broker's, when it appended the record.
    LogAppendTime,
}

/// Asks for a topic's `message.timestamp.type`. Blocks for up to 10 s.
///
/// # Errors
///
/// [`Error::NoTopic`], or [`Error::Broker`] where the brokers do not answer or do not allow it.
pub fn timestamp_type(
    brokers: &str,
    properties: &Properties,
    topic: &str,
) -> Result<TimestampType> {
    let doing = || format!("reading the settings of topic {topic}");
    let fail = |error: KafkaError| Error::broker(doing(), &error);
    let admin: AdminClient<Quiet> = client::asking(brokers, properties)
        .create_with_context(Quiet)
        .map_err(|error| Error::client("making the Kafka client that asks for settings", error))?;
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let answers =
        wait(admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options)).map_err(fail)?;
    for answer in answers {
        let resource = answer.map_err(|code| match code {
            rdkafka::types::RDKafkaErrorCode::UnknownTopicOrPartition
            | rdkafka::types::RDKafkaErrorCode::UnknownTopic => Error::NoTopic {
                topic: topic.to_owned(),
            },
            code => Error::Broker {
                doing: doing(),
                reason: code.to_string(),
            },
        })?;
        if let Some(entry) = resource.get("message.timestamp.type") {
            return Ok(match entry.value.as_deref() {
                Some("LogAppendTime") => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            });
        }
    }
    Err(Error::Broker {
        doing: doing(),
        reason: "message.timestamp.type is missing".to_owned(),
    })
}

/// A record of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Kafka's timestamp in milliseconds since 1970; absent in the oldest record format.
    pub record_time_ms: Option<i64>,
    /// The record's value; absent for a tombstone.
    pub payload: Option<Vec<u8>>,
}

/// The last `records` of a topic, the same share of every partition, by partition and offset.
///
/// Belongs to no group and commits nothing. Blocks until the present end is reached, at most for a
/// minute; what was read by then is the sample.
///
/// # Errors
///
/// [`Error::NoTopic`], or [`Error::Broker`] where the brokers do not answer.
pub fn sample(
    brokers: &str,
    properties: &Properties,
    topic: &str,
    records: usize,
) -> Result<Vec<Sample>> {
    let fail = |error: KafkaError| Error::broker(format!("reading topic {topic}"), &error);
    let consumer: BaseConsumer<Quiet> = client::asking(brokers, properties)
        // The client wants a name though it joins no group.
        .set("group.id", "keyhawk-sample")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .create_with_context(Quiet)
        .map_err(|error| Error::client("making the Kafka consumer of a sample", error))?;
    let metadata = consumer
        .fetch_metadata(Some(topic), PATIENCE)
        .map_err(fail)?;
    let partitions: Vec<i32> = metadata
        .topics()
        .iter()
        .filter(|found| found.error().is_none())
        .flat_map(|found| found.partitions().iter().map(|partition| partition.id()))
        .collect();
    if partitions.is_empty() {
        return Err(Error::NoTopic {
            topic: topic.to_owned(),
        });
    }
    let share = i64::try_from(records.div_ceil(partitions.len())).unwrap_or(i64::MAX);
    let mut assignment = TopicPartitionList::new();
    let mut reading = std::collections::BTreeMap::new();
    for partition in partitions {
        let (low, high) = consumer
            .fetch_watermarks(topic, partition, PATIENCE)
            .map_err(fail)?;
        if low < high {
            let start = Offset::Offset((high.saturating_sub(share)).max(low));
            assignment
                .add_partition_offset(topic, partition, start)
                .map_err(fail)?;
            reading.insert(partition, high);
        }
    }
    consumer.assign(&assignment).map_err(fail)?;
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut sample = Vec::new();
    while !reading.is_empty() && Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                let Some(high) = reading.get(&message.partition()) else {
                    continue;
                };
                if message.offset() + 1 >= *high {
                    reading.remove(&message.partition());
                }
                sample.push(Sample {
                    partition: message.partition(),
                    offset: message.offset(),
                    record_time_ms: message.timestamp().to_millis(),
                    payload: message.payload().map(<[u8]>::to_vec),
                });
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                reading.remove(&partition);
            }
            // librdkafka tries again by itself.
            Some(Err(_)) | None => {}
        }
    }
    sample.sort_by_key(|record| (record.partition, record.offset));
    Ok(sample)
}

/// Waits for one of the client's futures; its own thread completes it, so that looking now and then
/// is enough.
fn wait<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
