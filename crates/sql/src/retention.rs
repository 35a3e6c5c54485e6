//! Retention: for how long an OVER knows a key that is silent, and how the two engines are told.
//!
//! ```text
//!   prepared        Window  f(…) OVER (PARTITION BY k, __retention(t, ms) ORDER BY t)
//!
//!   the stream      over, which keeps each key's last time
//!
//!   the batch       Projection  without __generation
//!                     Window    f(…) OVER (PARTITION BY k, __generation ORDER BY t)
//!                       Window  __generation(t, ms) OVER (PARTITION BY k ORDER BY t)
//! ```
//!
//! Where every function of an OVER looks back by a RANGE no longer than the retention, a silence of that
//! length leaves nothing to start anew, and nothing is written.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, LogicalPlan, Projection, Window, WindowFunctionDefinition, lit,
};
use keyhawk_engine::Kept;
use keyhawk_engine::program::OverFunction;
use keyhawk_functions::frame::{FrameStart, FrameUnits};
use keyhawk_functions::{GENERATION, RETENTION, generation_function, retention_function};

use crate::expressions::is_framed;
use crate::frame::frame;
use crate::origin::{integer, session_call};

/// Unless the header says otherwise: longer than a year, so that what comes once a year is known, and
/// as long as most keys are in use at all.
pub(crate) const RETENTION_DEFAULT_MS: i64 = 400 * 86_400_000;

/// How far back a function looks by its frame alone, in milliseconds; `None` where a silence, however
/// long, would make no difference to what it sees.
fn reach_ms(function: &WindowFunction) -> Option<u64> {
    let frame = match is_framed(function) {
        true => frame(&function.params.window_frame).ok()?,
        false => return None,
    };
    match (frame.units, frame.start) {
        (FrameUnits::Range, FrameStart::Preceding(ms)) => Some(ms),
        (FrameUnits::Range, FrameStart::CurrentRow) => Some(0),
        _ => None,
    }
}

/// What is written into the keys of functions of one OVER; `None` where they forget by themselves. The
/// functions are those of the query, before any of ours took their place.
pub(crate) fn retention_key<'f>(
    mut functions: impl Iterator<Item = &'f WindowFunction>,
    time: &Expr,
    header_ms: Option<i64>,
) -> Option<Expr> {
    let most_ms = header_ms.map_or(u64::MAX, i64::unsigned_abs);
    let forget = functions.all(|function| reach_ms(function).is_some_and(|ms| ms <= most_ms));
    (!forget).then(|| {
        let ms = header_ms.unwrap_or(RETENTION_DEFAULT_MS);
        retention_function().call(vec![time.clone(), lit(ms)])
    })
}

/// The keys of an OVER as the query has them, and the retention that was written among them.
pub(crate) fn split_keys(partition_by: &[Expr]) -> (&[Expr], Option<i64>) {
    match partition_by.split_last() {
        Some((Expr::ScalarFunction(call), keys)) if call.name() == RETENTION => {
            (keys, call.args.get(1).and_then(integer))
        }
        _ => (partition_by, None),
    }
}

/// The retention of an OVER in which none was written: that of its longest frame.
pub(crate) fn longest_frame_ms(functions: &[OverFunction]) -> i64 {
    let frame_ms = |function: &OverFunction| match function.keeps {
        Kept::SpanMs(ms) => i64::try_from(ms).unwrap_or(i64::MAX),
        _ => 0,
    };
    functions.iter().map(frame_ms).max().unwrap_or_default()
}

/// The plan of a view as a question reads it: with the retention of its OVERs, which no preparation wrote.
pub(crate) fn with_retention(plan: LogicalPlan, header_ms: Option<i64>) -> Result<LogicalPlan> {
    let marked = plan.transform_up(|node| match &node {
        LogicalPlan::Window(window) if session_call(window).is_none() => {
            match marked(window, header_ms) {
                Some(functions) => {
                    let window = Window::try_new(functions, Arc::clone(&window.input))?;
                    Ok(Transformed::yes(LogicalPlan::Window(window)))
                }
                None => Ok(Transformed::no(node)),
            }
        }
        _ => Ok(Transformed::no(node)),
    })?;
    with_generations(marked.data)
}

/// The functions of an OVER with its retention among their keys; `None` where none is to be written, and
/// where a rule could not have such an OVER.
fn marked(window: &Window, header_ms: Option<i64>) -> Option<Vec<Expr>> {
    let functions = window.window_expr.iter().map(|expr| match bare(expr) {
        Expr::WindowFunction(function) => Some(function.as_ref()),
        _ => None,
    });
    let functions = functions.collect::<Option<Vec<&WindowFunction>>>()?;
    let params = &functions.first()?.params;
    let [order] = params.order_by.as_slice() else {
        return None;
    };
    let is_alike = |function: &&WindowFunction| {
        function.params.partition_by == params.partition_by
            && function.params.order_by == params.order_by
    };
    if params.partition_by.is_empty() || !order.asc || !functions.iter().all(is_alike) {
        return None;
    }
    let key = retention_key(functions.iter().copied(), &order.expr, header_ms)?;
    let written = window.window_expr.iter().zip(functions);
    let written = written.map(|(expr, function)| {
        let mut function = function.clone();
        function.params.partition_by.push(key.clone());
        // Those above know it by what it was called before.
        Expr::WindowFunction(Box::new(function)).alias(expr.schema_name().to_string())
    });
    Some(written.collect())
}

/// The plan as the batch runs it: what was written among the keys of an OVER becomes a column of
/// generations.
pub(crate) fn with_generations(plan: LogicalPlan) -> Result<LogicalPlan> {
    let replaced = plan.transform_up(|node| match &node {
        LogicalPlan::Window(window) => match with_generation(window)? {
            Some(plan) => Ok(Transformed::yes(plan)),
            None => Ok(Transformed::no(node)),
        },
        _ => Ok(Transformed::no(node)),
    })?;
    Ok(replaced.data)
}

fn with_generation(window: &Window) -> Result<Option<LogicalPlan>> {
    let first = window.window_expr.iter().find_map(|expr| match bare(expr) {
        Expr::WindowFunction(function) => Some(&function.params),
        _ => None,
    });
    let Some((params, (keys, Some(ms)))) =
        first.map(|params| (params, split_keys(&params.partition_by)))
    else {
        return Ok(None);
    };
    let time = params.order_by[0].expr.clone();
    let definition = WindowFunctionDefinition::WindowUDF(generation_function());
    let generation = Expr::from(WindowFunction::new(definition, vec![time, lit(ms)]))
        .partition_by(keys.to_vec())
        .order_by(params.order_by.clone())
        .build()?
        .alias(GENERATION);
    let below = Window::try_new(vec![generation], Arc::clone(&window.input))?;
    let column = Expr::Column(Column::new_unqualified(GENERATION));
    let functions = window.window_expr.iter().map(|expr| {
        let by_generation = expr.clone().transform_up(|expr| match expr {
            Expr::ScalarFunction(call) if call.name() == RETENTION => {
                Ok(Transformed::yes(column.clone()))
            }
            other => Ok(Transformed::no(other)),
        })?;
        let name = expr.schema_name().to_string();
        Ok(bare(&by_generation.data).clone().alias(name))
    });
    let functions = functions.collect::<Result<Vec<_>>>()?;
    let above = Window::try_new(functions, Arc::new(LogicalPlan::Window(below)))?;
    let columns = window.schema.columns().into_iter().map(Expr::Column);
    let projection = Projection::try_new_with_schema(
        columns.collect(),
        Arc::new(LogicalPlan::Window(above)),
        Arc::clone(&window.schema),
    )?;
    Ok(Some(LogicalPlan::Projection(projection)))
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => bare(&alias.expr),
        other => other,
    }
}
