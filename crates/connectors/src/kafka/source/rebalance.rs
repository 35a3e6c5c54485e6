//! Partitions come and go: the consumer's callbacks, and the wait for the pipeline.
//!
//! ```text
//!   callback: revoke ──▶ Revoked ──▶ pipeline finishes, commits, drops it
//!        waits ◀──────────────────────────── commits, then "released"
//!   callback returns ──▶ the group gives the partition to its next owner
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;

use super::super::client;
use super::commits::Commits;
use super::partitions::{Partition, Shared};
use super::{Assigned, Command, Done, ReleaseReason, Revoked, SourceEvent};

/// The context of one consumer; a replaced consumer keeps its own to its end.
pub(super) struct Context {
    shared: Arc<Shared>,
    /// The consumer is being closed, and its partitions were released before that.
    pub(super) closing: AtomicBool,
    pub(super) commits: Commits,
}

impl Context {
    pub(super) fn new(shared: &Arc<Shared>) -> Context {
        Context {
            shared: Arc::clone(shared),
            closing: AtomicBool::new(false),
            commits: Commits::default(),
        }
    }

    fn assign(&self, partitions: &TopicPartitionList) {
        let now = Instant::now();
        let added: Vec<Assigned> = partitions
            .elements()
            .iter()
            .map(|element| Assigned {
                topic: element.topic().into(),
                partition: element.partition(),
                epoch: self.shared.next_epoch(),
            })
            .collect();
        if added.is_empty() {
            return;
        }
        self.shared.partitions().extend(
            added
                .iter()
                .map(|assigned| Partition::new(assigned.clone(), now)),
        );
        count("assigned", &self.shared);
        tracing::info!(
            partitions = added.len(),
            "the consumer group assigned partitions"
        );
        self.shared.emit(SourceEvent::Assigned(added));
    }

    fn revoke(&self, consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) {
        if partitions.count() == 0 {
            return;
        }
        let lost = consumer.assignment_lost();
        count(if lost { "lost" } else { "revoked" }, &self.shared);
        let reason = if lost {
            ReleaseReason::Lost
        } else {
            ReleaseReason::Rebalance
        };
        let elements = partitions.elements();
        release(&self.shared, &self.commits, reason, |partition| {
            elements
                .iter()
                .any(|element| partition.is(element.topic(), element.partition()))
        });
        // The next owner asks for the committed offsets once this callback has returned.
        self.commits.send(&self.shared, consumer);
        forget(&self.shared);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "librdkafka", %error, "{reason}");
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if self.closing.load(Ordering::Acquire) {
            return;
        }
        match rebalance {
            Rebalance::Assign(partitions) => self.assign(partitions),
            Rebalance::Revoke(partitions) => self.revoke(consumer, partitions),
            Rebalance::Error(error) => tracing::warn!(%error, "a rebalance failed"),
        }
    }
}

fn count(kind: &'static str, shared: &Shared) {
    metrics::counter!("keyhawk_source_rebalances_total", "kind" => kind).increment(1);
    shared.counters.rebalances.fetch_add(1, Ordering::Relaxed);
}

/// Takes the wanted partitions from the pipeline and waits until it has let go of them.
///
/// Forgets their open batches, tells the pipeline, and queues its commits. Runs on the source's
/// thread.
pub(super) fn release(
    shared: &Shared,
    commits: &Commits,
    reason: ReleaseReason,
    wanted: impl Fn(&Partition) -> bool,
) {
    let mut released = Vec::new();
    for partition in shared
        .partitions()
        .iter_mut()
        .filter(|partition| wanted(partition))
    {
        partition.released = true;
        partition.open = Default::default();
        released.push(partition.assigned.clone());
    }
    if released.is_empty() {
        return;
    }
    tracing::info!(
        partitions = released.len(),
        ?reason,
        "partitions are being released"
    );
    let release = shared.next_release();
    let done = Done {
        release,
        commands: shared.commands.clone(),
    };
    shared.emit(SourceEvent::Revoked(Revoked {
        partitions: released,
        reason,
        done,
    }));
    let deadline = Instant::now() + shared.config.release_wait;
    let inbox = shared.inbox.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match inbox.recv_timeout(left) {
            Ok(Command::Commit(commit)) => commits.queue(commit),
            Ok(Command::Released(which)) if which == release => break,
            Ok(Command::Released(_)) => {}
            Ok(Command::Stop) => shared.stopping.store(true, Ordering::Release),
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!(
                    "the pipeline did not finish its partitions in time; their next owner may \
                     process records again that this one has processed"
                );
                break;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
}

/// Takes released partitions off the list. Answers to their commits are passed on no more.
pub(super) fn forget(shared: &Shared) {
    shared.partitions().retain(|partition| {
        if partition.released {
            partition.metrics.lag.set(0.0);
        }
        !partition.released
    });
}
