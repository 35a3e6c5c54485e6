//! `lag`: how disordered a topic is, and the lateness bound that would fit it.
//!
//! ```text
//!   running maximum  10:00:07 ─────────▶ 10:00:09       taken over min(event time, record time)
//!   row's time            10:00:05            10:00:09
//!   disorder                   2 s                 0    late if above the bound
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMillisecondType;
use comfy_table::{Table, presets};
use keyhawk_connectors::kafka::{Properties, Sample, TimestampType, sample, timestamp_type};
use keyhawk_events::{
    DEVELOPMENT_SECRET, Decoded, Decoder, EventsSchema, Fingerprinter, GeoDatabases, Record,
};

use crate::cli::LagArgs;
use crate::commands::{CommandResult, Failure, topic_settings};
use crate::config::{self, Config};

/// Far above any disorder, so that the decoder holds no row late or in the future.
const BOUNDLESS_MS: i64 = i64::MAX / 4;

pub(crate) fn run(args: &LagArgs) -> CommandResult {
    let config: Option<Config> = match &args.config {
        Some(path) => Some(config::load(path).map_err(Failure::of)?),
        None => None,
    };
    let configured = config.as_ref().map(|config| config.kafka.brokers.join(","));
    let Some(brokers) = args.brokers.clone().or(configured) else {
        return Err(Failure::of(
            "name the brokers: keyhawk lag --brokers host:port --topic NAME",
        ));
    };
    let properties = config.as_ref().map_or_else(Properties::default, |config| {
        config.kafka.properties.clone()
    });
    let settings = config
        .as_ref()
        .and_then(|config| config.topics.get(&args.topic));
    let mut settings = topic_settings(&args.topic, settings);
    let trusted = timestamp_type(&brokers, &properties, &args.topic).map_err(Failure::of)?
        == TimestampType::LogAppendTime;
    let bounds = Bounds {
        late_ms: settings.bound_ms,
        future_ms: trusted.then_some(settings.future_ms_max),
    };

    let records = sample(&brokers, &properties, &args.topic, args.records).map_err(Failure::of)?;
    if records.is_empty() {
        return Err(Failure::of(format!("topic {} holds no record", args.topic)));
    }
    settings.bound_ms = BOUNDLESS_MS;
    settings.future_ms_max = BOUNDLESS_MS;
    settings.step_ms_max = None;
    // Fingerprints are made and shown to nobody: the secret does not matter.
    let fingerprinter = Fingerprinter::new(DEVELOPMENT_SECRET, Vec::new())
        .map(Arc::new)
        .map_err(Failure::of)?;
    let mut by_partition: BTreeMap<i32, Vec<&Sample>> = BTreeMap::new();
    for record in &records {
        by_partition
            .entry(record.partition)
            .or_default()
            .push(record);
    }
    let mut partitions = BTreeMap::new();
    let schema = Arc::new(EventsSchema::new(Vec::new()).map_err(Failure::of)?);
    let columns: BTreeSet<String> = ["event_time", "record_time"].map(str::to_owned).into();
    for (partition, records) in by_partition {
        let mut decoder = Decoder::new(
            Arc::clone(&schema),
            Some(&columns),
            settings.clone(),
            partition,
            Arc::clone(&fingerprinter),
            Arc::new(GeoDatabases::none()),
        )
        .map_err(Failure::of)?;
        for record in records {
            decoder.push(Record {
                payload: record.payload.as_deref(),
                offset: record.offset,
                record_time_ms: record.record_time_ms,
            });
        }
        let decoded = decoder.finish();
        partitions.insert(
            partition,
            measure(times(&decoded), decoded.counts.dead, bounds),
        );
    }
    print(&partitions, bounds);
    Ok(ExitCode::SUCCESS)
}

/// Event time and record time of each row.
fn times(decoded: &Decoded) -> impl Iterator<Item = (i64, Option<i64>)> {
    let column = |name| {
        let column = decoded.events.column_by_name(name);
        column.map(|column| column.as_primitive::<TimestampMillisecondType>().clone())
    };
    let (event_times, record_times) = (column("event_time"), column("record_time"));
    (0..decoded.events.num_rows()).filter_map(move |row| {
        let event_ms = event_times.as_ref()?.value(row);
        let record_ms = record_times.as_ref().filter(|times| times.is_valid(row));
        Some((event_ms, record_ms.map(|times| times.value(row))))
    })
}

/// What rows are held against.
#[derive(Clone, Copy)]
struct Bounds {
    /// The lateness in force.
    late_ms: i64,
    /// How far ahead of its record an event may be; none where record times are not trusted.
    future_ms: Option<i64>,
}

/// How disordered a partition is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Disorder {
    /// How far each row lay behind the running maximum, ascending.
    sorted_ms: Vec<i64>,
    late: usize,
    future: usize,
    unreadable: u64,
}

/// Walks the rows of a partition in the order of their offsets, as the decoder of `run` would.
fn measure(
    times: impl Iterator<Item = (i64, Option<i64>)>,
    unreadable: u64,
    bounds: Bounds,
) -> Disorder {
    let mut disorder = Disorder {
        unreadable,
        ..Disorder::default()
    };
    let mut running_ms: Option<i64> = None;
    for (event_ms, record_ms) in times {
        let record_ms = record_ms
            .filter(|_| bounds.future_ms.is_some())
            .unwrap_or(event_ms);
        if bounds
            .future_ms
            .is_some_and(|future_ms| event_ms.saturating_sub(record_ms) > future_ms)
        {
            disorder.future += 1;
            continue;
        }
        let behind_ms =
            running_ms.map_or(0, |running_ms| running_ms.saturating_sub(event_ms).max(0));
        disorder.sorted_ms.push(behind_ms);
        if behind_ms > bounds.late_ms {
            // As in `run`: a late row moves nothing.
            disorder.late += 1;
        } else {
            running_ms = running_ms.max(Some(event_ms.min(record_ms)));
        }
    }
    disorder.sorted_ms.sort_unstable();
    disorder
}

impl Disorder {
    /// The least disorder that so many of 1,000 rows do not exceed.
    fn quantile_ms(&self, per_mille: usize) -> i64 {
        let rank = (self.sorted_ms.len() * per_mille).div_ceil(1000);
        rank.checked_sub(1)
            .and_then(|at| self.sorted_ms.get(at))
            .copied()
            .unwrap_or(0)
    }

    fn out_of_order(&self) -> usize {
        self.sorted_ms.len() - self.sorted_ms.partition_point(|behind_ms| *behind_ms == 0)
    }

    fn add(&mut self, other: &Disorder) {
        self.sorted_ms.extend(&other.sorted_ms);
        self.sorted_ms.sort_unstable();
        self.late += other.late;
        self.future += other.future;
        self.unreadable += other.unreadable;
    }
}

/// The bound that holds the late share at one row in a thousand, rounded up to what a person would
/// write; at least a second.
fn proposal_ms(disorder: &Disorder) -> i64 {
    const SECONDS: [i64; 19] = [
        1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200,
        86_400,
    ];
    let needed_ms = disorder.quantile_ms(999);
    let step_ms = SECONDS
        .into_iter()
        .map(|seconds| seconds * 1000)
        .find(|step_ms| *step_ms >= needed_ms);
    step_ms.unwrap_or_else(|| needed_ms.saturating_add(86_399_999) / 86_400_000 * 86_400_000)
}

fn print(partitions: &BTreeMap<i32, Disorder>, bounds: Bounds) {
    let mut all = Disorder::default();
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "partition",
        "rows",
        "out of order",
        "p50",
        "p99",
        "p99.9",
        "max",
        "late now",
        "in the future",
        "unreadable",
    ]);
    for (partition, disorder) in partitions {
        table.add_row(row(partition.to_string(), disorder));
        all.add(disorder);
    }
    if partitions.len() > 1 {
        table.add_row(row("all".to_owned(), &all));
    }
    anstream::println!("{table}");
    if bounds.future_ms.is_none() {
        anstream::println!(
            "message.timestamp.type is not LogAppendTime: no row was held against its record's time."
        );
    }
    anstream::println!(
        "The bound in force is {}; {} of the rows would be late. Proposed: lateness = \"{}\"",
        readable(bounds.late_ms),
        share(all.late, all.sorted_ms.len()),
        readable(proposal_ms(&all))
    );
}

fn row(name: String, disorder: &Disorder) -> [String; 10] {
    let rows = disorder.sorted_ms.len();
    let quantile = |per_mille| readable(disorder.quantile_ms(per_mille));
    [
        name,
        rows.to_string(),
        share(disorder.out_of_order(), rows),
        quantile(500),
        quantile(990),
        quantile(999),
        quantile(1000),
        disorder.late.to_string(),
        disorder.future.to_string(),
        disorder.unreadable.to_string(),
    ]
}

/// `1m 30s`, as the configuration takes it.
fn readable(ms: i64) -> String {
    humantime::format_duration(Duration::from_millis(ms.unsigned_abs())).to_string()
}

fn share(part: usize, whole: usize) -> String {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a sample is far below 2^52 rows"
    )]
    let percent = if whole == 0 {
        0.0
    } else {
        100.0 * part as f64 / whole as f64
    };
    format!("{percent:.2} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        late_ms: 10_000,
        future_ms: Some(60_000),
    };

    #[test]
    fn disorder_is_how_far_a_row_lies_behind_the_running_maximum() {
        let rows = [
            (0, 0),
            (5_000, 5_000),
            (3_000, 6_000),
            (20_000, 20_000),
            (9_000, 21_000),
            (20_000, 22_000),
        ];
        let times = rows.map(|(event, record)| (event, Some(record)));
        let disorder = measure(times.into_iter(), 1, BOUNDS);
        assert_eq!(disorder.sorted_ms, [0, 0, 0, 0, 2_000, 11_000]);
        assert_eq!(
            (disorder.late, disorder.future, disorder.unreadable),
            (1, 0, 1)
        );
        assert_eq!(disorder.out_of_order(), 2);
    }

    #[test]
    fn a_row_from_the_future_is_counted_and_moves_nothing() {
        let times = [
            (0, Some(0)),
            (60_001, Some(0)),
            (50_000, Some(1_000)),
            (2_000, Some(2_000)),
        ];
        let disorder = measure(times.into_iter(), 0, BOUNDS);
        assert_eq!((disorder.future, disorder.late), (1, 0));
        assert_eq!(
            disorder.sorted_ms,
            [0, 0, 0],
            "the record's time bounds the running maximum"
        );

        let untrusted = Bounds {
            future_ms: None,
            ..BOUNDS
        };
        let disorder = measure(times.into_iter(), 0, untrusted);
        assert_eq!((disorder.future, disorder.late), (0, 2));
    }

    #[test]
    fn the_proposal_is_the_quantile_rounded_up_to_a_readable_bound() {
        let with = |behind_ms: i64, of: usize| {
            let mut sorted_ms = vec![0; of - 2];
            sorted_ms.extend([behind_ms, behind_ms]);
            Disorder {
                sorted_ms,
                ..Disorder::default()
            }
        };
        assert_eq!(proposal_ms(&Disorder::default()), 1_000);
        assert_eq!(proposal_ms(&with(11_000, 1_000)), 15_000);
        assert_eq!(
            proposal_ms(&with(11_000, 10_000)),
            1_000,
            "fewer than one in a thousand"
        );
        assert_eq!(proposal_ms(&with(60_000, 100)), 60_000);
        assert_eq!(proposal_ms(&with(90_000_000, 100)), 172_800_000);
        assert_eq!(readable(172_800_000), "2days");
    }
}
