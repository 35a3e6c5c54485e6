//! The types of arguments and what they are coerced to; shared by every function.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, TimestampMillisecondArray},
    compute::cast,
    datatypes::{DataType, IntervalUnit, TimeUnit, TimestampMillisecondType},
};
use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;

use crate::{Error, Result};

/// The one timestamp type of Keyhawk: milliseconds since 1970, UTC.
pub(crate) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

/// Checks that an argument can be read as a timestamp and gives the type it is cast to.
pub(crate) fn coerce_timestamp(
    function: &'static str,
    argument: &'static str,
    found: &DataType,
) -> Result<DataType> {
    match found {
        DataType::Timestamp(..) | DataType::Null => Ok(timestamp_type()),
        other => Err(Error::Argument {
            function,
            argument,
            expected: "a timestamp",
            found: format!("of type {other}"),
        }),
    }
}

/// Argument `index` as `data_type`, cast only where the type differs.
pub(crate) fn column(args: &[ArrayRef], index: usize, data_type: &DataType) -> Result<ArrayRef> {
    let array = &args[index];
    if array.data_type() == data_type {
        Ok(Arc::clone(array))
    } else {
        Ok(cast(array, data_type)?)
    }
}

/// Argument `index` as our timestamps.
pub(crate) fn timestamps(args: &[ArrayRef], index: usize) -> Result<TimestampMillisecondArray> {
    Ok(column(args, index, &timestamp_type())?
        .as_primitive::<TimestampMillisecondType>()
        .clone())
}

/// Whole seconds of a literal: an integer of seconds, or an interval without months. None where it is
/// neither, or not a whole number of seconds above zero.
pub(crate) fn whole_seconds(literal: &ScalarValue) -> Option<i64> {
    const DAY_S: i64 = 86_400;
    let (days, nanos) = match literal {
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            (i64::from(interval.days), interval.nanoseconds)
        }
        ScalarValue::IntervalDayTime(Some(interval)) => (
            i64::from(interval.days),
            i64::from(interval.milliseconds) * 1_000_000,
        ),
        other if other.data_type().is_integer() => match other.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(Some(seconds))) if seconds > 0 => return Some(seconds),
            _ => return None,
        },
        _ => return None,
    };
    if nanos % 1_000_000_000 != 0 {
        return None;
    }
    let seconds = days * DAY_S + nanos / 1_000_000_000;
    (seconds > 0).then_some(seconds)
}

/// The type that an interval or integer literal of seconds is coerced to; None for any other type.
pub(crate) fn coerce_seconds(found: &DataType) -> Option<DataType> {
    match found {
        DataType::Interval(_) => Some(DataType::Interval(IntervalUnit::MonthDayNano)),
        DataType::Null => Some(DataType::Int64),
        integer if integer.is_integer() => Some(DataType::Int64),
        _ => None,
    }
}

/// Evaluates a scalar function over arrays of one length, and gives a scalar where all were scalars.
pub(crate) fn over_arrays(
    args: &[ColumnarValue],
    evaluate: impl FnOnce(&[ArrayRef]) -> Result<ArrayRef>,
) -> datafusion_common::Result<ColumnarValue> {
    let result = evaluate(&ColumnarValue::values_to_arrays(args)?)?;
    if args
        .iter()
        .all(|arg| matches!(arg, ColumnarValue::Scalar(_)))
        && result.len() == 1
    {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
            &result, 0,
        )?));
    }
    Ok(ColumnarValue::Array(result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_without_months_is_whole_seconds() {
        let interval = |months, days, nanos| ScalarValue::new_interval_mdn(months, days, nanos);
        assert_eq!(whole_seconds(&interval(0, 0, 600_000_000_000)), Some(600));
        assert_eq!(whole_seconds(&interval(0, 2, 1_000_000_000)), Some(172_801));
        assert_eq!(whole_seconds(&ScalarValue::new_interval_dt(1, 1500)), None);
        assert_eq!(
            whole_seconds(&ScalarValue::new_interval_dt(1, 2000)),
            Some(86_402)
        );
        assert_eq!(whole_seconds(&interval(1, 0, 0)), None);
        assert_eq!(whole_seconds(&interval(0, 0, 0)), None);
        assert_eq!(whole_seconds(&ScalarValue::Int32(Some(60))), Some(60));
        assert_eq!(whole_seconds(&ScalarValue::Int64(Some(-60))), None);
        assert_eq!(whole_seconds(&ScalarValue::Int64(None)), None);
        assert_eq!(whole_seconds(&ScalarValue::Float64(Some(60.0))), None);
    }
}
