//! How far the source is behind: the ends of the log, asked for on a thread and client of their own.
//!
//! The consumer itself learns of new records only by fetching them, so that a consumer that has
//! stopped fetching looks as if it had read everything. Hence a second client asks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::super::client::{self, Quiet};
use super::partitions::Shared;
use super::{Assigned, StartAt};
use crate::{Error, Result};

/// How long one question may take; the next round asks again.
const PATIENCE: Duration = Duration::from_secs(3);

/// How far an assigned partition is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    /// The partition.
    pub assigned: Assigned,
    /// The offset of the next record to be read, where it is known. At the end of the log it equals
    /// `end`, records that no consumer sees included.
    pub position: Option<i64>,
    /// The offset after the log's last record.
    pub end: i64,
    /// When the end was read.
    pub read_at: Instant,
}

impl PartitionLag {
    /// Records between the position and the end, where the position is known.
    pub fn records(&self) -> Option<i64> {
        self.position.map(|position| (self.end - position).max(0))
    }
}

pub(super) fn read(shared: &Shared) -> Vec<PartitionLag> {
    let partitions = shared.partitions();
    partitions
        .iter()
        .filter_map(|partition| {
            let (end, read_at) = partition.end.high?;
            let position = partition.position();
            Some(PartitionLag {
                assigned: partition.assigned.clone(),
                position,
                end,
                read_at,
            })
        })
        .collect()
}

/// A client that may ask for the group's offsets and never joins it.
pub(super) fn asking(shared: &Shared) -> Result<BaseConsumer<Quiet>> {
    let config = &shared.config;
    client::asking(&config.brokers, &config.properties)
        .set("group.id", &config.group_id)
        .set("enable.auto.commit", "false")
        .create_with_context(Quiet)
        .map_err(|error| Error::client("making the Kafka client that asks for lag", error))
}

pub(super) fn run(shared: &Arc<Shared>, client: &BaseConsumer<Quiet>) {
    let mut next = Instant::now();
    while !shared.ended.load(Ordering::Acquire) {
        if Instant::now() >= next {
            ask(shared, client);
            next = Instant::now() + shared.config.lag_interval;
        }
        // Serves the client's log lines; no record ever comes.
        drop(client.poll(Duration::from_millis(100)));
    }
}

fn ask(shared: &Shared, client: &BaseConsumer<Quiet>) {
    let wanted: Vec<(Assigned, bool)> = shared
        .partitions()
        .iter()
        .map(|partition| (partition.assigned.clone(), partition.position().is_none()))
        .collect();
    for (assigned, start_unknown) in wanted {
        if shared.ended.load(Ordering::Acquire) {
            return;
        }
        let asked_at = Instant::now();
        let Ok((low, high)) =
            client.fetch_watermarks(&assigned.topic, assigned.partition, PATIENCE)
        else {
            // The consumer reports what is wrong with the brokers.
            continue;
        };
        let start = if start_unknown {
            start(shared, client, &assigned, low, high)
        } else {
            None
        };
        let mut partitions = shared.partitions();
        let Some(partition) = partitions
            .iter_mut()
            .find(|partition| partition.assigned == assigned)
        else {
            continue;
        };
        partition.end.high = Some((high, asked_at));
        partition.end.start = partition.end.start.or(start);
        if std::mem::take(&mut partition.end.reached) {
            partition.end.reached_high = Some(high);
        }
        if let Some(position) = partition.position() {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a gauge; exact below 2^53 records"
            )]
            partition.metrics.lag.set((high - position).max(0) as f64);
        }
    }
}

/// Where the group begins to read a partition.
fn start(
    shared: &Shared,
    client: &BaseConsumer<Quiet>,
    assigned: &Assigned,
    low: i64,
    high: i64,
) -> Option<i64> {
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition(&assigned.topic, assigned.partition);
    let committed = client.committed_offsets(wanted, PATIENCE).ok()?;
    match committed.elements().first()?.offset() {
        Offset::Offset(offset) => Some(offset.max(low)),
        _ => Some(match shared.config.start_at {
            StartAt::Earliest => low,
            StartAt::Latest => high,
        }),
    }
}
