//! Window functions, lowered: which fold keeps the state, and over which arguments.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use keyhawk_engine::Kept;
use keyhawk_engine::program::{FoldFactory, OverFunction};
use keyhawk_functions::VALUES_PER_KEY;
use keyhawk_functions::frame::{
    Frame, FrameEnd, FrameFunction, FrameStart, FrameUnits, frame_fold,
};

use super::{physical, refused};
use crate::frame::{frame, frame_function, only_where};
use crate::lineage::Unprepared;
use crate::origin::integer;

/// The version of a window function's values and state. Those of `lag` and `row_number` are named here,
/// since they are DataFusion's own in batch and stand in no list of ours.
pub(crate) fn version(expr: &Expr) -> u32 {
    let Expr::WindowFunction(function) = expr else {
        return 0;
    };
    let known = keyhawk_functions::window_functions();
    known
        .iter()
        .find(|known| known.name == function.fun.name())
        .map_or(1, |known| known.version)
}

/// The state and the arguments of a window function.
pub(crate) fn over_function(
    function: &WindowFunction,
    from: &DFSchema,
) -> Result<OverFunction, Unprepared> {
    let name = function.fun.name().to_owned();
    if let Some(framed) = frame_function(function) {
        return framed_function(framed, function, from);
    }
    let args = &function.params.args;
    let mut arguments = args
        .iter()
        .map(|arg| physical(arg, from))
        .collect::<Result<Vec<_>, _>>()?;
    let types = arguments
        .iter()
        .map(|arg| Ok(arg.data_type(from.as_arrow())?))
        .collect::<Result<Vec<_>, Unprepared>>()?;
    let literals: Vec<Option<ScalarValue>> = args
        .iter()
        .map(|arg| match arg {
            Expr::Literal(value, _) => Some(value.clone()),
            _ => None,
        })
        .collect();
    let mut keeps = Kept::Constant;
    let fold: FoldFactory = match name.as_str() {
        "row_number" => Arc::new(|| Ok(keyhawk_functions::row_number_fold())),
        "lag" => {
            let ignore_nulls = function.params.null_treatment == Some(NullTreatment::IgnoreNulls);
            let offset = match args.get(1) {
                None => 1,
                Some(offset) => integer(offset).ok_or_else(|| {
                    refused(
                        &["lag"],
                        "lag's offset is not a whole number",
                        "write lag(x, 1)",
                    )
                })?,
            };
            if matches!(literals.get(2), Some(None)) {
                return Err(refused(
                    &["lag"],
                    "lag's default is computed from the row",
                    "write a literal, or coalesce(lag(x) OVER (…), y) around it",
                ));
            }
            let default = literals.get(2).cloned().flatten();
            let value = types.first().cloned().unwrap_or(DataType::Null);
            arguments.truncate(1);
            keeps = Kept::Values(offset.unsigned_abs());
            let make =
                move || keyhawk_functions::lag_fold(&value, offset, default.clone(), ignore_nulls);
            make().map_err(|error| {
                refused(
                    &["lag"],
                    error.to_string(),
                    "look back by one row or more, and give a default of the type of the value",
                )
            })?;
            Arc::new(make)
        }
        _ => {
            let known = keyhawk_functions::window_functions();
            let Some(known) = known.into_iter().find(|known| known.name == name) else {
                return Err(refused(
                    &[&name],
                    format!("`{name}` OVER is not supported yet"),
                    "use one of ours",
                ));
            };
            if name == "first_seen" {
                keeps = Kept::Values(VALUES_PER_KEY as u64);
            }
            let make = move || known.fold(&types, &literals);
            make()
                .map_err(|error| refused(&[&name], error.to_string(), "see the function's page"))?;
            Arc::new(make)
        }
    };
    Ok(OverFunction {
        fold,
        arguments,
        keeps,
    })
}

/// A function over a frame.
fn framed_function(
    framed: FrameFunction,
    function: &WindowFunction,
    from: &DFSchema,
) -> Result<OverFunction, Unprepared> {
    let params = &function.params;
    let name = function.fun.name();
    let is_own = name.starts_with("__frame_");
    let frame = match is_own {
        true => own_frame(&params.args)?,
        false => frame(&params.window_frame)?,
    };
    let time = physical(&params.order_by[0].expr, from)?;
    let (arguments, value) = match framed {
        FrameFunction::Rank | FrameFunction::DenseRank => (vec![time], DataType::Null),
        _ => {
            let Some(value) = params.args.first() else {
                return Err(refused(
                    &[name],
                    format!("`{name}` takes a value"),
                    "name one",
                ));
            };
            let value = physical(&only_where(value.clone(), params.filter.as_deref()), from)?;
            let kind = value.data_type(from.as_arrow())?;
            (vec![value, time], kind)
        }
    };
    let ignore_nulls = params.null_treatment == Some(NullTreatment::IgnoreNulls);
    let make = move || frame_fold(framed, &value, frame, ignore_nulls);
    make().map_err(|error| {
        refused(
            &[name],
            error.to_string(),
            "cast the argument to an integer, a float, a timestamp or text",
        )
    })?;
    Ok(OverFunction {
        fold: Arc::new(make),
        arguments,
        keeps: kept(framed, frame),
    })
}

/// What a function keeps of a key's rows: those of its frame, and those between the frame and the
/// current row.
fn kept(framed: FrameFunction, frame: Frame) -> Kept {
    let distance = match (frame.start, frame.end) {
        (FrameStart::Preceding(distance), _)
        | (FrameStart::Unbounded, FrameEnd::Preceding(distance)) => Some(distance),
        _ => None,
    };
    match (distance, frame.units, framed) {
        (Some(rows), FrameUnits::Rows, _) => Kept::Rows(rows),
        (Some(ms), FrameUnits::Range, _) => Kept::SpanMs(ms),
        (None, _, FrameFunction::NthValue(n)) => Kept::Values(n.unsigned_abs()),
        (None, _, FrameFunction::FirstValue | FrameFunction::LastValue) => Kept::Values(1),
        _ => Kept::Constant,
    }
}

/// The frame that stands among the arguments of a function of ours.
fn own_frame(args: &[Expr]) -> Result<Frame, Unprepared> {
    let [_, _, Expr::Literal(units, _), Expr::Literal(start, _), end] = args else {
        return Err(refused(
            &["OVER"],
            "a frame that no query can write",
            "write ROWS or RANGE",
        ));
    };
    let units = match units.try_as_str().flatten() {
        Some("rows") => FrameUnits::Rows,
        _ => FrameUnits::Range,
    };
    let start = match start {
        ScalarValue::Int64(Some(0)) => FrameStart::CurrentRow,
        ScalarValue::Int64(Some(distance)) => FrameStart::Preceding(distance.unsigned_abs()),
        _ => FrameStart::Unbounded,
    };
    let end = match integer(end) {
        Some(0) | None => FrameEnd::CurrentRow,
        Some(distance) => FrameEnd::Preceding(distance.unsigned_abs()),
    };
    Ok(Frame { units, start, end })
}
