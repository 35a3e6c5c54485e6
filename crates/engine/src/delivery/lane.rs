//! What delivery knows of one assigned partition: outputs in flight, positions, and its commit.
//!
//! ```text
//!   committed      commit in flight      settled              marks            next_offset
//! ──────┼─────────────────┼─────────────────┼──────────────────┼────┼───────────────┤──▶ log
//!       outputs of the rows up to here are acknowledged        first output in `pending`
//! ```
//!
//! Positions only move to the right, `committed ≤ commit in flight ≤ settled ≤ next_offset`.
//!
//! State: an entry an output in flight, a mark a batch that emitted something and is not yet settled.

use std::collections::{BTreeMap, VecDeque};

use super::metadata::{CommitMetadata, IdDigest};
use super::{Config, Epoch, OutputTopic, Token};

/// A position between two batches, and what was emitted up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub next_offset: i64,
    /// Outputs emitted since the log began: the number of the first output after this position.
    seq: u64,
    digest: IdDigest,
}

/// An output that the producer has and the broker has not answered. The payload is with the producer.
#[derive(Debug)]
pub(super) struct Pending {
    pub token: Token,
    pub id: [u8; 16],
    pub topic: OutputTopic,
    pub key: Option<Vec<u8>>,
    pub payload_bytes: usize,
    pub is_stub: bool,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub epoch: Epoch,
    /// The partition is revoked: it takes no batch, and goes once everything is settled and committed.
    pub leaving: bool,
    pub paused: bool,
    /// Outputs in flight by their number.
    pub pending: BTreeMap<u64, Pending>,
    base_seq: u64,
    seq: u64,
    digest: IdDigest,
    next_offset: Option<i64>,
    marks: VecDeque<Mark>,
    settled: Option<Mark>,
    committed: Option<Mark>,
    commit: Option<Mark>,
    /// The group would not have our last commit: there is nothing more to try.
    abandoned: bool,
    failures: u32,
    commit_not_before_ms: i64,
}

impl Lane {
    pub fn new(epoch: Epoch, resume: Option<CommitMetadata>) -> Self {
        let base_seq = resume.map_or(0, |metadata| metadata.seq);
        Self {
            epoch,
            leaving: false,
            paused: false,
            pending: BTreeMap::new(),
            base_seq,
            seq: base_seq,
            digest: IdDigest::default(),
            next_offset: None,
            marks: VecDeque::new(),
            settled: None,
            committed: None,
            commit: None,
            abandoned: false,
            failures: 0,
            commit_not_before_ms: i64::MIN,
        }
    }

    /// Numbers an output; the caller produces it.
    pub fn push(&mut self, pending: Pending) -> u64 {
        let seq = self.seq;
        self.digest.add(&pending.id);
        self.pending.insert(seq, pending);
        self.seq += 1;
        seq
    }

    /// The rows before `next_offset` are processed, and their outputs pushed.
    pub fn mark(&mut self, next_offset: i64) {
        debug_assert!(
            self.next_offset
                .is_none_or(|previous| previous <= next_offset)
        );
        self.next_offset = Some(next_offset);
        let mark = Mark {
            next_offset,
            seq: self.seq,
            digest: self.digest,
        };
        match self.marks.back_mut() {
            // Nothing was emitted since: the same outputs allow the later position as well.
            Some(last) if last.seq == mark.seq => *last = mark,
            _ => self.marks.push_back(mark),
        }
        self.settle();
    }

    /// The output is acknowledged, or given up.
    pub fn forget(&mut self, seq: u64) -> Option<Pending> {
        let pending = self.pending.remove(&seq);
        self.settle();
        pending
    }

    fn settle(&mut self) {
        let first_open = self
            .pending
            .first_key_value()
            .map_or(self.seq, |(seq, _)| *seq);
        while let Some(mark) = self.marks.pop_front_if(|mark| mark.seq <= first_open) {
            self.settled = Some(mark);
        }
    }

    /// The position to commit now, if one may leave; it is in flight from then on.
    ///
    /// `closing` (a stop or a revoke) does not wait for the interval once no output is in flight, but
    /// does wait out a backoff.
    pub fn take_commit(&mut self, now_ms: i64, closing: bool, config: &Config) -> Option<Mark> {
        let at_once = closing && self.pending.is_empty() && self.failures == 0;
        if self.commit.is_some() || self.settled == self.committed || self.abandoned {
            return None;
        }
        if now_ms < self.commit_not_before_ms && !at_once {
            return None;
        }
        self.commit = self.settled;
        self.commit_not_before_ms = now_ms.saturating_add(config.commit_interval_ms);
        self.commit
    }

    pub fn metadata(&self, mark: &Mark) -> CommitMetadata {
        CommitMetadata {
            base_seq: self.base_seq,
            seq: mark.seq,
            digest: mark.digest,
        }
    }

    /// Whether an answer about this offset is an answer to the commit in flight.
    pub fn awaits_commit(&self, next_offset: i64) -> bool {
        self.commit
            .is_some_and(|mark| mark.next_offset == next_offset)
    }

    pub fn commit_done(&mut self) {
        self.committed = self.commit.take();
        self.failures = 0;
    }

    /// Returns how many commits have failed in a row.
    pub fn commit_failed(&mut self, now_ms: i64, config: &Config) -> u32 {
        self.commit = None;
        self.failures = self.failures.saturating_add(1);
        let doublings = (self.failures - 1).min(30);
        let backoff_ms = config
            .backoff_ms_min
            .saturating_mul(1 << doublings)
            .min(config.backoff_ms_max);
        self.commit_not_before_ms = now_ms.saturating_add(backoff_ms);
        self.failures
    }

    /// Gives up the commit for good; what was emitted since the last one will be emitted again elsewhere.
    pub fn abandon(&mut self) {
        self.commit = None;
        self.abandoned = true;
    }

    /// The last commit is tried at once, whatever backoff earlier ones were in.
    pub fn begin_closing(&mut self) {
        self.failures = 0;
    }

    /// Nothing is in flight, and nothing is left to commit.
    pub fn is_finished(&self) -> bool {
        self.pending.is_empty()
            && self.commit.is_none()
            && (self.abandoned || self.settled == self.committed)
    }

    pub fn next_offset(&self) -> Option<i64> {
        self.next_offset
    }

    pub fn committed_offset(&self) -> Option<i64> {
        self.committed.map(|mark| mark.next_offset)
    }

    pub fn seq(&self) -> u64 {
        self.seq
    }
}
