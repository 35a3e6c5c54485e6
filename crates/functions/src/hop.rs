//! `__hop_starts(ts, size_ms, slide_ms)`: the hopping windows that hold a moment, by their starts.
//!
//! ```text
//!   size 3, slide 1        t ×
//!      ├───────────────────────────┤             every multiple s of the slide with
//!               ├───────────────────────────┤    t − size < s ≤ t, ascending
//!                        ├───────────────────────────┤
//! ```
//!
//! The planner writes it where a query says `hop`, with an unnest above. Windows are aligned to
//! 1970-01-01T00:00:00Z, division rounds down. Where the slide is greater than the size, a moment
//! between two windows is in none, and its list is empty; a null time gives null.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, ListArray, TimestampMillisecondArray},
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, Field, FieldRef},
    error::ArrowError,
};
use datafusion_common::ScalarValue;
use datafusion_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::{
    Error, Result,
    arguments::{coerce_timestamp, over_arrays, timestamp_type, timestamps},
};

/// Name of the function `(ts, size_ms, slide_ms)` that gives the starts of the windows that hold `ts`.
pub const HOP_STARTS: &str = "__hop_starts";

const USAGE: &str = "__hop_starts(ts, size_ms, slide_ms)";

pub(crate) fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let signature = Signature::user_defined(Volatility::Immutable);
    vec![Arc::new(ScalarUDF::from(HopStarts { signature }))]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct HopStarts {
    signature: Signature,
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(timestamp_type(), true))
}

fn count_error(found: usize) -> Error {
    Error::ArgumentCount {
        function: HOP_STARTS,
        usage: USAGE,
        found,
    }
}

impl ScalarUDFImpl for HopStarts {
    fn name(&self) -> &str {
        HOP_STARTS
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> datafusion_common::Result<Vec<DataType>> {
        let [ts, size, slide] = arg_types else {
            return Err(count_error(arg_types.len()).into());
        };
        for (argument, found) in [("size_ms", size), ("slide_ms", slide)] {
            if !found.is_integer() {
                return Err(Error::Argument {
                    function: HOP_STARTS,
                    argument,
                    expected: "an integer",
                    found: format!("of type {found}"),
                }
                .into());
            }
        }
        let ts = coerce_timestamp(HOP_STARTS, "ts", ts)?;
        Ok(vec![ts, DataType::Int64, DataType::Int64])
    }

    fn return_type(&self, _arg_types: &[DataType]) -> datafusion_common::Result<DataType> {
        Ok(DataType::List(item()))
    }

    fn invoke_with_args(
        &self,
        args: ScalarFunctionArgs,
    ) -> datafusion_common::Result<ColumnarValue> {
        let [ts, size, slide] = args.args.as_slice() else {
            return Err(count_error(args.args.len()).into());
        };
        let size_ms = length("size_ms", size)?;
        let slide_ms = length("slide_ms", slide)?;
        over_arrays(std::slice::from_ref(ts), |arrays| {
            starts(&timestamps(arrays, 0)?, size_ms, slide_ms)
        })
    }
}

fn length(argument: &'static str, value: &ColumnarValue) -> Result<i64> {
    let found = match value {
        ColumnarValue::Scalar(ScalarValue::Int64(Some(length))) if *length > 0 => {
            return Ok(*length);
        }
        ColumnarValue::Scalar(other) => other.to_string(),
        ColumnarValue::Array(_) => "computed from the row".to_owned(),
    };
    Err(Error::Argument {
        function: HOP_STARTS,
        argument,
        expected: "a literal number of milliseconds above 0",
        found,
    })
}

fn starts(times: &TimestampMillisecondArray, size_ms: i64, slide_ms: i64) -> Result<ArrayRef> {
    let mut values = Vec::new();
    let mut offsets = Vec::with_capacity(times.len() + 1);
    offsets.push(0);
    for row in 0..times.len() {
        if times.is_valid(row) {
            of(times.value(row), size_ms, slide_ms, &mut values);
        }
        let offset = i32::try_from(values.len())
            .map_err(|_| ArrowError::OffsetOverflowError(values.len()))?;
        offsets.push(offset);
    }
    let values = TimestampMillisecondArray::from(values).with_timezone("UTC");
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let nulls = times.nulls().cloned();
    Ok(Arc::new(ListArray::try_new(
        item(),
        offsets,
        Arc::new(values),
        nulls,
    )?))
}

/// Appends the starts for one moment. Those before the 64-bit range are left out.
fn of(ts_ms: i64, size_ms: i64, slide_ms: i64, out: &mut Vec<i64>) {
    let last = i128::from(ts_ms) - i128::from(ts_ms.rem_euclid(slide_ms));
    let before = i128::from(ts_ms) - i128::from(size_ms);
    let after = before.max(i128::from(i64::MIN) - 1);
    let slide = i128::from(slide_ms);
    let mut start = (after.div_euclid(slide) + 1) * slide;
    while start <= last {
        // No start is below the least i64 or above `ts_ms`.
        out.push(start as i64);
        start += slide;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts_of(ts_ms: i64, size_ms: i64, slide_ms: i64) -> Vec<i64> {
        let mut out = Vec::new();
        of(ts_ms, size_ms, slide_ms, &mut out);
        out
    }

    #[test]
    fn a_moment_is_in_every_window_that_started_less_than_the_size_ago() {
        for (size, slide) in [(10, 1), (10, 5), (10, 10), (10, 3), (3, 10), (7, 4), (1, 1)] {
            for ts in -40..40 {
                let expected: Vec<i64> = (-100..100)
                    .map(|step| step * slide)
                    .filter(|start| ts - size < *start && *start <= ts)
                    .collect();
                let found = starts_of(ts, size, slide);
                assert_eq!(found, expected, "{ts} in windows of {size} by {slide}");
            }
        }
    }

    #[test]
    fn the_ends_of_time_have_the_windows_that_a_time_can_name() {
        assert_eq!(starts_of(i64::MIN, 10, 5), Vec::<i64>::new());
        assert_eq!(
            starts_of(i64::MIN + 10, 1 << 40, 4),
            [i64::MIN, i64::MIN + 4, i64::MIN + 8]
        );
        assert_eq!(starts_of(i64::MAX, 10, 5).len(), 2);
    }
}
