//! Tables of events in the hand of a test: typed cells that can be made at random, made smaller, written
//! as an INSERT and read from one, and cut into the batches of partitions.
//!
//! ```text
//!   INSERT … VALUES ◀──▶ Table ──▶ Partition 0: batch, watermarks ──▶ machine
//!      generator ─────────▲   └──▶ Partition 1: batch, watermarks ──▶ machine
//! ```
//!
//! Late rows are dropped here, as decode drops them before any engine sees them: those whose event time
//! is below the running maximum of the rows before them in their partition, minus the bound. The running
//! maximum takes the lesser of event time and record time.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, ListBuilder,
    RecordBatch, StringViewArray, StringViewBuilder, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use keyhawk_testkit::random::generator;
use rand::RngExt;

/// The first event times of tests: a Wednesday, 2023-11-15 at midnight UTC.
pub const START_MS: i64 = 1_700_006_400_000;

/// One cell of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// In units of 10^-18.
    Decimal(i128),
    /// Milliseconds since 1970.
    Time(i64),
    Text(Arc<str>),
    Texts(Vec<Option<Arc<str>>>),
}

/// One record of the topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub partition: i32,
    /// By the table's columns.
    pub cells: Vec<Value>,
}

/// Events as they lie in their topic, late ones among them.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The columns that are given; `event_time` is one. What is not given is null, or what the type of
    /// a column that is never null has for nothing.
    pub columns: Vec<String>,
    /// In the order of arrival; a row's offset is its place here.
    pub rows: Vec<Row>,
    /// The allowed lateness in milliseconds.
    pub bound_ms: i64,
}

/// The rows of one partition that are not late, in the columns that a program reads.
#[derive(Debug, Clone)]
pub struct Partition {
    pub batch: RecordBatch,
    /// The watermark after each row.
    pub watermarks: Vec<i64>,
}

impl Partition {
    pub fn rows(&self) -> usize {
        self.watermarks.len()
    }

    /// The rows of a range.
    pub fn slice(&self, range: Range<usize>) -> RecordBatch {
        self.batch.slice(range.start, range.len())
    }
}

impl Table {
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// Appends records; a column `_partition` says where each lies, and without it that is 0.
    pub fn append(&mut self, columns: &[String], rows: Vec<Vec<Value>>) {
        for column in columns.iter().filter(|column| *column != "_partition") {
            if self.column(column).is_none() {
                self.columns.push(column.clone());
                self.rows
                    .iter_mut()
                    .for_each(|row| row.cells.push(Value::Null));
            }
        }
        for row in rows {
            let mut cells = vec![Value::Null; self.columns.len()];
            let mut partition = 0;
            for (column, value) in columns.iter().zip(row) {
                match (self.column(column), value) {
                    (Some(at), value) => cells[at] = value,
                    (None, Value::Int(number)) => partition = number as i32,
                    (None, _) => {}
                }
            }
            self.rows.push(Row { partition, cells });
        }
    }

    fn time_of(&self, row: &Row, name: &str) -> Option<i64> {
        match row.cells.get(self.column(name)?)? {
            Value::Time(ms) => Some(*ms),
            _ => None,
        }
    }

    /// The rows that are not late, by partition: their places in the table, and the watermark after
    /// each.
    fn punctual(&self) -> Vec<(i32, Vec<(usize, i64)>)> {
        let mut partitions: Vec<(i32, Vec<(usize, i64)>, i64)> = Vec::new();
        for (place, row) in self.rows.iter().enumerate() {
            let found = partitions.iter().position(|known| known.0 == row.partition);
            let at = found.unwrap_or_else(|| {
                partitions.push((row.partition, Vec::new(), i64::MIN));
                partitions.len() - 1
            });
            let (_, rows, greatest) = &mut partitions[at];
            let Some(time) = self.time_of(row, "event_time") else {
                // Decode has no event without a time: a dead letter.
                continue;
            };
            if time < greatest.saturating_sub(self.bound_ms) {
                continue;
            }
            let clock = self.time_of(row, "record_time").unwrap_or(time);
            *greatest = (*greatest).max(time.min(clock));
            rows.push((place, greatest.saturating_sub(self.bound_ms)));
        }
        partitions.sort_by_key(|(partition, ..)| *partition);
        partitions
            .into_iter()
            .map(|(partition, rows, _)| (partition, rows))
            .collect()
    }

    /// Every partition by itself, as its own machine reads it.
    pub fn partitions(&self, schema: &SchemaRef) -> Vec<Partition> {
        let punctual = self.punctual();
        let partitions = punctual.iter().map(|(_, rows)| Partition {
            batch: self.batch(schema, rows.iter().map(|(place, _)| *place)),
            watermarks: rows.iter().map(|(_, watermark)| *watermark).collect(),
        });
        partitions.collect()
    }

    /// All partitions in one line, as a machine reads them that replays files: in an order that the
    /// seed chooses, the watermark being the least of the partitions that still have rows.
    pub fn merged(&self, schema: &SchemaRef, seed: u64) -> Partition {
        let mut random = generator(seed);
        let mut left: Vec<(i64, std::collections::VecDeque<(usize, i64)>)> = self
            .punctual()
            .into_iter()
            .map(|(_, rows)| (i64::MIN, rows.into()))
            .collect();
        let mut places = Vec::new();
        let mut watermarks = Vec::new();
        while !left.is_empty() {
            let at = random.random_range(0..left.len());
            for _ in 0..random.random_range(1..=20) {
                let (watermark, rows) = &mut left[at];
                let Some((place, after)) = rows.pop_front() else {
                    break;
                };
                *watermark = after;
                places.push(place);
                watermarks.push(left.iter().map(|(watermark, _)| *watermark).min());
            }
            left.retain(|(_, rows)| !rows.is_empty());
        }
        Partition {
            batch: self.batch(schema, places.into_iter()),
            watermarks: watermarks.into_iter().flatten().collect(),
        }
    }

    fn batch(
        &self,
        schema: &SchemaRef,
        places: impl Iterator<Item = usize> + Clone,
    ) -> RecordBatch {
        let columns = schema.fields().iter().map(|field| {
            let at = self.column(field.name());
            let cells = places.clone().map(|place| {
                let row = &self.rows[place];
                match field.name().as_str() {
                    "_topic" => Value::Text("calls".into()),
                    "_partition" => Value::Int(i64::from(row.partition)),
                    "_offset" => Value::Int(place as i64),
                    "late" => Value::Bool(false),
                    name => match at.map(|at| &row.cells[at]) {
                        Some(cell) if *cell != Value::Null => cell.clone(),
                        _ => nothing(name),
                    },
                }
            });
            array(field.data_type(), &cells.collect::<Vec<_>>())
        });
        let columns: Vec<ArrayRef> = columns.collect();
        let options =
            arrow::array::RecordBatchOptions::new().with_row_count(Some(places.clone().count()));
        RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).unwrap()
    }

    /// The table as INSERT statements, without the columns that hold nothing but null.
    pub fn insert(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let given: Vec<usize> = (0..self.columns.len())
            .filter(|&at| self.rows.iter().any(|row| row.cells[at] != Value::Null))
            .collect();
        let mut text = String::from("INSERT INTO events (_partition");
        for &at in &given {
            write!(text, ", {}", self.columns[at]).unwrap();
        }
        text.push_str(") VALUES");
        for (place, row) in self.rows.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(text, "{comma}\n  ({}", row.partition).unwrap();
            for &at in &given {
                write!(text, ", {}", row.cells[at].sql()).unwrap();
            }
            text.push(')');
        }
        text
    }
}

/// A reference table.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    pub name: String,
    pub columns: Vec<(String, DataType)>,
    pub rows: Vec<Vec<Value>>,
}

impl Reference {
    /// Its rows, as the compiler takes them.
    pub fn batch(&self) -> RecordBatch {
        let fields = self.columns.iter();
        let fields: Vec<Field> = fields
            .map(|(name, kind)| Field::new(name, kind.clone(), true))
            .collect();
        let columns = self.columns.iter().enumerate().map(|(at, (_, kind))| {
            let cells: Vec<Value> = self.rows.iter().map(|row| row[at].clone()).collect();
            array(kind, &cells)
        });
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.collect()).unwrap()
    }

    /// The table as statements.
    pub fn create(&self) -> Vec<String> {
        let columns = self.columns.iter().map(|(name, kind)| {
            let kind = match kind {
                DataType::Int64 => "BIGINT",
                DataType::Float64 => "DOUBLE",
                DataType::Boolean => "BOOLEAN",
                DataType::Timestamp(..) => "TIMESTAMP",
                _ => "VARCHAR",
            };
            format!("{name} {kind}")
        });
        let columns: Vec<String> = columns.collect();
        let mut statements = vec![format!(
            "CREATE TABLE {} ({})",
            self.name,
            columns.join(", ")
        )];
        if !self.rows.is_empty() {
            let names: Vec<&str> = self.columns.iter().map(|(name, _)| name.as_str()).collect();
            let rows = self.rows.iter().map(|row| {
                let cells: Vec<String> = row.iter().map(Value::sql).collect();
                format!("  ({})", cells.join(", "))
            });
            let rows: Vec<String> = rows.collect();
            statements.push(format!(
                "INSERT INTO {} ({}) VALUES\n{}",
                self.name,
                names.join(", "),
                rows.join(",\n")
            ));
        }
        statements
    }
}

/// What a column holds that is not given: decode never leaves these null.
fn nothing(column: &str) -> Value {
    match column {
        "client_ip" => Value::Text("192.0.2.1".into()),
        "client_net" => Value::Text("192.0.2.0/24".into()),
        "auth_result" => Value::Text("ok".into()),
        "ip_kind" => Value::Text("public".into()),
        "is_anonymous" | "is_hosting" => Value::Bool(false),
        _ => Value::Null,
    }
}

/// A column of cells in an Arrow type of `events`.
///
/// # Panics
/// Where a cell is not of the type, or the type is none of the table's.
pub fn array(data_type: &DataType, cells: &[Value]) -> ArrayRef {
    macro_rules! collect {
        ($array:ty, $variant:ident) => {
            cells
                .iter()
                .map(|cell| match cell {
                    Value::Null => None,
                    Value::$variant(value) => Some(value.clone()),
                    other => panic!("{other:?} is no {data_type}"),
                })
                .collect::<$array>()
        };
    }
    match data_type {
        DataType::Boolean => Arc::new(collect!(BooleanArray, Bool)),
        DataType::Int64 => Arc::new(collect!(Int64Array, Int)),
        DataType::Int32 => {
            let wide = collect!(Int64Array, Int);
            let narrow = wide.iter().map(|value| value.map(|value| value as i32));
            Arc::new(narrow.collect::<Int32Array>())
        }
        DataType::Float64 => Arc::new(collect!(Float64Array, Float)),
        DataType::Decimal128(precision, scale) => Arc::new(
            collect!(Decimal128Array, Decimal)
                .with_precision_and_scale(*precision, *scale)
                .unwrap(),
        ),
        DataType::Timestamp(TimeUnit::Millisecond, zone) => {
            Arc::new(collect!(TimestampMillisecondArray, Time).with_timezone_opt(zone.clone()))
        }
        DataType::Utf8View => Arc::new(collect!(StringViewArray, Text)),
        DataType::List(item) if item.data_type() == &DataType::Utf8View => {
            let mut list = ListBuilder::new(StringViewBuilder::new()).with_field(Arc::clone(item));
            for cell in cells {
                match cell {
                    Value::Null => list.append_null(),
                    Value::Texts(values) => {
                        values
                            .iter()
                            .for_each(|value| list.values().append_option(value.as_deref()));
                        list.append(true);
                    }
                    other => panic!("{other:?} is no list of texts"),
                }
            }
            Arc::new(list.finish())
        }
        other => panic!("no cell is of {other}"),
    }
}
