//! Functions over a frame: what SQL writes `f(x) OVER (PARTITION BY key ORDER BY time ROWS|RANGE …)`.
//!
//! ```text
//!                 RANGE 10 s PRECEDING … 2 s PRECEDING, the row at 12:00:20
//!
//!   left ◀── 12:00:09 │ 12:00:10   12:00:15   12:00:18 │ 12:00:19   12:00:20
//!                     └─────── in the frame ───────────┘ └──── ahead ────┘
//! ```
//!
//! A row enters a frame once and leaves it once. Every row has a position in its key: its number where
//! the frame counts ROWS, its time in milliseconds where it is a RANGE, so that both kinds of frame are
//! the positions from `p − start` to `p − end`, and one driver (fold.rs) serves both. What is kept of
//! the rows in between is up to the function:
//!
//! | file | functions | kept of a bounded frame | kept from the partition's start |
//! |---|---|---|---|
//! | exact.rs | count, sum and avg of integers and decimals, bool_and, bool_or | its values, and a total that gives them back exactly | the total |
//! | two_stacks.rs | sum, avg, variance, stddev of doubles | aggregates of its tails and its newest values | one aggregate |
//! | extreme.rs | min, max | the values that no later one outdoes | one value |
//! | nth.rs | first_value, last_value, nth_value | its values; for the last ones only those | the first or last n |
//! | rank.rs | rank, dense_rank | | three numbers |
//!
//! Every one costs O(1) a row, over the life of a row. A frame that ends before the current row keeps
//! the rows between as well.
//!
//! In:    the value (no argument for the ranks), then the time, which a frame of ROWS does not read.
//! Out:   values and types of DataFusion's function over the same frame; null over a frame without
//!        values, except for count, which is 0.
//! Peers: a RANGE that ends with the current row ends with the last row of the same time. All rows of
//!        a key and time must come within one `update`, whose rows go by time.
//! Batch: DataFusion's own functions; for doubles the functions of [`frame_functions`], which are these
//!        folds, so that both modes add in the same order.

use std::fmt;

use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL128_MAX_SCALE, DataType, Decimal128Type, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMillisecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use crate::{
    Error, KeyedFold, Result,
    columns::{Booleans, Encoded, Primitives, Texts},
};

mod batch;
mod exact;
mod extreme;
mod fold;
mod nth;
mod rank;
mod two_stacks;

pub use batch::frame_functions;

use exact::{Averaged, Counted, Exact, Judged, Summed};
use extreme::Extreme;
use fold::FrameFold;
use nth::{Nth, Pick};
use rank::RankFold;
use two_stacks::{Moments, TwoStacks};

/// What the bounds of a frame count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameUnits {
    /// Rows of the key, in the total order.
    Rows,
    /// Milliseconds of event time.
    Range,
}

/// Where a frame starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameStart {
    /// With the first row of the key.
    Unbounded,
    /// So many rows or milliseconds before the current row.
    Preceding(u64),
    /// With the current row; in a RANGE with the first row of its time.
    CurrentRow,
}

/// Where a frame ends, its last row included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameEnd {
    /// So many rows or milliseconds before the current row.
    Preceding(u64),
    /// With the current row; in a RANGE with the last row of its time.
    CurrentRow,
}

/// The rows that a window function sees from the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Frame {
    /// What the bounds count.
    pub units: FrameUnits,
    /// The first row.
    pub start: FrameStart,
    /// The last row.
    pub end: FrameEnd,
}

impl Frame {
    /// What SQL means by `OVER (… ORDER BY time)` without a frame: from the first row of the key to the
    /// last one of the current row's time.
    pub const DEFAULT: Self = Self {
        units: FrameUnits::Range,
        start: FrameStart::Unbounded,
        end: FrameEnd::CurrentRow,
    };

    fn start(self) -> Option<u64> {
        match self.start {
            FrameStart::Unbounded => None,
            FrameStart::Preceding(distance) => Some(distance),
            FrameStart::CurrentRow => Some(0),
        }
    }

    fn end(self) -> u64 {
        match self.end {
            FrameEnd::Preceding(distance) => distance,
            FrameEnd::CurrentRow => 0,
        }
    }

    fn is_bounded(self) -> bool {
        self.start != FrameStart::Unbounded
    }
}

/// As SQL writes it, a RANGE in milliseconds.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.units {
            FrameUnits::Rows => "ROWS BETWEEN ",
            FrameUnits::Range => "RANGE BETWEEN ",
        })?;
        match self.start {
            FrameStart::Unbounded => f.write_str("UNBOUNDED PRECEDING")?,
            FrameStart::Preceding(distance) => write!(f, "{distance} PRECEDING")?,
            FrameStart::CurrentRow => f.write_str("CURRENT ROW")?,
        }
        match self.end {
            FrameEnd::Preceding(distance) => write!(f, " AND {distance} PRECEDING"),
            FrameEnd::CurrentRow => f.write_str(" AND CURRENT ROW"),
        }
    }
}

/// The functions that [`frame_fold`] knows. Aggregates skip nulls, as everywhere in SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameFunction {
    /// Values that are not null; of a literal, rows.
    Count,
    /// Integers wrap around, as DataFusion's do.
    Sum,
    /// Doubles in IEEE 754's total order.
    Min,
    /// Doubles in IEEE 754's total order, so that NaN is above all numbers.
    Max,
    /// Of a decimal whose average does not fit its type: null.
    Avg,
    /// Standard deviation over n − 1; null for a single value.
    StddevSample,
    /// Standard deviation over n.
    StddevPopulation,
    /// Variance over n − 1; null for a single value.
    VarianceSample,
    /// Variance over n.
    VariancePopulation,
    /// Are all values true?
    BoolAnd,
    /// Is one of the values true?
    BoolOr,
    /// The frame's first value.
    FirstValue,
    /// The frame's last value.
    LastValue,
    /// The n-th value from the frame's start, or, if negative, from its end; 0 is always null.
    NthValue(i64),
    /// One more than the rows of the key with an earlier time. The frame has no influence.
    Rank,
    /// One more than the distinct earlier times of the key. The frame has no influence.
    DenseRank,
}

impl FrameFunction {
    /// The function as SQL names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
            Self::Avg => "avg",
            Self::StddevSample => "stddev",
            Self::StddevPopulation => "stddev_pop",
            Self::VarianceSample => "var",
            Self::VariancePopulation => "var_pop",
            Self::BoolAnd => "bool_and",
            Self::BoolOr => "bool_or",
            Self::FirstValue => "first_value",
            Self::LastValue => "last_value",
            Self::NthValue(_) => "nth_value",
            Self::Rank => "rank",
            Self::DenseRank => "dense_rank",
        }
    }

    /// The type that a value of type `value` is cast to before the function sees it: what DataFusion's
    /// own coercion does, so nothing where it has run.
    fn coerce(self, value: &DataType) -> Result<DataType> {
        use DataType::*;
        let refuse = |expected| Error::Argument {
            function: self.name(),
            argument: "value",
            expected,
            found: format!("of type {value}"),
        };
        match self {
            Self::Sum => match value {
                Int8 | Int16 | Int32 | Int64 => Ok(Int64),
                UInt8 | UInt16 | UInt32 | UInt64 => Ok(UInt64),
                Float16 | Float32 | Float64 => Ok(Float64),
                Decimal128(..) => Ok(value.clone()),
                _ => Err(refuse("an integer, a double or a decimal of 128 bits")),
            },
            Self::Avg => match value {
                Decimal128(..) => Ok(value.clone()),
                other if other.is_integer() || other.is_floating() => Ok(Float64),
                _ => Err(refuse("an integer, a double or a decimal of 128 bits")),
            },
            Self::StddevSample
            | Self::StddevPopulation
            | Self::VarianceSample
            | Self::VariancePopulation => {
                if value.is_numeric() {
                    Ok(Float64)
                } else {
                    Err(refuse("a number"))
                }
            }
            Self::BoolAnd | Self::BoolOr => match value {
                Boolean => Ok(Boolean),
                _ => Err(refuse("a boolean")),
            },
            Self::Min | Self::Max => match value {
                Dictionary(_, inner) => self.coerce(inner),
                Interval(_) => Err(refuse("of a type that has an order")),
                other if other.is_nested() => Err(refuse("of a type that has an order")),
                other => Ok(other.clone()),
            },
            Self::Count
            | Self::FirstValue
            | Self::LastValue
            | Self::NthValue(_)
            | Self::Rank
            | Self::DenseRank => Ok(value.clone()),
        }
    }
}

/// The type that `function` returns for values of type `value`, which the ranks do not look at.
pub fn frame_return_type(function: FrameFunction, value: &DataType) -> Result<DataType> {
    let value = function.coerce(value)?;
    Ok(match (function, value) {
        (FrameFunction::Count, _) => DataType::Int64,
        (FrameFunction::Rank | FrameFunction::DenseRank, _) => DataType::UInt64,
        (FrameFunction::Sum, DataType::Decimal128(precision, scale)) => {
            DataType::Decimal128(DECIMAL128_MAX_PRECISION.min(precision + 10), scale)
        }
        (FrameFunction::Avg, DataType::Decimal128(precision, scale)) => DataType::Decimal128(
            DECIMAL128_MAX_PRECISION.min(precision + 4),
            DECIMAL128_MAX_SCALE.min(scale + 4),
        ),
        (_, value) => value,
    })
}

/// Evaluates `$body` with `$column` bound to the way in which values of a type are kept.
macro_rules! by_column {
    ($function:expr, $value:expr, $column:ident => $body:expr) => {
        by_column!(@types $function, $value, $column, $body,
            DataType::Int8 => Int8Type,
            DataType::Int16 => Int16Type,
            DataType::Int32 => Int32Type,
            DataType::Int64 => Int64Type,
            DataType::UInt8 => UInt8Type,
            DataType::UInt16 => UInt16Type,
            DataType::UInt32 => UInt32Type,
            DataType::UInt64 => UInt64Type,
            DataType::Float32 => Float32Type,
            DataType::Float64 => Float64Type,
            DataType::Decimal128(..) => Decimal128Type,
            DataType::Timestamp(TimeUnit::Millisecond, _) => TimestampMillisecondType)
    };
    (@types $function:expr, $value:expr, $column:ident, $body:expr,
     $($pattern:pat => $primitive:ty),*) => {
        match $value {
            $($pattern => {
                let $column = Primitives::<$primitive>::new($value);
                $body
            })*
            DataType::Boolean => {
                let $column = Booleans;
                $body
            }
            DataType::Utf8View => {
                let $column = Texts;
                $body
            }
            other => {
                let $column = Encoded::new($function.name(), other)?;
                $body
            }
        }
    };
}

/// The fold of `function` over `frame`, for values of type `value`.
///
/// `update` takes the value and the time, the ranks the time alone. IGNORE NULLS matters to
/// first_value, last_value and nth_value; aggregates skip nulls anyway.
///
/// State a key: see the table in the module's file; a bounded frame keeps at most the rows in it. A
/// value of a type without an own column is kept in Arrow's row encoding. Errors are the mistakes of a
/// rule's author: a type that the function has no meaning for, or a frame that ends before it starts.
pub fn frame_fold(
    function: FrameFunction,
    value: &DataType,
    frame: Frame,
    ignore_nulls: bool,
) -> Result<Box<dyn KeyedFold>> {
    if frame.start().is_some_and(|start| start < frame.end()) {
        return Err(Error::Argument {
            function: function.name(),
            argument: "frame",
            expected: "one that starts before it ends",
            found: frame.to_string(),
        });
    }
    let value = function.coerce(value)?;
    let result = frame_return_type(function, &value)?;
    let bounded = frame.is_bounded();
    let plan = Plan {
        function,
        value: value.clone(),
        result: result.clone(),
        frame,
    };
    match function {
        FrameFunction::Count => plan.exact(Counted),
        FrameFunction::BoolAnd => plan.exact(Judged { and: true }),
        FrameFunction::BoolOr => plan.exact(Judged { and: false }),
        FrameFunction::Sum => match &value {
            DataType::Int64 => plan.exact(Summed::<Int64Type>::new(result)),
            DataType::UInt64 => plan.exact(Summed::<UInt64Type>::new(result)),
            DataType::Decimal128(..) => plan.exact(Summed::<Decimal128Type>::new(result)),
            _ => plan.fold(TwoStacks::<two_stacks::Total>::new(Moments::Sum, bounded)),
        },
        FrameFunction::Avg => match (&value, &result) {
            (DataType::Decimal128(_, scale), &DataType::Decimal128(precision, result_scale)) => {
                plan.exact(Averaged::new(*scale, precision, result_scale))
            }
            _ => plan.fold(TwoStacks::<two_stacks::Total>::new(
                Moments::Average,
                bounded,
            )),
        },
        FrameFunction::VarianceSample => plan.spread(Moments::Variance { lost: 1 }),
        FrameFunction::VariancePopulation => plan.spread(Moments::Variance { lost: 0 }),
        FrameFunction::StddevSample => plan.spread(Moments::Deviation { lost: 1 }),
        FrameFunction::StddevPopulation => plan.spread(Moments::Deviation { lost: 0 }),
        FrameFunction::Min => {
            by_column!(function, &value, column => plan.fold(Extreme::new(column, true, bounded)))
        }
        FrameFunction::Max => {
            by_column!(function, &value, column => plan.fold(Extreme::new(column, false, bounded)))
        }
        FrameFunction::FirstValue | FrameFunction::LastValue | FrameFunction::NthValue(_) => {
            let pick = Pick::new(function)?;
            by_column!(function, &value, column =>
                plan.fold(Nth::new(column, pick, ignore_nulls, bounded)))
        }
        FrameFunction::Rank => Ok(Box::new(RankFold::new(false))),
        FrameFunction::DenseRank => Ok(Box::new(RankFold::new(true))),
    }
}

struct Plan {
    function: FrameFunction,
    value: DataType,
    result: DataType,
    frame: Frame,
}

impl Plan {
    fn fold<A: fold::Aggregate + 'static>(self, aggregate: A) -> Result<Box<dyn KeyedFold>> {
        Ok(Box::new(FrameFold::new(
            aggregate,
            self.function.name(),
            self.value,
            self.result,
            self.frame,
        )))
    }

    fn exact<T: exact::Tally + 'static>(self, tally: T) -> Result<Box<dyn KeyedFold>> {
        let bounded = self.frame.is_bounded();
        self.fold(Exact::new(tally, bounded))
    }

    fn spread(self, result: Moments) -> Result<Box<dyn KeyedFold>> {
        let bounded = self.frame.is_bounded();
        self.fold(TwoStacks::<two_stacks::Spread>::new(result, bounded))
    }
}
