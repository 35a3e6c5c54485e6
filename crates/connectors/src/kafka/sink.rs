//! The Kafka sink: records out, and a receipt for each.
//!
//! ```text
//!   send(topic, key, payload, token) ──▶ librdkafka's queue ──▶ brokers
//!        │ QueueFull: wait, then again                             │
//!   receipts ◀── Delivery { token, result } ◀── thread kh-sink ◀───┘
//! ```
//!
//! Idempotent producer, `acks=all`. Every token that was accepted comes back exactly once, as
//! delivered, as refused for good (the same record would be refused again), or as failed (send it
//! again). There is no time-out by default: while the brokers are away the queue fills, `send` says
//! so, and the pipeline stops reading. Partitions are chosen as Java's clients do (murmur2), so
//! that other producers of a keyed topic agree.
//!
//! A producer with a fatal error is replaced; what it had not delivered comes back as failed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig,
};

use super::{Properties, client};
use crate::{Error, Result};

/// How long one poll of the receipts may wait.
const POLL: Duration = Duration::from_millis(50);

/// Where a sink writes to, and how.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// How this instance is called in the brokers' logs and metrics.
    pub client_id: String,
    /// The operator's librdkafka properties.
    pub properties: Properties,
}

impl SinkConfig {
    /// The defaults for these brokers.
    pub fn new(brokers: impl Into<String>) -> SinkConfig {
        SinkConfig {
            brokers: brokers.into(),
            client_id: "keyhawk".to_owned(),
            properties: Properties::default(),
        }
    }
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The token that it was sent with.
    pub token: u64,
    /// Nothing where all in-sync replicas have it.
    pub result: std::result::Result<(), Refusal>,
}

/// Why a record was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whether the same record would be refused again: too large, malformed. Otherwise it may be
    /// sent again; a broker may have it already, if the connection broke at the wrong moment.
    pub for_good: bool,
    /// Kafka's reason, which quotes nothing of the record.
    pub reason: String,
}

/// The producer's queue is full: let receipts come in, then send again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// A running sink. Dropping it waits two seconds for what is still queued and gives up the rest.
pub struct Sink {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    config: SinkConfig,
    receipts: Sender<Delivery>,
    producer: RwLock<Arc<BaseProducer<Receipts>>>,
    stopping: AtomicBool,
}

impl Shared {
    fn producer(&self) -> Arc<BaseProducer<Receipts>> {
        Arc::clone(&self.producer.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sink {
    /// Makes the producer and starts the thread that passes receipts on.
    ///
    /// # Errors
    ///
    /// Where librdkafka refuses a property or no thread can be had. Brokers that cannot be reached
    /// are no error: records wait for them.
    pub fn new(config: SinkConfig) -> Result<(Sink, Receiver<Delivery>)> {
        let (receipts, receiver) = channel();
        let producer = producer(&config, &receipts)?;
        let shared = Arc::new(Shared {
            config,
            receipts,
            producer: RwLock::new(Arc::new(producer)),
            stopping: AtomicBool::new(false),
        });
        let thread = std::thread::Builder::new()
            .name("kh-sink".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || poll(&shared)
            })
            .map_err(|error| Error::Client {
                doing: "starting the thread of the Kafka sink",
                reason: error.to_string(),
            })?;
        Ok((
            Sink {
                shared,
                thread: Some(thread),
            },
            receiver,
        ))
    }

    /// Queues a record; its receipt carries the token. Never blocks.
    ///
    /// A record that librdkafka itself refuses (too large for it, say) is accepted here, and its
    /// receipt says so, so that there is one place to look for the fate of a record.
    ///
    /// # Errors
    ///
    /// [`QueueFull`], and nothing was queued.
    pub fn send(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        payload: &[u8],
        token: u64,
    ) -> std::result::Result<(), QueueFull> {
        let mut record: BaseRecord<'_, [u8], [u8], Box<u64>> =
            BaseRecord::with_opaque_to(topic, Box::new(token)).payload(payload);
        record.key = key;
        match self.shared.producer().send(record) {
            Ok(()) => Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Err(QueueFull),
            Err((error, _)) => {
                receipt(&self.shared.receipts, topic, token, Err(refusal(&error)));
                Ok(())
            }
        }
    }

    /// The same, waiting while the queue is full.
    ///
    /// # Errors
    ///
    /// [`QueueFull`] where there was no room in time.
    pub fn send_within(
        &self,
        timeout: Duration,
        topic: &str,
        key: Option<&[u8]>,
        payload: &[u8],
        token: u64,
    ) -> std::result::Result<(), QueueFull> {
        let deadline = Instant::now() + timeout;
        while self.send(topic, key, payload, token).is_err() {
            if Instant::now() >= deadline {
                return Err(QueueFull);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Records that have no receipt yet.
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.shared.producer().in_flight_count()).unwrap_or(0)
    }

    /// Sends what is queued at once and waits until every record has its receipt.
    ///
    /// Returns whether that came in time; if not, the rest stays queued.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.shared.producer().flush(timeout).is_ok()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.flush(Duration::from_secs(2)) {
            let producer = self.shared.producer();
            producer.purge(PurgeConfig::default().queue().inflight());
            let _ = producer.flush(Duration::from_millis(500));
        }
        self.shared.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the Kafka sink panicked; restart Keyhawk");
        }
    }
}

fn producer(config: &SinkConfig, receipts: &Sender<Delivery>) -> Result<BaseProducer<Receipts>> {
    let mut client = client::config(
        &config.brokers,
        &config.client_id,
        &[
            ("linger.ms", "5"),
            ("compression.type", "lz4"),
            ("partitioner", "murmur2_random"),
            // Bounds what may wait for brokers that are away; librdkafka's own default is 1 GiB.
            ("queue.buffering.max.kbytes", "65536"),
            // Waits for ever: giving up on an output would lose it.
            ("message.timeout.ms", "0"),
        ],
    );
    config.properties.apply(&mut client);
    client
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .create_with_context(Receipts {
            receipts: receipts.clone(),
        })
        .map_err(|error| Error::client("making the Kafka producer", error))
}

/// Passes receipts on, and replaces a producer that can do no more.
fn poll(shared: &Shared) {
    while !shared.stopping.load(Ordering::Acquire) {
        let current = shared.producer();
        current.poll(POLL);
        if let Some((_, reason)) = current.client().fatal_error() {
            tracing::warn!("the Kafka producer is replaced, nothing is lost: {reason}");
            match producer(&shared.config, &shared.receipts) {
                Ok(next) => {
                    metrics::counter!("keyhawk_sink_recreations_total").increment(1);
                    let mut slot = shared
                        .producer
                        .write()
                        .unwrap_or_else(PoisonError::into_inner);
                    *slot = Arc::new(next);
                }
                Err(error) => {
                    tracing::warn!(%error, "no new Kafka producer yet");
                    std::thread::sleep(Duration::from_secs(1));
                    continue;
                }
            }
            // Its records are given up by now, or on the way to be; their receipts come first.
            current.purge(PurgeConfig::default().queue().inflight());
            let _ = current.flush(Duration::from_secs(5));
        }
    }
}

struct Receipts {
    receipts: Sender<Delivery>,
}

impl ClientContext for Receipts {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "librdkafka", %error, "{reason}");
    }
}

impl ProducerContext for Receipts {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, token: Box<u64>) {
        let (topic, result) = match result {
            Ok(message) => (message.topic(), Ok(())),
            Err((error, message)) => (message.topic(), Err(refusal(error))),
        };
        receipt(&self.receipts, topic, *token, result);
    }
}

fn receipt(
    receipts: &Sender<Delivery>,
    topic: &str,
    token: u64,
    result: std::result::Result<(), Refusal>,
) {
    let outcome = match &result {
        Ok(()) => "ok",
        Err(Refusal { for_good: true, .. }) => "refused",
        Err(Refusal {
            for_good: false, ..
        }) => "failed",
    };
    metrics::counter!(
        "keyhawk_sink_records_total", "topic" => topic.to_owned(), "result" => outcome
    )
    .increment(1);
    // A pipeline that has gone away wants no receipts.
    drop(receipts.send(Delivery { token, result }));
}

/// Tells a record that will never be accepted from bad luck.
///
/// Only what Kafka's protocol blames on the record itself is for good. A missing topic or right is
/// the operator's to mend, and the record waits for it by being sent again.
fn refusal(error: &KafkaError) -> Refusal {
    let code = match error {
        KafkaError::MessageProduction(code) => Some(*code),
        _ => None,
    };
    let for_good = match code {
        Some(code) => matches!(
            code,
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::MessageBatchTooLarge
                | RDKafkaErrorCode::InvalidTopic
                | RDKafkaErrorCode::InvalidTimestamp
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::PolicyViolation
        ),
        // A topic's name with a zero byte.
        None => matches!(error, KafkaError::Nul(_)),
    };
    let reason = code.map_or_else(|| error.to_string(), |code| code.to_string());
    Refusal { for_good, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_the_records_own_fault_is_for_good() {
        let judge = |code| refusal(&KafkaError::MessageProduction(code)).for_good;
        assert!(judge(RDKafkaErrorCode::MessageSizeTooLarge));
        assert!(judge(RDKafkaErrorCode::InvalidRecord));
        assert!(!judge(RDKafkaErrorCode::MessageTimedOut));
        assert!(!judge(RDKafkaErrorCode::UnknownTopicOrPartition));
        assert!(!judge(RDKafkaErrorCode::TopicAuthorizationFailed));
        assert!(!judge(RDKafkaErrorCode::PurgeQueue));
        assert!(!judge(RDKafkaErrorCode::NotEnoughReplicas));
    }
}
