//! The source's thread: one consumer after the other, each polled until it stops or stalls.

use std::sync::atomic::Ordering;
use std::sync::mpsc::TryRecvError;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};

use super::super::client;
use super::partitions::{Partition, Shared};
use super::rebalance::{Context, forget, release};
use super::{Command, ReleaseReason, SourceEvent, StartAt};
use crate::{Error, Result};

/// How often commands, ages of batches and pauses are looked at while records stream in.
const HOUSEKEEPING: Duration = Duration::from_millis(2);

/// How long the last commits may take at a stop.
const LAST_COMMITS: Duration = Duration::from_secs(3);

/// How long leaving the group may take at a stop. The group notices by itself after the session's
/// time-out.
const LEAVE: Duration = Duration::from_secs(1);

/// How long to wait before a consumer that could not be made is tried again.
const REMAKE: Duration = Duration::from_secs(1);

/// Why a consumer is polled no more.
enum End {
    Stop,
    Replace(&'static str),
}

/// A consumer under the source's configuration, subscribed.
pub(super) fn consumer(shared: &Arc<Shared>) -> Result<BaseConsumer<Context>> {
    let source = &shared.config;
    let start = match source.start_at {
        StartAt::Earliest => "earliest",
        StartAt::Latest => "latest",
    };
    let mut config = client::config(
        &source.brokers,
        &source.client_id,
        &[
            ("auto.offset.reset", start),
            // Bounds what librdkafka itself fetches ahead; its own default is 64 MiB.
            ("queued.max.messages.kbytes", "32768"),
            ("queued.min.messages", "50000"),
            ("fetch.wait.max.ms", "100"),
            ("max.poll.interval.ms", "300000"),
        ],
    );
    source.properties.apply(&mut config);
    if let Some(instance_id) = &source.instance_id {
        config.set("group.instance.id", instance_id);
    }
    let consumer: BaseConsumer<Context> = config
        .set("group.id", &source.group_id)
        .set("group.protocol", "classic")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .create_with_context(Context::new(shared))
        .map_err(|error| Error::client("making the Kafka consumer", error))?;
    let topics: Vec<&str> = source.topics.iter().map(String::as_str).collect();
    consumer
        .subscribe(&topics)
        .map_err(|error| Error::client("subscribing the Kafka consumer", error))?;
    Ok(consumer)
}

/// Runs until a stop is asked for.
pub(super) fn run(shared: &Arc<Shared>, first: BaseConsumer<Context>) {
    let mut reader = Reader::new(shared);
    let mut next = Some(first);
    while let Some(consumer) = next.take() {
        let consumer = Arc::new(consumer);
        let committing = super::spawn("kh-commit", {
            let (shared, consumer) = (Arc::clone(shared), Arc::clone(&consumer));
            move || consumer.context().commits.run(&shared, &consumer)
        });
        let end = match &committing {
            Ok(_) => reader.read(&consumer),
            Err(error) => {
                reader.complain(error.to_string(), true);
                std::thread::sleep(REMAKE);
                End::Replace("fatal")
            }
        };
        match end {
            End::Stop => reader.close(consumer, committing.ok(), ReleaseReason::Stop),
            End::Replace(reason) => {
                metrics::counter!("keyhawk_source_recreations_total", "reason" => reason)
                    .increment(1);
                shared.counters.recreations.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(reason, "the Kafka consumer is replaced; no record is lost");
                reader.close(consumer, committing.ok(), ReleaseReason::Replaced);
                next = reader.remake();
            }
        }
    }
    shared.ended.store(true, Ordering::Release);
    shared.emit(SourceEvent::Stopped);
}

struct Reader<'a> {
    shared: &'a Arc<Shared>,
    /// Where the last record's partition stood in the list: the next one is mostly of the same.
    last: usize,
    /// Replacements in a row after which nothing was delivered.
    fruitless: u32,
    /// The last error passed on, and when.
    complained: Option<(String, Instant)>,
}

impl<'a> Reader<'a> {
    fn new(shared: &'a Arc<Shared>) -> Reader<'a> {
        Reader {
            shared,
            last: 0,
            fruitless: 0,
            complained: None,
        }
    }

    fn read(&mut self, consumer: &BaseConsumer<Context>) -> End {
        let mut next_look = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next_look {
                self.serve(consumer);
                if self.shared.stopping.load(Ordering::Acquire) {
                    return End::Stop;
                }
                self.look_after(consumer, now);
                if self.stalled(now) {
                    self.fruitless += 1;
                    return End::Replace("stalled");
                }
                next_look = now + HOUSEKEEPING;
            }
            match consumer.poll(self.patience(now)) {
                None => next_look = now,
                Some(Ok(message)) => self.take(consumer, &message, now),
                Some(Err(KafkaError::PartitionEOF(partition))) => self.reached_end(partition),
                Some(Err(error)) => {
                    let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
                    self.complain(error.to_string(), fatal);
                    if fatal {
                        return End::Replace("fatal");
                    }
                }
            }
        }
    }

    /// How long a poll may wait: until the oldest open batch is due, and not long without one, so
    /// that commands and freed batches are noticed.
    fn patience(&self, now: Instant) -> Duration {
        let wait = self.shared.config.batch_wait;
        self.shared
            .partitions()
            .iter()
            .filter(|partition| !partition.open.is_empty())
            .map(|partition| (partition.opened_at + wait).saturating_duration_since(now))
            .min()
            .unwrap_or(Duration::from_millis(10))
            .clamp(Duration::from_millis(1), Duration::from_millis(10))
    }

    /// Carries out what the pipeline asked for.
    fn serve(&self, consumer: &BaseConsumer<Context>) {
        let inbox = self
            .shared
            .inbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            match inbox.try_recv() {
                Ok(Command::Commit(commit)) => consumer.context().commits.queue(commit),
                // Its release has timed out.
                Ok(Command::Released(_)) => {}
                Ok(Command::Stop) => self.shared.stopping.store(true, Ordering::Release),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    fn take(
        &mut self,
        consumer: &BaseConsumer<Context>,
        message: &BorrowedMessage<'_>,
        now: Instant,
    ) {
        let config = &self.shared.config;
        let (topic, number) = (message.topic(), message.partition());
        let mut partitions = self.shared.partitions();
        if !partitions
            .get(self.last)
            .is_some_and(|last| last.is(topic, number))
        {
            let found = partitions
                .iter()
                .position(|partition| partition.is(topic, number));
            // A record that was on its way when its partition was taken away.
            let Some(found) = found else { return };
            self.last = found;
        }
        let partition = &mut partitions[self.last];
        let offset = message.offset();
        // A resumed partition may deliver again what was in flight when it was paused.
        if partition.released || partition.next_offset.is_some_and(|next| offset < next) {
            return;
        }
        let payload = message.payload();
        let bytes = payload.map_or(0, <[u8]>::len);
        if !partition.open.is_empty() && partition.open.bytes() + bytes > config.batch_bytes {
            self.shared.hand_on(partition);
        }
        if partition.open.is_empty() {
            partition.opened_at = now;
        }
        partition
            .open
            .push(offset, message.timestamp().to_millis(), payload);
        partition.next_offset = Some(offset + 1);
        partition.quiet_since = now;
        partition.end.reached = false;
        self.fruitless = 0;
        if partition.open.rows() >= config.batch_rows
            || partition.open.bytes() >= config.batch_bytes
        {
            self.shared.hand_on(partition);
        }
        if !partition.paused && self.behind(partition, 1) {
            self.pause(consumer, partition);
        }
    }

    /// Whether the pipeline has this share of what it may have, 1 for all and 2 for half of it.
    fn behind(&self, partition: &Partition, share: usize) -> bool {
        let config = &self.shared.config;
        let bytes = usize::try_from(self.shared.outstanding.bytes()).unwrap_or(usize::MAX);
        partition.batches.load(Ordering::Acquire) >= (config.prefetch_batches / share).max(1)
            || bytes >= (config.prefetch_bytes / share).max(1)
    }

    fn pause(&self, consumer: &BaseConsumer<Context>, partition: &mut Partition) {
        match consumer.pause(&only(partition)) {
            Ok(()) => {
                partition.paused = true;
                self.shared.counters.pauses.fetch_add(1, Ordering::Relaxed);
            }
            // It is being taken away, and delivers no more anyway.
            Err(error) => tracing::debug!(%error, "a partition could not be paused"),
        }
    }

    /// Hands on batches that are old enough, and resumes partitions that the pipeline caught up on.
    fn look_after(&self, consumer: &BaseConsumer<Context>, now: Instant) {
        let config = &self.shared.config;
        for partition in self.shared.partitions().iter_mut() {
            let due = !partition.open.is_empty()
                && now.saturating_duration_since(partition.opened_at) >= config.batch_wait;
            if due {
                self.shared.hand_on(partition);
            }
            if partition.paused {
                partition.quiet_since = now;
                if !partition.released && !self.behind(partition, 2) {
                    match consumer.resume(&only(partition)) {
                        Ok(()) => partition.paused = false,
                        Err(error) => tracing::debug!(%error, "a partition could not be resumed"),
                    }
                }
            } else if self.behind(partition, 1) {
                self.pause(consumer, partition);
            }
        }
    }

    /// The consumer has read this partition to its end. The notice names no topic, so that it is
    /// taken for each topic's partition of that number: at worst the watchdog waits until the log
    /// has grown once more.
    fn reached_end(&self, number: i32) {
        for partition in self.shared.partitions().iter_mut() {
            if partition.assigned.partition == number {
                partition.end.reached = true;
            }
        }
    }

    /// Whether a partition has had lag and delivered nothing for too long.
    fn stalled(&self, now: Instant) -> bool {
        let stall = self.shared.config.stall * 2_u32.pow(self.fruitless.min(4));
        self.shared.partitions().iter().any(|partition| {
            let Some((high, asked_at)) = partition.end.high else {
                return false;
            };
            let Some(position) = partition.position() else {
                return false;
            };
            let quiet = now.saturating_duration_since(partition.quiet_since);
            // The end must have been read after half of the quiet time, or records that arrived
            // a moment ago would count.
            let lagged = asked_at.saturating_duration_since(partition.quiet_since) * 2 >= stall;
            let stalled = !partition.paused
                && !partition.end.reached
                && high > position
                && quiet >= stall
                && lagged;
            if stalled {
                let Partition { assigned, .. } = partition;
                tracing::warn!(
                    topic = %assigned.topic,
                    partition = assigned.partition,
                    position,
                    end = high,
                    "a partition has lag and delivers nothing"
                );
            }
            stalled
        })
    }

    /// Passes an error on, the same one at most once a second.
    fn complain(&mut self, reason: String, fatal: bool) {
        let now = Instant::now();
        let repeated = self.complained.as_ref().is_some_and(|(last, at)| {
            *last == reason && now.saturating_duration_since(*at) < Duration::from_secs(1)
        });
        metrics::counter!("keyhawk_source_errors_total").increment(1);
        if !repeated || fatal {
            self.complained = Some((reason.clone(), now));
            self.shared
                .emit(SourceEvent::Error(Error::Consume { reason, fatal }));
        }
    }

    /// Releases all partitions, waits for the last commits, and leaves the group.
    fn close(
        &self,
        consumer: Arc<BaseConsumer<Context>>,
        committing: Option<JoinHandle<()>>,
        reason: ReleaseReason,
    ) {
        let all: Vec<TopicPartitionList> = self.shared.partitions().iter().map(only).collect();
        for partition in &all {
            if let Err(error) = consumer.pause(partition) {
                tracing::debug!(%error, "a partition could not be paused");
            }
        }
        let context = Arc::clone(consumer.context());
        release(self.shared, &context.commits, reason, |_| true);
        if !context.commits.settle(LAST_COMMITS) {
            tracing::warn!(
                "the brokers did not answer the last commits; records that were processed may be \
                 processed again"
            );
        }
        context.closing.store(true, Ordering::Release);
        context.commits.end();
        forget(self.shared);
        // Closing a consumer has no time-out of its own, and one that hangs is what the watchdog is
        // for: it closes on a thread of its own, which nobody waits for longer than this.
        let closing = super::spawn("kh-close", move || {
            if let Some(committing) = committing {
                drop(committing.join());
            }
            drop(consumer);
        });
        if let Ok(closing) = closing
            && reason == ReleaseReason::Stop
        {
            let deadline = Instant::now() + LEAVE;
            while !closing.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// The next consumer; nothing once a stop was asked for.
    fn remake(&mut self) -> Option<BaseConsumer<Context>> {
        loop {
            if self.shared.stopping.load(Ordering::Acquire) {
                return None;
            }
            match consumer(self.shared) {
                Ok(consumer) => return Some(consumer),
                Err(error) => self.complain(error.to_string(), false),
            }
            std::thread::sleep(REMAKE);
            let inbox = self
                .shared
                .inbox
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            while let Ok(command) = inbox.try_recv() {
                if matches!(command, Command::Stop) {
                    self.shared.stopping.store(true, Ordering::Release);
                }
            }
        }
    }
}

fn only(partition: &Partition) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(&partition.assigned.topic, partition.assigned.partition);
    list
}
