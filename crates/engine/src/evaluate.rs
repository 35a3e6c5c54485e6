//! Expressions over a batch, in a way that does not depend on where a batch ends: one that fails on
//! a batch is evaluated again row by row, and the rows that fail are null and counted.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::concat;
use datafusion_physical_expr::PhysicalExpr;

use crate::error::{Error, In, Result};

/// The values of `expr` over `batch`. Rows for which it fails are null, and are added to `failed`.
/// `operator` says in an error who asked.
///
/// # Errors
/// The expression has no type over such a batch.
pub fn evaluate(
    expr: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
    failed: &mut u64,
    operator: &'static str,
) -> Result<ArrayRef> {
    let rows = batch.num_rows();
    match expr
        .evaluate(batch)
        .and_then(|value| value.into_array(rows))
    {
        Ok(array) => Ok(array),
        Err(_) => row_by_row(expr, batch, failed, operator),
    }
}

/// The mask of a predicate; null for a row that failed.
pub(crate) fn evaluate_mask(
    expr: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
    failed: &mut u64,
    operator: &'static str,
) -> Result<BooleanArray> {
    let array = evaluate(expr, batch, failed, operator)?;
    match array.as_any().downcast_ref::<BooleanArray>() {
        Some(mask) => Ok(mask.clone()),
        None => Err(Error::Shape {
            operator,
            detail: format!(
                "a predicate of type {}, expected Boolean",
                array.data_type()
            ),
        }),
    }
}

#[cold]
fn row_by_row(
    expr: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
    failed: &mut u64,
    operator: &'static str,
) -> Result<ArrayRef> {
    let data_type = expr.data_type(&batch.schema()).within(operator)?;
    let mut values = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let one = batch.slice(row, 1);
        match expr.evaluate(&one).and_then(|value| value.into_array(1)) {
            Ok(value) => values.push(value),
            Err(_) => {
                *failed += 1;
                values.push(new_null_array(&data_type, 1));
            }
        }
    }
    if values.is_empty() {
        return Ok(new_null_array(&data_type, 0));
    }
    let refs: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    concat(&refs).within(operator)
}
