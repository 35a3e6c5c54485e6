//! The pipeline's thread: everything that arrives becomes an event of delivery, and its effects are done.
//!
//! ```text
//!   loop:  a source event │ receipts │ held batches │ new databases, rules │ revokes │ tick │ report
//!                └────────────┴────────────┴── Delivery::handle ──┴────────────┘
//!                                                   │ effects
//!                          produce, commit, pause, resume, alarm, stopped
//! ```
//!
//! A batch is held, and so counts against the source's prefetch, until it is processed. Batches wait
//! while their partition is paused (too many outputs in flight), or the producer's or the archive's queue
//! is full.

mod reload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use keyhawk_connectors::kafka::{
    Assigned, ReleaseReason, Revoked, Source, SourceControl, SourceEvent,
};
use keyhawk_engine::delivery::{
    CommitResult, Config as DeliveryConfig, Delivery, Effect, Epoch, Event, TopicPartition,
};
use keyhawk_events::{Fingerprinter, GeoDatabases, Record, TopicSettings};

use super::archive::Archive;
use super::geo_watch::GeoWatch;
use super::lane::{self, Lane, failure, named};
use super::outbox::Outbox;
use super::outputs::{Place, Publisher};
use super::releases::Releases;
use super::rule_watch::RuleWatch;
use super::trouble::{Trouble, Verdict, judge};
use super::{Ended, RELEASE_WAIT, now_ms};
use crate::console::Status;
use crate::partition;
use crate::rule_set::RuleSet;

/// How long the thread waits for a source event; receipts are looked at as often.
const PATIENCE: Duration = Duration::from_millis(5);
/// Delivery wants a few ticks per 100 ms.
const TICK: Duration = Duration::from_millis(25);
/// Heartbeat, gauges and the console's details.
const REPORT: Duration = Duration::from_secs(1);
/// How much longer batches that were read are processed once a stop is asked for. What is left is
/// read again at the next start.
const FINISH_WITHIN: Duration = Duration::from_millis(1_500);

/// Makes partitions as the group assigns them.
pub(super) struct Factory {
    pub(super) deployment: String,
    pub(super) rules: Arc<RuleSet>,
    pub(super) topics: BTreeMap<String, TopicSettings>,
    pub(super) fingerprinter: Arc<Fingerprinter>,
    pub(super) geo: Arc<GeoDatabases>,
    /// Whether partitions decode all columns, for an archive.
    pub(super) archives: bool,
}

/// A pipeline whose thread is not started yet.
pub(super) struct Unstarted {
    pub(super) factory: Factory,
    pub(super) publisher: Publisher,
    pub(super) outbox: Outbox,
    pub(super) source: Source,
    pub(super) events: Receiver<SourceEvent>,
    pub(super) status: Arc<Status>,
    pub(super) archive: Option<Archive>,
}

impl Unstarted {
    /// The pipeline, with what the main thread holds the other end of.
    pub(super) fn with(
        self,
        geo: GeoWatch,
        rules: RuleWatch,
        stopping: Arc<AtomicBool>,
    ) -> Pipeline {
        let Unstarted {
            factory,
            publisher,
            outbox,
            source,
            events,
            status,
            archive,
        } = self;
        Pipeline {
            factory,
            publisher,
            outbox,
            control: source.control(),
            source,
            events,
            status,
            archive,
            geo,
            rules,
            stopping,
            stop_seen: None,
            delivery: Delivery::new(DeliveryConfig::default()),
            effects: Vec::new(),
            lanes: BTreeMap::new(),
            releases: Releases::default(),
            started: Instant::now(),
            next_tick: Instant::now(),
            next_report: Instant::now(),
            delivered_all: false,
            failed: false,
        }
    }
}

/// The state of the thread.
pub(super) struct Pipeline {
    factory: Factory,
    publisher: Publisher,
    outbox: Outbox,
    source: Source,
    control: SourceControl,
    events: Receiver<SourceEvent>,
    status: Arc<Status>,
    archive: Option<Archive>,
    geo: GeoWatch,
    rules: RuleWatch,
    stopping: Arc<AtomicBool>,
    stop_seen: Option<Instant>,
    delivery: Delivery,
    effects: Vec<Effect>,
    lanes: BTreeMap<TopicPartition, Lane>,
    releases: Releases,
    started: Instant,
    next_tick: Instant,
    next_report: Instant,
    /// Delivery has said [`Effect::Stopped`].
    delivered_all: bool,
    failed: bool,
}

impl Pipeline {
    /// Runs until the source has left the group.
    pub(super) fn run(mut self) -> Ended {
        loop {
            let ended = match self.events.recv_timeout(PATIENCE) {
                Ok(SourceEvent::Stopped) | Err(RecvTimeoutError::Disconnected) => true,
                Ok(event) => {
                    self.take(event);
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
            };
            let now = Instant::now();
            self.look_after(now);
            if ended {
                break;
            }
        }
        // Its files are completed beside the producer's last messages.
        self.archive = None;
        self.tell(Event::Stop);
        if !self.delivered_all {
            tracing::warn!(
                "not every output and commit was acknowledged before the stop; what is not \
                 committed is read again at the next start, its outputs have the same ids"
            );
        }
        if self.failed {
            Ended::Failed
        } else {
            Ended::Stopped
        }
    }

    /// What is due whether or not an event came.
    fn look_after(&mut self, now: Instant) {
        if self.stop_seen.is_none() && self.stopping.load(Ordering::Acquire) {
            self.stop_seen = Some(now);
        }
        let mut answers = Vec::new();
        self.outbox.pump(now, &mut answers);
        for event in answers {
            self.tell(event);
        }
        while let Ok(geo) = self.geo.changed.try_recv() {
            for partition in self
                .lanes
                .values_mut()
                .filter_map(|lane| lane.partition.as_mut())
            {
                partition.set_geo(Arc::clone(&geo));
            }
            self.factory.geo = geo;
        }
        while let Ok(rules) = self.rules.changed.try_recv() {
            self.reload(rules);
        }
        for key in self.with_held_batches() {
            self.process_held(&key);
        }
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            let now_ms = super::millis(now.duration_since(self.started));
            self.tell(Event::Tick { now_ms });
        }
        let lanes = &self.lanes;
        let sent = |key: &TopicPartition| lanes.get(key).and_then(|lane| lane.commit_sent);
        for (partition, epoch) in self.releases.settle(now, &self.delivery, sent) {
            self.tell(Event::Lost {
                partition: partition.clone(),
                epoch,
            });
            self.forget(&partition, epoch);
        }
        if now >= self.next_report {
            self.next_report = now + REPORT;
            self.report();
        }
    }

    fn take(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Assigned(partitions) => {
                for assigned in partitions {
                    self.assign(assigned);
                }
                self.status.set_ready(true);
            }
            SourceEvent::Batch(batch) => {
                let (key, epoch) = named(batch.assigned());
                if let Some(lane) = self.lanes.get_mut(&key)
                    && lane.assigned.epoch == epoch.0
                    && lane.partition.is_some()
                {
                    lane.held.push_back(batch);
                    self.process_held(&key);
                }
            }
            SourceEvent::Revoked(revoked) => self.revoke(revoked),
            SourceEvent::Committed {
                partition,
                next_offset,
                error,
            } => {
                let result = error.as_deref().map_or(CommitResult::Done, failure);
                self.answer_commit(&partition, next_offset, result);
            }
            SourceEvent::Error(error) => {
                judge(&Trouble::Outside(&error));
            }
            SourceEvent::Stopped => {}
        }
    }

    fn assign(&mut self, assigned: Assigned) {
        let (key, epoch) = named(&assigned);
        let made = self.factory.partition(&key.topic, key.partition);
        let partition = made.map_err(|error| self.fail(&key, &error)).ok();
        self.lanes
            .insert(key.clone(), Lane::new(assigned, partition));
        // Numbering begins anew: nothing is recovered from what the last commit says.
        self.tell(Event::Assigned {
            partition: key,
            epoch,
            resume: None,
        });
    }

    fn revoke(&mut self, revoked: Revoked) {
        let leaving: Vec<_> = revoked.partitions.iter().map(named).collect();
        let now = Instant::now();
        for (key, epoch) in &leaving {
            let Some(lane) = self
                .lanes
                .get_mut(key)
                .filter(|lane| lane.assigned.epoch == epoch.0)
            else {
                continue;
            };
            lane.partition = None;
            lane.held.clear();
            if let Some(archive) = &self.archive {
                archive.close(key);
            }
            // No answer comes before the release. Its fate unknown, the position is committed again.
            let (assigned, sent) = (lane.assigned.clone(), lane.commit_sent);
            if let Some(next_offset) = sent {
                self.answer_commit(&assigned, next_offset, CommitResult::Failed);
            }
        }
        match revoked.reason {
            ReleaseReason::Lost => {
                for (partition, epoch) in leaving {
                    self.tell(Event::Lost {
                        partition: partition.clone(),
                        epoch,
                    });
                    self.forget(&partition, epoch);
                }
            }
            ReleaseReason::Stop => {
                self.releases.add(revoked, leaving, now, RELEASE_WAIT);
                self.tell(Event::Stop);
            }
            ReleaseReason::Rebalance | ReleaseReason::Replaced => {
                for (partition, epoch) in leaving.iter().cloned() {
                    self.tell(Event::Revoked { partition, epoch });
                }
                self.releases.add(revoked, leaving, now, RELEASE_WAIT);
            }
        }
    }

    fn answer_commit(&mut self, assigned: &Assigned, next_offset: i64, result: CommitResult) {
        let (partition, epoch) = named(assigned);
        if let Some(lane) = self.lanes.get_mut(&partition)
            && lane.assigned == *assigned
            && lane.commit_sent == Some(next_offset)
        {
            lane.commit_sent = None;
        }
        self.tell(Event::Committed {
            partition,
            epoch,
            next_offset,
            result,
        });
    }

    fn with_held_batches(&self) -> Vec<TopicPartition> {
        let held = self.lanes.iter().filter(|(_, lane)| !lane.held.is_empty());
        held.map(|(key, _)| key.clone()).collect()
    }

    /// Processes the partition's batches as far as delivery and the producer have room.
    fn process_held(&mut self, key: &TopicPartition) {
        while !self.outbox.is_full()
            && !self.archive.as_ref().is_some_and(Archive::is_full)
            && let Some(lane) = self.lanes.get_mut(key)
            && !lane.paused
            && let Some(batch) = lane.held.pop_front()
        {
            let too_late = self
                .stop_seen
                .is_some_and(|seen| seen.elapsed() > FINISH_WITHIN);
            let Some(partition) = lane.partition.as_mut().filter(|_| !too_late) else {
                // One batch was skipped, so all after it must be.
                lane.partition = None;
                continue;
            };
            let newest_record_ms = batch
                .records()
                .filter_map(|record| record.record_time_ms)
                .max();
            for record in batch.records() {
                partition.push(Record {
                    payload: record.payload,
                    offset: record.offset,
                    record_time_ms: record.record_time_ms,
                });
            }
            match partition.process() {
                Ok(mut processed) => {
                    if let (Some(archive), Some(decoded)) =
                        (&self.archive, processed.decoded.take())
                    {
                        archive.push(key, decoded);
                    }
                    let epoch = Epoch(lane.assigned.epoch);
                    let next_offset = batch.next_offset();
                    let place = Place {
                        partition: key,
                        next_offset,
                        newest_record_ms,
                    };
                    let outputs = self.publisher.outputs(processed, &place, now_ms());
                    self.tell(Event::Batch {
                        partition: key.clone(),
                        epoch,
                        next_offset,
                        outputs,
                    });
                }
                Err(error) => self.fail(key, &error),
            }
        }
    }

    /// The partition stops, and then the process.
    fn fail(&mut self, key: &TopicPartition, error: &partition::Error) {
        if judge(&Trouble::Invariant {
            partition: key,
            error,
        }) == Verdict::StopPartition
        {
            if let Some(lane) = self.lanes.get_mut(key) {
                lane.partition = None;
                lane.held.clear();
            }
            self.failed = true;
            self.control.stop();
        }
    }

    fn forget(&mut self, key: &TopicPartition, epoch: Epoch) {
        if self
            .lanes
            .get(key)
            .is_some_and(|lane| lane.assigned.epoch == epoch.0)
        {
            self.lanes.remove(key);
            lane::reset_gauges(key);
        }
        if self.lanes.is_empty() {
            self.status.set_ready(false);
        }
    }

    /// Tells delivery, and does what it asks for.
    fn tell(&mut self, event: Event) {
        let mut effects = std::mem::take(&mut self.effects);
        self.delivery.handle(event, &mut effects);
        for effect in effects.drain(..) {
            self.perform(effect);
        }
        self.effects = effects;
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Produce {
                token,
                topic,
                key,
                payload,
                ..
            } => {
                self.outbox.push(token, topic, key, payload);
            }
            Effect::Commit {
                partition,
                epoch,
                next_offset,
                metadata,
            } => {
                if let Some(lane) = self.lane(&partition, epoch) {
                    lane.commit_sent = Some(next_offset);
                    let assigned = lane.assigned.clone();
                    self.control.commit(&assigned, next_offset, metadata);
                }
            }
            Effect::ReleaseRevoked { partition, epoch } => self.forget(&partition, epoch),
            Effect::Pause { partition, epoch } => {
                if let Some(lane) = self.lane(&partition, epoch) {
                    lane.paused = true;
                }
            }
            Effect::Resume { partition, epoch } => {
                if let Some(lane) = self.lane(&partition, epoch) {
                    lane.paused = false;
                }
            }
            Effect::Alarm(alarm) => {
                judge(&Trouble::Outside(&alarm));
            }
            Effect::Stopped => self.delivered_all = true,
        }
    }

    fn lane(&mut self, key: &TopicPartition, epoch: Epoch) -> Option<&mut Lane> {
        self.lanes
            .get_mut(key)
            .filter(|lane| lane.assigned.epoch == epoch.0)
    }

    /// Heartbeat, gauges, and what `/readyz` shows.
    fn report(&self) {
        let now_ms = now_ms();
        self.status.heartbeat(now_ms);
        let lags = self.source.lag();
        let describe = |(key, lane): (&TopicPartition, &Lane)| {
            let lag = lags.iter().find(|lag| lag.assigned == lane.assigned);
            lane.describe(key, lag, self.delivery.status(key), now_ms)
        };
        let partitions: Vec<_> = self.lanes.iter().map(describe).collect();
        self.status.set_detail("partitions", partitions.into());
        self.report_warming();
    }
}
