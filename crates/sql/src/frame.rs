//! Frames of window functions: what a stream can follow, and which functions are ours in both modes.
//!
//! Over a frame that moves, DataFusion's sums of doubles give back what leaves (1e16, 1, 1 over two rows
//! ends at 0), so that of doubles, and everything that divides, the planner writes our own functions,
//! which add the same values in the same order in batch and stream.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::{
    Case, Expr, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
    WindowUDF, cast, lit,
};
use keyhawk_functions::frame::{Frame, FrameEnd, FrameFunction, FrameStart, FrameUnits};

use crate::lineage::{Unprepared, refuse};

/// The words by which a frame is found in the text.
const NEAR: [&str; 6] = [
    "ROWS BETWEEN",
    "RANGE BETWEEN",
    "GROUPS BETWEEN",
    "ROWS",
    "RANGE",
    "GROUPS",
];

/// The frame of an OVER, or why no stream can follow it.
pub(crate) fn frame(frame: &WindowFrame) -> Result<Frame, Unprepared> {
    let units = match frame.units {
        WindowFrameUnits::Rows => FrameUnits::Rows,
        WindowFrameUnits::Range => FrameUnits::Range,
        WindowFrameUnits::Groups => {
            return refuse(
                &["GROUPS BETWEEN", "GROUPS"],
                "frames of GROUPS are not supported",
                "write ROWS or RANGE",
            );
        }
    };
    let start = match &frame.start_bound {
        WindowFrameBound::Preceding(bound) if bound.is_null() => FrameStart::Unbounded,
        WindowFrameBound::Preceding(bound) => FrameStart::Preceding(distance(bound, units)?),
        WindowFrameBound::CurrentRow => FrameStart::CurrentRow,
        WindowFrameBound::Following(_) => return following(),
    };
    let end = match &frame.end_bound {
        WindowFrameBound::Preceding(bound) if bound.is_null() => {
            return refuse(
                &NEAR,
                "the frame ends before it starts",
                "write CURRENT ROW",
            );
        }
        WindowFrameBound::Preceding(bound) => FrameEnd::Preceding(distance(bound, units)?),
        WindowFrameBound::CurrentRow => FrameEnd::CurrentRow,
        WindowFrameBound::Following(_) => return following(),
    };
    Ok(Frame { units, start, end })
}

fn following<T>() -> Result<T, Unprepared> {
    refuse(
        &["FOLLOWING"],
        "a frame with FOLLOWING would wait for the future",
        "end it with CURRENT ROW",
    )
}

/// Rows, or milliseconds.
fn distance(bound: &ScalarValue, units: FrameUnits) -> Result<u64, Unprepared> {
    if units == FrameUnits::Rows {
        return match bound {
            ScalarValue::UInt64(Some(rows)) => Ok(*rows),
            other => refuse(
                &NEAR,
                format!("the frame counts rows, and `{other}` is no number of them"),
                "write ROWS BETWEEN 10 PRECEDING AND CURRENT ROW",
            ),
        };
    }
    let is_length = bound
        .try_as_str()
        .flatten()
        .is_none_or(|text| text.trim().parse::<f64>().is_err());
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    match bound.cast_to(&interval) {
        Ok(ScalarValue::IntervalMonthDayNano(Some(value)))
            if is_length && value.months == 0 && value.nanoseconds % 1_000_000 == 0 =>
        {
            let ms = i64::from(value.days) * 86_400_000 + value.nanoseconds / 1_000_000;
            u64::try_from(ms).or_else(|_| {
                refuse(
                    &NEAR,
                    "the frame reaches back by less than nothing",
                    "write a positive INTERVAL",
                )
            })
        }
        _ => refuse(
            &NEAR,
            "a RANGE over time reaches back by an interval of whole milliseconds, without months or years",
            "write RANGE BETWEEN INTERVAL '10 minutes' PRECEDING AND CURRENT ROW",
        ),
    }
}

/// The function over a frame that a call is; `None` for other functions.
pub(crate) fn frame_function(function: &WindowFunction) -> Option<FrameFunction> {
    let known = |name: &str| {
        Some(match name {
            "count" => FrameFunction::Count,
            "sum" => FrameFunction::Sum,
            "min" => FrameFunction::Min,
            "max" => FrameFunction::Max,
            "avg" => FrameFunction::Avg,
            "stddev" => FrameFunction::StddevSample,
            "stddev_pop" => FrameFunction::StddevPopulation,
            "var" => FrameFunction::VarianceSample,
            "var_pop" => FrameFunction::VariancePopulation,
            "bool_and" => FrameFunction::BoolAnd,
            "bool_or" => FrameFunction::BoolOr,
            _ => return None,
        })
    };
    match (&function.fun, function.fun.name()) {
        (WindowFunctionDefinition::AggregateUDF(_), name) => known(name),
        (_, "first_value") => Some(FrameFunction::FirstValue),
        (_, "last_value") => Some(FrameFunction::LastValue),
        (_, "nth_value") => match function.params.args.get(1) {
            Some(Expr::Literal(n, _)) => match n.cast_to(&DataType::Int64) {
                Ok(ScalarValue::Int64(Some(n))) => Some(FrameFunction::NthValue(n)),
                _ => None,
            },
            _ => None,
        },
        (_, "rank") => Some(FrameFunction::Rank),
        (_, "dense_rank") => Some(FrameFunction::DenseRank),
        (_, name) => known(name.strip_prefix("__frame_")?),
    }
}

/// A function of ours that takes the place of DataFusion's.
pub(crate) struct OwnFunction {
    pub(crate) name: &'static str,
    frame: Frame,
    value: DataType,
}

/// Which function of ours a call becomes, if any; `types` gives the type of an argument.
pub(crate) fn own_function(
    function: &WindowFunction,
    types: impl Fn(&Expr) -> Result<DataType, DataFusionError>,
) -> Result<Option<OwnFunction>, Unprepared> {
    if !matches!(function.fun, WindowFunctionDefinition::AggregateUDF(_)) {
        return Ok(None);
    }
    let Some(argument) = function.params.args.first() else {
        return Ok(None);
    };
    let kind = types(argument)?;
    let is_float = matches!(
        kind,
        DataType::Float16 | DataType::Float32 | DataType::Float64
    );
    let is_number = is_float || kind.is_integer();
    let is_any = is_number || matches!(kind, DataType::Decimal128(..) | DataType::Null);
    let (name, value) = match function.fun.name() {
        "sum" if is_float => ("__frame_sum", DataType::Float64),
        "avg" if is_number => ("__frame_avg", DataType::Float64),
        "stddev" if is_any => ("__frame_stddev", DataType::Float64),
        "stddev_pop" if is_any => ("__frame_stddev_pop", DataType::Float64),
        "var" if is_any => ("__frame_var", DataType::Float64),
        "var_pop" if is_any => ("__frame_var_pop", DataType::Float64),
        "bool_and" => ("__frame_bool_and", DataType::Boolean),
        "bool_or" => ("__frame_bool_or", DataType::Boolean),
        _ => return Ok(None),
    };
    Ok(Some(OwnFunction {
        name,
        frame: frame(&function.params.window_frame)?,
        value,
    }))
}

impl OwnFunction {
    /// The call, whose frame stands among its arguments.
    pub(crate) fn call(self, udf: &Arc<WindowUDF>, function: &WindowFunction) -> WindowFunction {
        let params = &function.params;
        let value = only_where(params.args[0].clone(), params.filter.as_deref());
        let time = params.order_by[0].expr.clone();
        let start = match self.frame.start {
            FrameStart::Unbounded => None,
            FrameStart::Preceding(distance) => Some(distance as i64),
            FrameStart::CurrentRow => Some(0),
        };
        let end = match self.frame.end {
            FrameEnd::Preceding(distance) => distance as i64,
            FrameEnd::CurrentRow => 0,
        };
        let units = match self.frame.units {
            FrameUnits::Rows => "rows",
            FrameUnits::Range => "range",
        };
        let args = vec![
            cast(value, self.value),
            time,
            lit(units),
            Expr::Literal(ScalarValue::Int64(start), None),
            lit(end),
        ];
        let definition = WindowFunctionDefinition::WindowUDF(Arc::clone(udf));
        let mut own = WindowFunction::new(definition, args);
        own.params.partition_by = params.partition_by.clone();
        own.params.order_by = params.order_by.clone();
        own.params.window_frame = WindowFrame::new(Some(false));
        own.params.null_treatment = params
            .null_treatment
            .filter(|how| *how != NullTreatment::RespectNulls);
        own
    }
}

/// The value where FILTER keeps the row, null elsewhere: functions that take a FILTER pass over nulls.
pub(crate) fn only_where(value: Expr, filter: Option<&Expr>) -> Expr {
    match filter {
        Some(filter) => Expr::Case(Case::new(
            None,
            vec![(Box::new(filter.clone()), Box::new(value))],
            None,
        )),
        None => value,
    }
}
