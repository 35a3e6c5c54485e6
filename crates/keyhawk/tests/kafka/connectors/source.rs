//! The source reads everything once, whatever happens to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keyhawk_connectors::kafka::{
    Assigned, Properties, ReleaseReason, Sink, SinkConfig, Source, SourceConfig, SourceEvent,
    TimestampType, sample, timestamp_type,
};
use keyhawk_testkit::kafka::{Broker, Produce};

use crate::Harness;

fn records(count: usize, partitions: usize) -> impl Iterator<Item = Produce> {
    (0..count).map(move |number| Produce {
        partition: Some(i32::try_from(number % partitions).unwrap()),
        key: Some(b"a key that nobody reads".to_vec()),
        payload: Some(format!("{{\"number\":{number}}}").into_bytes()),
        time_ms: Some(1_700_000_000_000 + i64::try_from(number).unwrap()),
    })
}

/// What a test has seen of a source.
#[derive(Default)]
struct Seen {
    /// Offsets by partition, in the order in which they came.
    offsets: BTreeMap<i32, Vec<i64>>,
    records: usize,
    assigned: BTreeMap<i32, Assigned>,
    committed: BTreeMap<i32, i64>,
    released: Vec<ReleaseReason>,
    stopped: bool,
}

impl Seen {
    /// Takes events until so many records came in all, or a stop, or the time is over.
    fn until(&mut self, events: &Receiver<SourceEvent>, records: usize, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        while self.records < records && !self.stopped {
            let left = deadline.saturating_duration_since(Instant::now());
            match events.recv_timeout(left) {
                Ok(event) => self.event(event),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{} of {records} records after {timeout:?}", self.records)
                }
                Err(RecvTimeoutError::Disconnected) => panic!("the source has gone away"),
            }
        }
    }

    fn event(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Batch(batch) => {
                self.records += batch.len();
                let offsets = self.offsets.entry(batch.assigned().partition).or_default();
                offsets.extend(batch.records().map(|record| record.offset));
            }
            SourceEvent::Committed {
                partition,
                next_offset,
                error,
            } => {
                assert_eq!(error, None);
                self.committed.insert(partition.partition, next_offset);
            }
            SourceEvent::Revoked(revoked) => {
                self.released.push(revoked.reason);
                revoked.done();
            }
            SourceEvent::Assigned(more) => {
                let more = more.into_iter().map(|one| (one.partition, one));
                self.assigned.extend(more);
            }
            SourceEvent::Stopped => self.stopped = true,
            _ => {}
        }
    }

    fn assert_contiguous_from(&self, starts: &BTreeMap<i32, i64>) {
        for (partition, offsets) in &self.offsets {
            let start = starts.get(partition).copied().unwrap_or(0);
            for (index, offset) in offsets.iter().enumerate() {
                assert_eq!(
                    *offset,
                    start + i64::try_from(index).unwrap(),
                    "partition {partition}"
                );
            }
        }
    }
}

const LONG: Duration = Duration::from_secs(60);

pub fn source_reads_everything_and_goes_on_at_the_commit(
    harness: &'static Harness,
    broker: &Broker,
) {
    let (topic, group) = (harness.fresh("events"), harness.fresh("group"));
    broker.create_topic(&topic, 4, &[]).unwrap();
    broker.produce(&topic, records(20_000, 4)).unwrap();

    let config = SourceConfig::new(broker.brokers(), &group, [&topic]);
    let (source, events) = Source::spawn(config.clone()).unwrap();
    let mut seen = Seen::default();
    let mut assigned: Vec<Assigned> = Vec::new();
    let begun = Instant::now();
    while seen.records < 20_000 {
        match events.recv_timeout(LONG).unwrap() {
            SourceEvent::Assigned(more) => assigned.extend(more),
            SourceEvent::Batch(batch) => {
                assert!(batch.len() <= 8192);
                for record in batch.records() {
                    let payload: serde_json::Value =
                        serde_json::from_slice(record.payload.unwrap()).unwrap();
                    let number = payload["number"].as_i64().unwrap();
                    assert_eq!(record.record_time_ms, Some(1_700_000_000_000 + number));
                    assert_eq!(record.offset, number / 4);
                }
                seen.event(SourceEvent::Batch(batch));
            }
            other => seen.event(other),
        }
    }
    eprintln!("20,000 records read in {:?}", begun.elapsed());
    seen.assert_contiguous_from(&BTreeMap::new());
    assert_eq!(assigned.len(), 4);

    // Commit at a different place in each partition, with metadata.
    let control = source.control();
    let mut starts = BTreeMap::new();
    for partition in &assigned {
        let next_offset = 1_000 * (i64::from(partition.partition) + 1);
        starts.insert(partition.partition, next_offset);
        control.commit(
            partition,
            next_offset,
            format!("note {}", partition.partition),
        );
    }
    let stale = Assigned {
        epoch: 999,
        ..assigned[0].clone()
    };
    control.commit(&stale, 4_999, "stale");
    control.stop();
    let begun = Instant::now();
    seen.until(&events, usize::MAX, LONG);
    source.join();
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "the stop took {:?}",
        begun.elapsed()
    );
    assert_eq!(seen.released, [ReleaseReason::Stop]);
    assert_eq!(seen.committed, starts);
    let committed = broker.committed(&group, &topic, 4).unwrap();
    for (partition, (offset, metadata)) in committed.iter().enumerate() {
        assert_eq!(*offset, starts[&i32::try_from(partition).unwrap()]);
        assert_eq!(*metadata, format!("note {partition}"));
    }

    let (source, events) = Source::spawn(config).unwrap();
    let mut again = Seen::default();
    again.until(&events, 20_000 - 10_000, LONG);
    again.assert_contiguous_from(&starts);
    let deadline = Instant::now() + LONG;
    while source
        .lag()
        .iter()
        .filter(|lag| lag.records() == Some(0))
        .count()
        < 4
    {
        assert!(Instant::now() < deadline, "{:?}", source.lag());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(again.records, 10_000);
}

pub fn two_members_share_partitions_and_no_record_is_lost_or_read_twice(
    harness: &'static Harness,
    broker: &Broker,
) {
    const RECORDS: usize = 20_000;
    let (topic, group) = (harness.fresh("events"), harness.fresh("group"));
    broker.create_topic(&topic, 4, &[]).unwrap();
    let config = SourceConfig::new(broker.brokers(), &group, [&topic]);
    let read: Arc<Mutex<Vec<(i32, i64)>>> = Arc::default();
    let stop_all = Arc::new(AtomicBool::new(false));

    // A member that commits each batch once it is done, as a pipeline would.
    let member = |name: &str, stop: Arc<AtomicBool>| {
        let mut config = config.clone();
        config.client_id = name.to_owned();
        let (read, stop_all) = (Arc::clone(&read), Arc::clone(&stop_all));
        std::thread::spawn(move || {
            let (source, events) = Source::spawn(config).unwrap();
            let control = source.control();
            let mut batches = 0;
            let mut stopping = false;
            loop {
                if !stopping && (stop.load(Ordering::Acquire) || stop_all.load(Ordering::Acquire)) {
                    stopping = true;
                    control.stop();
                }
                match events.recv_timeout(Duration::from_millis(20)) {
                    Ok(SourceEvent::Batch(batch)) => {
                        let partition = batch.assigned().partition;
                        let offsets = batch.records().map(|record| (partition, record.offset));
                        read.lock().unwrap().extend(offsets);
                        control.commit(batch.assigned(), batch.next_offset(), "");
                        batches += 1;
                    }
                    Ok(SourceEvent::Revoked(revoked)) => revoked.done(),
                    Ok(SourceEvent::Stopped) => break,
                    _ => {}
                }
            }
            (batches, source.stats())
        })
    };
    let (stop_a, stop_b) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let a = member("a", Arc::clone(&stop_a));
    let mut b = None;
    let all: Vec<Produce> = records(RECORDS, 4).collect();
    for (part, chunk) in all.chunks(RECORDS / 20).enumerate() {
        broker.produce(&topic, chunk.to_vec()).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        match part {
            4 => b = Some(member("b", Arc::clone(&stop_b))),
            13 => stop_a.store(true, Ordering::Release),
            _ => {}
        }
    }
    let deadline = Instant::now() + LONG;
    while read.lock().unwrap().len() < RECORDS && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    stop_all.store(true, Ordering::Release);
    let (batches_a, stats_a) = a.join().unwrap();
    let (batches_b, stats_b) = b.unwrap().join().unwrap();
    let read = read.lock().unwrap();
    let distinct: BTreeSet<_> = read.iter().collect();
    eprintln!(
        "members read {batches_a} and {batches_b} batches; rebalances {} and {}; {} repeats",
        stats_a.rebalances,
        stats_b.rebalances,
        read.len() - distinct.len()
    );
    assert_eq!(distinct.len(), RECORDS, "records were lost");
    assert_eq!(read.len(), RECORDS, "records were read twice");
    assert!(batches_a > 0 && batches_b > 0);
    assert!(
        stats_a.rebalances >= 2,
        "the first member gave nothing away: {stats_a:?}"
    );
}

pub fn a_slow_pipeline_pauses_partitions_and_memory_stays_bounded(
    harness: &'static Harness,
    broker: &Broker,
) {
    const RECORDS: usize = 30_000;
    const BATCH: usize = 128 << 10;
    let topic = harness.fresh("events");
    broker.create_topic(&topic, 2, &[]).unwrap();
    let filler = "x".repeat(1_000);
    let all = (0..RECORDS).map(|number| Produce {
        partition: Some(i32::try_from(number % 2).unwrap()),
        payload: Some(format!("{number} {filler}").into_bytes()),
        ..Produce::default()
    });
    broker.produce(&topic, all).unwrap();
    let mut config = SourceConfig::new(broker.brokers(), harness.fresh("group"), [&topic]);
    config.batch_bytes = BATCH;
    config.prefetch_batches = 2;
    let (source, events) = Source::spawn(config).unwrap();
    let mut seen = Seen::default();
    while seen.records < RECORDS {
        let event = events.recv_timeout(LONG).unwrap();
        let slow = matches!(event, SourceEvent::Batch(_));
        if slow {
            std::thread::sleep(Duration::from_millis(8));
        }
        seen.event(event);
    }
    seen.assert_contiguous_from(&BTreeMap::new());
    assert_eq!(seen.records, RECORDS);
    let stats = source.stats();
    eprintln!(
        "{} pauses; at most {} KiB outstanding of {} MiB read",
        stats.pauses,
        stats.bytes_outstanding_max >> 10,
        stats.bytes >> 20
    );
    assert!(stats.pauses > 10, "{stats:?}");
    // Two partitions, each with two batches and one that was open when it was paused.
    assert!(
        stats.bytes_outstanding_max <= 2 * 3 * (BATCH as u64 + 1_100),
        "{stats:?}"
    );
    assert_eq!(stats.bytes_outstanding, 0);
}

pub fn watchdog_replaces_a_consumer_that_has_lag_and_delivers_nothing(
    harness: &'static Harness,
    broker: &Broker,
) {
    let topic = harness.fresh("events");
    broker.create_topic(&topic, 1, &[]).unwrap();
    broker.produce(&topic, records(10, 1)).unwrap();
    // A consumer that waits for a million bytes before it takes any stands for one that hangs.
    let mut config = SourceConfig::new(broker.brokers(), harness.fresh("group"), [&topic]);
    config.properties = Properties::new([
        ("fetch.min.bytes", "1000000"),
        ("fetch.wait.max.ms", "250000"),
        ("socket.timeout.ms", "260000"),
    ])
    .unwrap();
    config.stall = Duration::from_millis(1_000);
    config.lag_interval = Duration::from_millis(200);
    let (source, events) = Source::spawn(config).unwrap();
    let mut seen = Seen::default();
    let deadline = Instant::now() + LONG;
    while source.stats().recreations == 0 {
        assert!(
            Instant::now() < deadline,
            "{:?} {:?}",
            source.stats(),
            source.lag()
        );
        if let Ok(event) = events.recv_timeout(Duration::from_millis(50)) {
            seen.event(event);
        }
    }
    assert_eq!(seen.records, 0);
    // Enough for the fetch to come back: the new consumer reads from the start, nothing is lost.
    let filler = vec![b'x'; 100_000];
    let more = (0..20).map(|_| Produce {
        payload: Some(filler.clone()),
        ..Produce::default()
    });
    broker.produce(&topic, more).unwrap();
    seen.until(&events, 10, LONG);
    seen.assert_contiguous_from(&BTreeMap::new());
    assert!(
        seen.released.contains(&ReleaseReason::Replaced),
        "{:?}",
        seen.released
    );
}

pub fn a_stop_waits_for_a_pipeline_only_so_long(harness: &'static Harness, broker: &Broker) {
    let topic = harness.fresh("events");
    broker.create_topic(&topic, 1, &[]).unwrap();
    broker.produce(&topic, records(10, 1)).unwrap();
    let mut config = SourceConfig::new(broker.brokers(), harness.fresh("group"), [&topic]);
    config.release_wait = Duration::from_millis(500);
    let (source, events) = Source::spawn(config).unwrap();
    let mut seen = Seen::default();
    seen.until(&events, 10, LONG);
    // Nobody reads the event that asks for the partitions.
    source.control().stop();
    let begun = Instant::now();
    source.join();
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(400) && took < Duration::from_secs(4),
        "{took:?}"
    );
}

pub fn timestamps_and_samples_are_read_without_a_group(harness: &'static Harness, broker: &Broker) {
    let (topic, stamped) = (harness.fresh("events"), harness.fresh("stamped"));
    broker.create_topic(&topic, 3, &[]).unwrap();
    broker
        .create_topic(&stamped, 1, &[("message.timestamp.type", "LogAppendTime")])
        .unwrap();
    let none = Properties::default();
    let kind = |topic: &str| timestamp_type(broker.brokers(), &none, topic);
    assert_eq!(kind(&topic), Ok(TimestampType::CreateTime));
    assert_eq!(kind(&stamped), Ok(TimestampType::LogAppendTime));
    let missing = harness.fresh("missing");
    let error = kind(&missing).unwrap_err();
    assert!(error.to_string().contains(&missing), "{error}");

    broker.produce(&topic, records(3_000, 3)).unwrap();
    let read = sample(broker.brokers(), &none, &topic, 300).unwrap();
    assert_eq!(read.len(), 300);
    assert!(
        read.iter()
            .all(|record| record.offset >= 900 && record.record_time_ms.is_some())
    );
    assert!(
        sample(broker.brokers(), &none, &stamped, 10)
            .unwrap()
            .is_empty()
    );
    assert!(sample(broker.brokers(), &none, &missing, 10).is_err());
}

pub fn source_and_sink_go_on_after_a_broker_restart(harness: &'static Harness, broker: &Broker) {
    const RECORDS: u64 = 2_000;
    let (topic, group) = (harness.fresh("events"), harness.fresh("group"));
    broker.create_topic(&topic, 2, &[]).unwrap();
    let config = SourceConfig::new(broker.brokers(), &group, [&topic]);
    let (source, events) = Source::spawn(config).unwrap();
    let (sink, receipts) = Sink::new(SinkConfig::new(broker.brokers())).unwrap();
    let send = |tokens: std::ops::Range<u64>| {
        for token in tokens {
            let key = token.to_string();
            sink.send_within(LONG, &topic, Some(key.as_bytes()), key.as_bytes(), token)
                .unwrap();
        }
    };
    let mut seen = Seen::default();
    send(0..RECORDS / 2);
    seen.until(&events, 1_000, LONG);
    broker.stop().unwrap();
    // These are queued while nobody is there.
    send(RECORDS / 2..RECORDS);
    std::thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    broker.restart().unwrap();
    let restarted = begun.elapsed();
    seen.until(&events, 2_000, LONG);
    eprintln!(
        "broker back after {restarted:?}, all records after {:?}",
        begun.elapsed()
    );
    seen.assert_contiguous_from(&BTreeMap::new());
    let mut tokens: Vec<u64> = Vec::new();
    while tokens.len() < usize::try_from(RECORDS).unwrap() {
        let receipt = receipts.recv_timeout(LONG).unwrap();
        assert_eq!(receipt.result, Ok(()));
        tokens.push(receipt.token);
    }
    tokens.sort_unstable();
    assert!(
        tokens.into_iter().eq(0..RECORDS),
        "a token came twice or never"
    );
    let control = source.control();
    for (partition, offsets) in &seen.offsets {
        let next_offset = i64::try_from(offsets.len()).unwrap();
        control.commit(&seen.assigned[partition], next_offset, "");
    }
    // The brokers may take a while to find the group's offsets again.
    let deadline = Instant::now() + LONG;
    while seen.committed.values().sum::<i64>() < 2_000 {
        assert!(Instant::now() < deadline, "{:?}", seen.committed);
        if let Ok(event) = events.recv_timeout(Duration::from_millis(50)) {
            seen.event(event);
        }
    }
    control.stop();
    seen.until(&events, usize::MAX, LONG);
    let committed: i64 = broker
        .committed(&group, &topic, 2)
        .unwrap()
        .iter()
        .map(|(offset, _)| offset)
        .sum();
    assert_eq!(committed, 2_000);
}
