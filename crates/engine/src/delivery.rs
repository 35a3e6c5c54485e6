//! Delivery: which outputs are produced, which offset is committed when, and what a rebalance waits for.
//!
//! A pure state machine. Events go in, effects come out; the pipeline performs the effects on a real
//! Kafka, and a simulation performs them on a model of one. It reads no clock: time comes with ticks.
//!
//! ```text
//!                 Batch{rows before 40 → outputs a b c}
//!                                  │
//!      ┌───────────────────────────▼───────────────────────────┐
//!      │ seq      7  8  9 │ 10 11 12        commit(40) may     │   Produce a b c
//!      │ output   x  y  z │  a  b  c        leave when a, b    ├──────────────────▶ producer
//!      │          ✓  ✓  ✓ │  ✓  ·  ✓        and c have a ✓     │◀──────────────────
//!      │                 30       40                           │   Acknowledged, Refused
//!      │                                                       │
//!      │                                                       │   Commit{30, "seq=10 …"}
//!      │                                                       ├──────────────────▶ consumer group
//!      └───────────────────────────▲───────────────────────────┘◀──────────────────
//!                                  │                               Committed{30}
//!            Assigned, Revoked, Lost, Tick, Stop
//! ```
//!
//! Outputs and positions are kept per source partition and assignment. This is the protocol; each rule
//! has a test that names it.
//!
//! Outputs and commits
//!
//! - **R1** Outputs are numbered in the order in which they are emitted, on from the number that the last
//!   commit names, and are produced in that order, each under a token that is never used again.
//! - **R2** A commit of offset N leaves only when every output of the rows before N is acknowledged.
//! - **R3** At most one commit of a partition is in flight, and while it is neither revoked nor stopping
//!   they leave on ticks only, at least the commit interval apart.
//! - **R4** A commit takes the newest position that R2 allows, and a position already committed is not
//!   committed again.
//! - **R5** A batch that emits nothing moves the position too.
//! - **R6** A commit carries the number of outputs below it and an order-free digest of their ids, in a
//!   text below 4 KB that can be parsed again.
//!
//! Refused outputs
//!
//! - **R7** An output that the broker refuses for good is replaced by a stub with the same id and the
//!   reason, and the commit waits for the stub in its stead. A command's stub goes to the shadow topic,
//!   since it cannot be carried out and nothing on the commands topic may be ignored.
//! - **R8** A stub that is refused too is dropped with an alarm and then counts as acknowledged, so that
//!   no output is tried a third time.
//!
//! Assignments
//!
//! - **R9** A batch or an answer that belongs to another assignment than the present one is dropped and
//!   counted.
//! - **R10** After a revoke no batch of the partition is taken; outputs in flight are waited for, the last
//!   position is committed at once, and then the revoke is released.
//! - **R11** A lost partition is dropped without a commit, and a revoke that waits for it is released.
//! - **R12** A revoke of what is not held is released at once, so that no callback waits for ever.
//! - **R13** A new assignment of a partition that is still held replaces the old one as if that were lost.
//!
//! Failed commits
//!
//! - **R14** A failed commit is followed, on a tick, after a backoff that doubles up to a bound, by a
//!   commit of the position that is newest by then.
//! - **R15** After a commit that the group refuses as stale, a partition that stays commits again after
//!   the backoff, under the generation of that time, and one that is on its way out gives up its commit.
//! - **R16** Commits that fail several times in a row raise one alarm.
//!
//! Flow, time and stop
//!
//! - **R17** A partition is paused when its outputs in flight reach the bound and resumed at half of it;
//!   a batch that was already read is still taken.
//! - **R18** Time does not go back: an earlier tick counts as a tick at the latest time seen.
//! - **R19** A batch that ends before the position already processed is dropped with an alarm.
//! - **R20** After a stop no batch and no assignment is taken; once every output is acknowledged and every
//!   position is committed, `Stopped` comes, once.
//!
//! What follows from them: an output of a row below the committed offset is in Kafka (or an alarm told of
//! it), so a crash loses none; and what was sent above it may be sent again after a crash, with the same
//! ids, because an id depends on the log alone.
//!
//! What is absent on purpose. A producer failure that may pass is the producer's to retry (an idempotent
//! producer without a message timeout); only `Refused` is final. A revoke has no deadline of its own:
//! a pipeline that can wait no longer sends `Lost`, which is always safe. Durable state, transactions and
//! recovery by replay are further events and effects (flushed, write, seek) at the same positions.

mod lane;
mod messages;
mod metadata;
mod stub;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use self::messages::{
    Alarm, CommitResult, Effect, Epoch, Event, Output, OutputTopic, Token, TopicPartition,
};
pub use self::metadata::{CommitMetadata, IdDigest, METADATA_BYTES_MAX, MetadataError};

use self::lane::{Lane, Pending};

/// The machine. One instance of Keyhawk has one, for all its partitions.
#[derive(Debug)]
pub struct Delivery {
    config: Config,
    lanes: BTreeMap<TopicPartition, Lane>,
    /// Whose output a token is, and its number there.
    tokens: BTreeMap<Token, (TopicPartition, u64)>,
    next_token: u64,
    now_ms: i64,
    phase: Phase,
    counters: Counters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Stopping,
    Stopped,
}

/// The machine's limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// Least time between two commits of a partition. 100 ms: what a crash may repeat stays small, and a
    /// hundred partitions cost the coordinator a thousand small writes a second.
    pub commit_interval_ms: i64,
    /// Wait after the first failed commit; doubles with each further one.
    pub backoff_ms_min: i64,
    /// The longest wait after a failed commit; half of the ten seconds within which a stop should end.
    pub backoff_ms_max: i64,
    /// Failures in a row that raise the alarm. Five are about three seconds of backoff.
    pub failures_to_alarm: u32,
    /// Outputs in flight at which a partition is paused; 0 counts as 1.
    pub in_flight_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            commit_interval_ms: 100,
            backoff_ms_min: 100,
            backoff_ms_max: 5_000,
            failures_to_alarm: 5,
            in_flight_max: 10_000,
        }
    }
}

/// What was dropped or went wrong, since the machine began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Batches of an assignment that is over, or after a stop.
    pub stale_batches: u64,
    /// Answers about outputs that nobody waits for.
    pub stale_answers: u64,
    /// Answers about commits that nobody waits for.
    pub stale_commits: u64,
    /// Assignments, revokes and losses of an epoch that is over, and assignments after a stop.
    pub stale_assignments: u64,
    /// Outputs replaced by a stub.
    pub refused: u64,
    /// Stubs refused, that is, outputs dropped.
    pub dropped: u64,
    /// Commits that failed or were refused as stale.
    pub failed_commits: u64,
}

/// Where a partition stands, for metrics and for whoever waits for progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The present assignment.
    pub epoch: Epoch,
    /// Rows before it are processed; none before the first batch.
    pub next_offset: Option<i64>,
    /// What this assignment has committed.
    pub committed_offset: Option<i64>,
    /// Outputs emitted since the log began.
    pub seq: u64,
    /// Outputs with the producer.
    pub in_flight: usize,
    /// Whether fetching is paused.
    pub paused: bool,
}

impl Delivery {
    /// A machine without partitions, at the beginning of time.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            lanes: BTreeMap::new(),
            tokens: BTreeMap::new(),
            next_token: 0,
            now_ms: i64::MIN,
            phase: Phase::Running,
            counters: Counters::default(),
        }
    }

    /// Takes one event, and appends what is to be done about it to `effects`.
    ///
    /// The effects depend on the events so far and on nothing else. Costs a few look-ups by partition or
    /// token and a hash an output; a tick visits every partition.
    pub fn handle(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Assigned {
                partition,
                epoch,
                resume,
            } => self.assigned(partition, epoch, resume, effects),
            Event::Revoked { partition, epoch } => self.revoked(partition, epoch, effects),
            Event::Lost { partition, epoch } => self.lost(&partition, epoch, effects),
            Event::Batch {
                partition,
                epoch,
                next_offset,
                outputs,
            } => {
                self.batch(&partition, epoch, next_offset, outputs, effects);
            }
            Event::Acknowledged { token } => self.acknowledged(token, effects),
            Event::Refused {
                token,
                reason,
                stub,
            } => self.refused(token, reason, stub, effects),
            Event::Committed {
                partition,
                epoch,
                next_offset,
                result,
            } => {
                self.committed(&partition, epoch, next_offset, result, effects);
            }
            Event::Tick { now_ms } => self.tick(now_ms, effects),
            Event::Stop => self.stop(effects),
        }
    }

    /// What was dropped or went wrong so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Where a partition stands; none where it is not held.
    pub fn status(&self, partition: &TopicPartition) -> Option<Status> {
        self.lanes.get(partition).map(|lane| Status {
            epoch: lane.epoch,
            next_offset: lane.next_offset(),
            committed_offset: lane.committed_offset(),
            seq: lane.seq(),
            in_flight: lane.pending.len(),
            paused: lane.paused,
        })
    }

    fn assigned(
        &mut self,
        partition: TopicPartition,
        epoch: Epoch,
        resume: Option<CommitMetadata>,
        effects: &mut Vec<Effect>,
    ) {
        let held = self.lanes.get(&partition).map(|lane| lane.epoch);
        if self.phase != Phase::Running || held.is_some_and(|held| held >= epoch) {
            self.counters.stale_assignments += 1;
            return;
        }
        if let Some(held) = held {
            self.lost(&partition, held, effects);
        }
        self.lanes.insert(partition, Lane::new(epoch, resume));
    }

    fn revoked(&mut self, partition: TopicPartition, epoch: Epoch, effects: &mut Vec<Effect>) {
        match self.lanes.get_mut(&partition) {
            Some(lane) if lane.epoch == epoch => {
                if !lane.leaving {
                    lane.leaving = true;
                    lane.begin_closing();
                }
                self.close(&partition, effects);
            }
            _ => {
                self.counters.stale_assignments += 1;
                effects.push(Effect::ReleaseRevoked { partition, epoch });
            }
        }
    }

    fn lost(&mut self, partition: &TopicPartition, epoch: Epoch, effects: &mut Vec<Effect>) {
        if self
            .lanes
            .get(partition)
            .is_none_or(|lane| lane.epoch != epoch)
        {
            self.counters.stale_assignments += 1;
            return;
        }
        self.drop_lane(partition, effects);
        self.finish_stop(effects);
    }

    /// Forgets an assignment and its tokens, and lets a revoke that waits for it go.
    fn drop_lane(&mut self, partition: &TopicPartition, effects: &mut Vec<Effect>) {
        let Some(lane) = self.lanes.remove(partition) else {
            return;
        };
        for pending in lane.pending.values() {
            self.tokens.remove(&pending.token);
        }
        if lane.leaving {
            effects.push(Effect::ReleaseRevoked {
                partition: partition.clone(),
                epoch: lane.epoch,
            });
        }
    }

    fn batch(
        &mut self,
        partition: &TopicPartition,
        epoch: Epoch,
        next_offset: i64,
        outputs: Vec<Output>,
        effects: &mut Vec<Effect>,
    ) {
        let running = self.phase == Phase::Running;
        let lane = self
            .lanes
            .get_mut(partition)
            .filter(|lane| running && lane.epoch == epoch && !lane.leaving);
        let Some(lane) = lane else {
            self.counters.stale_batches += 1;
            return;
        };
        if let Some(expected_from) = lane
            .next_offset()
            .filter(|processed| next_offset < *processed)
        {
            let partition = partition.clone();
            effects.push(Effect::Alarm(Alarm::OffsetWentBack {
                partition,
                expected_from,
                next_offset,
            }));
            return;
        }
        for Output {
            id,
            topic,
            key,
            payload,
        } in outputs
        {
            let token = Token(self.next_token);
            self.next_token += 1;
            let pending = Pending {
                token,
                id,
                topic,
                key: key.clone(),
                payload_bytes: payload.len(),
                is_stub: false,
            };
            let seq = lane.push(pending);
            self.tokens.insert(token, (partition.clone(), seq));
            effects.push(Effect::Produce {
                token,
                id,
                topic,
                key,
                payload,
            });
        }
        lane.mark(next_offset);
        if !lane.paused && lane.pending.len() >= self.config.in_flight_max.max(1) {
            lane.paused = true;
            effects.push(Effect::Pause {
                partition: partition.clone(),
                epoch,
            });
        }
    }

    fn acknowledged(&mut self, token: Token, effects: &mut Vec<Effect>) {
        match self.tokens.remove(&token) {
            Some((partition, seq)) => self.settle(&partition, seq, effects),
            None => self.counters.stale_answers += 1,
        }
    }

    fn refused(
        &mut self,
        token: Token,
        reason: String,
        stub: Option<Vec<u8>>,
        effects: &mut Vec<Effect>,
    ) {
        let Some((partition, seq)) = self.tokens.remove(&token) else {
            self.counters.stale_answers += 1;
            return;
        };
        let pending = self
            .lanes
            .get_mut(&partition)
            .and_then(|lane| lane.pending.get_mut(&seq))
            .expect("a token is forgotten together with its output");
        let (id, topic) = (pending.id, pending.topic);
        if pending.is_stub {
            self.counters.dropped += 1;
            let alarm = Alarm::StubRefused {
                partition: partition.clone(),
                id,
                topic,
                reason,
            };
            effects.push(Effect::Alarm(alarm));
            self.settle(&partition, seq, effects);
            return;
        }
        self.counters.refused += 1;
        let token = Token(self.next_token);
        self.next_token += 1;
        let payload =
            stub.unwrap_or_else(|| stub::payload(&id, topic, &reason, pending.payload_bytes));
        pending.token = token;
        pending.is_stub = true;
        pending.topic = topic.of_stub();
        let key = pending.key.take();
        self.tokens.insert(token, (partition.clone(), seq));
        effects.push(Effect::Produce {
            token,
            id,
            topic: topic.of_stub(),
            key,
            payload,
        });
        effects.push(Effect::Alarm(Alarm::OutputRefused {
            partition,
            id,
            topic,
            reason,
        }));
    }

    /// The output is acknowledged or given up: its token is forgotten already.
    fn settle(&mut self, partition: &TopicPartition, seq: u64, effects: &mut Vec<Effect>) {
        let running = self.phase == Phase::Running;
        let lane = self
            .lanes
            .get_mut(partition)
            .expect("a partition that goes takes its tokens along");
        lane.forget(seq);
        let open = running && !lane.leaving;
        if open && lane.paused && lane.pending.len() <= self.config.in_flight_max.max(1) / 2 {
            lane.paused = false;
            effects.push(Effect::Resume {
                partition: partition.clone(),
                epoch: lane.epoch,
            });
        }
        self.close(partition, effects);
    }

    fn committed(
        &mut self,
        partition: &TopicPartition,
        epoch: Epoch,
        next_offset: i64,
        result: CommitResult,
        effects: &mut Vec<Effect>,
    ) {
        let lane = self
            .lanes
            .get_mut(partition)
            .filter(|lane| lane.epoch == epoch);
        let Some(lane) = lane.filter(|lane| lane.awaits_commit(next_offset)) else {
            self.counters.stale_commits += 1;
            return;
        };
        let closing = lane.leaving || self.phase != Phase::Running;
        match result {
            CommitResult::Done => lane.commit_done(),
            CommitResult::Stale if closing => {
                self.counters.failed_commits += 1;
                lane.abandon();
                let alarm = Alarm::CommitAbandoned {
                    partition: partition.clone(),
                    epoch,
                };
                effects.push(Effect::Alarm(alarm));
            }
            // A generation may have ended while the commit was under way and the partition may have stayed
            // ours without a callback (cooperative rebalance), so the next attempt can be good. If the
            // partition is not ours, that attempt is refused as well, and harmless, until the loss is told.
            CommitResult::Failed | CommitResult::Stale => {
                self.counters.failed_commits += 1;
                let failures = lane.commit_failed(self.now_ms, &self.config);
                if failures == self.config.failures_to_alarm {
                    let alarm = Alarm::CommitFailing {
                        partition: partition.clone(),
                        failures,
                    };
                    effects.push(Effect::Alarm(alarm));
                }
            }
        }
        self.close(partition, effects);
    }

    fn tick(&mut self, now_ms: i64, effects: &mut Vec<Effect>) {
        self.now_ms = self.now_ms.max(now_ms);
        let stopping = self.phase != Phase::Running;
        for (partition, lane) in &mut self.lanes {
            let closing = stopping || lane.leaving;
            commit(partition, lane, self.now_ms, closing, &self.config, effects);
        }
    }

    fn stop(&mut self, effects: &mut Vec<Effect>) {
        if self.phase != Phase::Running {
            return;
        }
        self.phase = Phase::Stopping;
        for (partition, lane) in &mut self.lanes {
            lane.begin_closing();
            commit(partition, lane, self.now_ms, true, &self.config, effects);
        }
        self.finish_stop(effects);
    }

    /// Brings a partition that is revoked or stopping as far as it can go now; leaves others alone, whose
    /// commits wait for a tick.
    fn close(&mut self, partition: &TopicPartition, effects: &mut Vec<Effect>) {
        let Some(lane) = self.lanes.get_mut(partition) else {
            return;
        };
        if !lane.leaving && self.phase == Phase::Running {
            return;
        }
        commit(partition, lane, self.now_ms, true, &self.config, effects);
        if lane.leaving && lane.is_finished() {
            self.drop_lane(partition, effects);
        }
        self.finish_stop(effects);
    }

    fn finish_stop(&mut self, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Stopping && self.lanes.values().all(Lane::is_finished) {
            self.phase = Phase::Stopped;
            effects.push(Effect::Stopped);
        }
    }
}

fn commit(
    partition: &TopicPartition,
    lane: &mut Lane,
    now_ms: i64,
    closing: bool,
    config: &Config,
    effects: &mut Vec<Effect>,
) {
    if let Some(mark) = lane.take_commit(now_ms, closing, config) {
        let metadata = lane.metadata(&mark).to_string();
        debug_assert!(metadata.len() < METADATA_BYTES_MAX);
        effects.push(Effect::Commit {
            partition: partition.clone(),
            epoch: lane.epoch,
            next_offset: mark.next_offset,
            metadata,
        });
    }
}
