//! The frames of doubles as functions of the batch engine, so that both modes add in the same order.
//!
//! ```text
//!   SQL      avg(x) OVER (PARTITION BY k ORDER BY t RANGE 60000 PRECEDING)
//!   planned  __frame_avg(x, t, 'range', 60000, 0) OVER (PARTITION BY k ORDER BY t)
//! ```
//!
//! DataFusion subtracts a double that leaves a frame, and our folds do not, so the planner writes these
//! calls in both modes where the value is a double. `bool_and` and `bool_or` are here as well, because
//! DataFusion has them over no frame with a start. Arguments: the value, the time, the literal `rows`
//! or `range`, the literal start (null: from the first row) and the literal end, both in rows or
//! milliseconds before the current row, 0 for the current row itself. The names begin with two
//! underscores because no rule need know them.

use arrow::datatypes::DataType;
use datafusion_common::ScalarValue;

use super::{Frame, FrameEnd, FrameFunction, FrameStart, FrameUnits, frame_fold};
use crate::{Error, KeyedFold, Result, WindowFunction, arguments::coerce_timestamp};

const USAGE: &str = "(value, time, 'rows' or 'range', start, end)";
const VERSION: u32 = 1;

/// The frames that the planner writes for the batch engine and for the stream: `__frame_sum`,
/// `__frame_avg`, `__frame_stddev`, `__frame_stddev_pop`, `__frame_var` and `__frame_var_pop` of doubles,
/// `__frame_bool_and` and `__frame_bool_or`.
///
/// The arguments are `(value, time, units, start, end)`, of which the last three are literals: `'rows'`
/// or `'range'`, then two bigints in rows or milliseconds before the current row, where a start that is
/// null is the key's first row.
pub fn frame_functions() -> Vec<WindowFunction> {
    macro_rules! functions {
        ($($name:literal => $function:ident, $value:ident;)*) => {
            vec![$(WindowFunction::new(
                $name,
                VERSION,
                DataType::$value,
                |arg_types| coerce($name, &DataType::$value, arg_types),
                |_, literals| fold($name, FrameFunction::$function, &DataType::$value, literals),
            )),*]
        };
    }
    functions! {
        "__frame_sum" => Sum, Float64;
        "__frame_avg" => Avg, Float64;
        "__frame_stddev" => StddevSample, Float64;
        "__frame_stddev_pop" => StddevPopulation, Float64;
        "__frame_var" => VarianceSample, Float64;
        "__frame_var_pop" => VariancePopulation, Float64;
        "__frame_bool_and" => BoolAnd, Boolean;
        "__frame_bool_or" => BoolOr, Boolean;
    }
}

fn coerce(
    function: &'static str,
    value: &DataType,
    arg_types: &[DataType],
) -> Result<Vec<DataType>> {
    let [found, time, units, start, end] = arg_types else {
        return Err(Error::ArgumentCount {
            function,
            usage: USAGE,
            found: arg_types.len(),
        });
    };
    let refuse = |argument, expected, found: &DataType| Error::Argument {
        function,
        argument,
        expected,
        found: format!("of type {found}"),
    };
    match (value, found) {
        (_, DataType::Null) | (DataType::Boolean, DataType::Boolean) => {}
        (DataType::Float64, found) if found.is_numeric() => {}
        (DataType::Float64, _) => return Err(refuse("value", "a number", found)),
        _ => return Err(refuse("value", "a boolean", found)),
    }
    if !units.is_string() {
        return Err(refuse("units", "a text", units));
    }
    for (argument, bound) in [("start", start), ("end", end)] {
        if !bound.is_integer() && !bound.is_null() {
            return Err(refuse(argument, "an integer", bound));
        }
    }
    Ok(vec![
        value.clone(),
        coerce_timestamp(function, "time", time)?,
        units.clone(),
        DataType::Int64,
        DataType::Int64,
    ])
}

fn fold(
    name: &'static str,
    function: FrameFunction,
    value: &DataType,
    literals: &[Option<ScalarValue>],
) -> Result<Box<dyn KeyedFold>> {
    let refuse = |argument, expected, index: usize| Error::Argument {
        function: name,
        argument,
        expected,
        found: match literals.get(index) {
            Some(Some(literal)) => literal.to_string(),
            _ => "not a literal".to_owned(),
        },
    };
    let literal = |index: usize| literals.get(index).and_then(Option::as_ref);
    let units = match literal(2).and_then(|units| units.try_as_str().flatten()) {
        Some("rows") => FrameUnits::Rows,
        Some("range") => FrameUnits::Range,
        _ => return Err(refuse("units", "the literal 'rows' or 'range'", 2)),
    };
    let distance = |literal: &ScalarValue| match literal.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(Some(distance))) => u64::try_from(distance).ok(),
        _ => None,
    };
    let start = match literal(3) {
        Some(start) if start.is_null() => Some(FrameStart::Unbounded),
        Some(start) => distance(start).map(|distance| match distance {
            0 => FrameStart::CurrentRow,
            distance => FrameStart::Preceding(distance),
        }),
        None => None,
    };
    let Some(start) = start else {
        return Err(refuse(
            "start",
            "a literal integer of 0 or more, or null",
            3,
        ));
    };
    let end = match literal(4).and_then(distance) {
        Some(0) => FrameEnd::CurrentRow,
        Some(distance) => FrameEnd::Preceding(distance),
        None => return Err(refuse("end", "a literal integer of 0 or more", 4)),
    };
    frame_fold(function, value, Frame { units, start, end }, false)
}
