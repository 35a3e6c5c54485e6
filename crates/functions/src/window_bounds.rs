//! The bounds of the tumbling window that a moment falls in, aligned to 1970-01-01T00:00:00Z.
//!
//! ```text
//!   start = ⌊ts / size⌋ · size      end = start + size      time = end − 1 ms
//!      ├──────────── size ────────────┤
//!      ● start          ts ×          ● time   ○ end (the next window's start)
//! ```
//!
//! The planner writes these calls where a query says `tumble`; their names begin with two underscores
//! because no rule need know them. A third argument says how many windows are to be filled after one
//! with rows, for whoever groups by the bound; the bound itself is the same. Division rounds down, so
//! windows before 1970 are as long as the others. At the ends of the 64-bit range the bounds saturate.

use std::cell::Cell;
use std::sync::Arc;

use arrow::{
    array::TimestampMillisecondArray,
    datatypes::{DataType, TimestampMillisecondType},
};
use datafusion_common::ScalarValue;
use datafusion_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::{
    Error, Result,
    arguments::{coerce_timestamp, over_arrays, timestamp_type, timestamps},
};

/// Name of the function `(ts, size_ms)` that gives the start of the window, which belongs to it.
pub const WINDOW_START: &str = "__window_start";
/// Name of the function `(ts, size_ms)` that gives the end of the window, which does not belong to it.
pub const WINDOW_END: &str = "__window_end";
/// Name of the function `(ts, size_ms)` that gives the last millisecond of the window.
pub const WINDOW_TIME: &str = "__window_time";
/// Name of the function `(bound, ms)` that gives another bound of the same window, so many milliseconds
/// later; for windows that are not told by any moment in them.
pub const WINDOW_SHIFT: &str = "__window_shift";

pub(crate) fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    [Bound::Start, Bound::End, Bound::Time, Bound::Shift]
        .into_iter()
        .map(|bound| Arc::new(ScalarUDF::from(WindowBound::new(bound))))
        .collect()
}

/// [`WINDOW_SHIFT`], a few instructions a row; an interval subtracted from a time goes through calendar
/// and time zone.
pub fn window_shift() -> ScalarUDF {
    ScalarUDF::from(WindowBound::new(Bound::Shift))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Bound {
    Start,
    End,
    Time,
    Shift,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowBound {
    bound: Bound,
    signature: Signature,
}

impl WindowBound {
    fn new(bound: Bound) -> Self {
        WindowBound {
            bound,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl Bound {
    fn name(self) -> &'static str {
        match self {
            Self::Start => WINDOW_START,
            Self::End => WINDOW_END,
            Self::Time => WINDOW_TIME,
            Self::Shift => WINDOW_SHIFT,
        }
    }

    /// This bound of the window that starts at `start`.
    fn of(self, start: i64, size_ms: i64) -> i64 {
        match self {
            Self::Start => start,
            Self::End | Self::Shift => start.saturating_add(size_ms),
            Self::Time => start.saturating_add(size_ms - 1),
        }
    }

    fn size_ms(self, size: &ColumnarValue) -> Result<i64> {
        let found = match size {
            ColumnarValue::Scalar(ScalarValue::Int64(Some(size)))
                if *size > 0 || self == Self::Shift =>
            {
                return Ok(*size);
            }
            ColumnarValue::Scalar(other) => other.to_string(),
            ColumnarValue::Array(_) => "computed from the row".to_owned(),
        };
        Err(Error::Argument {
            function: self.name(),
            argument: "size_ms",
            expected: "a literal number of milliseconds above 0",
            found,
        })
    }
}

/// The greatest multiple of the size that is not above the time, or the least number there is.
fn window_start(ts_ms: i64, size_ms: i64) -> i64 {
    ts_ms.saturating_sub(ts_ms.rem_euclid(size_ms))
}

impl ScalarUDFImpl for WindowBound {
    fn name(&self) -> &str {
        self.bound.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> datafusion_common::Result<Vec<DataType>> {
        let function = self.bound.name();
        let ([ts, size] | [ts, size, DataType::Int64]) = arg_types else {
            let (usage, found) = ("(ts, size_ms)", arg_types.len());
            return Err(Error::ArgumentCount {
                function,
                usage,
                found,
            }
            .into());
        };
        if !size.is_integer() {
            let found = format!("of type {size}");
            let (argument, expected) = ("size_ms", "an integer");
            return Err(Error::Argument {
                function,
                argument,
                expected,
                found,
            }
            .into());
        }
        let mut types = vec![coerce_timestamp(function, "ts", ts)?];
        types.resize(arg_types.len(), DataType::Int64);
        Ok(types)
    }

    fn return_type(&self, _arg_types: &[DataType]) -> datafusion_common::Result<DataType> {
        Ok(timestamp_type())
    }

    fn invoke_with_args(
        &self,
        args: ScalarFunctionArgs,
    ) -> datafusion_common::Result<ColumnarValue> {
        let ([ts, size] | [ts, size, _]) = args.args.as_slice() else {
            let (usage, found) = ("(ts, size_ms)", args.args.len());
            return Err(Error::ArgumentCount {
                function: self.bound.name(),
                usage,
                found,
            }
            .into());
        };
        let size_ms = self.bound.size_ms(size)?;
        over_arrays(std::slice::from_ref(ts), |arrays| {
            if self.bound == Bound::Shift {
                let bounds: TimestampMillisecondArray = timestamps(arrays, 0)?
                    .unary::<_, TimestampMillisecondType>(
                    |bound| bound.saturating_add(size_ms),
                );
                return Ok(Arc::new(bounds.with_timezone("UTC")));
            }
            // Rows of one window mostly stand together, and a division costs as much as all the rest.
            let last_start = Cell::new(window_start(0, size_ms));
            let bounds: TimestampMillisecondArray = timestamps(arrays, 0)?
                .unary::<_, TimestampMillisecondType>(|ts_ms| {
                    let mut start = last_start.get();
                    if ts_ms.wrapping_sub(start) as u64 >= size_ms as u64 {
                        start = window_start(ts_ms, size_ms);
                        last_start.set(start);
                    }
                    self.bound.of(start, size_ms)
                });
            Ok(Arc::new(bounds.with_timezone("UTC")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    /// A bound of the minute that holds a time.
    fn of(bound: Bound, ts_ms: i64) -> i64 {
        bound.of(window_start(ts_ms, MINUTE), MINUTE)
    }

    #[test]
    fn a_window_holds_its_start_and_not_its_end() {
        for (ts, start) in [(0, 0), (59_999, 0), (60_000, 60_000), (60_001, 60_000)] {
            assert_eq!(of(Bound::Start, ts), start);
            assert_eq!(of(Bound::End, ts), start + MINUTE);
            assert_eq!(of(Bound::Time, ts), start + MINUTE - 1);
        }
    }

    #[test]
    fn windows_before_1970_round_down() {
        assert_eq!(of(Bound::Start, -1), -MINUTE);
        assert_eq!(of(Bound::End, -1), 0);
        assert_eq!(of(Bound::Start, -MINUTE), -MINUTE);
        assert_eq!(of(Bound::Start, -MINUTE - 1), -2 * MINUTE);
    }

    #[test]
    fn the_ends_of_time_saturate() {
        assert_eq!(of(Bound::End, i64::MAX), i64::MAX);
        assert_eq!(of(Bound::Start, i64::MIN), i64::MIN);
    }
}
