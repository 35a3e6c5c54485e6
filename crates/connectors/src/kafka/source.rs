//! The Kafka source: records in, in batches; offsets out, when the pipeline says so.
//!
//! ```text
//!              ┌───────────────────── thread kh-source ─────────────────────┐
//!   Kafka ───▶ │ poll ─▶ open batch a partition ─▶ full by rows, bytes, age │ ──▶ events
//!              │   ▲                                                        │
//!              │   └─ pause / resume by batches not yet dropped             │ ◀── commits, stop
//!              └────────────────────────────────────────────────────────────┘
//!              ┌─ thread kh-commit ┐
//!   Kafka ◀─── │ offsets, metadata │ ──▶ "committed"
//!              └───────────────────┘
//!              ┌── thread kh-lag ──┐
//!   Kafka ───▶ │ ends of the log   │ ──▶ lag, watchdog
//!              └───────────────────┘
//! ```
//!
//! **Order.** Events of a partition come in order: `Assigned`, its batches by offset, `Revoked`.
//! Within one assignment (one epoch) no offset comes twice and none is left out.
//!
//! **Backpressure.** A batch counts as outstanding until it is dropped. With
//! [`prefetch_batches`](SourceConfig::prefetch_batches) of its own outstanding, or
//! [`prefetch_bytes`](SourceConfig::prefetch_bytes) of all partitions, a partition is paused; at half
//! of them it goes on. So a source holds at most `prefetch_bytes` + partitions × 2 × (`batch_bytes` +
//! one record), plus librdkafka's own queue (32 MiB by default). The event channel itself is
//! unbounded, so that the consumer's thread never blocks on a slow pipeline and the group never
//! loses it; what can fill it is bounded by the batches.
//!
//! **Rebalance.** The revoke callback returns only once the pipeline has dropped the [`Revoked`]
//! event (or has called [`Revoked::done`]), and commits sent before that are done by then; after
//! [`release_wait`](SourceConfig::release_wait) it returns in any case. A record that was read and
//! not yet handed on is forgotten: its offset was not committed, and the next owner reads it.
//!
//! **Stop** is the same for all partitions, after which the group is left.
//!
//! **Watchdog.** A consumer that has lag and delivers nothing for
//! [`stall`](SourceConfig::stall) is replaced by a new one, and so is one with a fatal error.
//!
//! Source record keys and headers are never read.

mod batch;
mod commits;
mod lag;
mod partitions;
mod rebalance;
mod run;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

pub use batch::{Batch, Record};
pub use lag::PartitionLag;

use super::Properties;
use crate::{Error, Result};
use partitions::Shared;

/// Where a group without a committed offset begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartAt {
    /// At the oldest record that the topic holds.
    #[default]
    Earliest,
    /// At the records that arrive from now on.
    Latest,
}

/// What a source reads, and how.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// The consumer group.
    pub group_id: String,
    /// How this instance is called in the brokers' logs and metrics.
    pub client_id: String,
    /// A name of this instance alone, for static membership (`group.instance.id`).
    pub instance_id: Option<String>,
    /// The topics.
    pub topics: Vec<String>,
    /// Where a group without a committed offset begins.
    pub start_at: StartAt,
    /// Records that make a batch full. 8192 by default.
    pub batch_rows: usize,
    /// Bytes of payload that make a batch full. 4 MiB by default.
    pub batch_bytes: usize,
    /// The age at which a batch is handed on though not full. 20 ms by default.
    pub batch_wait: Duration,
    /// Batches of one partition that may be outstanding before it is paused. 4 by default.
    pub prefetch_batches: usize,
    /// Payload bytes in outstanding batches of all partitions, at which partitions are paused. 64 MiB
    /// by default.
    pub prefetch_bytes: usize,
    /// How long a rebalance or a stop waits for the pipeline. 5 s by default; a stop takes at most
    /// 4 s more.
    pub release_wait: Duration,
    /// How long a consumer may have lag and deliver nothing before it is replaced. 60 s by default;
    /// doubled for each replacement in a row that changed nothing, up to sixteenfold.
    pub stall: Duration,
    /// How often the ends of the log are asked for. 2 s by default.
    pub lag_interval: Duration,
    /// The operator's librdkafka properties.
    pub properties: Properties,
}

impl SourceConfig {
    /// The defaults for these brokers, this group and these topics.
    pub fn new(
        brokers: impl Into<String>,
        group_id: impl Into<String>,
        topics: impl IntoIterator<Item = impl Into<String>>,
    ) -> SourceConfig {
        SourceConfig {
            brokers: brokers.into(),
            group_id: group_id.into(),
            client_id: "keyhawk".to_owned(),
            instance_id: None,
            topics: topics.into_iter().map(Into::into).collect(),
            start_at: StartAt::Earliest,
            batch_rows: 8192,
            batch_bytes: 4 << 20,
            batch_wait: Duration::from_millis(20),
            prefetch_batches: 4,
            prefetch_bytes: 64 << 20,
            release_wait: Duration::from_secs(5),
            stall: Duration::from_secs(60),
            lag_interval: Duration::from_secs(2),
            properties: Properties::default(),
        }
    }

    fn check(&self) -> Result<()> {
        let checks = [
            (!self.brokers.trim().is_empty(), "brokers", "host:port"),
            (!self.group_id.is_empty(), "group", "a name"),
            (!self.topics.is_empty(), "topics", "at least one topic"),
            (self.batch_rows > 0, "batch_rows", "1 or more"),
            (self.batch_bytes > 0, "batch_bytes", "1 or more"),
            (self.prefetch_batches > 0, "prefetch_batches", "1 or more"),
            (self.prefetch_bytes > 0, "prefetch_bytes", "1 or more"),
            (!self.stall.is_zero(), "stall", "longer than 0"),
            (
                !self.lag_interval.is_zero(),
                "lag_interval",
                "longer than 0",
            ),
        ];
        match checks.into_iter().find(|(works, ..)| !works) {
            Some((_, name, expected)) => Err(Error::Setting { name, expected }),
            None => Ok(()),
        }
    }
}

/// What the source tells the pipeline.
#[derive(Debug)]
pub enum SourceEvent {
    /// Partitions were added. Their batches follow.
    Assigned(Vec<Assigned>),
    /// Partitions are being taken away; see [`Revoked`].
    Revoked(Revoked),
    /// The next records of a partition.
    Batch(Batch),
    /// A commit was answered. At a release this may come after [`Revoked`], never after
    /// [`Stopped`](SourceEvent::Stopped).
    Committed {
        /// The partition, under the epoch of the commit.
        partition: Assigned,
        /// The offset that was to be committed.
        next_offset: i64,
        /// Why it was not, or nothing where it was. A later commit makes up for it.
        error: Option<String>,
    },
    /// The consumer reported an error. The same one is passed on at most once a second.
    Error(Error),
    /// The group is left; no event follows.
    Stopped,
}

/// A partition under one assignment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Assigned {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// Counts the assignments of this source, from 1; a partition that comes back has a higher one.
    pub epoch: u64,
}

/// Why partitions are taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseReason {
    /// The group moves them to another member. What is committed now counts.
    Rebalance,
    /// The group has given them away already (a session timed out): commits would fail.
    Lost,
    /// This source was told to stop.
    Stop,
    /// The watchdog replaces the consumer; the partitions will be assigned anew.
    Replaced,
}

/// Partitions that are being taken away: finish or abandon them, commit, then drop this.
///
/// The source waits, so that the partition's next owner starts where this one committed.
#[derive(Debug)]
pub struct Revoked {
    /// The partitions, under the epochs that end.
    pub partitions: Vec<Assigned>,
    /// Why.
    pub reason: ReleaseReason,
    done: Done,
}

impl Revoked {
    /// Says that the pipeline holds nothing of these partitions any more and has sent its commits.
    pub fn done(self) {
        drop(self.done);
    }
}

/// Tells the waiting source, when it is dropped.
#[derive(Debug)]
struct Done {
    release: u64,
    commands: Sender<Command>,
}

impl Drop for Done {
    fn drop(&mut self) {
        // A source that has ended waits for nothing.
        drop(self.commands.send(Command::Released(self.release)));
    }
}

#[derive(Debug)]
enum Command {
    Commit(Commit),
    Released(u64),
    Stop,
}

#[derive(Debug)]
struct Commit {
    partition: Assigned,
    next_offset: i64,
    metadata: String,
}

/// What the pipeline tells the source; may be cloned and used from any thread.
#[derive(Clone, Debug)]
pub struct SourceControl {
    commands: Sender<Command>,
}

impl SourceControl {
    /// Commits the offset of the next record to read, with metadata that comes back with it.
    ///
    /// Returns at once; [`SourceEvent::Committed`] follows. Of several commits of a partition that
    /// wait together, only the last is sent. One under an epoch that has ended is dropped and
    /// counted.
    pub fn commit(&self, partition: &Assigned, next_offset: i64, metadata: impl Into<String>) {
        let commit = Commit {
            partition: partition.clone(),
            next_offset,
            metadata: metadata.into(),
        };
        drop(self.commands.send(Command::Commit(commit)));
    }

    /// Stops reading, lets the pipeline finish (one [`Revoked`] of all partitions), and leaves the
    /// group. Returns at once; [`SourceEvent::Stopped`] is the end.
    pub fn stop(&self) {
        drop(self.commands.send(Command::Stop));
    }
}

/// Figures of a source since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceStats {
    /// Records handed on.
    pub records: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Assignments and revocations, one for each callback that moved a partition.
    pub rebalances: u64,
    /// Consumers replaced by the watchdog or after a fatal error.
    pub recreations: u64,
    /// Times that a partition was paused because the pipeline was behind.
    pub pauses: u64,
    /// Payload bytes in batches that are not dropped yet.
    pub bytes_outstanding: u64,
    /// The most that this ever was.
    pub bytes_outstanding_max: u64,
}

/// A running source. Dropping it stops it and waits for its threads.
#[derive(Debug)]
pub struct Source {
    control: SourceControl,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Source {
    /// Starts the source's threads. Brokers that cannot be reached are an event, not an error.
    ///
    /// # Errors
    ///
    /// Where a setting cannot work, librdkafka refuses a property, or no thread can be had.
    pub fn spawn(config: SourceConfig) -> Result<(Source, Receiver<SourceEvent>)> {
        config.check()?;
        let (events, receiver) = channel();
        let (commands, commands_receiver) = channel();
        let control = SourceControl {
            commands: commands.clone(),
        };
        let shared = Arc::new(Shared::new(config, events, commands, commands_receiver));
        // The first consumer is made here, so that a refused property is seen at the start.
        let consumer = run::consumer(&shared)?;
        let asking = lag::asking(&shared)?;
        let threads = vec![
            spawn("kh-source", {
                let shared = Arc::clone(&shared);
                move || run::run(&shared, consumer)
            })?,
            spawn("kh-lag", {
                let shared = Arc::clone(&shared);
                move || lag::run(&shared, &asking)
            })?,
        ];
        Ok((
            Source {
                control,
                shared,
                threads,
            },
            receiver,
        ))
    }

    /// A handle for commits and the stop.
    pub fn control(&self) -> SourceControl {
        self.control.clone()
    }

    /// How far each assigned partition is behind the end of its log, as last asked for.
    pub fn lag(&self) -> Vec<PartitionLag> {
        lag::read(&self.shared)
    }

    /// The figures so far.
    pub fn stats(&self) -> SourceStats {
        self.shared.stats()
    }

    /// Waits for the threads after [`SourceControl::stop`]; at most 4 s longer than
    /// [`release_wait`](SourceConfig::release_wait).
    pub fn join(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.control.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the Kafka source panicked; restart Keyhawk");
            }
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| Error::Client {
            doing: "starting a thread of the Kafka source",
            reason: error.to_string(),
        })
}

impl Shared {
    fn stats(&self) -> SourceStats {
        let counters = &self.counters;
        SourceStats {
            records: counters.records.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            rebalances: counters.rebalances.load(Ordering::Relaxed),
            recreations: counters.recreations.load(Ordering::Relaxed),
            pauses: counters.pauses.load(Ordering::Relaxed),
            bytes_outstanding: self.outstanding.bytes(),
            bytes_outstanding_max: self.outstanding.bytes_max(),
        }
    }
}
