//! Which columns are read from history, and how a file's column becomes one of `events`.
//!
//! A file may have been written with fewer columns (before `events.toml` gained one), or by another tool
//! that has other widths of the same type. A column that may be null and is not there is null; a value
//! is never changed to fit.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use keyhawk_events::EventsSchema;

use super::MARKS;

pub(super) const TOPIC: &str = "_topic";
pub(super) const PARTITION: &str = "_partition";
pub(super) const OFFSET: &str = "_offset";
const EVENT_TIME: &str = "event_time";
const RECORD_TIME: &str = "record_time";

/// The columns that a program reads, with those that reading itself needs.
pub struct Columns {
    /// In the table's order.
    read: Vec<FieldRef>,
    all: SchemaRef,
    wanted: SchemaRef,
    /// Of `read`, those that are wanted.
    kept: Vec<usize>,
    pub(super) offset: usize,
    pub(super) event_time: usize,
    pub(super) record_time: usize,
    pub(super) marks: Vec<usize>,
}

impl Columns {
    /// The named columns of the table, or all of them, in the table's order.
    ///
    /// # Errors
    /// A name that the table does not have.
    pub fn new(
        table: &EventsSchema,
        wanted: Option<&BTreeSet<String>>,
    ) -> Result<Self, keyhawk_events::Error> {
        let fields = table.arrow().fields();
        let unknown = wanted
            .into_iter()
            .flatten()
            .find(|name| fields.find(name).is_none());
        if let Some(name) = unknown {
            return Err(keyhawk_events::Error::UnknownColumn { name: name.clone() });
        }
        let is_wanted = |field: &Field| wanted.is_none_or(|wanted| wanted.contains(field.name()));
        let is_needed = |field: &Field| {
            let name = field.name().as_str();
            [EVENT_TIME, RECORD_TIME, OFFSET].contains(&name) || MARKS.contains(&name)
        };
        let read: Vec<FieldRef> = fields
            .iter()
            .filter(|field| is_wanted(field) || is_needed(field))
            .cloned()
            .collect();
        let kept: Vec<usize> = (0..read.len()).filter(|&at| is_wanted(&read[at])).collect();
        let at = |name: &str| {
            let at = read.iter().position(|field| field.name() == name);
            at.expect("the table has the columns that every row has")
        };
        Ok(Columns {
            offset: at(OFFSET),
            event_time: at(EVENT_TIME),
            record_time: at(RECORD_TIME),
            marks: MARKS.iter().map(|mark| at(mark)).collect(),
            wanted: Arc::new(Schema::new(
                kept.iter()
                    .map(|&at| Arc::clone(&read[at]))
                    .collect::<Vec<_>>(),
            )),
            all: Arc::new(Schema::new(read.clone())),
            read,
            kept,
        })
    }

    /// The schema of the batches: the wanted columns in the table's order.
    pub fn schema(&self) -> &SchemaRef {
        &self.wanted
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.read.iter().map(|field| field.name().as_str())
    }

    /// A file's rows with the columns of `read`; says which column does not fit, and why.
    pub(super) fn fit(&self, file: &RecordBatch) -> Result<RecordBatch, (String, String)> {
        let rows = file.num_rows();
        let columns = self.read.iter().map(|field| {
            let fitted = match file.column_by_name(field.name()) {
                Some(column) => fit(column, field),
                None if MARKS.contains(&field.name().as_str()) => {
                    Ok(Arc::new(BooleanArray::from(vec![false; rows])) as ArrayRef)
                }
                None if field.is_nullable() => Ok(new_null_array(field.data_type(), rows)),
                None => Err("is not there".to_owned()),
            };
            fitted.map_err(|problem| (field.name().clone(), problem))
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(Arc::clone(&self.all), columns)
            .map_err(|error| ("events".to_owned(), error.to_string()))
    }

    /// Of rows with the columns of `read`, the wanted columns.
    pub(super) fn keep(&self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = self
            .kept
            .iter()
            .map(|&at| Arc::clone(rows.column(at)))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.wanted), columns, &options)
    }
}

fn fit(column: &ArrayRef, field: &Field) -> Result<ArrayRef, String> {
    if !field.is_nullable() && column.null_count() > 0 {
        return Err("has nulls, which the table does not".to_owned());
    }
    if column.data_type() == field.data_type() {
        return Ok(Arc::clone(column));
    }
    if !is_of_kind(column.data_type(), field.data_type()) {
        return Err(format!(
            "is {}, where the table has {}",
            column.data_type(),
            field.data_type()
        ));
    }
    // Not safe in Arrow's word: a value that does not fit is an error, not null.
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, field.data_type(), &options).map_err(|error| error.to_string())
}

/// Whether two types hold the same kind of value.
fn is_of_kind(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Dictionary(_, values), _) => is_of_kind(values, to),
        (DataType::List(from) | DataType::LargeList(from), DataType::List(to)) => {
            is_of_kind(from.data_type(), to.data_type())
        }
        (_, DataType::Utf8View) => from.is_string(),
        (_, DataType::Int32 | DataType::Int64) => from.is_integer(),
        (_, DataType::Float64) => from.is_floating(),
        (DataType::Decimal128(_, from), DataType::Decimal128(_, to)) => from <= to,
        // A finer time would be cut; a time without a zone is taken for UTC.
        (DataType::Timestamp(unit, _), DataType::Timestamp(..)) => {
            matches!(
                unit,
                arrow::datatypes::TimeUnit::Second | arrow::datatypes::TimeUnit::Millisecond
            )
        }
        _ => from == to,
    }
}
