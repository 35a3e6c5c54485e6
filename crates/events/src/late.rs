//! Late rows as JSON: what the late topic gets, decoded, fingerprinted and masked like any row.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMillisecondType,
};
use serde_json::{Map, Number, Value};

use crate::{number, time};

/// One JSON object a row: nulls left out, times as RFC 3339 text, decimals as exact text.
pub(crate) fn rows_json(batch: &RecordBatch) -> Vec<String> {
    let mut rows = vec![Map::new(); batch.num_rows()];
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        for (row, object) in rows.iter_mut().enumerate() {
            if array.is_valid(row) {
                object.insert(field.name().clone(), value(array.as_ref(), row));
            }
        }
    }
    rows.into_iter()
        .map(|row| Value::Object(row).to_string())
        .collect()
}

fn value(array: &dyn Array, row: usize) -> Value {
    match array.data_type() {
        DataType::Utf8View => array.as_string_view().value(row).into(),
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Float64 => {
            let float = array.as_primitive::<Float64Type>().value(row);
            Number::from_f64(float).map_or(Value::Null, Value::Number)
        }
        DataType::Decimal128(..) => {
            number::decimal_text(array.as_primitive::<Decimal128Type>().value(row)).into()
        }
        DataType::Timestamp(..) => {
            time::format(array.as_primitive::<TimestampMillisecondType>().value(row)).into()
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len())
                .map(|item| value(items.as_ref(), item))
                .collect()
        }
        // `events` has no other type.
        _ => Value::Null,
    }
}
