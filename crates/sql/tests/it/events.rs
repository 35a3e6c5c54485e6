//! Rule sets in text, and small random tables of events with everything that makes streams hard: ties,
//! disorder within the bound, nulls, gaps, several partitions.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMillisecondArray, new_null_array,
};
use arrow::datatypes::{DataType, SchemaRef};
use keyhawk_events::EventsSchema;
use keyhawk_sql::{Compiled, Problem, RuleFiles, SourceFile, compile};
use keyhawk_testkit::random::generator;
use rand::RngExt;

/// The header of a rule that has nothing to say of itself.
pub const HEADER: &str = "/*\nseverity = \"low\"\nentity = \"api_key\"\n*/\n";

/// The table `events` without added columns.
pub fn schema() -> SchemaRef {
    Arc::clone(EventsSchema::new(Vec::new()).unwrap().arrow())
}

pub fn file(path: &str, text: &str) -> SourceFile {
    SourceFile {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

/// Compiles views and rules given as (name, text).
pub fn try_compile(
    views: &[(&str, &str)],
    rules: &[(&str, &str)],
) -> Result<Compiled, Vec<Problem>> {
    let files = RuleFiles {
        views: views
            .iter()
            .map(|(name, text)| file(&format!("views/{name}.sql"), text))
            .collect(),
        rules: rules
            .iter()
            .map(|(name, text)| file(&format!("rules/{name}.sql"), text))
            .collect(),
        tables: vec![("countries".to_owned(), countries())],
    };
    compile(&files, &schema(), "api_key")
}

/// A reference table: a country twice, one that no event has, one without a name.
pub fn countries() -> RecordBatch {
    let text = |values: [Option<&str>; 5]| -> ArrayRef {
        Arc::new(values.into_iter().collect::<StringViewArray>())
    };
    RecordBatch::try_from_iter([
        (
            "code",
            text([Some("DE"), Some("US"), Some("US"), Some("XX"), None]),
        ),
        (
            "networks",
            text([
                Some("2001:db8::/32"),
                Some("10.0.0.0/8, 2001:db8:85a3:8d3:1319:8a2e:370:2"),
                None,
                Some("nonsense"),
                Some("::/0"),
            ]),
        ),
        (
            "risk",
            Arc::new(Int64Array::from(vec![
                Some(0),
                Some(100),
                Some(300),
                None,
                Some(7),
            ])),
        ),
    ])
    .unwrap()
}

/// Compiles a rule set that has no problem; rules without a header get one.
pub fn compiled(views: &[(&str, &str)], rules: &[(&str, &str)]) -> Compiled {
    let rules: Vec<(&str, String)> = rules
        .iter()
        .map(|(name, text)| match text.starts_with("/*") {
            true => (*name, (*text).to_owned()),
            false => (*name, format!("{HEADER}{text}")),
        })
        .collect();
    let rules: Vec<(&str, &str)> = rules
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    match try_compile(views, &rules) {
        Ok(compiled) => compiled,
        Err(problems) => panic!(
            "{}",
            problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        ),
    }
}

/// Event times before this are of no test: a Tuesday.
const START_MS: i64 = 1_700_006_400_000;
/// How far a row may come behind the greatest event time before it.
pub const BOUND_MS: i64 = 20_000;

/// One row of events; what a test does not ask for is null.
#[derive(Debug, Clone)]
pub struct Event {
    time_ms: i64,
    key: Option<usize>,
    country: Option<usize>,
    ip: usize,
    status: Option<i64>,
    bytes: Option<i64>,
    latitude: Option<f64>,
    ok: bool,
    offset: i64,
}

/// The log of one partition, without late rows, and the watermark after each row.
#[derive(Debug, Clone)]
pub struct Log {
    pub partition: i32,
    pub rows: Vec<Event>,
    pub watermarks: Vec<i64>,
}

/// Random logs of `partitions` partitions; a key lives in one of them.
pub fn logs(seed: u64, partitions: usize, rows: usize) -> Vec<Log> {
    let mut random = generator(seed);
    let mut logs: Vec<Log> = (0..partitions)
        .map(|partition| Log {
            partition: partition as i32,
            rows: Vec::new(),
            watermarks: Vec::new(),
        })
        .collect();
    let keys = random.random_range(1..=7_usize);
    let mut now = START_MS + random.random_range(0..3_600_000);
    let mut greatest = vec![i64::MIN; partitions];
    let mut offsets = vec![0; partitions];
    for _ in 0..rows {
        now += match random.random_range(0..100) {
            // Ties are common, and seldom nothing comes for hours.
            0..40 => 0,
            40..97 => random.random_range(0..30_000),
            97..99 => random.random_range(0..600_000),
            _ => random.random_range(0..4 * 3_600_000),
        };
        let key = (random.random_range(0..12) > 0).then(|| random.random_range(0..keys));
        let partition = key.unwrap_or_else(|| random.random_range(0..partitions)) % partitions;
        offsets[partition] += random.random_range(1..3);
        // On a grid of a second, or on the very bounds of windows, where mistakes live.
        let time_ms = now - random.random_range(0..=2 * BOUND_MS);
        let time_ms = match random.random_range(0..4) {
            0 => time_ms - time_ms.rem_euclid(60_000),
            1 => time_ms - time_ms.rem_euclid(60_000) - 1,
            _ => time_ms - time_ms.rem_euclid(1000),
        };
        let watermark = greatest[partition].saturating_sub(BOUND_MS);
        if time_ms < watermark {
            continue;
        }
        greatest[partition] = greatest[partition].max(time_ms);
        let log = &mut logs[partition];
        log.rows.push(Event {
            time_ms,
            key,
            country: (random.random_range(0..5) > 0).then(|| random.random_range(0..4)),
            ip: random.random_range(0..5),
            status: (random.random_range(0..6) > 0).then(|| random.random_range(0..4) * 100),
            bytes: (random.random_range(0..4) > 0).then(|| random.random_range(-50..1000)),
            latitude: (random.random_range(0..3) > 0)
                .then(|| f64::from(random.random_range(-4..5)) / 4.0),
            ok: random.random_range(0..5) > 0,
            offset: offsets[partition],
        });
        log.watermarks.push(greatest[partition] - BOUND_MS);
    }
    logs
}

impl Log {
    /// The rows of a range, in the columns of `schema`.
    pub fn batch(&self, schema: &SchemaRef, range: Range<usize>) -> RecordBatch {
        const COUNTRIES: [&str; 4] = ["DE", "FR", "US", "ZA"];
        let rows = &self.rows[range];
        let text = |of: &dyn Fn(&Event) -> Option<String>| -> ArrayRef {
            Arc::new(rows.iter().map(of).collect::<StringViewArray>())
        };
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            match field.name().as_str() {
                "event_time" | "record_time" => {
                    let times = rows.iter().map(|row| row.time_ms);
                    Arc::new(
                        TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC"),
                    )
                }
                "api_key" => text(&|row| row.key.map(|key| format!("key-{key}"))),
                "country" => text(&|row| row.country.map(|country| COUNTRIES[country].to_owned())),
                "client_ip" => {
                    text(&|row| Some(format!("2001:db8:85a3:8d3:1319:8a2e:370:{}", row.ip)))
                }
                "path" => text(&|row| {
                    row.status
                        .map(|status| if status == 0 { "x" } else { "12" }.to_owned())
                }),
                "auth_result" => {
                    text(&|row| Some(if row.ok { "ok" } else { "bad_key" }.to_owned()))
                }
                "status" => Arc::new(rows.iter().map(|row| row.status).collect::<Int64Array>()),
                "response_bytes" => {
                    Arc::new(rows.iter().map(|row| row.bytes).collect::<Int64Array>())
                }
                "latitude" => Arc::new(
                    rows.iter()
                        .map(|row| row.latitude)
                        .collect::<Float64Array>(),
                ),
                "is_hosting" => Arc::new(
                    rows.iter()
                        .map(|row| Some(row.ip == 0))
                        .collect::<BooleanArray>(),
                ),
                "_topic" => text(&|_| Some("calls".to_owned())),
                "_partition" => Arc::new(Int32Array::from(vec![self.partition; rows.len()])),
                "_offset" => Arc::new(rows.iter().map(|row| row.offset).collect::<Int64Array>()),
                "late" => Arc::new(BooleanArray::from(vec![false; rows.len()])),
                _ => new_null_array(field.data_type(), rows.len()),
            }
        });
        let columns: Vec<ArrayRef> = columns
            .zip(schema.fields())
            .map(
                |(column, field)| match (column.data_type(), field.data_type()) {
                    (DataType::Timestamp(..), to) | (DataType::Int64, to) => {
                        arrow::compute::cast(&column, to).unwrap()
                    }
                    _ => column,
                },
            )
            .collect();
        RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
    }
}
