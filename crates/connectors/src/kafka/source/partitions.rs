//! What the source knows of each assigned partition, and what its threads share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::batch::{OpenBatch, Outstanding, Permit};
use super::{Assigned, Command, SourceConfig, SourceEvent};

/// One assigned partition.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) assigned: Assigned,
    pub(super) open: OpenBatch,
    /// When the first record of the open batch was read.
    pub(super) opened_at: Instant,
    /// The offset after the last record read; nothing before the first one.
    pub(super) next_offset: Option<i64>,
    /// Batches that the pipeline has not dropped yet.
    pub(super) batches: Arc<AtomicUsize>,
    pub(super) paused: bool,
    /// Set once it is being taken away: nothing of it is handed on any more.
    pub(super) released: bool,
    /// Since when it has delivered nothing though it could have.
    pub(super) quiet_since: Instant,
    pub(super) end: LogEnd,
    pub(super) metrics: PartitionMetrics,
}

/// Where the partition's log ends, as far as is known.
#[derive(Debug, Default)]
pub(super) struct LogEnd {
    /// The log's end when it was last asked for, and when that was.
    pub(super) high: Option<(i64, Instant)>,
    /// The consumer said that it is at the end; the next answer says where that is. A log may end
    /// in records that no consumer gets to see (a transaction's marks), so that offsets alone do
    /// not tell.
    pub(super) reached: bool,
    /// Where the end was when the consumer had reached it.
    pub(super) reached_high: Option<i64>,
    /// The group's committed offset, or the reset position; asked for once, for a partition that
    /// has delivered nothing.
    pub(super) start: Option<i64>,
}

#[derive(Clone)]
pub(super) struct PartitionMetrics {
    pub(super) records: metrics::Counter,
    pub(super) bytes: metrics::Counter,
    pub(super) lag: metrics::Gauge,
}

impl std::fmt::Debug for PartitionMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PartitionMetrics")
    }
}

impl Partition {
    pub(super) fn new(assigned: Assigned, now: Instant) -> Partition {
        let labels = [
            ("topic", assigned.topic.to_string()),
            ("partition", assigned.partition.to_string()),
        ];
        let metrics = PartitionMetrics {
            records: metrics::counter!("keyhawk_source_records_total", &labels),
            bytes: metrics::counter!("keyhawk_source_bytes_total", &labels),
            lag: metrics::gauge!("keyhawk_lag_records", &labels),
        };
        Partition {
            assigned,
            open: OpenBatch::default(),
            opened_at: now,
            next_offset: None,
            batches: Arc::default(),
            paused: false,
            released: false,
            quiet_since: now,
            end: LogEnd::default(),
            metrics,
        }
    }

    pub(super) fn is(&self, topic: &str, partition: i32) -> bool {
        self.assigned.partition == partition && *self.assigned.topic == *topic
    }

    /// The offset of the next record to be read, where it is known.
    pub(super) fn position(&self) -> Option<i64> {
        self.next_offset
            .or(self.end.start)
            .max(self.end.reached_high)
    }
}

/// Counters behind [`SourceStats`](super::SourceStats).
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) records: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) rebalances: AtomicU64,
    pub(super) recreations: AtomicU64,
    pub(super) pauses: AtomicU64,
}

/// What the source's threads and its handles share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: SourceConfig,
    pub(super) events: Sender<SourceEvent>,
    pub(super) commands: Sender<Command>,
    /// Read by the source's thread alone: in its loop, and in the rebalance callback below it.
    pub(super) inbox: Mutex<Receiver<Command>>,
    pub(super) partitions: Mutex<Vec<Partition>>,
    pub(super) outstanding: Arc<Outstanding>,
    pub(super) counters: Counters,
    /// A stop was asked for.
    pub(super) stopping: AtomicBool,
    /// The source's thread has ended.
    pub(super) ended: AtomicBool,
    epoch: AtomicU64,
    release: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        config: SourceConfig,
        events: Sender<SourceEvent>,
        commands: Sender<Command>,
        inbox: Receiver<Command>,
    ) -> Shared {
        Shared {
            config,
            events,
            commands,
            inbox: Mutex::new(inbox),
            partitions: Mutex::default(),
            outstanding: Arc::default(),
            counters: Counters::default(),
            stopping: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            epoch: AtomicU64::new(1),
            release: AtomicU64::new(1),
        }
    }

    pub(super) fn partitions(&self) -> MutexGuard<'_, Vec<Partition>> {
        self.partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next_epoch(&self) -> u64 {
        self.epoch.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn next_release(&self) -> u64 {
        self.release.fetch_add(1, Ordering::Relaxed)
    }

    /// Passes an event on; a pipeline that has gone away wants none.
    pub(super) fn emit(&self, event: SourceEvent) {
        drop(self.events.send(event));
    }

    /// Hands the partition's open batch on, where there is one.
    pub(super) fn hand_on(&self, partition: &mut Partition) {
        if partition.open.is_empty() || partition.released {
            return;
        }
        let open = std::mem::take(&mut partition.open);
        let (rows, bytes) = (open.rows() as u64, open.bytes() as u64);
        self.counters.records.fetch_add(rows, Ordering::Relaxed);
        self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        partition.metrics.records.increment(rows);
        partition.metrics.bytes.increment(bytes);
        let permit = Permit::new(&partition.batches, &self.outstanding, open.bytes());
        self.emit(SourceEvent::Batch(
            open.close(partition.assigned.clone(), permit),
        ));
    }
}
