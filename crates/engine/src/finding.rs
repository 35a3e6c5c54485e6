//! Findings: the rows of rules, each with an id that says what it was made from.
//!
//! An id is a digest of deployment, rule and lineage (all grouping keys and the window, or topic,
//! partition and offset), so that it is the same in batch and stream, and the same again after a
//! replay.

use std::fmt;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMillisecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::row::{RowConverter, SortField};
use sha2::{Digest, Sha256};

use crate::error::{Error, In, Result};
use crate::rows::{Release, Rows};

/// The name of the hidden column that holds a row's event time.
pub const TIME_COLUMN: &str = "__time";
/// The names of the hidden columns that hold the least and the greatest offset of the events that a
/// row was made from.
pub const OFFSET_COLUMNS: [&str; 2] = ["__first_offset", "__last_offset"];
/// What the names of the hidden columns of lineage begin with.
pub const LINEAGE_PREFIX: &str = "__lineage_";

/// What tells one finding from every other: 128 bits, shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FindingId(pub [u8; 16]);

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Findings of one rule.
#[derive(Debug, Clone)]
pub struct Findings {
    /// The rule's number in [`Program::sinks`](crate::program::Program::sinks).
    pub rule: usize,
    /// The columns that the rule selects.
    pub rows: RecordBatch,
    /// For a row, the least and the greatest offset of the events that it was made from. They are of
    /// one partition only where the machine reads one.
    pub offsets: Vec<(i64, i64)>,
    /// A row's id.
    pub ids: Vec<FindingId>,
    /// A row's event time, in milliseconds since 1970.
    pub times: Vec<i64>,
}

impl Findings {
    /// Splits a rule's output into what it selects and what is hidden, and makes the ids.
    pub fn new(
        deployment: &str,
        name: &str,
        rule: usize,
        visible: usize,
        output: &RecordBatch,
    ) -> Result<Self> {
        const OPERATOR: &str = "finding";
        let select = |columns: std::ops::Range<usize>| {
            output
                .project(&columns.collect::<Vec<_>>())
                .within(OPERATOR)
        };
        let missing = || Error::Shape {
            operator: OPERATOR,
            detail: format!("no hidden columns after {visible} columns"),
        };
        if output.num_columns() < visible + 1 + OFFSET_COLUMNS.len() {
            return Err(missing());
        }
        let rows = select(0..visible)?;
        let times = output
            .column(visible)
            .as_primitive_opt::<TimestampMillisecondType>();
        let times = times.ok_or_else(missing)?.values().to_vec();
        let offsets = |column: usize| {
            let offsets = output.column(column).as_primitive_opt::<Int64Type>();
            offsets
                .map(|offsets| offsets.values().as_ref())
                .ok_or_else(missing)
        };
        let (first, last) = (offsets(visible + 1)?, offsets(visible + 2)?);
        let lineage = select(visible + 1 + OFFSET_COLUMNS.len()..output.num_columns())?;
        Ok(Findings {
            rule,
            rows,
            offsets: first.iter().copied().zip(last.iter().copied()).collect(),
            ids: ids(deployment, name, &lineage)?,
            times,
        })
    }
}

/// A finding's place in a [`Step`]: which of its findings, and which row of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The index of the findings.
    pub findings: usize,
    /// The row in them.
    pub row: usize,
    /// The index, in the input batch, of the row that released it; `usize::MAX` at the end of input.
    pub released_by: usize,
}

/// What one batch and the advance of time after it emitted.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// Findings by rule, in no order.
    pub findings: Vec<Findings>,
    /// All of them in the order of emission: by releasing row, event time, rule and id, which does not
    /// depend on how the log was cut into batches.
    pub order: Vec<Place>,
    /// Rows for which an expression failed.
    pub failed_rows: u64,
    /// The same by rule, those of shared work counted for each rule above it; empty where none failed.
    pub failed_by_rule: Vec<u64>,
    /// How many findings of a rule were withheld, since it is warming up after a reload: the rule's
    /// number, and how many.
    pub withheld: Vec<(usize, u64)>,
}

impl Step {
    pub(crate) fn withhold(&mut self, rule: usize, findings: u64) {
        if findings > 0 {
            self.withheld.push((rule, findings));
        }
    }

    pub(crate) fn push(&mut self, findings: Findings, rows: &Rows, watermarks: &[i64]) {
        let index = self.findings.len();
        for row in 0..findings.ids.len() {
            let released_by = match &rows.release {
                Release::Row(rows) => rows.value(row) as usize,
                Release::Watermark(at) => {
                    let at = at.value(row);
                    let place = watermarks.partition_point(|&watermark| watermark < at);
                    if place == watermarks.len() {
                        usize::MAX
                    } else {
                        place
                    }
                }
            };
            self.order.push(Place {
                findings: index,
                row,
                released_by,
            });
        }
        self.findings.push(findings);
    }

    /// Counts rows that failed at a node below these rules.
    pub(crate) fn count_failed(&mut self, rows: u64, above: &[usize], rules: usize) {
        if rows == 0 {
            return;
        }
        self.failed_rows += rows;
        self.failed_by_rule.resize(rules, 0);
        for &rule in above {
            self.failed_by_rule[rule] += rows;
        }
    }

    pub(crate) fn sort(&mut self) {
        let findings = &self.findings;
        self.order.sort_by_cached_key(|place| {
            let of = &findings[place.findings];
            (
                place.released_by,
                of.times[place.row],
                of.rule,
                of.ids[place.row],
            )
        });
    }
}

fn ids(deployment: &str, rule: &str, lineage: &RecordBatch) -> Result<Vec<FindingId>> {
    let mut prefix = Sha256::new();
    for text in [deployment, rule] {
        prefix.update((text.len() as u64).to_le_bytes());
        prefix.update(text);
    }
    let mut digests = vec![prefix; lineage.num_rows()];
    for column in lineage.columns() {
        digest_column(column.as_ref(), &mut digests)?;
    }
    Ok(digests
        .into_iter()
        .map(|digest| {
            let mut id = [0; 16];
            id.copy_from_slice(&digest.finalize()[..16]);
            FindingId(id)
        })
        .collect())
}

/// Feeds a column's values to the digest of each row, in a form that is our own and keeps: a tag,
/// then the value, little-endian. Only types that are rare in a lineage use Arrow's row format.
fn digest_column(column: &dyn Array, digests: &mut [Sha256]) -> Result<()> {
    fn integers(column: &dyn Array, digests: &mut [Sha256], value: impl Fn(usize) -> i64) {
        for (row, digest) in digests.iter_mut().enumerate() {
            if column.is_null(row) {
                digest.update([0]);
            } else {
                digest.update([1]);
                digest.update(value(row).to_le_bytes());
            }
        }
    }
    macro_rules! primitive {
        ($kind:ty) => {{
            let values = column.as_primitive::<$kind>();
            integers(column, digests, |row| values.value(row) as i64);
        }};
    }
    match column.data_type() {
        DataType::Int8 => primitive!(Int8Type),
        DataType::Int16 => primitive!(Int16Type),
        DataType::Int32 => primitive!(Int32Type),
        DataType::Int64 => primitive!(Int64Type),
        DataType::UInt8 => primitive!(UInt8Type),
        DataType::UInt16 => primitive!(UInt16Type),
        DataType::UInt32 => primitive!(UInt32Type),
        DataType::UInt64 => primitive!(UInt64Type),
        DataType::Timestamp(TimeUnit::Millisecond, _) => primitive!(TimestampMillisecondType),
        DataType::Boolean => {
            let values = column.as_boolean();
            integers(column, digests, |row| i64::from(values.value(row)));
        }
        DataType::Utf8View => {
            for (value, digest) in column.as_string_view().iter().zip(digests) {
                match value {
                    None => digest.update([0]),
                    Some(text) => {
                        digest.update([2]);
                        digest.update((text.len() as u64).to_le_bytes());
                        digest.update(text);
                    }
                }
            }
        }
        other => {
            let converter =
                RowConverter::new(vec![SortField::new(other.clone())]).within("finding")?;
            let rows = converter
                .convert_columns(&[arrow::array::make_array(column.to_data())])
                .within("finding")?;
            for (row, digest) in rows.iter().zip(digests) {
                digest.update([3]);
                digest.update((row.as_ref().len() as u64).to_le_bytes());
                digest.update(row.as_ref());
            }
        }
    }
    Ok(())
}
