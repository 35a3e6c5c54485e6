//! `first_seen(value, ts)`: is this value (a country, a network, a client) new for the key?
//!
//! Returns a struct a row:
//!
//! | field | type | meaning |
//! |---|---|---|
//! | `is_new` | boolean | the key has not shown this value before, or has long since lost it |
//! | `first_ts` | timestamp(ms, UTC) | when the key first showed this value; this row's `ts` if new |
//! | `values` | bigint | distinct values known before this row |
//! | `age` | bigint | whole seconds since the key's first row |
//! | `active_days` | bigint | distinct UTC days with rows, before this row's day |
//!
//! The first row of a key is new, with no values known: a rule that wants a learning period asks for an
//! `age` or for `active_days`. A row with a null value or a null time changes nothing; its `is_new` is
//! false and the rest is null.
//!
//! State a key: first time, last day, number of days, and at most [`VALUES_PER_KEY`] values as a 64-bit
//! hash with the times they were first and last seen: 24 bytes a value. A full set forgets the value
//! not seen for longest (of equals, the one learned first), which is new again when it comes back.
//! Texts hash by their bytes, whatever array holds them, and integers by their value, whatever their
//! width.

use std::sync::Arc;

use crate::{
    Error, KeyRows, KeyedFold, Result, WindowFunction,
    arguments::{coerce_timestamp, column, timestamp_type, timestamps},
    state::{FNV_OFFSET, Reader, fnv1a},
};
use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Int64Array, NullBufferBuilder, StructArray,
        TimestampMillisecondArray,
    },
    datatypes::{DataType, Field, Fields, Int64Type, UInt64Type},
};
use prefetch_index::prefetch_index;

/// How many values of a key `first_seen` remembers. A client that roams shows a handful of countries
/// and some tens of networks; beyond that "new" says little, and the bound keeps a key's state below
/// 1.6 kB.
pub const VALUES_PER_KEY: usize = 64;

const NAME: &str = "first_seen";
const USAGE: &str = "first_seen(value, ts)";
const VERSION: u8 = 1;
const DAY_MS: i64 = 86_400_000;

pub(crate) fn window_function() -> WindowFunction {
    WindowFunction::new(
        NAME,
        u32::from(VERSION),
        return_type(),
        coerce,
        |arg_types, _literals| {
            let value_type = coerce(arg_types)?.swap_remove(0);
            Ok(Box::new(FirstSeenFold {
                value_type,
                keys: Vec::new(),
            }))
        },
    )
}

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("is_new", DataType::Boolean, true),
        Field::new("first_ts", timestamp_type(), true),
        Field::new("values", DataType::Int64, true),
        Field::new("age", DataType::Int64, true),
        Field::new("active_days", DataType::Int64, true),
    ])
}

fn return_type() -> DataType {
    DataType::Struct(fields())
}

fn coerce(arg_types: &[DataType]) -> Result<Vec<DataType>> {
    let [value, ts] = arg_types else {
        return Err(Error::ArgumentCount {
            function: NAME,
            usage: USAGE,
            found: arg_types.len(),
        });
    };
    let inner = match value {
        DataType::Dictionary(_, inner) => inner.as_ref(),
        plain => plain,
    };
    let value = match inner {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8View,
        DataType::UInt64 => DataType::UInt64,
        DataType::Boolean | DataType::Null => DataType::Int64,
        integer if integer.is_integer() => DataType::Int64,
        other => {
            return Err(Error::Argument {
                function: NAME,
                argument: "value",
                expected: "a text or an integer",
                found: format!("of type {other}"),
            });
        }
    };
    Ok(vec![value, coerce_timestamp(NAME, "ts", ts)?])
}

/// What is read of a key is asked for so many rows before.
const ROWS_AHEAD: usize = 8;

/// A value that a key has shown.
#[derive(Debug, Clone, Copy)]
struct Seen {
    hash: u64,
    first_ms: i64,
    last_ms: i64,
}

/// What is known of a key; `values` is empty exactly before its first row.
#[derive(Debug, Clone, Default)]
struct History {
    first_ms: i64,
    /// The latest UTC day with a row, in days since 1970.
    day: i64,
    /// Distinct days with rows before `day`.
    days_before: u32,
    /// In the order in which they were learned.
    values: Vec<Seen>,
}

/// One row of the output.
struct Sighting {
    is_new: bool,
    first_ms: i64,
    values: i64,
    age_s: i64,
    active_days: i64,
}

impl History {
    fn observe(&mut self, hash: u64, ts_ms: i64) -> Sighting {
        let day = ts_ms.div_euclid(DAY_MS);
        let values = self.values.len() as i64;
        if self.values.is_empty() {
            self.first_ms = ts_ms;
            self.day = day;
        } else if day > self.day {
            self.day = day;
            self.days_before = self.days_before.saturating_add(1);
        }
        let (is_new, first_ms) = match self.values.iter_mut().find(|seen| seen.hash == hash) {
            Some(seen) => {
                seen.last_ms = seen.last_ms.max(ts_ms);
                (false, seen.first_ms)
            }
            None => {
                self.learn(Seen {
                    hash,
                    first_ms: ts_ms,
                    last_ms: ts_ms,
                });
                (true, ts_ms)
            }
        };
        Sighting {
            is_new,
            first_ms,
            values,
            age_s: ts_ms.saturating_sub(self.first_ms).max(0) / 1000,
            active_days: i64::from(self.days_before),
        }
    }

    fn learn(&mut self, seen: Seen) {
        if self.values.len() == VALUES_PER_KEY {
            let longest_ago = self
                .values
                .iter()
                .enumerate()
                .min_by_key(|(_, seen)| seen.last_ms);
            let (index, _) = longest_ago.expect("a full set is not empty");
            self.values.remove(index);
        }
        self.values.push(seen);
    }
}

struct FirstSeenFold {
    value_type: DataType,
    keys: Vec<History>,
}

impl FirstSeenFold {
    /// Calls `row` with the row number and the hash of every value; what is null is left out.
    fn hashes(&self, values: &ArrayRef, mut row: impl FnMut(usize, u64)) {
        let valid = (0..values.len()).filter(|&index| values.is_valid(index));
        match self.value_type {
            DataType::Utf8View => {
                let texts = values.as_string_view();
                valid.for_each(|i| row(i, hash(b't', texts.value(i).as_bytes())));
            }
            DataType::UInt64 => {
                let integers = values.as_primitive::<UInt64Type>();
                valid.for_each(|i| row(i, hash(b'i', &integers.value(i).to_le_bytes())));
            }
            _ => {
                let integers = values.as_primitive::<Int64Type>();
                valid.for_each(|i| row(i, hash(b'i', &integers.value(i).to_le_bytes())));
            }
        }
    }
}

fn hash(kind: u8, bytes: &[u8]) -> u64 {
    fnv1a(fnv1a(FNV_OFFSET, &[kind]), bytes)
}

impl KeyedFold for FirstSeenFold {
    fn return_type(&self) -> DataType {
        return_type()
    }

    fn resize(&mut self, keys: usize) {
        self.keys
            .resize_with(keys.max(self.keys.len()), History::default);
    }

    fn update_rows(&mut self, rows: &KeyRows<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
        let keys = rows.keys();
        let rows = keys.len();
        let values = column(args, 0, &self.value_type)?;
        let times = timestamps(args, 1)?;

        let mut hashes = vec![None; rows];
        self.hashes(&values, |row, hash| hashes[row] = Some(hash));

        let mut is_new = Vec::with_capacity(rows);
        let mut first_ms = Vec::with_capacity(rows);
        let mut known = Vec::with_capacity(rows);
        let mut age_s = Vec::with_capacity(rows);
        let mut active_days = Vec::with_capacity(rows);
        let mut nulls = NullBufferBuilder::new(rows);
        for (row, &key) in keys.iter().enumerate() {
            // A key's history is mostly in no near cache, and its values lie elsewhere.
            if let Some(&soon) = keys.get(row + 2 * ROWS_AHEAD) {
                prefetch_index(&self.keys, soon as usize);
            }
            if let Some(&soon) = keys.get(row + ROWS_AHEAD) {
                prefetch_index(&self.keys[soon as usize].values, 0);
            }
            let sighting = match hashes[row] {
                Some(hash) if times.is_valid(row) => {
                    nulls.append_non_null();
                    self.keys[key as usize].observe(hash, times.value(row))
                }
                _ => {
                    nulls.append_null();
                    Sighting {
                        is_new: false,
                        first_ms: 0,
                        values: 0,
                        age_s: 0,
                        active_days: 0,
                    }
                }
            };
            is_new.push(sighting.is_new);
            first_ms.push(sighting.first_ms);
            known.push(sighting.values);
            age_s.push(sighting.age_s);
            active_days.push(sighting.active_days);
        }
        let nulls = nulls.finish();
        let integers = |numbers: Vec<i64>| -> ArrayRef {
            Arc::new(Int64Array::new(numbers.into(), nulls.clone()))
        };
        let first_ts = TimestampMillisecondArray::new(first_ms.into(), nulls.clone());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(BooleanArray::from(is_new)),
            Arc::new(first_ts.with_timezone("UTC")),
            integers(known),
            integers(age_s),
            integers(active_days),
        ];
        Ok(Arc::new(StructArray::try_new(fields(), columns, None)?))
    }

    fn snapshot(&self, key: u32, out: &mut Vec<u8>) {
        let history = &self.keys[key as usize];
        out.push(VERSION);
        out.extend_from_slice(&history.first_ms.to_le_bytes());
        out.extend_from_slice(&history.day.to_le_bytes());
        out.extend_from_slice(&history.days_before.to_le_bytes());
        out.push(history.values.len() as u8);
        for seen in &history.values {
            out.extend_from_slice(&seen.hash.to_le_bytes());
            out.extend_from_slice(&seen.first_ms.to_le_bytes());
            out.extend_from_slice(&seen.last_ms.to_le_bytes());
        }
    }

    fn restore(&mut self, key: u32, bytes: &[u8]) -> Result<()> {
        let mut history = History::default();
        if !bytes.is_empty() {
            let mut reader = Reader::new(NAME, VERSION, bytes)?;
            history.first_ms = reader.i64()?;
            history.day = reader.i64()?;
            history.days_before = reader.u32()?;
            let values = usize::from(reader.u8()?);
            if values > VALUES_PER_KEY {
                return Err(reader.damaged("it holds more values than a key can have"));
            }
            for _ in 0..values {
                history.values.push(Seen {
                    hash: reader.u64()?,
                    first_ms: reader.i64()?,
                    last_ms: reader.i64()?,
                });
            }
            reader.finish()?;
        }
        self.keys[key as usize] = history;
        Ok(())
    }

    fn memory(&self) -> usize {
        let values: usize = self.keys.iter().map(|key| key.values.capacity()).sum();
        self.keys.capacity() * size_of::<History>() + values * size_of::<Seen>()
    }
}
