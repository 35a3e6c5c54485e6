//! A table as Parquet: its own types, widened to those that a table has.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;

use crate::history::guarded;

use super::{ColumnType, Error, Types, check_columns};

/// Digits after the point of a table's decimals.
const SCALE: i8 = 18;

pub(super) fn read(path: &Path, types: &Types) -> Result<RecordBatch, Error> {
    let file = File::open(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let read = || {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
        let schema = Arc::clone(builder.schema());
        let batches = builder.build()?.collect::<Result<Vec<_>, _>>()?;
        let batch = concat_batches(&schema, &batches)?;
        Ok::<_, ParquetError>((schema, batch))
    };
    let (schema, batch) = guarded(read).map_err(|error| Error::damaged(path, error))?;
    check_columns(
        path,
        schema.fields().iter().map(|field| field.name().as_str()),
        types,
    )?;
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let array = typed(column, types.get(field.name()).copied())
            .map_err(|problem| Error::column(path, field.name(), problem))?;
        fields.push(Field::new(field.name(), array.data_type().clone(), true));
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .expect("the columns of one batch, each with its own type"),
    )
}

/// The type of a table's column that holds all values of a type of Arrow.
fn widened(ty: &DataType) -> Option<ColumnType> {
    Some(match ty {
        DataType::Dictionary(_, values) => return widened(values),
        ty if ty.is_string() => ColumnType::Text,
        ty if ty.is_integer() => ColumnType::Integer,
        ty if ty.is_floating() => ColumnType::Double,
        DataType::Null => ColumnType::Text,
        DataType::Boolean => ColumnType::Boolean,
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) => {
            ColumnType::Decimal
        }
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => ColumnType::Timestamp,
        _ => return None,
    })
}

fn typed(column: &ArrayRef, declared: Option<ColumnType>) -> Result<ArrayRef, String> {
    let is = column.data_type();
    let Some(own) = widened(is) else {
        return Err(format!(
            "is {is}; a table holds text, integers, decimals, truth values, timestamps and doubles"
        ));
    };
    let ty = declared.unwrap_or(own);
    let fits = match (own, ty) {
        (ColumnType::Text, _) => true,
        (ColumnType::Integer, ty) => ty != ColumnType::Boolean,
        (ColumnType::Boolean | ColumnType::Timestamp, ColumnType::Text) => true,
        (own, ty) => own == ty,
    };
    // Digits beyond the table's would be rounded away.
    let is_finer = matches!(is, DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale) if *scale > SCALE);
    if !fits || is_finer {
        return Err(format!("expected {}, found {is}", ty.expected()));
    }
    // Not safe in Arrow's word: a value that does not fit is an error, not null.
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, &ty.arrow(), &options)
        .map_err(|error| format!("expected {}: {error}", ty.expected()))
}
