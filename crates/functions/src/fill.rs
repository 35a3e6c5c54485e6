//! `__fill(bound, size_ms, windows, closes_after_ms, greatest_ms)`: a window with rows and the empty ones
//! that follow it, of one group.
//!
//! ```text
//!   windows of a group     ▇   ·   ·   ·   ▇   ·   │ greatest event time
//!   __fill, two windows    ▇ ▷ ▷               ▇ ▷ │           a list a row: its own bound, then those filled
//! ```
//!
//! A window function over a group's rows in the order of a bound of their windows, which the planner
//! writes where a query says `tumble(…, fill => n)`, with an unnest above. A window is filled only if the
//! watermark at which it closes, `bound + closes_after_ms`, is not past the greatest event time: so far
//! a stream can have seen at all. [`FillLimits`] is the one place that says which these are; the streaming
//! operator asks it too. The greatest event time is a literal that the batch adds to what the planner wrote.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, TimestampMillisecondArray},
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, Field, FieldRef, Int64Type},
    error::ArrowError,
};
use datafusion_expr::{PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl};
use datafusion_functions_window_common::{
    field::WindowUDFFieldArgs, partition::PartitionEvaluatorArgs,
};

use crate::{
    Error, Result,
    arguments::{timestamp_type, timestamps},
};

/// Name of the window function that lists a window and those filled after it.
pub const FILL: &str = "__fill";

/// The window function that lists windows; in batch only, the stream has an operator.
pub fn fill_function() -> Arc<WindowUDF> {
    Arc::new(WindowUDF::from(FillUdf {
        signature: Signature::variadic_any(Volatility::Immutable),
    }))
}

/// Which windows are filled; bounds are of any one part of a window, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FillLimits {
    /// The length of a window.
    pub size_ms: i64,
    /// How many windows are filled after one with rows at most.
    pub windows: i64,
    /// A window closes at the watermark that lies so far after its bound.
    pub closes_after_ms: i64,
}

impl FillLimits {
    /// The watermark at which a window closes.
    pub fn closes_at(self, bound_ms: i64) -> i64 {
        bound_ms.saturating_add(self.closes_after_ms)
    }

    /// The bound of the window `n` windows later.
    pub fn later(self, bound_ms: i64, n: i64) -> i64 {
        bound_ms.saturating_add(self.size_ms.saturating_mul(n))
    }

    /// How many windows after one have closed at a watermark.
    pub fn closed(self, bound_ms: i64, watermark: i64) -> i64 {
        let since = watermark.saturating_sub(self.closes_at(bound_ms));
        since.div_euclid(self.size_ms).max(0)
    }
}

/// The type of a list of bounds.
fn item() -> FieldRef {
    Arc::new(Field::new_list_field(timestamp_type(), true))
}

#[derive(Debug)]
struct FillUdf {
    signature: Signature,
}

/// A function is its name: there is one of it.
impl PartialEq for FillUdf {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for FillUdf {}

impl Hash for FillUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        FILL.hash(state);
    }
}

impl WindowUDFImpl for FillUdf {
    fn name(&self) -> &str {
        FILL
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn field(&self, args: WindowUDFFieldArgs) -> datafusion_common::Result<FieldRef> {
        Ok(Arc::new(Field::new(
            args.name(),
            DataType::List(item()),
            true,
        )))
    }

    fn partition_evaluator(
        &self,
        _: PartitionEvaluatorArgs,
    ) -> datafusion_common::Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(FillEvaluator))
    }
}

/// One partition: all rows of a group.
#[derive(Debug)]
struct FillEvaluator;

impl PartitionEvaluator for FillEvaluator {
    fn evaluate_all(
        &mut self,
        values: &[ArrayRef],
        num_rows: usize,
    ) -> datafusion_common::Result<ArrayRef> {
        if num_rows == 0 {
            return Ok(arrow::array::new_empty_array(&DataType::List(item())));
        }
        let limits = FillLimits {
            size_ms: literal(values, 1, "size_ms", 1)?,
            windows: literal(values, 2, "windows", 0)?,
            closes_after_ms: literal(values, 3, "closes_after_ms", i64::MIN)?,
        };
        let greatest_ms = literal(values, 4, "greatest_ms", i64::MIN)?;
        Ok(filled(&timestamps(values, 0)?, limits, greatest_ms)?)
    }
}

/// An argument that is the same in every row.
fn literal(values: &[ArrayRef], at: usize, argument: &'static str, least: i64) -> Result<i64> {
    let array = values
        .get(at)
        .and_then(|array| array.as_primitive_opt::<Int64Type>());
    match array.filter(|array| array.is_valid(0)) {
        Some(array) if array.value(0) >= least => Ok(array.value(0)),
        other => Err(Error::Argument {
            function: FILL,
            argument,
            expected: "a literal integer",
            found: other.map_or_else(|| "null".to_owned(), |array| array.value(0).to_string()),
        }),
    }
}

fn filled(
    bounds: &TimestampMillisecondArray,
    limits: FillLimits,
    greatest_ms: i64,
) -> Result<ArrayRef> {
    let mut values = Vec::with_capacity(bounds.len());
    let mut offsets = Vec::with_capacity(bounds.len() + 1);
    offsets.push(0);
    for row in 0..bounds.len() {
        let bound = bounds.value(row);
        values.push(bound);
        let closed = limits.closed(bound, greatest_ms);
        let mut windows = limits.windows.min(closed);
        if row + 1 < bounds.len() {
            let apart = bounds.value(row + 1).saturating_sub(bound) / limits.size_ms;
            windows = windows.min(apart - 1);
        }
        values.extend((1..=windows).map(|n| limits.later(bound, n)));
        let offset = i32::try_from(values.len())
            .map_err(|_| ArrowError::OffsetOverflowError(values.len()))?;
        offsets.push(offset);
    }
    let values = TimestampMillisecondArray::from(values).with_timezone("UTC");
    Ok(Arc::new(ListArray::try_new(
        item(),
        OffsetBuffer::new(ScalarBuffer::from(offsets)),
        Arc::new(values),
        bounds.nulls().cloned(),
    )?))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::TimestampMillisecondType;

    use super::*;

    /// The lists of windows of ten milliseconds, by their starts.
    fn starts(rows: &[i64], windows: i64, greatest_ms: i64) -> Vec<Vec<i64>> {
        let bounds = TimestampMillisecondArray::from(rows.to_vec()).with_timezone("UTC");
        let all = |value: i64| Arc::new(Int64Array::from(vec![value; rows.len()])) as ArrayRef;
        let values = [
            Arc::new(bounds) as ArrayRef,
            all(10),
            all(windows),
            all(10),
            all(greatest_ms),
        ];
        let lists = FillEvaluator.evaluate_all(&values, rows.len()).unwrap();
        let list = |list: Option<ArrayRef>| {
            let list = list.unwrap();
            let list = list.as_primitive::<TimestampMillisecondType>();
            list.values().to_vec()
        };
        lists.as_list::<i32>().iter().map(list).collect()
    }

    #[test]
    fn the_windows_up_to_the_next_one_with_rows_are_filled() {
        assert_eq!(
            starts(&[0, 10, 30, 100], 2, 1_000),
            [vec![0], vec![10, 20], vec![30, 40, 50], vec![100, 110, 120]]
        );
    }

    #[test]
    fn no_window_is_filled_that_ends_after_the_greatest_event_time() {
        assert_eq!(starts(&[0], 5, 29), [vec![0, 10]]);
        assert_eq!(starts(&[0], 5, 30), [vec![0, 10, 20]]);
        // The window itself may lie beyond it.
        assert_eq!(starts(&[0], 5, 3), [vec![0]]);
    }

    #[test]
    fn windows_at_the_ends_of_time_do_not_overflow() {
        let rows = [i64::MIN, i64::MAX - 5];
        assert_eq!(
            starts(&rows, 1, i64::MAX),
            [vec![rows[0], rows[0] + 10], vec![rows[1]]]
        );
    }

    #[test]
    fn an_argument_that_is_missing_is_an_error() {
        let bounds = Arc::new(TimestampMillisecondArray::from(vec![0])) as ArrayRef;
        let error = FillEvaluator.evaluate_all(&[bounds], 1).unwrap_err();
        assert!(error.to_string().contains("size_ms"), "{error}");
    }
}
