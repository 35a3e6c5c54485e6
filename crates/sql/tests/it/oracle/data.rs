//! Random tables of events with everything that makes streams hard: ties, disorder within the bound, late
//! rows, nulls in every column that may be null, empty and huge keys, hours without a row, one key or as
//! many keys as rows, extreme integers, and floats that are no numbers.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::table::{Reference, Row, START_MS, Table, Value};

/// What the tables of one seed are like.
struct Profile {
    partitions: i32,
    keys: usize,
    nulls: f64,
    ties: f64,
    /// The greatest step of the clock between two rows, in milliseconds.
    step_ms: i64,
    gaps: f64,
    late: f64,
    bound_ms: i64,
    /// Integers and floats at the ends of their types.
    wild: f64,
}

impl Profile {
    fn random(random: &mut ChaCha8Rng) -> Self {
        let among =
            |random: &mut ChaCha8Rng, values: &[f64]| values[random.random_range(0..values.len())];
        Profile {
            partitions: random.random_range(1..=3),
            keys: [1, 2, 3, 5, 8, 1000][random.random_range(0..6)],
            nulls: among(random, &[0.0, 0.1, 0.25, 0.6]),
            ties: among(random, &[0.05, 0.4, 0.8]),
            step_ms: [200, 2_000, 20_000, 60_000, 300_000][random.random_range(0..5)],
            gaps: among(random, &[0.0, 0.01, 0.05]),
            late: among(random, &[0.0, 0.02, 0.1]),
            bound_ms: [0, 1_000, 20_000, 120_000][random.random_range(0..4)],
            wild: among(random, &[0.0, 0.05, 0.5]),
        }
    }
}

/// The columns that random tables give, in their order.
pub const COLUMNS: [&str; 22] = [
    "event_time",
    "record_time",
    "api_key",
    "client_ip",
    "auth_result",
    "method",
    "path",
    "user_agent",
    "scopes",
    "country",
    "city",
    "status",
    "asn",
    "response_bytes",
    "page",
    "page_size",
    "amount",
    "latitude",
    "longitude",
    "accuracy_radius_km",
    "is_hosting",
    "is_anonymous",
];

/// A random table of about as many rows.
pub fn table(random: &mut ChaCha8Rng, rows: usize) -> Table {
    let profile = Profile::random(random);
    let mut now = START_MS + random.random_range(0..7_200_000);
    let mut table = Table {
        columns: COLUMNS.iter().map(ToString::to_string).collect(),
        rows: Vec::with_capacity(rows),
        bound_ms: profile.bound_ms,
    };
    for _ in 0..rows {
        now += if random.random_bool(profile.gaps) {
            random.random_range(0..6 * 3_600_000)
        } else if random.random_bool(profile.ties) {
            0
        } else {
            random.random_range(0..=profile.step_ms)
        };
        let key = random.random_range(0..profile.keys);
        let key_cell = if random.random_bool(profile.nulls / 4.0) {
            Value::Null
        } else {
            Value::Text(key_text(key))
        };
        // A key lives in one partition; rows without one lie anywhere, as Kafka spreads them.
        let partition = if key_cell == Value::Null {
            random.random_range(0..profile.partitions)
        } else {
            (key % profile.partitions as usize) as i32
        };
        let behind = if random.random_bool(profile.late) {
            random.random_range(0..=profile.bound_ms * 3 + 60_000)
        } else {
            random.random_range(0..=profile.bound_ms)
        };
        let mut time = now - behind;
        match random.random_range(0..6) {
            // On the very bounds of windows, where mistakes live, if that makes no row late.
            0 => time += (60_000 - time.rem_euclid(60_000)) % 60_000,
            1 => time += 59_999 - time.rem_euclid(60_000),
            2 | 3 => time += (1000 - time.rem_euclid(1000)) % 1000,
            _ => {}
        }
        let fast_clock = random.random_bool(0.01);
        if fast_clock {
            time += random.random_range(0..3_600_000);
        }
        let record_time = (fast_clock || random.random_bool(0.7)).then_some(now);
        let cells = COLUMNS.iter().map(|column| match *column {
            "event_time" => Value::Time(time),
            "record_time" => record_time.map_or(Value::Null, Value::Time),
            "api_key" => key_cell.clone(),
            name => cell(random, &profile, name),
        });
        let cells = cells.collect();
        table.rows.push(Row { partition, cells });
    }
    table
}

/// The columns of random reference tables, the table's name before each.
pub const REFERENCE_COLUMNS: [&str; 6] = ["key", "country", "number", "limit", "since", "network"];

/// A random reference table of a few rows, some of them alike in their keys.
pub fn reference(random: &mut ChaCha8Rng, name: &str) -> Reference {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let kinds = [
        DataType::Utf8View,
        DataType::Utf8View,
        DataType::Int64,
        DataType::Float64,
        time,
        DataType::Utf8View,
    ];
    let columns = REFERENCE_COLUMNS.iter().zip(kinds);
    let columns = columns.map(|(column, kind)| (format!("{name}_{column}"), kind));
    let nulls = [0.0, 0.0, 0.2][random.random_range(0..3)];
    let rows = (0..[0, 1, 3, 6, 12][random.random_range(0..5)]).map(|_| {
        let cells = REFERENCE_COLUMNS.iter().map(|column| {
            if random.random_bool(nulls) {
                return Value::Null;
            }
            let words = |random: &mut ChaCha8Rng, words: &[&str]| {
                Value::Text(words[random.random_range(0..words.len())].into())
            };
            match *column {
                "key" => Value::Text(key_text(random.random_range(0..6))),
                "country" => words(random, &["DE", "FR", "US", "", "de"]),
                "number" => Value::Int([200, 404, 0, 1, 2, 3, 5][random.random_range(0..7)]),
                "limit" => Value::Float(f64::from(random.random_range(-8..9)) / 4.0),
                "since" => Value::Time(START_MS + random.random_range(0..180) * 60_000),
                _ => words(
                    random,
                    &["192.0.2.0/24", "10.0.0.0/8", "2001:db8::/32", "0.0.0.0/0"],
                ),
            }
        });
        cells.collect()
    });
    Reference {
        name: name.to_owned(),
        columns: columns.collect(),
        rows: rows.collect(),
    }
}

/// The text of a key: the first is empty, the second huge.
fn key_text(key: usize) -> Arc<str> {
    match key {
        1 => "".into(),
        2 => "k".repeat(300).into(),
        _ => format!("key-{key}").into(),
    }
}

fn cell(random: &mut ChaCha8Rng, profile: &Profile, column: &str) -> Value {
    let never_null = ["client_ip", "auth_result", "is_hosting", "is_anonymous"];
    if !never_null.contains(&column) && random.random_bool(profile.nulls) {
        return Value::Null;
    }
    let wild = random.random_bool(profile.wild);
    let text = |random: &mut ChaCha8Rng, texts: &[&str]| {
        Value::Text(texts[random.random_range(0..texts.len())].into())
    };
    match column {
        "client_ip" => text(
            random,
            &[
                "192.0.2.1",
                "192.0.2.200",
                "198.51.100.7",
                "10.0.0.1",
                "2001:db8::1",
                "2001:db8:85a3:8d3:1319:8a2e:370:7348",
            ],
        ),
        "auth_result" => text(random, &["ok", "ok", "ok", "bad_key", "expired"]),
        "method" => text(random, &["GET", "POST", "get", ""]),
        "path" => text(
            random,
            &[
                "/v1/users/12",
                "/v1/users/7/keys",
                "/",
                "12",
                " 7 ",
                "é日本%_",
            ],
        ),
        "user_agent" => text(
            random,
            &[
                "curl/8.5.0",
                "python-requests/2.31",
                "Mozilla/5.0 (X11)",
                "a,b,c",
            ],
        ),
        "country" => text(random, &["DE", "FR", "US", "ZA", "", "DE"]),
        "city" => text(random, &["Köln", "Paris", "x'y", "a\\b"]),
        "scopes" => {
            let scopes = (0..random.random_range(0..4)).map(|_| {
                let scope = ["read", "write", "admin", ""][random.random_range(0..4)];
                random.random_bool(0.9).then(|| Arc::from(scope))
            });
            Value::Texts(scopes.collect())
        }
        "status" => Value::Int([200, 200, 201, 401, 404, 500, 0][random.random_range(0..7)]),
        "asn" => Value::Int(random.random_range(0..6)),
        "response_bytes" => Value::Int(random.random_range(-50..1000)),
        "page" | "page_size" if wild => Value::Int(
            [i64::MIN, i64::MIN + 1, i64::MAX, i64::MAX - 1, 1 << 53, -1]
                [random.random_range(0..6)],
        ),
        "page" | "page_size" => Value::Int(random.random_range(-3..12)),
        // Quarters, whose sums are exact, so that their order does not matter.
        "latitude" | "accuracy_radius_km" if wild => Value::Float(
            [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0][random.random_range(0..4)],
        ),
        "latitude" | "accuracy_radius_km" => {
            Value::Float(f64::from(random.random_range(-8..9)) / 4.0)
        }
        "longitude" if wild => {
            Value::Float([1e300, -1e300, 5e-324, 1e16, f64::NAN, -0.0][random.random_range(0..6)])
        }
        "longitude" => Value::Float(f64::from(random.random_range(-900..900)) / 7.0),
        "amount" if wild => Value::Decimal([0, 1, -1, 10_i128.pow(28)][random.random_range(0..4)]),
        "amount" => Value::Decimal(i128::from(random.random_range(-500..5000)) * 10_i128.pow(16)),
        "is_hosting" | "is_anonymous" => Value::Bool(random.random_bool(0.3)),
        other => panic!("no cells of `{other}`"),
    }
}
