//! A column of values as written, to an array: of the declared type, or of the narrowest that all of
//! them have.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::timezone::Tz;
use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    RecordBatchOptions, StringViewArray, TimestampMillisecondArray,
};
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::datatypes::{Field, Schema};

use super::{ColumnType, Error, Types, check_columns};

/// Digits of a decimal after the point, and before it.
const SCALE: usize = 18;
const WHOLE_DIGITS_MAX: usize = 20;

/// A value as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// None at all.
    Null,
    /// A text; in CSV it may be meant as anything.
    Text(String),
    /// A number of JSON, as written.
    Number(String),
    /// A truth value of JSON.
    Boolean(bool),
}

/// A table as it is written: columns of equal length, and each row's line.
pub(super) struct Written {
    pub(super) names: Vec<String>,
    pub(super) columns: Vec<Vec<Cell>>,
    pub(super) lines: Vec<u64>,
    /// Whether a text may be meant as a number or truth value without being declared one: in CSV.
    pub(super) is_untyped: bool,
}

impl Written {
    /// The table with its columns' types.
    pub(super) fn typed(&self, path: &Path, types: &Types) -> Result<RecordBatch, Error> {
        check_columns(path, self.names.iter().map(String::as_str), types)?;
        let mut fields = Vec::new();
        let mut arrays = Vec::new();
        for (name, cells) in self.names.iter().zip(&self.columns) {
            let declared = types.get(name).copied();
            let ty = declared.unwrap_or_else(|| infer(cells, self.is_untyped));
            let array = array(ty, cells).map_err(|row| {
                let found = match &cells[row] {
                    Cell::Text(text) | Cell::Number(text) => text.clone(),
                    Cell::Boolean(value) => value.to_string(),
                    Cell::Null => "null".to_owned(),
                };
                Error::value(path, self.lines[row], name, ty.expected(), &found)
            })?;
            fields.push(Field::new(name, ty.arrow(), true));
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.lines.len()));
        Ok(
            RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
                .expect("every column has a value a row, of its field's type"),
        )
    }
}

/// The narrowest type that all values have.
fn infer(cells: &[Cell], is_untyped: bool) -> ColumnType {
    let candidates = [
        ColumnType::Boolean,
        ColumnType::Integer,
        ColumnType::Double,
        ColumnType::Timestamp,
    ];
    let is = |cell: &Cell, ty: ColumnType| match (cell, ty) {
        (Cell::Null, _) => true,
        (Cell::Boolean(_), ty) => ty == ColumnType::Boolean,
        (Cell::Number(text), ColumnType::Integer) => integer(text).is_some(),
        (Cell::Number(text), ColumnType::Double) => !is_long(text),
        (Cell::Text(text), ColumnType::Timestamp) => civil(text).is_some(),
        (Cell::Text(text), ColumnType::Boolean) => is_untyped && boolean(text).is_some(),
        (Cell::Text(text), ColumnType::Integer) => {
            is_untyped && !is_name(text) && integer(text).is_some()
        }
        (Cell::Text(text), ColumnType::Double) => {
            is_untyped && !is_name(text) && !is_long(text) && double(text).is_some()
        }
        _ => false,
    };
    if cells.iter().all(|cell| *cell == Cell::Null) {
        return ColumnType::Text;
    }
    let narrowest = candidates
        .into_iter()
        .find(|ty| cells.iter().all(|cell| is(cell, *ty)));
    narrowest.unwrap_or(ColumnType::Text)
}

/// Whether digits are a name, not an amount: a leading zero, or a plus as of a telephone number.
fn is_name(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    matches!(digits, [b'0', b'0'..=b'9', ..] | [b'+', ..])
}

/// Whether it is an integer that has too many digits for 64 bits, and would be cut as a double.
fn is_long(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.bytes().all(|byte| byte.is_ascii_digit()) && integer(text).is_none()
}

/// The values as an array, or the row of the first that is not of the type.
fn array(ty: ColumnType, cells: &[Cell]) -> Result<ArrayRef, usize> {
    Ok(match ty {
        ColumnType::Text => {
            let texts = cells.iter().map(|cell| match cell {
                Cell::Null => None,
                Cell::Text(text) | Cell::Number(text) => Some(text.as_str()),
                Cell::Boolean(true) => Some("true"),
                Cell::Boolean(false) => Some("false"),
            });
            Arc::new(texts.collect::<StringViewArray>())
        }
        ColumnType::Integer => Arc::new(Int64Array::from(values(cells, |cell| match cell {
            Cell::Text(text) | Cell::Number(text) => integer(text),
            _ => None,
        })?)),
        ColumnType::Double => Arc::new(Float64Array::from(values(cells, |cell| match cell {
            Cell::Text(text) | Cell::Number(text) => double(text),
            _ => None,
        })?)),
        ColumnType::Boolean => Arc::new(BooleanArray::from(values(cells, |cell| match cell {
            Cell::Text(text) => boolean(text),
            Cell::Boolean(value) => Some(*value),
            _ => None,
        })?)),
        ColumnType::Timestamp => {
            let times = values(cells, |cell| match cell {
                Cell::Text(text) => civil(text).or_else(|| integer(text)),
                Cell::Number(text) => integer(text),
                _ => None,
            })?;
            Arc::new(TimestampMillisecondArray::from(times).with_timezone("UTC"))
        }
        ColumnType::Decimal => {
            let decimals = values(cells, |cell| match cell {
                Cell::Text(text) | Cell::Number(text) => decimal(text),
                _ => None,
            })?;
            let array = Decimal128Array::from(decimals).with_precision_and_scale(38, SCALE as i8);
            Arc::new(array.expect("38 digits, 18 of them after the point, are allowed"))
        }
    })
}

fn values<T>(cells: &[Cell], parse: impl Fn(&Cell) -> Option<T>) -> Result<Vec<Option<T>>, usize> {
    let parse = |(row, cell): (usize, &Cell)| match cell {
        Cell::Null => Ok(None),
        cell => parse(cell).map(Some).ok_or(row),
    };
    cells.iter().enumerate().map(parse).collect()
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn integer(text: &str) -> Option<i64> {
    text.parse().ok()
}

fn double(text: &str) -> Option<f64> {
    // Rust also takes `inf`, `nan` and `infinity`.
    let is_number = text.bytes().any(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|value: &f64| is_number && value.is_finite())
}

/// The unscaled value of a decimal(38, 18); no digit is cut.
fn decimal(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let (whole, fraction) = (
        whole.trim_start_matches('0'),
        fraction.trim_end_matches('0'),
    );
    if whole.len() > WHOLE_DIGITS_MAX || fraction.len() > SCALE {
        return None;
    }
    let unscaled: i128 = format!("0{whole}{fraction:0<SCALE$}").parse().ok()?;
    Some(if negative { -unscaled } else { unscaled })
}

/// A time as text, in ms since 1970: a date with or without a time of day, UTC where no offset is given.
fn civil(text: &str) -> Option<i64> {
    static UTC: LazyLock<Option<Tz>> = LazyLock::new(|| "+00:00".parse().ok());
    // The parser cuts texts by bytes.
    let shaped = text.is_ascii() && text.as_bytes().get(4) == Some(&b'-');
    let time = string_to_datetime(UTC.as_ref()?, text.trim()).ok()?;
    shaped.then(|| time.timestamp_millis())
}
