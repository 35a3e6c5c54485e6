//! A real Kafka for the tests: the first of three ways that this machine offers.
//!
//! ```text
//!   KEYHAWK_TEST_BROKERS named? ──yes──▶ use those; they are not ours to stop
//!           │ no
//!   docker info answers? ─────────yes──▶ apache/kafka in a container, on a free port
//!           │ no
//!   java and mvn there? ──────────yes──▶ Kafka's jars from Maven Central, one process of KRaft
//!           │ no
//!   an error that says what to install
//! ```
//!
//! A broker that was started here is ended by its own id when the value is dropped, and its data
//! with it. One that was stopped for a fault test starts again on the same port with the same data.

mod docker;
mod java;

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::{Error, Result};

/// The version of Kafka that the tests run against.
pub const VERSION: &str = "4.3.1";

/// How long a broker may take to answer after its start.
const READY: Duration = Duration::from_secs(90);

/// A broker, and what is needed to stop and start it.
pub struct Broker {
    brokers: String,
    run: Mutex<Run>,
}

enum Run {
    Named,
    Docker(docker::Container),
    Java(java::Process),
}

/// A record to produce.
#[derive(Clone, Debug, Default)]
pub struct Produce {
    /// The partition; chosen by the key where absent.
    pub partition: Option<i32>,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The value; a tombstone where absent.
    pub payload: Option<Vec<u8>>,
    /// `CreateTime` in milliseconds; now where absent.
    pub time_ms: Option<i64>,
}

/// A record as it was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumed {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The value; absent for a tombstone.
    pub payload: Option<Vec<u8>>,
}

impl Consumed {
    /// The value as text, lossy; empty for a tombstone.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.payload.as_deref().unwrap_or_default()).into_owned()
    }
}

impl Broker {
    /// Finds or starts a broker; see the module's picture. Takes 5 to 15 s with a JDK, a minute more
    /// the first time, when Maven fetches 54 MB.
    ///
    /// # Errors
    ///
    /// Where no way works; the message says what to install and why each way failed.
    pub fn start() -> Result<Broker> {
        let mut tried = Vec::new();
        if let Ok(brokers) = std::env::var("KEYHAWK_TEST_BROKERS")
            && !brokers.trim().is_empty()
        {
            let broker = Broker {
                brokers: brokers.trim().to_owned(),
                run: Mutex::new(Run::Named),
            };
            return match broker.wait_ready(Duration::from_secs(20)) {
                Ok(()) => Ok(broker),
                Err(error) => Err(Error::NoBroker {
                    tried: vec![format!("KEYHAWK_TEST_BROKERS is set, and {error}")],
                }),
            };
        }
        let port = free_port()?;
        let brokers = format!("127.0.0.1:{port}");
        match docker::Container::start(port) {
            Ok(container) => {
                let run = Mutex::new(Run::Docker(container));
                let broker = Broker {
                    brokers: brokers.clone(),
                    run,
                };
                match broker.wait_ready(READY) {
                    Ok(()) => return Ok(broker),
                    Err(error) => tried.push(format!("Docker: {error}")),
                }
            }
            Err(error) => tried.push(format!("Docker: {error}")),
        }
        match java::Process::start(port) {
            Ok(process) => {
                let broker = Broker {
                    brokers,
                    run: Mutex::new(Run::Java(process)),
                };
                match broker.wait_ready(READY) {
                    Ok(()) => return Ok(broker),
                    Err(error) => tried.push(format!("Java: {error}")),
                }
            }
            Err(error) => tried.push(format!("Java: {error}")),
        }
        Err(Error::NoBroker { tried })
    }

    /// The value for `bootstrap.servers`.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Whether [`stop`](Broker::stop) and [`restart`](Broker::restart) work; not for named brokers.
    pub fn can_restart(&self) -> bool {
        !matches!(*self.run(), Run::Named)
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the broker as a machine would that is switched off: with no time to say goodbye.
    ///
    /// # Errors
    ///
    /// [`Error::NotOurs`] for named brokers.
    pub fn stop(&self) -> Result<()> {
        match &mut *self.run() {
            Run::Named => Err(Error::NotOurs),
            Run::Docker(container) => container.stop(),
            Run::Java(process) => {
                process.stop(Duration::ZERO);
                Ok(())
            }
        }
    }

    /// Starts a stopped broker on the same port with the same data, and waits until it answers.
    ///
    /// # Errors
    ///
    /// Where it does not become ready, with the last lines that it wrote.
    pub fn restart(&self) -> Result<()> {
        match &mut *self.run() {
            Run::Named => return Err(Error::NotOurs),
            Run::Docker(container) => container.restart()?,
            Run::Java(process) => process.launch()?,
        }
        self.wait_ready(READY)
    }

    fn wait_ready(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let client: BaseConsumer = self
            .client()
            .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg)
            .create()
            .map_err(|error| Error::kafka("creating a client", error))?;
        loop {
            let metadata = client.fetch_metadata(None, Duration::from_secs(2));
            match metadata {
                Ok(metadata) if !metadata.brokers().is_empty() => return Ok(()),
                _ => {}
            }
            let (ended, how, output) = match &mut *self.run() {
                Run::Named => (
                    false,
                    "it was named",
                    format!("{} does not answer", self.brokers),
                ),
                Run::Docker(container) => (false, "in Docker", container.output()),
                Run::Java(process) => (process.has_ended(), "with java", process.output()),
            };
            if ended || Instant::now() >= deadline {
                return Err(Error::NotReady { how, output });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// A client's configuration that names these brokers and nothing else.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    /// Makes a topic with the given topic settings, and waits until its partitions have leaders.
    ///
    /// Its records are kept for ever unless a setting says otherwise: those of a test carry times
    /// long past, and the broker would delete them after half a minute.
    ///
    /// # Errors
    ///
    /// Where it exists already or the broker refuses.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<()> {
        let doing = || format!("creating topic {name}");
        let admin: AdminClient<DefaultClientContext> = self
            .client()
            .create()
            .map_err(|error| Error::kafka(doing(), error))?;
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in [("retention.ms", "-1")].iter().chain(settings) {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        for result in wait(admin.create_topics([&topic], &options))
            .map_err(|error| Error::kafka(doing(), error))?
        {
            result.map_err(|(_, code)| Error::kafka(doing(), code))?;
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let metadata = admin
                .inner()
                .fetch_metadata(Some(name), Duration::from_secs(5));
            if let Ok(metadata) = metadata
                && let [topic] = metadata.topics()
                && topic.partitions().len() == usize::try_from(partitions).unwrap_or(0)
                && topic
                    .partitions()
                    .iter()
                    .all(|partition| partition.leader() >= 0)
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::kafka(doing(), "its partitions got no leaders"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Produces records in order, and returns once all are acknowledged.
    ///
    /// # Errors
    ///
    /// Where a record cannot be queued, or not all are acknowledged within a minute.
    pub fn produce(&self, topic: &str, records: impl IntoIterator<Item = Produce>) -> Result<()> {
        let doing = || format!("producing to {topic}");
        let producer: BaseProducer = self
            .client()
            .set("enable.idempotence", "true")
            .set("message.max.bytes", "16000000")
            .create()
            .map_err(|error| Error::kafka(doing(), error))?;
        for produce in records {
            loop {
                let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
                record.partition = produce.partition;
                record.key = produce.key.as_deref();
                record.payload = produce.payload.as_deref();
                record.timestamp = produce.time_ms;
                match producer.send(record) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                        producer.poll(Duration::from_millis(10));
                    }
                    Err((error, _)) => return Err(Error::kafka(doing(), error)),
                }
            }
        }
        producer
            .flush(Duration::from_secs(60))
            .map_err(|error| Error::kafka(doing(), error))
    }

    /// Everything on a topic up to its present end, by partition and offset.
    ///
    /// # Errors
    ///
    /// Where the end is not reached within a minute.
    pub fn consume_all(&self, topic: &str) -> Result<Vec<Consumed>> {
        let doing = || format!("reading {topic}");
        let fail = |error: KafkaError| Error::kafka(doing(), error);
        let consumer: BaseConsumer = self
            .client()
            .set("group.id", "testkit-reads-all")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .create()
            .map_err(fail)?;
        let timeout = Duration::from_secs(30);
        let metadata = consumer
            .fetch_metadata(Some(topic), timeout)
            .map_err(fail)?;
        let partitions: Vec<i32> = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
            .map(rdkafka::metadata::MetadataPartition::id)
            .collect();
        let mut assignment = TopicPartitionList::new();
        for partition in &partitions {
            assignment
                .add_partition_offset(topic, *partition, Offset::Beginning)
                .map_err(fail)?;
        }
        consumer.assign(&assignment).map_err(fail)?;
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut ended = std::collections::BTreeSet::new();
        let mut records = Vec::new();
        while ended.len() < partitions.len() {
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => records.push(Consumed {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().map(<[u8]>::to_vec),
                    payload: message.payload().map(<[u8]>::to_vec),
                }),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    ended.insert(partition);
                }
                Some(Err(error)) if Instant::now() >= deadline => return Err(fail(error)),
                _ if Instant::now() >= deadline => {
                    return Err(Error::kafka(doing(), "its end was not reached in a minute"));
                }
                _ => {}
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        Ok(records)
    }

    /// The committed offsets and metadata of a group for the partitions of a topic; −1 for none.
    ///
    /// # Errors
    ///
    /// Where the broker does not answer.
    pub fn committed(
        &self,
        group: &str,
        topic: &str,
        partitions: i32,
    ) -> Result<Vec<(i64, String)>> {
        let fail = |error: KafkaError| Error::kafka(format!("reading offsets of {group}"), error);
        let consumer: BaseConsumer = self
            .client()
            .set("group.id", group)
            .create()
            .map_err(fail)?;
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_range(topic, 0, partitions - 1);
        let committed = consumer
            .committed_offsets(wanted, Duration::from_secs(30))
            .map_err(fail)?;
        Ok(committed
            .elements()
            .iter()
            .map(|element| {
                let offset = match element.offset() {
                    Offset::Offset(offset) => offset,
                    _ => -1,
                };
                (offset, element.metadata().to_owned())
            })
            .collect())
    }
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

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| Error::io("looking for a free port", source))
}

/// Runs a program to its end and returns what it wrote; a failure carries its last lines.
fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::Program {
            program: program.clone(),
            output: error.to_string(),
        })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let text = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    Err(Error::Program {
        program,
        output: last_lines(&text),
    })
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
