//! Commits, sent one after the other on a thread of their own.
//!
//! A synchronous commit is the only one whose answer librdkafka's bindings give back: that of an
//! asynchronous one is reported by callbacks alone, and the event interface has none for it. Hence
//! a thread that waits for the answers, while the source's own thread goes on reading.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::partitions::Shared;
use super::rebalance::Context;
use super::{Commit, SourceEvent};

/// What a broker takes as an offset's metadata by default (`offset.metadata.max.bytes`).
const METADATA_MAX: usize = 4096;

/// The commits of one consumer.
#[derive(Default)]
pub(super) struct Commits {
    waiting: Mutex<Vec<Commit>>,
    changed: Condvar,
    /// Held while a commit is on its way, so that an older one cannot overtake a newer one.
    sending: Mutex<()>,
    ended: AtomicBool,
}

impl Commits {
    fn waiting(&self) -> MutexGuard<'_, Vec<Commit>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a commit in the place of an earlier one of its partition.
    pub(super) fn queue(&self, commit: Commit) {
        let mut waiting = self.waiting();
        match waiting
            .iter_mut()
            .find(|other| other.partition == commit.partition)
        {
            Some(earlier) => *earlier = commit,
            None => waiting.push(commit),
        }
        drop(waiting);
        self.changed.notify_all();
    }

    /// Sends all that is queued, and waits for the answer.
    pub(super) fn send(&self, shared: &Shared, consumer: &BaseConsumer<Context>) {
        let _sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let commits = std::mem::take(&mut *self.waiting());
        commit(shared, consumer, commits);
    }

    /// The body of the commit thread; returns after [`end`](Commits::end).
    pub(super) fn run(&self, shared: &Shared, consumer: &BaseConsumer<Context>) {
        loop {
            let waiting = self.waiting();
            let waiting = self
                .changed
                .wait_while(waiting, |waiting| {
                    waiting.is_empty() && !self.ended.load(Ordering::Acquire)
                })
                .unwrap_or_else(PoisonError::into_inner);
            let empty = waiting.is_empty();
            drop(waiting);
            if empty {
                return;
            }
            self.send(shared, consumer);
        }
    }

    /// Waits until nothing is queued and nothing is on its way; false where time runs out.
    pub(super) fn settle(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            if self.sending.try_lock().is_ok() && self.waiting().is_empty() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Drops what is queued and lets the thread end.
    pub(super) fn end(&self) {
        let mut waiting = self.waiting();
        waiting.clear();
        self.ended.store(true, Ordering::Release);
        drop(waiting);
        self.changed.notify_all();
    }
}

/// Commits what is not stale, in one request, and tells the pipeline what became of it.
fn commit(shared: &Shared, consumer: &BaseConsumer<Context>, mut commits: Vec<Commit>) {
    let counted = |result: &'static str, count: usize| {
        metrics::counter!("keyhawk_source_commits_total", "result" => result)
            .increment(count as u64);
    };
    let all = commits.len();
    commits.retain(|commit| {
        shared
            .partitions()
            .iter()
            .any(|known| known.assigned == commit.partition)
    });
    counted("stale", all - commits.len());
    let mut offsets = TopicPartitionList::new();
    let mut sent = Vec::new();
    for commit in commits {
        let partition = &commit.partition;
        let mut element = offsets.add_partition(&partition.topic, partition.partition);
        // The answer to the whole request would hide that of one partition.
        if commit.metadata.len() > METADATA_MAX {
            let error = format!("its metadata is longer than {METADATA_MAX} bytes");
            counted("failed", 1);
            told(shared, commit, Some(error));
            continue;
        }
        element.set_metadata(&commit.metadata);
        if let Err(error) = element.set_offset(Offset::Offset(commit.next_offset)) {
            counted("failed", 1);
            told(shared, commit, Some(error.to_string()));
            continue;
        }
        sent.push(commit);
    }
    if sent.is_empty() {
        return;
    }
    let error = consumer
        .commit(&offsets, CommitMode::Sync)
        .err()
        .map(|error| error.to_string());
    if let Some(error) = &error {
        tracing::warn!("a commit failed, the next one makes up for it: {error}");
    }
    counted(if error.is_some() { "failed" } else { "ok" }, sent.len());
    for commit in sent {
        told(shared, commit, error.clone());
    }
}

fn told(shared: &Shared, commit: Commit, error: Option<String>) {
    shared.emit(SourceEvent::Committed {
        partition: commit.partition,
        next_offset: commit.next_offset,
        error,
    });
}
