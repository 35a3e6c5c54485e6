//! Aggregates as columns of state: one `Vec` a field, index = slot of a group.
//!
//! ```text
//!   slots of a run of rows   0 0 1 0 2 …          one column serves all groups of a window or pane,
//!   values                   7 3 9 1 4 …          and is dropped with it
//!                            │
//!                            ▼
//!   sums  [11, 9, 4]   seen  [✓, ✓, ✓]  ──▶ finish: a row a group
//! ```
//!
//! Values and types are those of DataFusion 55.2. Every column can be merged into another of its
//! kind, so that a long window is put together from short panes; the parts of one group are merged
//! in the order of their times.
//!
//! State: for each group, what the file of the aggregate says; saved and loaded one group at a time.

mod argument;
mod array;
mod boolean;
mod computed;
mod count;
mod distinct;
mod extreme;
mod mean;
mod pick;
mod sum;
#[cfg(test)]
mod tests;
mod values;
mod variance;

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal128Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

pub(crate) use argument::Argument;
pub(super) use computed::Computed;
pub(super) use distinct::{CountDistinct, SlidingDistinct};
use keyhawk_functions::one_nan;

use self::array::ArrayFirst;
use self::boolean::Truth;
use self::count::Count;
use self::extreme::{Extreme, ExtremeBytes};
use self::mean::{MeanDecimal, MeanFloat};
use self::pick::Pick;
use self::sum::Sum;
use self::values::{Booleans, Encoded, Primitives, Text};
use self::variance::{Spread, Variance};
use super::state;
use crate::error::{Error, In, Result};
use crate::program::AggregateKind;

const OPERATOR: &str = "aggregate";

/// The state of one aggregate for all groups of a window.
pub(crate) trait AccumulatorColumn: Any + Send {
    /// Makes room for groups 0..groups.
    fn resize(&mut self, groups: usize);
    /// Takes in `rows` of the argument; `slots[i]` is the group of the i-th of them.
    fn update(&mut self, argument: &Argument, rows: Range<usize>, slots: &[u32]) -> Result<()>;
    /// Takes in what another column of the same aggregate has of later times: its group i goes into
    /// group `slots[i]`, for which there must be room. Associative, floats as far as they are.
    fn merge(&mut self, other: &dyn AccumulatorColumn, slots: &[u32]) -> Result<()>;
    /// The results, a row a group.
    fn finish(&self) -> Result<ArrayRef>;
    /// Appends the state of each of the groups `slots` to its bytes in `out`.
    fn save(&self, slots: &[usize], out: &mut [Vec<u8>]);
    /// Takes the state of one group from the front of `bytes`, in the place of what it had.
    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()>;
    /// Bytes held.
    fn memory(&self) -> usize;
}

/// An aggregate's column for an argument of a type, or why there is none. `result` is the type of its
/// column in the output, `ignore_nulls` what `first_value` and `last_value` do with nulls.
pub(crate) fn accumulator(
    kind: AggregateKind,
    ignore_nulls: bool,
    argument: &DataType,
    result: &DataType,
) -> Result<Box<dyn AccumulatorColumn>> {
    let unsupported = || Error::Shape {
        operator: OPERATOR,
        detail: format!("{kind:?} over {argument} as {result} is not computed incrementally"),
    };
    let max = kind == AggregateKind::Max;
    Ok(match kind {
        AggregateKind::Count => Box::new(Count::default()),
        AggregateKind::CountDistinct => Box::new(CountDistinct::new(argument)),
        AggregateKind::Sum => match argument {
            DataType::Int64 => Box::new(Sum::<Int64Type>::new(result, i64::wrapping_add)),
            DataType::UInt64 => Box::new(Sum::<UInt64Type>::new(result, u64::wrapping_add)),
            DataType::Float64 => Box::new(Sum::<Float64Type>::new(result, |a, b| one_nan(a + b))),
            DataType::Decimal128(..) => {
                Box::new(Sum::<Decimal128Type>::new(result, i128::wrapping_add))
            }
            _ => return Err(unsupported()),
        },
        AggregateKind::Avg => match (argument, result) {
            (DataType::Float64, DataType::Float64) => Box::new(MeanFloat::default()),
            (DataType::Decimal128(_, scale), DataType::Decimal128(precision, to))
                if to >= scale =>
            {
                Box::new(MeanDecimal::new(*scale, *precision, *to))
            }
            _ => return Err(unsupported()),
        },
        AggregateKind::VarianceSample
        | AggregateKind::VariancePopulation
        | AggregateKind::StddevSample
        | AggregateKind::StddevPopulation => match argument {
            DataType::Float64 => Box::new(Variance::new(match kind {
                AggregateKind::VarianceSample => Spread::SAMPLE,
                AggregateKind::VariancePopulation => Spread::POPULATION,
                AggregateKind::StddevSample => Spread::SAMPLE.root(),
                _ => Spread::POPULATION.root(),
            })),
            _ => return Err(unsupported()),
        },
        AggregateKind::BoolAnd | AggregateKind::BoolOr => match argument {
            DataType::Boolean => Box::new(Truth::new(kind == AggregateKind::BoolAnd)),
            _ => return Err(unsupported()),
        },
        AggregateKind::FirstValue | AggregateKind::LastValue => {
            pick(kind == AggregateKind::LastValue, ignore_nulls, argument)?
        }
        AggregateKind::ArrayFirst(n) => Box::new(ArrayFirst::new(n, argument, result)?),
        AggregateKind::Min | AggregateKind::Max => match argument {
            // false is less than true.
            DataType::Boolean => Box::new(Truth::new(!max)),
            DataType::Int8 => Box::new(Extreme::<Int8Type>::new(result, max)),
            DataType::Int16 => Box::new(Extreme::<Int16Type>::new(result, max)),
            DataType::Int32 => Box::new(Extreme::<Int32Type>::new(result, max)),
            DataType::Int64 => Box::new(Extreme::<Int64Type>::new(result, max)),
            DataType::UInt8 => Box::new(Extreme::<UInt8Type>::new(result, max)),
            DataType::UInt16 => Box::new(Extreme::<UInt16Type>::new(result, max)),
            DataType::UInt32 => Box::new(Extreme::<UInt32Type>::new(result, max)),
            DataType::UInt64 => Box::new(Extreme::<UInt64Type>::new(result, max)),
            DataType::Float32 => {
                let worst = if max { f32::MIN } else { f32::MAX };
                Box::new(Extreme::<Float32Type>::new(result, max).starting_from(worst))
            }
            DataType::Float64 => {
                let worst = if max { f64::MIN } else { f64::MAX };
                Box::new(Extreme::<Float64Type>::new(result, max).starting_from(worst))
            }
            DataType::Decimal128(..) => Box::new(Extreme::<Decimal128Type>::new(result, max)),
            DataType::Date32 => Box::new(Extreme::<Date32Type>::new(result, max)),
            DataType::Date64 => Box::new(Extreme::<Date64Type>::new(result, max)),
            DataType::Timestamp(TimeUnit::Second, _) => {
                Box::new(Extreme::<TimestampSecondType>::new(result, max))
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                Box::new(Extreme::<TimestampMillisecondType>::new(result, max))
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Box::new(Extreme::<TimestampMicrosecondType>::new(result, max))
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                Box::new(Extreme::<TimestampNanosecondType>::new(result, max))
            }
            DataType::Utf8View
            | DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView => Box::new(ExtremeBytes::new(argument, max)?),
            _ => return Err(unsupported()),
        },
    })
}

/// The first or last value: common types as they are, the rest in Arrow's row format.
fn pick(last: bool, ignore_nulls: bool, argument: &DataType) -> Result<Box<dyn AccumulatorColumn>> {
    macro_rules! typed {
        ($($pattern:pat => $primitive:ty),*) => {
            match argument {
                $($pattern => {
                    Box::new(Pick::new(Primitives::<$primitive>::new(argument), last, ignore_nulls))
                })*
                DataType::Boolean => Box::new(Pick::new(Booleans::default(), last, ignore_nulls)),
                DataType::Utf8View => Box::new(Pick::new(Text::default(), last, ignore_nulls)),
                _ => Box::new(Pick::new(Encoded::new(argument)?, last, ignore_nulls)),
            }
        };
    }
    Ok(typed!(
        DataType::Int32 => Int32Type,
        DataType::Int64 => Int64Type,
        DataType::UInt64 => UInt64Type,
        DataType::Float64 => Float64Type,
        DataType::Timestamp(TimeUnit::Millisecond, _) => TimestampMillisecondType
    ))
}

/// The other column of a merge, which must be of the same type.
fn same<T: AccumulatorColumn>(other: &dyn AccumulatorColumn) -> Result<&T> {
    let any: &dyn Any = other;
    any.downcast_ref().ok_or_else(|| Error::Shape {
        operator: OPERATOR,
        detail: "two columns of different aggregates cannot be merged".to_owned(),
    })
}

fn primitive_column<T: ArrowPrimitiveType>(
    values: &[T::Native],
    valid: NullBuffer,
    result: &DataType,
) -> Result<ArrayRef> {
    // What lies below a null is zero: some functions compute over it, and overflow on the extremes that
    // stand for no value.
    let values: Vec<T::Native> = values
        .iter()
        .zip(&valid)
        .map(|(&value, is_valid)| {
            if is_valid {
                value
            } else {
                T::Native::default()
            }
        })
        .collect();
    let array = PrimitiveArray::<T>::new(ScalarBuffer::from(values), Some(valid));
    if result.is_temporal() || matches!(result, DataType::Decimal128(..)) {
        // The same integers under the result's own zone, precision and scale.
        return Ok(Arc::new(array.with_data_type(result.clone())));
    }
    cast(&array, result).within(OPERATOR)
}
