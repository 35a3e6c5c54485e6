//! What a case expects, held against what the rule selects.
//!
//! ```text
//!   { refused = 60, window_start = "+1h" }     the rule: api_key Utf8View, window_start Timestamp, refused Int64
//!     ─▶ [None, 2026-03-02T01:00:00Z, 60]      a value or nothing for each column
//! ```

use std::time::{Duration, UNIX_EPOCH};

use arrow::datatypes::{DataType, Field, Schema};
use keyhawk_sql::{Place, Problem, SourceFile, nearest};
use serde_json::Value;

use super::case::{Cell, Named};
use super::events::{START_MS, offset_ms};

/// For each column of the rule the value that it shall have, as findings show it; nothing where it may
/// have any.
pub(super) type Row = Vec<Option<Value>>;

/// How far apart two numbers may be and yet be equal, relative to the greater.
const TOLERANCE: f64 = 1e-9;

/// Reads the expected rows of a case.
///
/// # Errors
/// Columns that the rule does not select, and values that cannot be theirs.
pub(super) fn rows(
    source: &SourceFile,
    expect: &[Named],
    schema: &Schema,
) -> Result<Vec<Row>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut rows = Vec::with_capacity(expect.len());
    for named in expect {
        let mut row: Row = vec![None; schema.fields().len()];
        for cell in &named.0 {
            match place(source, cell, schema) {
                Ok((column, value)) => row[column] = Some(value),
                Err(problem) => problems.push(*problem),
            }
        }
        rows.push(row);
    }
    if problems.is_empty() {
        Ok(rows)
    } else {
        Err(problems)
    }
}

/// The number of a cell's column, and its value as findings show it.
fn place(
    source: &SourceFile,
    cell: &Cell,
    schema: &Schema,
) -> Result<(usize, Value), Box<Problem>> {
    let Some((column, field)) = schema.column_with_name(&cell.column) else {
        let names: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let help = match nearest(&cell.column, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it selects {}", names.join(", ")),
        };
        let place = Place::of_bytes(&source.text, cell.column_span.clone());
        let message = format!("the rule does not select `{}`", cell.column);
        return Err(Box::new(Problem::new(source, place, message).help(help)));
    };
    match value(field, &cell.value) {
        Ok(value) => Ok((column, value)),
        Err(wanted) => {
            let place = Place::of_bytes(&source.text, cell.value_span.clone());
            let message = format!("`{}` is never this: it is {wanted}", cell.column);
            let problem = Problem::new(source, place, message);
            Err(Box::new(problem.help(format!("write {wanted}"))))
        }
    }
}

/// The value as a finding shows it, or what the column takes.
fn value(field: &Field, value: &Value) -> Result<Value, &'static str> {
    let kind = field.data_type();
    let (fits, wanted) = match kind {
        DataType::Timestamp(..) => {
            return time(value).ok_or(
                "a time, as \"+1h\" after the start, in milliseconds after it, or in RFC 3339 and UTC",
            );
        }
        DataType::Boolean => (value.is_boolean(), "true or false"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => (value.is_string(), "a text"),
        DataType::List(_) | DataType::LargeList(_) => (value.is_array(), "a list"),
        DataType::Struct(_) => (value.is_object(), "a table"),
        _ if kind.is_integer() => (value.is_i64(), "a whole number"),
        _ if kind.is_numeric() => (value.is_number(), "a number"),
        _ => (true, ""),
    };
    if fits { Ok(value.clone()) } else { Err(wanted) }
}

/// A time as a finding shows it.
fn time(value: &Value) -> Option<Value> {
    let ms = match value {
        Value::Number(number) => START_MS.checked_add(number.as_i64()?)?,
        Value::String(text) => match offset_ms(text) {
            Some(offset_ms) => START_MS.checked_add(offset_ms)?,
            None => {
                let time = humantime::parse_rfc3339(text).ok()?;
                i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?
            }
        },
        _ => return None,
    };
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(ms).ok()?))?;
    // Arrow writes a fraction only where there is one.
    Some(Value::from(match ms % 1000 {
        0 => humantime::format_rfc3339_seconds(time).to_string(),
        _ => humantime::format_rfc3339_millis(time).to_string(),
    }))
}

/// Whether a value found is the one expected; of a struct only the named members count.
pub(super) fn is_same(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => expected
            .iter()
            .all(|(name, value)| found.get(name).is_some_and(|found| is_same(value, found))),
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len()
                && expected
                    .iter()
                    .zip(found)
                    .all(|(one, other)| is_same(one, other))
        }
        (Value::Number(expected), Value::Number(found)) => {
            match (expected.as_i64(), found.as_i64()) {
                (Some(expected), Some(found)) => expected == found,
                _ => match (expected.as_f64(), found.as_f64()) {
                    (Some(one), Some(other)) => {
                        (one - other).abs() <= TOLERANCE * one.abs().max(other.abs())
                    }
                    _ => false,
                },
            }
        }
        // A decimal may be written as a text.
        (Value::Number(expected), Value::String(found)) => found.parse().ok() == expected.as_f64(),
        _ => expected == found,
    }
}

/// Whether a row found has all that is expected of it.
pub(super) fn fits(expected: &Row, found: &[Value]) -> bool {
    expected
        .iter()
        .zip(found)
        .all(|(expected, found)| expected.as_ref().is_none_or(|value| is_same(value, found)))
}
