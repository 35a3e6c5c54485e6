//! An assigned partition: its rules' state, the batches that wait for it, and its last commit.

use std::collections::VecDeque;
use std::sync::Arc;

use keyhawk_alerts::TimeMs;
use keyhawk_connectors::kafka::{Assigned, Batch, PartitionLag};
use keyhawk_engine::delivery::{self, CommitResult, Epoch, TopicPartition};
use serde_json::{Value, json};

use crate::partition::Partition;

/// A partition under one assignment.
pub(super) struct Lane {
    pub(super) assigned: Assigned,
    /// None once it failed or is being taken away: its batches are dropped.
    pub(super) partition: Option<Partition>,
    /// Batches in the order of the log; they count against the source's prefetch.
    pub(super) held: VecDeque<Batch>,
    /// Delivery has too many of its outputs in flight.
    pub(super) paused: bool,
    /// The offset of the commit that is not answered yet.
    pub(super) commit_sent: Option<i64>,
}

impl Lane {
    pub(super) fn new(assigned: Assigned, partition: Option<Partition>) -> Self {
        Lane {
            assigned,
            partition,
            held: VecDeque::new(),
            paused: false,
            commit_sent: None,
        }
    }

    /// How it stands, for the console; sets its gauges as well.
    pub(super) fn describe(
        &self,
        key: &TopicPartition,
        lag: Option<&PartitionLag>,
        delivery: Option<delivery::Status>,
        now_ms: i64,
    ) -> Value {
        let watermark_ms = self.partition.as_ref().map(Partition::watermark);
        // Before the first row there is none.
        let watermark_ms = watermark_ms.filter(|time_ms| *time_ms != i64::MIN);
        if let Some(watermark_ms) = watermark_ms {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a delay in milliseconds is far below 2^53"
            )]
            let delay_s = now_ms.saturating_sub(watermark_ms) as f64 / 1000.0;
            watermark_delay(key).set(delay_s);
        }
        let keys = self.partition.as_ref().map(Partition::keys);
        let memory = self.partition.as_ref().map(Partition::memory);
        if let (Some(keys), Some(memory)) = (keys, memory) {
            #[expect(
                clippy::cast_precision_loss,
                reason = "counts of what is in memory are far below 2^53"
            )]
            for (gauge, now) in state(key).into_iter().zip([keys, memory]) {
                gauge.set(now as f64);
            }
        }
        json!({
            "topic": &*key.topic,
            "partition": key.partition,
            "watermark": watermark_ms.map(TimeMs),
            "lag": lag.and_then(PartitionLag::records),
            "next_offset": delivery.and_then(|status| status.next_offset),
            "committed_offset": delivery.and_then(|status| status.committed_offset),
            "outputs_in_flight": delivery.map(|status| status.in_flight),
            "keys": keys,
            "memory_bytes": memory,
        })
    }
}

/// Sets the gauges of a partition that went to another instance back.
pub(super) fn reset_gauges(key: &TopicPartition) {
    watermark_delay(key).set(0.0);
    state(key).iter().for_each(|gauge| gauge.set(0.0));
}

/// The gauges of a partition's state: its keys, and its bytes.
fn state(key: &TopicPartition) -> [metrics::Gauge; 2] {
    let [topic, partition] = [key.topic.to_string(), key.partition.to_string()];
    [
        metrics::gauge!("keyhawk_keys", "topic" => topic.clone(), "partition" => partition.clone()),
        metrics::gauge!("keyhawk_state_bytes", "topic" => topic, "partition" => partition),
    ]
}

/// The gauge of a partition's watermark.
fn watermark_delay(key: &TopicPartition) -> metrics::Gauge {
    metrics::gauge!(
        "keyhawk_watermark_delay_seconds",
        "topic" => key.topic.to_string(),
        "partition" => key.partition.to_string()
    )
}

/// The source's name for an assignment, as delivery has it.
pub(super) fn named(assigned: &Assigned) -> (TopicPartition, Epoch) {
    let Assigned {
        topic,
        partition,
        epoch,
    } = assigned;
    (
        TopicPartition {
            topic: Arc::clone(topic),
            partition: *partition,
        },
        Epoch(*epoch),
    )
}

/// Whether a failed commit may be tried again: not where the group no longer knows this member.
pub(super) fn failure(reason: &str) -> CommitResult {
    const STALE: [&str; 3] = ["IllegalGeneration", "UnknownMemberId", "FencedInstanceId"];
    if STALE.iter().any(|code| reason.contains(code)) {
        CommitResult::Stale
    } else {
        CommitResult::Failed
    }
}
